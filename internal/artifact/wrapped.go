package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrExists says that a file which is written once is there already.
var ErrExists = errors.New("it exists already")

// Wrapper is a service that keeps the key by which master keys are wrapped, such as AWS KMS. What it wraps opens only in the same place.
type Wrapper interface {
	// Generate makes a key of 32 bytes, in clear and wrapped.
	Generate(ctx context.Context, place map[string]string) (plain, wrapped []byte, err error)
	// Unwrap opens one that Generate has wrapped.
	Unwrap(ctx context.Context, wrapped []byte, place map[string]string) (plain []byte, err error)
}

// File is where a wrapped key lies.
type File interface {
	Load(ctx context.Context) ([]byte, error)   // ErrNotFound: nothing yet
	Create(ctx context.Context, b []byte) error // ErrExists: somebody was quicker
	String() string
}

// wrappedKey is what lies there: nothing secret.
type wrappedKey struct {
	Version int               `json:"version"`
	Place   map[string]string `json:"place"` // the encryption context, which whoever looks into the logs of the service finds again
	Wrapped []byte            `json:"wrapped"`
}

// LoadWrapped returns the master key that lies wrapped in a file. If there is none, one is made; of several nodes that do so at once one wins, and all get the
// same key. place says where the blobs are that it seals: a wrapped key that is carried elsewhere does not open. The service's own key must not
// be deleted: what was sealed is lost with it.
func LoadWrapped(ctx context.Context, w Wrapper, f File, place map[string]string) (Key, error) {
	b, err := f.Load(ctx)
	if errors.Is(err, ErrNotFound) {
		if err := create(ctx, w, f, place); err != nil && !errors.Is(err, ErrExists) {
			return Key{}, fmt.Errorf("make the key of the artifacts: %w", err)
		}
		b, err = f.Load(ctx)
	}
	if err != nil {
		return Key{}, fmt.Errorf("read the wrapped key %s: %w", f, err)
	}
	var k wrappedKey
	if err := json.Unmarshal(b, &k); err != nil || k.Version != 1 || len(k.Wrapped) == 0 {
		return Key{}, fmt.Errorf("%s does not hold a wrapped key; restore it from where it was saved", f)
	}
	plain, err := w.Unwrap(ctx, k.Wrapped, place)
	if err != nil {
		return Key{}, fmt.Errorf("unwrap the key %s: %w", f, err)
	}
	return newKey(plain)
}

func create(ctx context.Context, w Wrapper, f File, place map[string]string) error {
	plain, wrapped, err := w.Generate(ctx, place)
	if err != nil {
		return err
	}
	if _, err := newKey(plain); err != nil {
		return err
	}
	clear(plain)
	b, err := json.Marshal(wrappedKey{Version: 1, Place: place, Wrapped: wrapped})
	if err != nil {
		return err
	}
	return f.Create(ctx, b)
}

func newKey(plain []byte) (k Key, err error) {
	if len(plain) != len(k) {
		return Key{}, fmt.Errorf("the service gave a key of %d bytes, want %d", len(plain), len(k))
	}
	copy(k[:], plain)
	clear(plain)
	if k == (Key{}) {
		return Key{}, errors.New("the service gave a key of zeros")
	}
	return k, nil
}
