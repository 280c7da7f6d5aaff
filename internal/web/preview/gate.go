package preview

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
)

// PlanDocument returns the plan that a blob holds.
func (s *Store) PlanDocument(_ context.Context, doc plumbline.Blob) (plumbline.Plan, error) {
	p, ok := s.Documents[doc.Name]
	if !ok {
		return p, fmt.Errorf("document %q: %w", doc.Name, plumbline.ErrNotFound)
	}
	return p, nil
}

// Audit appends an entry to the audit log.
func (s *Store) Audit(_ context.Context, e plumbline.AuditEntry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tell(e)
}

func (s *Store) tell(e plumbline.AuditEntry) error {
	row := plumbline.AuditRow{AuditEntry: e}
	row.Seq = int64(len(s.audit) + 1)
	if row.Seq > 1 {
		row.Prev = s.audit[row.Seq-2].Hash
	}
	var err error
	if row.Hash, err = plumbline.Seal(row.Prev, row.AuditEntry); err != nil {
		return err
	}
	s.audit = append(s.audit, row)
	return nil
}

// Rewrite changes an entry of the audit log behind its back.
func (s *Store) Rewrite(seq int64, change func(*plumbline.AuditRow)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.audit[seq-1])
}

// AuditEntries lists entries of the audit log.
func (s *Store) AuditEntries(_ context.Context, f plumbline.AuditFilter) ([]plumbline.AuditRow, error) {
	if f.Limit == 0 {
		f.Limit = 200
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := slices.DeleteFunc(slices.Clone(s.audit), func(r plumbline.AuditRow) bool {
		return f.Repository != "" && r.Repository != f.Repository ||
			f.Environment != "" && r.Environment != f.Environment ||
			f.Stack != "" && r.Stack != f.Stack ||
			f.Who != "" && r.Who != f.Who ||
			f.Action != "" && r.Action != f.Action ||
			f.Run != 0 && r.Run != f.Run ||
			!f.Since.IsZero() && r.At.Before(f.Since) ||
			!f.Until.IsZero() && !r.At.Before(f.Until) ||
			f.After != 0 && r.Seq <= f.After ||
			f.Before != 0 && r.Seq >= f.Before
	})
	if f.Newest {
		slices.Reverse(rows)
	}
	return rows[:min(len(rows), f.Limit)], nil
}

// AuditEach calls do with each entry.
func (s *Store) AuditEach(ctx context.Context, f plumbline.AuditFilter, do func(plumbline.AuditRow) error) error {
	if f.Limit == 0 {
		f.Limit = 1 << 30
	}
	rows, err := s.AuditEntries(ctx, f)
	for _, r := range rows {
		err = errors.Join(err, do(r))
		if err != nil {
			break
		}
	}
	return err
}

// VerifyAudit checks the audit log.
func (s *Store) VerifyAudit(_ context.Context, anchors ...plumbline.Anchor) (plumbline.AuditReport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return plumbline.VerifyChain(func(yield func(plumbline.AuditRow, error) bool) {
		for _, r := range s.audit {
			if !yield(r, nil) {
				return
			}
		}
	}, anchors...)
}

// Freeze keeps what is approved from being applied.
func (s *Store) Freeze(_ context.Context, repo, env string, f plumbline.Freeze, who plumbline.Person, now time.Time) (int64, error) {
	if f.From.IsZero() {
		f.From = now
	}
	f.By = who.Name
	if !f.Until.IsZero() && !f.Until.After(now) {
		return 0, &plumbline.Refusal{Kind: plumbline.ErrInvalid, What: "The freeze would be over before it begins.", Next: "Give it an end that is still to come."}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := int64(1)
	if n := len(s.frozen); n > 0 {
		id = s.frozen[n-1].ID + 1
	}
	s.frozen = append(s.frozen, plumbline.Frozen{ID: id, Repository: repo, Environment: env, Freeze: f})
	s.wake()
	return id, s.tell(plumbline.AuditEntry{
		At: now, Who: who.Name, Door: who.Door, Action: plumbline.AuditFreeze, Repository: repo, Environment: env, Outcome: "done", Detail: f.Reason,
	})
}

// Thaw lifts a freeze of an environment, or all of them for the ID 0.
func (s *Store) Thaw(_ context.Context, repo, env string, id int64, who plumbline.Person, reason string, now time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.frozen)
	s.frozen = slices.DeleteFunc(s.frozen, func(f plumbline.Frozen) bool {
		return f.Repository == repo && f.Environment == env && (id == 0 || f.ID == id)
	})
	n := before - len(s.frozen)
	if n == 0 {
		return 0, &plumbline.Refusal{Kind: plumbline.ErrNotFound, What: fmt.Sprintf("Nobody has frozen %s/%s.", repo, env), Next: "What its configuration freezes is lifted there."}
	}
	s.wake()
	return n, s.tell(plumbline.AuditEntry{
		At: now, Who: who.Name, Door: who.Door, Action: plumbline.AuditThaw, Repository: repo, Environment: env, Outcome: "done", Detail: reason,
	})
}

// Freezes lists the freezes that people have set.
func (s *Store) Freezes(_ context.Context, repo, env string, now time.Time) ([]plumbline.Frozen, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.frozen), func(f plumbline.Frozen) bool {
		return repo != "" && f.Repository != repo || env != "" && f.Environment != env || !f.Until.IsZero() && !f.Until.After(now)
	}), nil
}

