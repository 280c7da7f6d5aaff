package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func (s *Server) apiRuns(w http.ResponseWriter, r *http.Request, _ Identity) error {
	f, err := runFilter(r.URL.Query())
	if err != nil {
		return err
	}
	runs, err := s.c.Store.Runs(r.Context(), f)
	if err != nil {
		return err
	}
	list, err := s.listed(r.Context(), runs)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, RunsJSON{list})
}

func (s *Server) apiRun(w http.ResponseWriter, r *http.Request, _ Identity) error {
	run, err := s.run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	siblings, err := s.siblings(r.Context(), run)
	if err != nil {
		return err
	}
	events, err := s.c.Store.Events(r.Context(), run.ID)
	if err != nil {
		return err
	}
	all, err := s.inForce(r.Context(), append(siblings, run)...)
	if err != nil {
		return err
	}
	siblings, run = all[:len(all)-1], all[len(all)-1]
	out := RunDetailJSON{
		Run: s.runJSON(run), Explanation: plumbline.Explain(run, siblings, s.c.Now()), Events: convert(events, eventJSON), Siblings: []RunJSON{},
		Checks: convert(run.Checks, checkResultJSON), Findings: convert(run.Findings, policyFindingJSON),
	}
	if out.Since, err = s.sinceApproval(r.Context(), run); err != nil {
		return err
	}
	for _, sib := range siblings {
		if sib.ID != run.ID {
			out.Siblings = append(out.Siblings, s.runJSON(sib))
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

// plan returns a run's plan; nil when it has none any more.
func (s *Server) plan(ctx context.Context, run plumbline.Run) (*plumbline.Plan, error) {
	if run.Plan == nil {
		return nil, nil
	}
	p, err := s.c.Plans.Plan(ctx, run)
	if errors.Is(err, plumbline.ErrNotFound) {
		return nil, nil
	}
	return &p, err
}

func (s *Server) apiPlan(w http.ResponseWriter, r *http.Request, _ Identity) error {
	run, err := s.run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	p, err := s.plan(r.Context(), run)
	switch {
	case err != nil:
		return err
	case p == nil && run.Plan == nil:
		return refuse(plumbline.ErrNotFound, "", "Run %s is %s; it has no plan.", run.ID, run.Label())
	case p == nil:
		return refuse(plumbline.ErrNotFound, "", "The plan of run %s is not kept any more.", run.ID)
	}
	return writeJSON(w, http.StatusOK, NewPlanJSON(*p))
}

func (s *Server) decided(w http.ResponseWriter, r *http.Request, run plumbline.Run, err error) error {
	if err != nil {
		return err
	}
	list, err := s.listed(r.Context(), []plumbline.Run{run})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list[0])
}

func (s *Server) apiApprove(w http.ResponseWriter, r *http.Request, who Identity) error {
	var body ApproveJSON
	if err := readJSON(r, &body); err != nil {
		return err
	}
	run, err := s.approve(r.Context(), who, r.PathValue("run"), body.Digest)
	return s.decided(w, r, run, err)
}

func (s *Server) apiReject(w http.ResponseWriter, r *http.Request, who Identity) error {
	var body RejectJSON
	if err := readJSON(r, &body); err != nil {
		return err
	}
	run, err := s.reject(r.Context(), who, r.PathValue("run"), body.Reason)
	return s.decided(w, r, run, err)
}

func (s *Server) apiBreakGlass(w http.ResponseWriter, r *http.Request, who Identity) error {
	var body BreakGlassJSON
	if err := readJSON(r, &body); err != nil {
		return err
	}
	run, err := s.breakGlass(r.Context(), who, r.PathValue("run"), body.Digest, body.Reason)
	return s.decided(w, r, run, err)
}

func (s *Server) apiRetry(w http.ResponseWriter, r *http.Request, who Identity) error {
	run, err := s.retry(r.Context(), who, r.PathValue("run"))
	return s.decided(w, r, run, err)
}

func (s *Server) apiCancel(w http.ResponseWriter, r *http.Request, who Identity) error {
	run, err := s.cancel(r.Context(), who, r.PathValue("run"))
	return s.decided(w, r, run, err)
}

func (s *Server) apiEnvironments(w http.ResponseWriter, r *http.Request, _ Identity) error {
	places, err := s.places(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, EnvironmentsJSON{convert(places, func(p place) EnvironmentJSON { return environmentJSON(p.Status) })})
}

func (s *Server) apiEnvironment(w http.ResponseWriter, r *http.Request, _ Identity) error {
	e, err := s.environment(r.PathValue("repo"), r.PathValue("env"))
	if err != nil {
		return err
	}
	p, err := s.place(r.Context(), e)
	if err != nil {
		return err
	}
	out := EnvironmentDetailJSON{
		EnvironmentJSON: environmentJSON(p.Status), StackList: convert(p.Stacks, stackJSON), Findings: convert(p.Findings, findingJSON),
	}
	if out.Runs, err = s.listed(r.Context(), p.Runs); err != nil {
		return err
	}
	if out.Calendar, err = s.calendar(r.Context(), e); err != nil {
		return err
	}
	if e.PromotesTo != "" {
		next, err := s.promotion(r.Context(), e)
		if err != nil {
			return err
		}
		promotion := promotionJSON(next)
		out.Promotion = &promotion
	}
	if p.Deployment != nil {
		d := deploymentJSON(*p.Deployment, p.Runs)
		out.Deployment = &d
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) apiHistory(w http.ResponseWriter, r *http.Request, _ Identity) error {
	e, err := s.environment(r.PathValue("repo"), r.PathValue("env"))
	if err != nil {
		return err
	}
	q := r.URL.Query()
	if err := known(q, "limit"); err != nil {
		return err
	}
	limit, err := number(q, "limit", 20)
	if err != nil {
		return err
	}
	list, err := s.history(r.Context(), e, int(min(limit, maxListing)))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, DeploymentsJSON{convert(list, func(d deployment) DeploymentJSON { return deploymentJSON(d.Deployment, d.Runs) })})
}

func (s *Server) apiRequests(w http.ResponseWriter, r *http.Request, _ Identity) error {
	e, err := s.environment(r.PathValue("repo"), r.PathValue("env"))
	if err != nil {
		return err
	}
	list, err := s.requests(r.Context(), e)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, RequestsJSON{convert(list, func(r plumbline.Request) RequestJSON {
		return RequestJSON{ID: r.ID, Kind: r.Kind, Stacks: r.Stacks, To: r.To, By: r.By, At: r.At}
	})})
}

func (s *Server) apiDeploy(w http.ResponseWriter, r *http.Request, who Identity) error {
	return s.apiAsk(w, r, who, plumbline.RequestDeploy)
}

func (s *Server) apiDriftCheck(w http.ResponseWriter, r *http.Request, who Identity) error {
	return s.apiAsk(w, r, who, plumbline.RequestDrift)
}

func (s *Server) apiAsk(w http.ResponseWriter, r *http.Request, who Identity, kind plumbline.RequestKind) error {
	var body StacksJSON
	if err := readJSON(r, &body); err != nil {
		return err
	}
	out, err := s.ask(r.Context(), who, kind, r.PathValue("repo"), r.PathValue("env"), body.Stacks)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, out)
}

