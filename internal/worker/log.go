package worker

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

const (
	// chunkBytes is how much log is kept back at most before it is sealed.
	chunkBytes = 256 << 10
	// keepBytes is how much log is kept in memory while it cannot be sealed.
	keepBytes = 8 << 20
)

// begunAgain stands between the log of a claim and that of the next one of the same attempt.
const begunAgain = "--- begun again ---\n"

// chunkWriter gathers a log into chunks: one at the end of a short run, one a second of a long one that talks, so that it can be read while
// it goes on. Terraform does not wait for a chunk that cannot be kept: it is tried again with the next.
//
// A daemon that comes back gets the whole log of a process once more. What was kept of it before is passed over.
type chunkWriter struct {
	load  func() (seq int, kept int64, others bool, err error) // what was kept before: chunks, bytes of this claim, any of others
	put   func(seq int, b []byte) error
	every time.Duration

	mu     sync.Mutex
	loaded bool
	seq    int
	skip   int64
	buf    bytes.Buffer
	cut    int // bytes that could not be kept
	timer  *time.Timer
	err    error // of the last try
}

func (c *chunkWriter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf.Write(p)
	switch {
	case c.buf.Len() >= chunkBytes && c.err == nil:
		c.flush()
	case c.timer == nil:
		c.timer = time.AfterFunc(c.every, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.timer = nil
			c.flush()
		})
	}
	if over := c.buf.Len() - keepBytes; over > 0 {
		c.buf.Truncate(keepBytes)
		c.cut += over
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
	if c.err = c.keep(); c.err == nil {
		c.buf.Reset()
	}
}

func (c *chunkWriter) keep() error {
	if !c.loaded {
		seq, kept, others, err := c.load()
		if err != nil {
			return err
		}
		c.loaded, c.seq, c.skip = true, seq, kept
		if others {
			rest := bytes.Clone(c.buf.Bytes())
			c.buf.Reset()
			c.buf.WriteString(begunAgain)
			c.buf.Write(rest)
		}
	}
	c.skip -= int64(len(c.buf.Next(int(min(c.skip, int64(c.buf.Len()))))))
	if c.cut > 0 {
		fmt.Fprintf(&c.buf, "\n--- %d bytes of the log could not be kept ---\n", c.cut)
		c.cut = 0
	}
	if c.buf.Len() == 0 {
		return nil
	}
	if err := c.put(c.seq, c.buf.Bytes()); err != nil {
		return err
	}
	c.seq++
	return nil
}

// Close keeps what is left, and says what could not be kept.
func (c *chunkWriter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	return c.err
}

// newLog is the log of one phase.
func (w *Worker) newLog(ctx context.Context, run plumbline.Run, job plumbline.Job) *chunkWriter {
	ctx = context.WithoutCancel(ctx)
	// One directory per run: making one, durably, costs more than all that is written into it. The fence keeps a late worker from writing over the log of the one that took its place.
	claim := fmt.Sprintf("runs/%d/%d-%d-log-%s-", run.ID, run.Attempt, run.Claim.Fence, job.Phase)
	return &chunkWriter{
		every: time.Second,
		load: func() (seq int, kept int64, others bool, err error) {
			chunks, err := w.c.Queue.LogChunks(ctx, run.ID, run.Attempt, job.Phase)
			for _, b := range chunks {
				if strings.HasPrefix(b.Name, claim) {
					kept += b.Size
				} else {
					others = true
				}
			}
			return len(chunks), kept, others, err
		},
		put: func(seq int, b []byte) error {
			blob, err := w.put(ctx, fmt.Sprintf("%s%06d", claim, seq), bytes.NewReader(b))
			if err != nil {
				return err
			}
			return w.c.Queue.AppendLog(ctx, run.ID, run.Attempt, job.Phase, seq, blob)
		},
	}
}
