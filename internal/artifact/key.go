package artifact

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Key is the master key from which the key of each blob is derived. Printing one does not show it.
type Key [32]byte

// maxKeyFile is more than any key file holds, in bytes.
const maxKeyFile = 4096

// LoadKey reads the key file at path. If there is none, it makes one with a new random key, in a directory that must
// exist; of several processes that do so at once one wins, and all get the same key. It refuses a file that others than its
// owner can read or write. A key that is lost cannot be made again: what it sealed is lost too.
func LoadKey(path string) (Key, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return Key{}, fmt.Errorf("create key file: %w", err)
	}
	return readKey(path)
}

func readKey(path string) (key Key, err error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, fmt.Errorf("read key file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("read key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Key{}, fmt.Errorf("key file %s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Key{}, fmt.Errorf("key file %s is open to other users (mode %04o): run `chmod 600 %s`, and consider the key known to whoever could read it",
			path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return Key{}, fmt.Errorf("read key file: %w", err)
	}
	digits := strings.TrimSpace(string(text))
	// The error of hex names the byte it did not like, which is a part of the key.
	if n, err := hex.Decode(key[:], []byte(digits[:min(len(digits), 2*len(key))])); err != nil || n != len(key) || len(digits) != 2*len(key) {
		return Key{}, fmt.Errorf("key file %s does not hold a key: want %d hexadecimal digits and nothing else; restore it from where it was saved",
			path, 2*len(key))
	}
	return key, nil
}

// createKey writes a key file beside its place, then links it there, so that nobody ever reads half a key. The link fails with
// fs.ErrExist if the file has come to exist.
func createKey(path string) (err error) {
	var key Key
	rand.Read(key[:]) // never fails: crypto/rand ends the process instead
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // O_EXCL, mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(hex.EncodeToString(key[:]) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(os.Open, dir)
}

// Format keeps the key out of whatever prints it or a struct that holds it.
func (Key) Format(f fmt.State, _ rune) {
	// A fmt.State reports its errors through the Print function that made it.
	_, _ = io.WriteString(f, "artifact.Key(sensitive)")
}

// MarshalText keeps the key out of JSON and structured logs.
func (Key) MarshalText() ([]byte, error) { return []byte("(sensitive)"), nil }

// syncDir makes the names in a directory last through a crash.
func syncDir(open func(string) (*os.File, error), dir string) error {
	f, err := open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
