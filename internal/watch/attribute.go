package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Trail knows who did what, where the objects of an environment are.
type Trail interface {
	// Attribute tells who changed the object of a drift item after since and before until, or in Actor.Unknown why that is not known. An error decides
	// nothing: a plumbline.Retry says when to ask again, plumbline.ErrDenied that nobody will be told before somebody grants it, plumbline.ErrInvalid
	// that it will be the same whenever it is asked, such as that there is too much to read.
	Attribute(ctx context.Context, env plumbline.Environment, it plumbline.DriftItem, since, until time.Time) (plumbline.Actor, error)
}

// DriftLedger is where drift items are.
type DriftLedger interface {
	DriftItems(ctx context.Context, f plumbline.DriftFilter) ([]plumbline.DriftItem, error)
	Runs(ctx context.Context, f plumbline.RunFilter) ([]plumbline.Run, error)
	UpdateDrift(ctx context.Context, id int64, now time.Time, rule func(it plumbline.DriftItem, now time.Time) (plumbline.DriftWrite, error)) (plumbline.DriftItem, error)
}

// errMoved: the item is not the one any more that was asked about.
var errMoved = errors.New("the item has changed")

// Attribute asks once of each difference of an environment who made it: when it was found, and again when its values are others. It returns of how many
// something is known now, and when to come again because the trail wants that (zero: when there is something new). What one item's question comes to
// keeps no other from being asked, but for the trail's own wish to be left alone.
func Attribute(ctx context.Context, trail Trail, ledger DriftLedger, env plumbline.Environment, now time.Time) (told int, again time.Time, err error) {
	items, err := ledger.DriftItems(ctx, plumbline.DriftFilter{Repository: env.Repository, Environment: env.Name})
	if err != nil {
		return 0, time.Time{}, err
	}
	var errs []error
	for _, it := range items {
		// What the configuration does by itself, or a provider makes up, nobody has done.
		if it.Actor != nil || !it.Counts(now) || it.Difference.Kind == plumbline.DriftSelf {
			continue
		}
		since, until, err := window(ctx, ledger, it)
		if err != nil {
			return told, again, errors.Join(append(errs, err)...)
		}
		actor, err := trail.Attribute(ctx, env, it, since, until)
		var retry *plumbline.Retry
		switch {
		case errors.As(err, &retry):
			if again.IsZero() || retry.At.Before(again) {
				again = retry.At
			}
			continue
		case err != nil && !errors.Is(err, plumbline.ErrDenied) && (!errors.Is(err, plumbline.ErrInvalid) || actor.Unknown == ""):
			errs = append(errs, fmt.Errorf("who changed %s of %s: %w", it.Difference.Key(), it.Stack, err))
			continue
		case err != nil:
			errs = append(errs, err)
		}
		_, err = ledger.UpdateDrift(ctx, it.ID, now, func(is plumbline.DriftItem, now time.Time) (plumbline.DriftWrite, error) {
			if is.Fingerprint != it.Fingerprint || is.Actor != nil {
				return plumbline.DriftWrite{}, errMoved
			}
			return is.Attribute(actor, now), nil
		})
		switch {
		case err == nil:
			told++
		case !errors.Is(err, errMoved):
			return told, again, errors.Join(append(errs, err)...)
		}
	}
	return told, again, errors.Join(errs...)
}

// window is when an item came to be as it is: after the look before the one that found it so, or after its stack was applied if that was later.
func window(ctx context.Context, ledger DriftLedger, it plumbline.DriftItem) (since, until time.Time, err error) {
	until = it.Opened
	if it.Changed.After(until) {
		until = it.Changed
	}
	runs, err := ledger.Runs(ctx, plumbline.RunFilter{
		Repository: it.Stack.Repository, Environment: it.Stack.Environment, Stack: it.Stack.Name,
		Kinds:  []plumbline.Kind{plumbline.KindDrift, plumbline.KindDeploy},
		States: []plumbline.State{plumbline.StateClean, plumbline.StatePlanned, plumbline.StateDrifted, plumbline.StateApplied}, Limit: 100,
	})
	if err != nil {
		return since, until, err
	}
	for _, r := range runs {
		// A deployment that was only planned has looked at nothing that would have been noted.
		if (r.Kind == plumbline.KindDrift || r.State == plumbline.StateApplied) && r.Finished.Before(until) && r.Finished.After(since) {
			since = r.Finished
		}
	}
	return since, until, nil
}
