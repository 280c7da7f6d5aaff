package web

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// errNobody: the request says nothing, or nothing true, about who sends it.
var errNobody = errors.New("nobody")

// errMisdirected: the Host header names somebody else.
var errMisdirected = errors.New("misdirected")

// Problem is an error as a program reads it.
type Problem struct {
	Kind string `json:"kind"` // "not_found", "conflict", "denied", "invalid", "unauthenticated", "expired" (a token that was good), "misdirected", "busy", "unavailable" or "internal"
	What string `json:"what"` // one sentence
	Next string `json:"next,omitempty"`
}

func refuse(kind error, next, format string, args ...any) error {
	return &plumbline.Refusal{Kind: kind, What: fmt.Sprintf(format, args...), Next: next}
}

// choices names what there is instead, shortened when it is much.
func choices(what string, names []string) string {
	const most = 20
	switch {
	case len(names) == 0:
		return ""
	case len(names) > most:
		return fmt.Sprintf("%s: %s … and %d more.", what, strings.Join(names[:most], ", "), len(names)-most)
	}
	return what + ": " + strings.Join(names, ", ") + "."
}

// problem is the one place where an error becomes a status and words. Only a Refusal was written for the one who asks: the text of any
// other error may tell of the inside, and goes to the log alone.
func problem(err error) (int, Problem) {
	var tooLarge *http.MaxBytesError
	var special *answer
	status, p := http.StatusInternalServerError, Problem{Kind: "internal", What: "Something went wrong inside Plumbline."}
	switch {
	case errors.Is(err, errNobody):
		status, p = http.StatusUnauthorized, Problem{"unauthenticated", "This needs a token, or a session.", "Open the sign-in link that `plumbline serve` prints, or set PLUMBLINE_TOKEN."}
	case errors.Is(err, errMisdirected):
		status, p = http.StatusMisdirectedRequest, Problem{"misdirected", "This host is not served here.", "Use the address that `plumbline serve` prints, or set public_url in the configuration."}
	case errors.As(err, &special):
		status, p = special.status, special.problem
	case errors.As(err, &tooLarge):
		status, p = http.StatusRequestEntityTooLarge, Problem{"invalid", fmt.Sprintf("The request is longer than %d bytes.", tooLarge.Limit), ""}
	case errors.Is(err, plumbline.ErrNotFound):
		status, p = http.StatusNotFound, Problem{"not_found", "There is no such thing.", ""}
	case errors.Is(err, plumbline.ErrConflict), errors.Is(err, plumbline.ErrLost), errors.Is(err, plumbline.ErrMergeConflict):
		status, p = http.StatusConflict, Problem{"conflict", "This cannot be done in the state it is in.", "Look at it again, then decide."}
	case errors.Is(err, plumbline.ErrDenied):
		status, p = http.StatusForbidden, Problem{"denied", "You may not do this.", ""}
	case errors.Is(err, plumbline.ErrInvalid):
		status, p = http.StatusBadRequest, Problem{"invalid", "The request makes no sense.", ""}
	}
	var r *plumbline.Refusal
	if errors.As(err, &r) {
		p.What, p.Next = r.What, r.Next
	}
	return status, p
}

// fail answers a request that went wrong.
func (s *Server) fail(w *response, r *http.Request, rt route, who Identity, err error) {
	if r.Context().Err() != nil {
		return // the one who asked has gone away, or the daemon stops
	}
	status, p := problem(err)
	if s.oidc != nil && errors.Is(err, errNobody) {
		p.Next = "Sign in, or set PLUMBLINE_TOKEN to an API token."
	}
	if status == http.StatusInternalServerError {
		id := make([]byte, 6)
		_, _ = rand.Read(id) // never fails (crypto/rand)
		p.Next = "The log of the daemon has the details under " + hex.EncodeToString(id) + "."
		s.c.Log.Error("request failed", zap.String("id", hex.EncodeToString(id)), zap.String("method", r.Method), zap.String("route", rt.pattern()), zap.Error(err))
	}
	if w.wrote {
		// Half an answer is out. Cut it off, so that nobody takes it for whole.
		panic(http.ErrAbortHandler)
	}
	if status == http.StatusUnauthorized && !rt.page {
		w.Header().Set("WWW-Authenticate", `Bearer realm="plumbline"`)
	}
	if rt.page {
		s.errorPage(w, r, who, status, p)
		return
	}
	if err := writeJSON(w, status, problemJSON{p}); err != nil {
		s.c.Log.Error("answer with an error", zap.Error(err))
	}
}

// problemJSON is the body of every answer that is an error.
type problemJSON struct {
	Error Problem `json:"error"`
}
