package plumbline

import (
	"errors"
	"fmt"
	"time"
)

// Kinds of errors that code branches on. Facts are added around them with %w.
var (
	// ErrNotFound: no such run, merge request, commit, blob.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the thing is not in a state in which this can be done, or it is another thing by now.
	ErrConflict = errors.New("conflict")
	// ErrDenied: this person may not.
	ErrDenied = errors.New("denied")
	// ErrLost: the claim is not the caller's any more; whoever gets it stops what it does and lets go.
	ErrLost = errors.New("claim lost")
	// ErrInvalid: the request makes no sense whatever the state.
	ErrInvalid = errors.New("invalid")
	// ErrMergeConflict: the head cannot be merged into the target.
	ErrMergeConflict = errors.New("merge conflict")
)

// Refusal is an error made for the person who asked: what happened, then what to do.
type Refusal struct {
	Kind error  // one of the kinds above
	What string // one sentence, with the name of the thing
	Next string // one sentence, or a command; may be empty
}

func (e *Refusal) Error() string {
	if e.Next == "" {
		return e.What
	}
	return e.What + " " + e.Next
}

func (e *Refusal) Unwrap() error { return e.Kind }

func refuse(kind error, next, format string, args ...any) error {
	return &Refusal{Kind: kind, What: fmt.Sprintf(format, args...), Next: next}
}

// Retry says that the other side asked to be left alone until a time (a rate limit, an outage).
type Retry struct {
	At  time.Time
	Err error
}

func (e *Retry) Error() string {
	return fmt.Sprintf("%v (again after %s)", e.Err, e.At.UTC().Format(time.RFC3339))
}

func (e *Retry) Unwrap() error { return e.Err }