// Access is who may do what on the gated server.
var Access = plumbline.Access{
	Roles: []plumbline.Role{
		{Name: plumbline.RoleViewer, Groups: []string{"*"}},
		{Name: plumbline.RoleOperator, Groups: []string{"platform"}},
		{Name: plumbline.RoleApprover, Groups: []string{"sre"}, Environments: []string{"production"}},
		{Name: plumbline.RoleAdmin, Users: []string{"root@example.com"}},
	},
	People: []plumbline.Known{
		{Name: "dev-a", Also: []string{"corp/dev-a"}},
		{Name: "ops-b", Also: []string{"corp/ops-b"}, Groups: []string{"sre"}},
		{Name: "ops-c", Groups: []string{"platform"}},
	},
}

// NewGatedServer returns a server over canned data in which production has all the rules that there are, and its store.
func NewGatedServer() (*web.Server, *Store) {
	s := NewStore()
	infra := &s.repositories[0]
	infra.Environments[0].PromotesTo = "production"
	production := &infra.Environments[1]
	production.Approval = plumbline.ApprovalRule{
		Count: 2, From: []string{"group:sre"}, Not: []plumbline.Exclusion{plumbline.NotAuthor}, Expires: 24 * time.Hour, Carry: true,
	}
	production.Calendar = plumbline.Calendar{
		Windows: []plumbline.Window{{Name: "office-hours", Allow: "0 9 * * MON-FRI", For: 8 * time.Hour, Timezone: "Europe/London"}},
		Freezes: []plumbline.Freeze{
			{Name: "year-end", From: Now.AddDate(0, 1, 0), Until: Now.AddDate(0, 1, 14), Reason: "change freeze"},
			{Name: "launch", From: Now.AddDate(0, -2, 0), Until: Now.AddDate(0, -1, 0)},
		},
	}
	s.Heads["infra env/staging"] = commitHead
	s.Deployed = append(s.Deployed, plumbline.Deployment{ID: 33, Repository: "infra", Environment: "staging", Commit: commitHead, Previous: commitNew, By: "poll", Created: before(time.Hour)})
	for i, st := range s.Status {
		if st.Stack == stackOf("infra", "staging", "live/net") {
			s.Status[i].Commit = commitHead
		}
	}
	s.Proposed = append(s.Proposed, plumbline.MergeRequest{
		Repository: "infra", ID: "41", Title: "Promote staging to production", Author: "plumbline", Source: "env/staging", Head: commitNew, Target: "env/production",
		State: plumbline.MRMerged, Deployment: 31, UpdatedAt: before(20 * time.Minute),
	})

	rules := plumbline.Policy{Apply: production.Apply, Approval: production.Approval, Calendar: production.Calendar}
	approved := s.PlanOf[9815]
	approved.Digest, approved.Changes = digestOldNet, slices.Delete(slices.Clone(approved.Changes), 1, 2)
	s.Documents = map[string]plumbline.Plan{"plan-old": approved}
	net := s.runs[9815]
	net.Policy, net.Authors = rules, []string{"corp/dev-a"}
	net.Approvals = []plumbline.Approval{{
		By: "ops-b", Groups: []string{"sre"}, Roles: []plumbline.RoleName{plumbline.RoleApprover}, Door: plumbline.DoorComment, Digest: digestOldNet, At: before(50 * time.Minute),
		Plan: plumbline.Blob{Name: "plan-old"}, Expires: Now.Add(23 * time.Hour), Carried: "merge request !42",
	}}
	net.Findings = []plumbline.PolicyFinding{
		{Policy: "plumbline.network", Level: plumbline.PolicyApprove, Message: "an address is given up", Address: "aws_eip.old", From: []string{"group:network", "user:root@example.com"}},
		{Policy: "plumbline.tags", Level: plumbline.PolicyWarn, Message: "no owner", Address: "module.vpc.aws_subnet.b"},
	}
	net.Checks = []plumbline.CheckResult{{
		Name: plumbline.CheckFmt, Verdict: plumbline.VerdictFail, Text: "1 file is not formatted", Findings: []plumbline.Finding{{File: "live/net/main.tf", Message: "not formatted"}},
	}}
	s.runs[9815] = net
	proposal := s.runs[9808]
	proposal.Policy, proposal.Authors = rules, []string{"corp/dev-a"}
	s.runs[9808] = proposal
	forbidden := s.runs[9814]
	forbidden.State, forbidden.Policy, forbidden.Finished = plumbline.StateFailed, rules, before(12*time.Minute)
	forbidden.Approvals, forbidden.LeaseUntil = nil, time.Time{}
	forbidden.Findings = []plumbline.PolicyFinding{{Policy: "plumbline.storage", Level: plumbline.PolicyDeny, Message: "a database is replaced", Address: "aws_db_instance.main"}}
	forbidden.Failure = &plumbline.Failure{
		Kind: plumbline.FailPolicy, Text: "plumbline.storage forbids the plan of live/db: a database is replaced", Next: "Change the code, or the policy; the next commit is planned again.",
	}
	s.runs[9814] = forbidden

	for i, e := range []plumbline.AuditEntry{
		{Who: "ops-b", Door: plumbline.DoorComment, Action: plumbline.AuditApprove, Run: 9806, Digest: digestOldNet, Outcome: "planned"},
		{Who: "ops-b", Door: plumbline.DoorComment, Action: plumbline.AuditCarry, Run: 9815, Digest: digestOldNet, Outcome: "awaiting", Detail: "given on merge request !42"},
		{Who: "mallory", Door: plumbline.DoorWeb, Action: plumbline.AuditRefused, Run: 9815, Digest: digestNet, Outcome: "refused", Detail: "=cmd|' /C calc'!A0"},
	} {
		e.At, e.Repository, e.Environment, e.Stack, e.MR, e.Commit = before(50*time.Minute-time.Duration(i)*time.Minute), "infra", "production", "live/net", "42", commitNew
		_ = s.tell(e) // it fails on what JSON cannot hold
	}
	return web.New(web.Config{
		Store: s, Logs: s, Plans: s, Repositories: s.repositories, Token: plumbline.NewSecret(Token), Access: Access,
		Version: "preview", Now: func() time.Time { return Now }, Poll: 50 * time.Millisecond,
	}), s
}
