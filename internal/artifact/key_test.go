package artifact

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestLoadKeyCreatesAndReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	made, err := LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if made == (Key{}) {
		t.Error("the key is all zeros")
	}
	read, err := LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if read != made {
		t.Error("the key that was read is not the one that was made")
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	if got := files(t, filepath.Dir(path)); len(got) != 1 {
		t.Errorf("files left: %v", got)
	}
	other, err := LoadKey(path + "2")
	if err != nil {
		t.Fatal(err)
	}
	if other == made {
		t.Error("two new keys are equal")
	}
}

func TestLoadKeyByManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	keys := make([]Key, 16)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = LoadKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] {
			t.Fatal("two callers got different keys")
		}
	}
	if got := files(t, filepath.Dir(path)); len(got) != 1 {
		t.Errorf("files left: %v", got)
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	good := strings.Repeat("5a", 32)
	tests := []struct {
		name    string
		content string
		mode    os.FileMode
		want    string // "" if it is read
	}{
		{"as made", good + "\n", 0o600, ""},
		{"read only, no newline", good, 0o400, ""},
		{"carriage return", good + "\r\n", 0o600, ""},
		{"readable by the group", good, 0o640, "(mode 0640): run `chmod 600 "},
		{"readable by all", good, 0o644, "(mode 0644): run `chmod 600 "},
		{"writable by all", good, 0o602, "(mode 0602): run `chmod 600 "},
		{"empty", "", 0o600, "want 64 hexadecimal digits"},
		{"short", good[2:], 0o600, "want 64 hexadecimal digits"},
		{"long", good + "5a", 0o600, "want 64 hexadecimal digits"},
		{"very long", strings.Repeat(good, 1000), 0o600, "want 64 hexadecimal digits"},
		{"odd", good[1:], 0o600, "want 64 hexadecimal digits"},
		{"other text", "g" + good[1:], 0o600, "want 64 hexadecimal digits"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			key, err := LoadKey(path)
			if tt.want == "" {
				if err != nil || hex.EncodeToString(key[:]) != good {
					t.Errorf("err %v, or another key", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("error %v, want it to say %q and the path", err, tt.want)
			}
			if strings.Contains(err.Error(), "5a5a") {
				t.Errorf("the error shows the key: %v", err)
			}
			if key != (Key{}) {
				t.Error("a key came with the error")
			}
		})
	}
	t.Run("directory", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		if _, err := LoadKey(filepath.Join(t.TempDir(), "missing", "key")); err == nil {
			t.Error("no error")
		}
	})
}

func TestPrintingAKeyDoesNotShowIt(t *testing.T) {
	key := Key{0xab, 0xcd, 0xef}
	config := DirConfig{Path: "x", Key: key}
	shown := []string{"abcdef", "ABCDEF", "171 205", "0xab", "171,205"}
	var texts []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%X", "%q"} {
		texts = append(texts, fmt.Sprintf(verb, key), fmt.Sprintf(verb, config), fmt.Sprintf(verb, &key))
	}
	asJSON, err := json.Marshal(map[string]any{"key": key})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append(texts, string(asJSON)) {
		for _, s := range shown {
			if strings.Contains(text, s) {
				t.Errorf("the key is shown: %s", text)
			}
		}
	}
}
