package plumbline

import (
	"time"

	"github.com/robfig/cron/v3"
)

// LastTick returns the newest tick after last that is not after now, or the zero time. A schedule that ticks every second and was not
// looked at for a month is walked from now backwards in growing steps instead of through every tick.
func LastTick(s cron.Schedule, last, now time.Time) time.Time {
	first := s.Next(last)
	if first.IsZero() || first.After(now) {
		return time.Time{}
	}
	tick := first
	for step := time.Minute; ; step *= 2 {
		from := now.Add(-step)
		if !from.After(first) {
			from = first.Add(-time.Nanosecond)
		}
		if t := s.Next(from); !t.After(now) {
			for ; !t.IsZero() && !t.After(now); t = s.Next(t) {
				tick = t
			}
			return tick
		}
		if from.Before(first) {
			return tick
		}
	}
}

// NextTick is when a schedule is to be looked at next. "@every" counts from the last tick, not from whenever somebody looks.
func NextTick(s cron.Schedule, last, now time.Time) time.Time {
	if next := s.Next(last); next.After(now) {
		return next
	}
	return s.Next(now)
}
