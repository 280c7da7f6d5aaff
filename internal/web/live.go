package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// runLog sends a run's log as text; with ?follow=1 it goes on until nothing more happens to the run by itself or somebody must decide.
func (s *Server) runLog(w http.ResponseWriter, r *http.Request, _ Identity) error {
	run, err := s.run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	follow, _ := strconv.ParseBool(r.URL.Query().Get("follow"))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !follow {
		if _, err := s.c.Logs.WriteLog(r.Context(), w, run, 0); err != nil {
			return fmt.Errorf("log of run %s: %w", run.ID, err)
		}
		return nil
	}
	if err := endless(w); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	var sent int64
	return s.watch(r, run, func(run plumbline.Run) (bool, error) {
		n, err := s.c.Logs.WriteLog(r.Context(), w, run, sent)
		sent += n
		if err != nil {
			return false, fmt.Errorf("log of run %s: %w", run.ID, err)
		}
		return !settled(run), flush(w)
	})
}

// runEvents sends the version of a run's page at once and whenever it changes, until the run has ended. A page that shows another looks
// again.
func (s *Server) runEvents(w http.ResponseWriter, r *http.Request, _ Identity) error {
	run, err := s.run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if err := endless(w); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	seen, length := "", int64(0)
	return s.watch(r, run, func(run plumbline.Run) (bool, error) {
		n, err := s.c.Logs.WriteLog(r.Context(), io.Discard, run, length)
		if err != nil {
			return false, fmt.Errorf("log of run %s: %w", run.ID, err)
		}
		length += n
		if now := liveVersion(run, length); now != seen {
			fmt.Fprintf(w, "event: version\ndata: %s\n\n", now)
			seen = now
		} else {
			fmt.Fprint(w, ": still here\n\n")
		}
		if run.State.Ended() {
			fmt.Fprint(w, "event: end\ndata:\n\n")
		}
		return !run.State.Ended(), flush(w)
	})
}

// liveVersion changes whenever the page of a run does.
func liveVersion(run plumbline.Run, logged int64) string {
	return fmt.Sprintf("%d-%d", run.Version, logged)
}

// settled reports whether a log grows no more for now: the run has ended, or waits for a person.
func settled(r plumbline.Run) bool { return r.State.Ended() || r.State == plumbline.StateAwaiting }

// watch calls look with the run as it is, and again after each change, until look wants no more or the one who asked goes away.
func (s *Server) watch(r *http.Request, run plumbline.Run, look func(plumbline.Run) (more bool, err error)) error {
	changed, stop := s.c.Store.Subscribe()
	defer stop()
	// A wake-up may be missed, and other processes may wake nobody.
	tick := time.NewTicker(s.c.Poll)
	defer tick.Stop()
	for {
		// Read the run before its log: what a run that has ended still had to say is in the log by then.
		current, err := s.c.Store.Run(r.Context(), run.ID)
		if err != nil {
			return err
		}
		more, err := look(current)
		if err != nil || !more {
			return err
		}
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-changed:
		case <-tick.C:
		}
	}
}

// endless lifts the server's write deadline for one response that has no end of its own.
func endless(w http.ResponseWriter) error {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("lift the write deadline: %w", err)
	}
	return nil
}

func flush(w http.ResponseWriter) error {
	if err := http.NewResponseController(w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}
