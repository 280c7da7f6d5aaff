package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"sync"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// chunkBytes is how much log is kept back at most before it is sealed.
const chunkBytes = 256 << 10

// chunkWriter gathers a log into chunks: one at the end of a short run, one a second of a long one that talks, so that it can be read while
// it goes on. A chunk that cannot be kept is reported by Close; Terraform does not wait for it.
type chunkWriter struct {
	put   func(seq int, b []byte) error
	now   func() time.Time
	every time.Duration

	mu    sync.Mutex
	buf   bytes.Buffer
	seq   int
	timer *time.Timer
	err   error
}

func (c *chunkWriter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf.Write(p)
	if c.buf.Len() >= chunkBytes {
		c.flush()
	} else if c.timer == nil {
		c.timer = time.AfterFunc(c.every, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.flush()
		})
	}
	return len(p), nil
}

func (c *chunkWriter) flush() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if c.buf.Len() == 0 {
		return
	}
	if err := c.put(c.seq, c.buf.Bytes()); err != nil && c.err == nil {
		c.err = err
	}
	c.seq++
	c.buf.Reset()
}

// Close keeps what is left.
func (c *chunkWriter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	return c.err
}

func (w *Worker) putLog(ctx context.Context, run plumbline.Run, job plumbline.Job, seq int, b []byte) error {
	// The fence keeps a late worker from writing over the log of the one that took its place.
	name := fmt.Sprintf("runs/%d/%d/log/%s-%d-%06d", run.ID, run.Attempt, job.Phase, run.Claim.Fence, seq)
	blob, err := w.put(ctx, name, bytes.NewReader(b))
	if err != nil {
		return err
	}
	return w.c.Queue.AppendLog(ctx, run.ID, run.Attempt, job.Phase, seq, blob)
}

type hasher struct{ hash.Hash }

func newHash() hasher { return hasher{sha256.New()} }

func (h hasher) hex() string { return hex.EncodeToString(h.Sum(nil)) }
