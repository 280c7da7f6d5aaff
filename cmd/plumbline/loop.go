package main

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
)

// lamps show what each loop did last and when it is next due.
type lamps struct {
	mu sync.Mutex
	m  map[string]web.Loop
}

func (l *lamps) set(v web.Loop) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		l.m = map[string]web.Loop{}
	}
	l.m[v.Name] = v
}

func (l *lamps) list() []web.Loop {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []web.Loop
	for _, name := range slices.Sorted(maps.Keys(l.m)) {
		out = append(out, l.m[name])
	}
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
	rest  float64       // after a round, it is deaf for this many times what the round took, at most 150 ms: a loop that is woken by every change must not take the machine
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
		v := web.Loop{Name: l.name, Last: start, Took: time.Since(start), Result: result}
		if err != nil && ctx.Err() == nil {
			v.Failed, v.Result = true, err.Error()
			log.Warn("round", zap.Error(err))
			next = start.Add(retry)
			retry = min(2*retry, maxRetry)
			// The other side may have said when it wants to be asked again.
			if later := (*plumbline.Retry)(nil); errors.As(err, &later) && later.At.After(next) {
				next = later.At
			}
		} else {
			retry = l.retry
		}
		v.Next = next
		ls.set(v)
		if pause := min(time.Duration(l.rest*float64(v.Took)), 150*time.Millisecond); pause > 0 && err == nil {
			sleep(ctx, pause)
		}
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

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// jittered moves a time by up to a tenth of the wait, so that a hundred repositories do not all ask at the full minute.
func jittered(now, next time.Time) time.Time {
	wait := next.Sub(now)
	return next.Add(time.Duration((rand.Float64() - 0.5) * 0.2 * float64(wait)))
}
