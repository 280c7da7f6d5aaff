package main

import (
	"context"
	"math/rand/v2"
	"sort"
	"sync"
	"time"

	"go.uber.org/zap"
)

// lamp shows what a loop did last and when it is next due.
type lamp struct {
	Name   string    `json:"name"`
	Last   time.Time `json:"last"`
	Took   string    `json:"took"`
	Result string    `json:"result"`
	Error  string    `json:"error,omitempty"`
	Next   time.Time `json:"next"`
}

// lamps are all loops' lamps.
type lamps struct {
	mu sync.Mutex
	m  map[string]lamp
}

func (l *lamps) set(v lamp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		l.m = map[string]lamp{}
	}
	l.m[v.Name] = v
}

func (l *lamps) list() []lamp {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]lamp, 0, len(l.m))
	for _, v := range l.m {
		out = append(out, v)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// loop is the only loop of the daemon but the workers': wait until it is due or somebody knocks, take the lease, do one round, tell the lamp.
type loop struct {
	name  string
	lease func(ctx context.Context) (bool, error) // nil: every node does it
	// round does one round and says when the next is due; the zero time: when somebody knocks.
	round func(ctx context.Context) (result string, next time.Time, err error)
	knock chan struct{} // buffered by one
	retry time.Duration // after an error, doubled up to maxRetry
}

const maxRetry = 5 * time.Minute

func newLoop(name string, round func(ctx context.Context) (string, time.Time, error)) *loop {
	return &loop{name: name, round: round, knock: make(chan struct{}, 1), retry: time.Second}
}

// wake brings the next round forward.
func (l *loop) wake() {
	select {
	case l.knock <- struct{}{}:
	default: // it is awake already
	}
}

func (l *loop) run(ctx context.Context, ls *lamps, log *zap.Logger) {
	log = log.With(zap.String("loop", l.name))
	retry := l.retry
	for ctx.Err() == nil {
		start := time.Now()
		result, next, err := "another node does it", start.Add(10*time.Second), error(nil)
		mine := true
		if l.lease != nil {
			mine, err = l.lease(ctx)
		}
		if err == nil && mine {
			result, next, err = l.round(ctx)
		}
		v := lamp{Name: l.name, Last: start, Took: time.Since(start).Round(time.Millisecond).String(), Result: result}
		if err != nil && ctx.Err() == nil {
			v.Error = err.Error()
			log.Warn("round", zap.Error(err), zap.Duration("again", retry))
			next = start.Add(retry)
			retry = min(2*retry, maxRetry)
		} else {
			retry = l.retry
		}
		v.Next = next
		ls.set(v)
		l.wait(ctx, next, err != nil)
	}
}

// wait sleeps until next. After an error a knock does not shorten the wait: the other side is to be left alone.
func (l *loop) wait(ctx context.Context, next time.Time, deaf bool) {
	var due <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(max(time.Until(next), 0))
		defer t.Stop()
		due = t.C
	}
	knock := l.knock
	if deaf {
		knock = nil
	}
	select {
	case <-ctx.Done():
	case <-due:
	case <-knock:
	}
}

// jittered moves a time by up to a tenth of the wait, so that a hundred repositories do not all ask at the full minute.
func jittered(now, next time.Time) time.Time {
	wait := next.Sub(now)
	return next.Add(time.Duration((rand.Float64() - 0.5) * 0.2 * float64(wait)))
}
