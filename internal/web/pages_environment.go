package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/driftreport"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// environmentDetail is the body of an environment's page.
type environmentDetail struct {
	place
	History   []deployment
	Asked     []plumbline.Request // what waits for the watcher
	Calendar  CalendarJSON
	Promotion *plumbline.Promotion // nil: it promotes to no environment
	Ahead     int                  // stacks of which something is missing there
	Drift     driftreport.Numbers
	Earlier   []deployment // good ones whose files can come back, newest first
	May       environmentOffers
}

// environmentOffers are what the person may do in an environment.
type environmentOffers struct{ Deploy, DriftCheck, Freeze, Propose bool }

// historyShown is how many deployments a page lists, earlierShown how many of the good ones among them it offers to go back to.
const (
	historyShown = 20
	earlierShown = 5
)

func (s *Server) environmentPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	e, err := s.environment(r.PathValue("repo"), r.PathValue("env"))
	if err != nil {
		return err
	}
	may := func(a Action) bool { return authorize(s.c.Access, who, a, e.Key()) == nil }
	d := environmentDetail{May: environmentOffers{
		Deploy: may(ActionDeploy) && e.Apply != plumbline.ApplyNever, DriftCheck: may(ActionDriftCheck), Freeze: may(plumbline.MayFreeze), Propose: may(plumbline.MayPropose),
	}}
	if d.place, err = s.place(r.Context(), e); err != nil {
		return err
	}
	if d.History, err = s.history(r.Context(), e, historyShown); err != nil {
		return err
	}
	d.Earlier = earlier(d.History, d.Status.Commit)
	if d.Asked, err = s.requests(r.Context(), e); err != nil {
		return err
	}
	found, err := s.drift(r.Context(), driftQuery{DriftFilter: plumbline.DriftFilter{Repository: e.Repository, Environment: e.Name}})
	if err != nil {
		return err
	}
	d.Drift = found.Numbers
	if d.Calendar, err = s.calendar(r.Context(), e); err != nil {
		return err
	}
	if e.PromotesTo != "" {
		p, err := s.promotion(r.Context(), e)
		if err != nil {
			return err
		}
		d.Promotion = &p
		for _, st := range p.Stacks {
			if st.Ahead {
				d.Ahead++
			}
		}
	}
	return s.show(w, who, "environment", view{Title: e.Name + " · " + e.Repository, Section: "/", Body: d})
}

// earlier lists the deployments that went well of other commits than the head, each commit once, newest first.
func earlier(history []deployment, head string) []deployment {
	var out []deployment
	for _, d := range history {
		again := func(o deployment) bool { return o.Commit == d.Commit }
		if deploymentState(d.Runs) == "applied" && d.Commit != head && !slices.ContainsFunc(out, again) && len(out) < earlierShown {
			out = append(out, d)
		}
	}
	return out
}

func (s *Server) deployForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	return s.askForm(w, r, who, plumbline.RequestDeploy)
}

func (s *Server) driftCheckForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	return s.askForm(w, r, who, plumbline.RequestDrift)
}

func (s *Server) askForm(w http.ResponseWriter, r *http.Request, who Identity, kind plumbline.RequestKind) error {
	return s.change(w, r, func(repo, env string) error {
		_, err := s.ask(r.Context(), who, kind, repo, env, r.PostForm["stack"])
		return err
	})
}

func (s *Server) freezeForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	return s.change(w, r, func(repo, env string) error {
		until, err := formTime(r.PostForm.Get("until"))
		if err != nil {
			return err
		}
		_, err = s.freeze(r.Context(), who, repo, env, r.PostForm.Get("reason"), until)
		return err
	})
}

// formTime reads what a field of a date and a time sends, which browsers without such a field leave to people; nothing is the zero time.
func formTime(text string) (time.Time, error) {
	if text = strings.TrimSpace(text); text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02", time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, refuse(plumbline.ErrInvalid, "Write it as 2026-12-24 18:00, in UTC, or leave it empty.", "%q is not a time.", text)
}

func (s *Server) thawForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	return s.change(w, r, func(repo, env string) error {
		id, err := strconv.ParseInt(r.PostForm.Get("id"), 10, 64)
		if err != nil {
			return refuse(plumbline.ErrInvalid, "Load the page again.", "The form does not say which freeze is meant.")
		}
		_, err = s.thaw(r.Context(), who, repo, env, id, r.PostForm.Get("reason"))
		return err
	})
}

func (s *Server) promoteForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	return s.change(w, r, func(repo, env string) error {
		_, err := s.promote(r.Context(), who, repo, env)
		return err
	})
}

func (s *Server) rollbackForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	return s.change(w, r, func(repo, env string) error {
		_, err := s.rollback(r.Context(), who, repo, env, r.PostForm.Get("to"))
		return err
	})
}

// change does what the form of an environment's page asks for, then leads back to it.
func (s *Server) change(w http.ResponseWriter, r *http.Request, do func(repo, env string) error) error {
	if err := parseForm(r); err != nil {
		return err
	}
	repo, env := r.PathValue("repo"), r.PathValue("env")
	if err := do(repo, env); err != nil {
		return err
	}
	http.Redirect(w, r, path("environments", repo, env), http.StatusSeeOther)
	return nil
}
