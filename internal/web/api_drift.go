package web

import (
	"net/http"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func (s *Server) apiDrift(w http.ResponseWriter, r *http.Request, _ Identity) error {
	q, err := s.driftQuery(r.URL.Query())
	if err != nil {
		return err
	}
	d, err := s.drift(r.Context(), q)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, s.driftListJSON(d))
}

func (s *Server) apiDriftItem(w http.ResponseWriter, r *http.Request, _ Identity) error {
	it, err := s.driftItem(r.Context(), r.PathValue("item"))
	if err != nil {
		return err
	}
	return s.answerItem(w, r, it)
}

// answerItem sends a drift item with its history.
func (s *Server) answerItem(w http.ResponseWriter, r *http.Request, it plumbline.DriftItem) error {
	history, err := s.c.Store.DriftHistories(r.Context(), it.ID)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, DriftDetailJSON{Item: s.driftJSON(it), History: convert(history, driftEventJSON)})
}

func (s *Server) apiAcknowledge(w http.ResponseWriter, r *http.Request, who Identity) error {
	var body AcknowledgeJSON
	if err := readJSON(r, &body); err != nil {
		return err
	}
	it, err := s.acknowledge(r.Context(), who, r.PathValue("item"), body.Note)
	if err != nil {
		return err
	}
	return s.answerItem(w, r, it)
}

func (s *Server) apiIgnore(w http.ResponseWriter, r *http.Request, who Identity) error {
	var body IgnoreJSON
	if err := readJSON(r, &body); err != nil {
		return err
	}
	out, err := s.ignore(r.Context(), who, r.PathValue("repo"), r.PathValue("env"), body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) apiDriftRules(w http.ResponseWriter, r *http.Request, _ Identity) error {
	e, err := s.environment(r.PathValue("repo"), r.PathValue("env"))
	if err != nil {
		return err
	}
	return s.answerRules(w, r, e)
}

func (s *Server) answerRules(w http.ResponseWriter, r *http.Request, e plumbline.Environment) error {
	rules, err := s.rules(r.Context(), e)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, DriftRulesJSON{convert(rules, func(r plumbline.IgnoreRule) DriftRuleJSON { return driftRuleJSON(r, s.c.Now()) })})
}

// apiLift answers with the rules that are left.
func (s *Server) apiLift(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := readJSON(r, &struct{}{}); err != nil {
		return err
	}
	repo, env := r.PathValue("repo"), r.PathValue("env")
	if err := s.lift(r.Context(), who, repo, env, r.PathValue("rule")); err != nil {
		return err
	}
	e, err := s.environment(repo, env)
	if err != nil {
		return err
	}
	return s.answerRules(w, r, e)
}

func (s *Server) apiDriftReport(w http.ResponseWriter, r *http.Request, _ Identity) error {
	report, err := s.driftReport(r.Context(), r.URL.Query())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}
