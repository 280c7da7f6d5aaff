package hook

import (
	"container/list"
	"time"
)

// seen remembers deliveries, the latest ones, for a while.
type seen struct {
	most int
	long time.Duration
	at   map[mark]*list.Element
	list *list.List // of sighting, latest first
}

type sighting struct {
	mark mark
	at   time.Time
}

func newSeen(most int, long time.Duration) seen {
	return seen{most: most, long: long, at: map[mark]*list.Element{}, list: list.New()}
}

// again remembers m and reports whether it was remembered already.
func (s *seen) again(m mark, now time.Time) bool {
	if e, ok := s.at[m]; ok {
		old := now.Sub(e.Value.(sighting).at) >= s.long
		e.Value = sighting{m, now}
		s.list.MoveToFront(e)
		return !old
	}
	s.at[m] = s.list.PushFront(sighting{m, now})
	if s.list.Len() > s.most {
		last := s.list.Back()
		delete(s.at, s.list.Remove(last).(sighting).mark)
	}
	return false
}
