package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// bank lends what it is asked for, and knows what is still out.
type bank struct {
	mu   sync.Mutex
	err  func(call int) error
	asks []plumbline.Phase
	out  int
}

type loan struct {
	b    *bank
	role string
}

func (b *bank) Lend(_ context.Context, run plumbline.Run, job plumbline.Job) (Loan, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asks = append(b.asks, job.Phase)
	if b.err != nil {
		if err := b.err(len(b.asks)); err != nil {
			return nil, err
		}
	}
	b.out++
	return &loan{b, "role-" + string(job.Phase) + "/plumbline-run-" + run.ID.String()}, nil
}

func (l *loan) Env() []plumbline.EnvVar {
	return []plumbline.EnvVar{{Name: "AWS_REGION", Value: plumbline.NewSecret("eu-west-1")}}
}
func (l *loan) Masks() []string { return []string{"lent-secret"} }
func (l *loan) As() string      { return l.role }

func (l *loan) End() error {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.b.out--
	return nil
}

func (b *bank) lent(t *testing.T, want int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out != want {
		t.Errorf("%d loans are out, want %d", b.out, want)
	}
}

// TestLend: each phase works with credentials of its own, which are taken back, and the audit log says which did it.
func TestLend(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		b := &bank{}
		r.config = func(c *Config) { c.Cloud = b }
		d := r.daemon()
		id := r.started1(plumbline.PhasePlan, "a")
		b.lent(t, 1)
		if job := r.procs[id].job; len(job.Env) != 1 || !slices.Equal(job.Mask, []string{"lent-secret"}) || job.Credentials != "role-plan/plumbline-run-"+id.String() {
			t.Errorf("the plan's job is %+v", job)
		}
		r.ends(id, planned(digest))
		b.lent(t, 0)
		r.approve(id)
		b.lent(t, 1)
		r.ends(id, applied)
		b.lent(t, 0)
		r.is(id, plumbline.StateApplied)
		if want := []plumbline.Phase{plumbline.PhasePlan, plumbline.PhaseApply}; !slices.Equal(b.asks, want) {
			t.Errorf("asked for %q", b.asks)
		}
		entries, err := r.store.AuditEntries(context.Background(), plumbline.AuditFilter{Run: id, Action: plumbline.AuditApply})
		if err != nil {
			t.Fatal(err)
		}
		var as []string
		for _, e := range entries {
			as = append(as, e.Outcome+" "+e.Credentials)
		}
		if want := []string{"applying ", "applied role-apply/plumbline-run-" + id.String()}; !slices.Equal(as, want) {
			t.Errorf("the audit log has %q, want %q", as, want)
		}
		d.end()
	})
}

// TestLendRefused: without credentials Terraform is not started, and people read why and what to do.
func TestLendRefused(t *testing.T) {
	for _, c := range []struct {
		err        error
		text, next string
	}{
		{&plumbline.Refusal{Kind: plumbline.ErrDenied, What: "AWS does not give the role.", Next: "Change its trust policy."}, "AWS does not give the role.", "Change its trust policy."},
		{errors.New("disk full"), "credentials for infra/production/a: disk full", "plans again"},
	} {
		in(t, func(t *testing.T, r *rig) {
			b := &bank{err: func(int) error { return c.err }}
			r.config = func(conf *Config) { conf.Cloud = b }
			d := r.daemon()
			id := r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, "a")[0]
			run := r.is(id, plumbline.StateFailed)
			if f := run.Failure; f.Kind != plumbline.FailCredentials || f.Text != c.text || !strings.Contains(f.Next, c.next) {
				t.Errorf("%+v", f)
			}
			if len(r.started) > 0 {
				t.Errorf("started %q", r.started)
			}
			b.lent(t, 0)
			d.end()
		})
	}
}

// TestLendAgain: the apply of a daemon that died goes on, and the next one sees to its credentials, however long that takes.
func TestLendAgain(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.config = func(c *Config) { c.Cloud = &bank{} }
		d := r.daemon()
		id := r.started1(plumbline.PhaseApply, "a")
		d.crash()
		b := &bank{err: func(call int) error {
			if call < 3 {
				return errors.New("STS is away")
			}
			return nil
		}}
		r.config = func(c *Config) { c.Cloud = b }
		d = r.daemon()
		r.is(id, plumbline.StateApplying)
		b.lent(t, 0)
		tick(3 * lendAgain)
		b.lent(t, 1)
		r.ends(id, applied)
		run := r.is(id, plumbline.StateApplied)
		b.lent(t, 0)
		if want := "role-apply/plumbline-run-" + id.String(); run.Credentials != want {
			t.Errorf("done as %q, want %q", run.Credentials, want)
		}
		d.end()
	})
}
