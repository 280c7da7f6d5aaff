package store

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// channel is the name that PostgreSQL's NOTIFY goes under.
const channel = "plumbline_changed"

// Subscribe returns a channel that receives after changes of runs, their logs, heads, merge requests or requests, once for any
// number of them, and a function that ends the subscription. It is a wake-up, never the truth: one may come without a change,
// and changes by other processes wake nobody on SQLite, or while PostgreSQL is out of reach. Look from time to time all the same.
func (s *Store) Subscribe() (<-chan struct{}, func()) { return s.hub.subscribe() }

type hub struct {
	mu   sync.Mutex
	subs map[chan struct{}]struct{}
}

func (h *hub) subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = map[chan struct{}]struct{}{}
	}
	h.subs[c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs, c)
	}
}

func (h *hub) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.subs {
		select {
		case c <- struct{}{}:
		default: // it has one waiting
		}
	}
}

// listen wakes subscribers on changes by other processes until ctx ends.
func (s *Store) listen(ctx context.Context, cfg *pgx.ConnConfig) {
	const shortest, longest = 100 * time.Millisecond, 30 * time.Second
	wait := shortest
	for {
		err := s.hear(ctx, cfg, func() { wait = shortest })
		if ctx.Err() != nil {
			return
		}
		pause := wait/2 + rand.N(wait/2)
		s.log.Warn("cannot listen for changes by other processes; they are noticed later", zap.Error(err), zap.Duration("again_after", pause))
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			again.Stop()
			return
		case <-again.C:
		}
		wait = min(2*wait, longest)
	}
}

// hear listens on one connection until it breaks.
func (s *Store) hear(ctx context.Context, cfg *pgx.ConnConfig, connected func()) error {
	conn, err := pgx.ConnectConfig(ctx, cfg.Copy())
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // nothing is lost with it
	}()
	if _, err := conn.Exec(ctx, `LISTEN `+channel); err != nil {
		return err
	}
	connected()
	for {
		// Also before the first: changes may have gone by while nobody listened.
		s.hub.wake()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
