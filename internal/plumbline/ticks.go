package plumbline

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Ticks are the moments at which an environment is compared with reality.
//
// A schedule that names hours keeps to what clocks show, as a Window does: a tick in the hour that spring leaves out comes when the clocks jump, and one
// in the hour that comes twice in autumn comes the first time. A daily check is neither lost nor doubled. A schedule of every hour keeps to elapsed
// time: it goes on in the hour that comes twice, and has nothing to make up for in spring. "@every" knows no clock at all and counts from the tick before.
type Ticks struct {
	plain cron.Schedule // nil: clock has them
	clock hours
}

// Ticks are those of the schedule; an error is a mistake in it.
func (p DriftPolicy) Ticks() (Ticks, error) {
	fail := func(format string, args ...any) (Ticks, error) {
		return Ticks{}, fmt.Errorf("schedule %q: %s", p.Schedule, fmt.Sprintf(format, args...))
	}
	// robfig/cron v3.0.1 panics on "TZ=" alone.
	if strings.HasPrefix(p.Schedule, "TZ=") || strings.HasPrefix(p.Schedule, "CRON_TZ=") {
		return fail("it has a timezone in it; write it as timezone = \"…\" beside it")
	}
	zone, err := time.LoadLocation(p.Timezone)
	if err != nil {
		return fail("timezone %q is not known; write an IANA name, for example \"Europe/London\"", p.Timezone)
	}
	schedule, err := cron.ParseStandard(p.Schedule)
	if err != nil {
		return fail("it cannot be read: %v", err)
	}
	spec, ok := schedule.(*cron.SpecSchedule)
	if !ok {
		return Ticks{plain: schedule}, nil
	}
	// The parser takes "," for a field, which then never matches.
	if slices.Contains([]uint64{spec.Minute, spec.Hour, spec.Dom, spec.Month, spec.Dow}, 0) {
		return fail("it has an empty field; write for example \"0 */6 * * *\"")
	}
	const everyHour = 1<<24 - 1
	if spec.Hour&everyHour == everyHour {
		spec.Location = zone
		return Ticks{plain: spec}, nil
	}
	spec.Location = time.UTC
	return Ticks{clock: hours{opens: spec, zone: zone}}, nil
}

// Next is the first tick after an instant; zero: there is none within five years.
func (t Ticks) Next(after time.Time) time.Time {
	if t.plain != nil {
		return t.plain.Next(after)
	}
	return t.clock.opening(after)
}

// longestSpread is over how long the checks of a tick are spread at most, unless the configuration says so.
const longestSpread = 15 * time.Minute

// spread tells from when on, and over how long, the checks of a tick are begun: over what the policy says, and never beyond the next tick. A tick that is
// caught up late is spread from now on, or all that it is for would be begun at once.
func (p DriftPolicy) spread(tick, now time.Time) (from time.Time, over time.Duration) {
	over = p.Spread
	ticks, err := p.Ticks()
	if err != nil {
		return tick, 0 // whoever made this tick has another schedule
	}
	if next := ticks.Next(tick); !next.IsZero() {
		if over == 0 {
			over = min(next.Sub(tick)/10, longestSpread)
		}
		over = min(over, next.Sub(tick))
	}
	if now.Sub(tick) <= over {
		return tick, over
	}
	if next := ticks.Next(now); !next.IsZero() {
		over = min(over, next.Sub(now))
	}
	return now, over
}

// place is where in a spread a stack comes: the same at each tick, so that it is looked at at even distances.
func (s StackRef) place(over time.Duration) time.Duration {
	h := sha256.Sum256([]byte(s.String()))
	const steps = 1 << 20
	return over / steps * time.Duration(binary.BigEndian.Uint64(h[:])%steps)
}

// Hurry has a run begin at once that was to wait for its turn, because a person asks for it.
func (r *Run) Hurry(by string, now time.Time) error {
	if r.State != StateQueued || !r.NotBefore.After(now) {
		return r.cannot("begun sooner")
	}
	r.NotBefore, r.Tick, r.By, r.Because = time.Time{}, time.Time{}, by, "asked for by "+by
	return nil
}
