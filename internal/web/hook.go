package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

const (
	// hookWait is how long the body of a delivery may take. No forge waits longer for its answer (GitHub, GitLab, Bitbucket 10 s, Gitea 5 s).
	hookWait = 10 * time.Second
	// A forge may deliver so many a second in the long run, so many at once. More is refused, and costs a poll's interval: nothing else.
	hookRate, hookBurst = 20, 200
	// hooksAtOnce bounds the memory and the signatures that strangers can make us work on: each may be maxBody long.
	hooksAtOnce = 16
	// hookQuiet is how long the log says nothing more of a forge whose deliveries are refused: a wrong secret is wrong every time.
	hookQuiet = time.Minute
)

// answer is an error with a status that no kind of error stands for.
type answer struct {
	status  int
	problem Problem
}

func (a *answer) Error() string { return a.problem.What }

var (
	// errUnsigned is all that a stranger learns, whatever it was that did not fit.
	errUnsigned = &answer{http.StatusUnauthorized, Problem{"unauthenticated", "This delivery is not signed with the secret of this forge.", "Set the same secret in the webhook and in webhook_secret of the forge."}}
	errFlood    = &answer{http.StatusTooManyRequests, Problem{"busy", "There are too many deliveries at once.", "Nothing is lost: the next poll sees what this one would have told."}}
	errSlow     = &answer{http.StatusRequestTimeout, Problem{"invalid", "The delivery did not come to its end in time.", ""}}
)

// gates let deliveries in, by the name of their forge.
type gates struct {
	slots chan struct{}
	of    map[string]*gate
}

// newGates makes one for each forge that has a repository: a name that a stranger makes up takes no memory.
func newGates(repos []plumbline.Repository) *gates {
	g := &gates{slots: make(chan struct{}, hooksAtOnce), of: map[string]*gate{}}
	for _, r := range repos {
		g.of[r.Forge] = &gate{tokens: hookBurst}
	}
	return g
}

// enter reports whether there is room, which leave gives back.
func (g *gates) enter() bool {
	select {
	case g.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (g *gates) leave() { <-g.slots }

// gate is a token bucket, and when the log was last told that something was refused.
type gate struct {
	mu     sync.Mutex
	tokens float64
	at     time.Time
	told   time.Time
}

// take reports whether one more may come.
func (g *gate) take(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.at.IsZero() {
		g.tokens = min(hookBurst, g.tokens+hookRate*max(now.Sub(g.at).Seconds(), 0))
	}
	g.at = now
	if g.tokens < 1 {
		return false
	}
	g.tokens--
	return true
}

// tell reports whether the log is to be told once more.
func (g *gate) tell(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.told.IsZero() && now.Sub(g.told) < hookQuiet {
		return false
	}
	g.told = now
	return true
}

// hook takes a delivery of a forge's webhook. Nobody signs in for it: Config.Hooks looks at its signature.
func (s *Server) hook(w http.ResponseWriter, r *http.Request, who Identity) error {
	name := r.PathValue("forge")
	gate := s.gates.of[name]
	if gate == nil || s.c.Hooks == nil {
		return s.nothing(w, r, who)
	}
	if !gate.take(s.c.Now()) || !s.gates.enter() {
		w.Header().Set("Retry-After", "1")
		return errFlood
	}
	defer s.gates.leave()
	body, err := s.hookBody(w, r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// net/http takes a client whose bytes do not come for one that has gone, which fail would leave without an answer.
		w.Header().Set("Connection", "close")
		return writeJSON(w, errSlow.status, problemJSON{errSlow.problem})
	}
	if err != nil {
		return err
	}
	err = s.c.Hooks(r.Context(), name, r.Header, body)
	refused := errors.Is(err, plumbline.ErrDenied) || errors.Is(err, plumbline.ErrInvalid)
	if refused && gate.tell(s.c.Now()) {
		s.c.Log.Warn("webhook refused; more of this forge are not told for a while", zap.String("forge", name), zap.Error(err))
	}
	var tooLong *http.MaxBytesError
	switch {
	case err == nil:
		return writeText(w, "ok\n")
	case errors.Is(err, plumbline.ErrDenied):
		return errUnsigned
	case errors.Is(err, plumbline.ErrInvalid):
		return refuse(plumbline.ErrInvalid, "Let the webhook send application/json, in the forge's own format.", "This delivery cannot be read.")
	case errors.Is(err, plumbline.ErrNotFound):
		return s.nothing(w, r, who)
	case errors.As(err, &tooLong):
		return tooLong
	}
	return fmt.Errorf("webhook of %s: %w", name, err)
}

// hookBody reads a body that comes in time and is not too long; serve bounds it.
func (s *Server) hookBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, &http.MaxBytesError{Limit: maxBody}
	}
	// net/http lifts it when the body has come to its end.
	err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(hookWait))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, fmt.Errorf("bound how long a delivery may take: %w", err)
	}
	body, err := io.ReadAll(r.Body)
	var tooLong *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &tooLong), errors.Is(err, os.ErrDeadlineExceeded):
		return nil, err
	}
	return nil, refuse(plumbline.ErrInvalid, "", "The delivery ended early.")
}
