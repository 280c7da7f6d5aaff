package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestDamagedDocuments(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		core, logs := observer.New(zap.ErrorLevel)
		cfg := config(dsn)
		cfg.Log = zap.New(core)
		s := openWith(t, cfg)
		o := moved("", "c1")
		o.MergeRequest = &plumbline.MergeRequest{Repository: "infra", ID: "42", State: plumbline.MROpen}
		o.Runs = append(o.Runs, queued(plumbline.KindDrift, "drift", "c1"), queued(plumbline.KindProposal, "sound", "c1"))
		ids := must[[]plumbline.RunID](t)(s.Observe(ctx, o))
		request := must[int64](t)(s.Request(ctx, plumbline.Request{Repository: "infra", Kind: plumbline.RequestPoll}))
		if err := s.AppendLog(ctx, ids[0], 1, plumbline.PhasePlan, 0, plumbline.Blob{Name: "log"}); err != nil {
			t.Fatal(err)
		}
		s.sqlExec(t, `INSERT INTO drift (id, repository, environment, stack, fingerprint, doc) VALUES (7, 'infra', 'production', 'drift', 'f', '{')`)
		for table, column := range map[string]string{
			"run": "doc", "merge_request": "doc", "deployment": "doc", "stack": "doc", "request": "doc", "log_chunk": "doc", "head": "findings",
		} {
			cond := ""
			if table == "run" {
				cond = " WHERE kind <> 'proposal'"
			}
			s.sqlExec(t, `UPDATE `+table+` SET `+column+` = '{"ID": oops'`+cond)
		}

		for _, tc := range []struct {
			what, row, table string
			read             func() error
		}{
			{"Run", "run 1", "run", func() error { _, err := s.Run(ctx, ids[0]); return err }},
			{"Runs", "run ", "run", func() error { _, err := s.Runs(ctx, plumbline.RunFilter{}); return err }},
			{"Update", "run 1", "run", func() error {
				_, err := s.Update(ctx, ids[0], t0, func(*plumbline.Run, time.Time) error { return nil })
				return err
			}},
			{"Renew", "run 1", "run", func() error { _, err := s.Renew(ctx, ids[0], plumbline.Claim{}, t0, lease); return err }},
			{"Observe", "run 1", "run", func() error {
				_, err := s.Observe(ctx, plumbline.Observation{Repository: "infra", Supersede: []string{plumbline.SubjectDeploy("production")}})
				return err
			}},
			{"MergeRequest", "42", "merge_request", func() error { _, err := s.MergeRequest(ctx, "infra", "42"); return err }},
			{"Deployment", "1", "deployment", func() error { _, err := s.Deployment(ctx, 1); return err }},
			{"Stacks", "drift", "stack", func() error { _, err := s.Stacks(ctx, "infra", "production"); return err }},
			{"Requests", fmt.Sprint(request), "request", func() error { _, err := s.Requests(ctx, "infra"); return err }},
			{"DriftItems", "7", "drift", func() error { _, err := s.DriftItems(ctx, plumbline.DriftFilter{}); return err }},
			{"LogChunks", "1", "log_chunk", func() error { _, err := s.LogChunks(ctx, ids[0], 1, plumbline.PhasePlan); return err }},
			{"Findings", "env/production", "head", func() error { _, err := s.Findings(ctx, "infra", "env/production"); return err }},
		} {
			err := tc.read()
			if err == nil || !strings.Contains(err.Error(), tc.row) || !strings.Contains(err.Error(), "table "+tc.table+" is damaged") {
				t.Errorf("%s: error is %v, want it to name %s and table %s", tc.what, err, tc.row, tc.table)
			}
		}

		// What is damaged does not hold up the rest; and it is told of once the rest is done.
		s.sqlExec(t, `DELETE FROM stack`)
		if r, err := s.Claim(ctx, "worker-1", t0, lease); err != nil || r.Stack.Name != "sound" {
			t.Errorf("claimed %+v (%v), want the sound run", r, err)
		}
		if logs.FilterField(zap.Int64("run", int64(ids[0]))).Len() == 0 {
			t.Errorf("the damaged run was not logged: %v", logs.All())
		}
		if _, err := s.Claim(ctx, "worker-1", t0, lease); err == nil || !strings.Contains(err.Error(), "run 2 in table run is damaged") {
			t.Errorf("error is %v, want it to name run 2 and the table", err)
		}

		s.sqlExec(t, `UPDATE run SET due = 1`)
		out, err := s.Expire(ctx, t0, nil)
		if len(out) != 1 || out[0].Stack.Name != "sound" {
			t.Errorf("expired %v, want the sound run", out)
		}
		if err == nil || !strings.Contains(err.Error(), "run 1 in table run") || !strings.Contains(err.Error(), "run 2 in table run") {
			t.Errorf("error is %v, want both damaged runs in it", err)
		}
	})
}
