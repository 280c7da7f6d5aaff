package git

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a lock that another holds is tried: a fetch takes tens of milliseconds at least.
const lockPoll = 20 * time.Millisecond

// lock lets one fetch at a time change the mirror, of all Repos and processes on this machine. go-git writes a pack's
// index in place: two that write the same one would leave it torn. The kernel lets go of the lock when its holder dies.
func (r *Repo) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(r.dir, "plumbline.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	wait := time.NewTicker(lockPoll)
	defer wait.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(&os.PathError{Op: "lock", Path: f.Name(), Err: err}, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-wait.C:
		}
	}
	if err := r.sweep(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // closing is letting go; nothing was written
}

// sweep removes what a fetch that was killed has left: packs that were not finished, and indexes without a pack, which
// may be torn and which go-git would take for whole when the same pack arrives again.
func (r *Repo) sweep() error {
	dir := filepath.Join(r.dir, "objects", "pack")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	packs := map[string]bool{}
	for _, e := range entries {
		if base, ok := strings.CutSuffix(e.Name(), ".pack"); ok {
			packs[base] = true
		}
	}
	for _, e := range entries {
		base, index := strings.CutSuffix(e.Name(), ".idx")
		if strings.HasPrefix(e.Name(), "tmp_pack_") || index && !packs[base] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