func (s *Server) apiMergeRequests(w http.ResponseWriter, r *http.Request, _ Identity) error {
	q := r.URL.Query()
	if err := known(q, "repository", "state"); err != nil {
		return err
	}
	state, err := mrState(q)
	if err != nil {
		return err
	}
	if repo := q.Get("repository"); repo != "" {
		if _, err := s.repository(repo); err != nil {
			return err
		}
	}
	list, err := s.proposals(r.Context(), q.Get("repository"), state)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, MergeRequestsJSON{convert(list, func(p proposal) MergeRequestJSON { return s.mergeRequestJSON(p.MergeRequest, p.Runs) })})
}

func (s *Server) apiWhy(w http.ResponseWriter, r *http.Request, _ Identity) error {
	runs, err := s.answers(r.Context(), r.URL.Query())
	if err != nil {
		return err
	}
	out := WhyJSON{Answers: []AnswerJSON{}}
	for _, run := range runs {
		a, err := s.why(r.Context(), run)
		if err != nil {
			return err
		}
		out.Answers = append(out.Answers, a)
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) apiDebug(w http.ResponseWriter, _ *http.Request, _ Identity) error {
	return writeJSON(w, http.StatusOK, LoopsJSON{append([]Loop{}, s.c.Debug()...)})
}

func (s *Server) apiRunWhy(w http.ResponseWriter, r *http.Request, _ Identity) error {
	run, err := s.run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	out, err := s.why(r.Context(), run)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) apiCalendar(w http.ResponseWriter, r *http.Request, _ Identity) error {
	e, err := s.environment(r.PathValue("repo"), r.PathValue("env"))
	if err != nil {
		return err
	}
	out, err := s.calendar(r.Context(), e)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) apiFreeze(w http.ResponseWriter, r *http.Request, who Identity) error {
	var body FreezeForJSON
	if err := readJSON(r, &body); err != nil {
		return err
	}
	out, err := s.freeze(r.Context(), who, r.PathValue("repo"), r.PathValue("env"), body.Reason, body.Until)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) apiThaw(w http.ResponseWriter, r *http.Request, who Identity) error {
	var body ThawJSON
	if err := readJSON(r, &body); err != nil {
		return err
	}
	var out ThawedJSON
	var err error
	if out.Lifted, err = s.thaw(r.Context(), who, r.PathValue("repo"), r.PathValue("env"), body.ID, body.Reason); err != nil {
		return err
	}
	e, err := s.environment(r.PathValue("repo"), r.PathValue("env"))
	if err != nil {
		return err
	}
	if out.Calendar, err = s.calendar(r.Context(), e); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) apiPromotion(w http.ResponseWriter, r *http.Request, _ Identity) error {
	e, err := s.environment(r.PathValue("repo"), r.PathValue("env"))
	if err != nil {
		return err
	}
	p, err := s.promotion(r.Context(), e)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, promotionJSON(p))
}

func (s *Server) apiPromote(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := readJSON(r, &struct{}{}); err != nil {
		return err
	}
	out, err := s.promote(r.Context(), who, r.PathValue("repo"), r.PathValue("env"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, out)
}

func (s *Server) apiRollback(w http.ResponseWriter, r *http.Request, who Identity) error {
	var body RollbackJSON
	if err := readJSON(r, &body); err != nil {
		return err
	}
	out, err := s.rollback(r.Context(), who, r.PathValue("repo"), r.PathValue("env"), body.To)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, out)
}
