package hook

import (
	"testing"
	"time"
)

func TestSeen(t *testing.T) {
	s := newSeen(3, time.Hour)
	start := time.Unix(0, 0)
	for i, tt := range []struct {
		mark  byte
		after time.Duration
		want  bool
	}{
		{1, 0, false}, {2, 0, false}, {3, 0, false},
		{1, time.Minute, true},      // and is the latest now
		{4, time.Minute, false},     // 2 has to go
		{1, 2 * time.Minute, true},  // still there
		{2, 2 * time.Minute, false}, // forgotten; 3 has to go
		{4, 30 * time.Minute, true},
		{1, 62 * time.Minute, false}, // too long ago
		{4, 31 * time.Minute, true},  // the clock went back
		{1, 63 * time.Minute, true},
	} {
		if got := s.again(mark{tt.mark}, start.Add(tt.after)); got != tt.want {
			t.Errorf("step %d: %d was seen: %t, want %t", i, tt.mark, got, tt.want)
		}
		if len(s.at) > 3 || s.list.Len() != len(s.at) {
			t.Fatalf("step %d: %d in the map, %d in the list", i, len(s.at), s.list.Len())
		}
	}
}
