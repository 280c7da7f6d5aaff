package watch

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

const routes = state + "resource \"aws_route\" \"nat\" {\n  gateway = \"a\" # the old one\n  metric  = var.metric\n}\n"

// proposing is a rig whose production has a route in live/db that can be adopted, and proposes.
func proposing(t *testing.T, set func(r *rig)) *rig {
	t.Helper()
	r := newRig(t)
	r.push("main", map[string]string{"live/db/main.tf": routes})
	r.repo.Environments[0].Drift.Remediate = plumbline.RemediatePropose
	if set != nil {
		set(r)
	}
	r.w = r.watcher()
	r.poll()
	for _, run := range r.runs(plumbline.RunFilter{}) {
		r.plan(run.ID, "")
	}
	r.poll()
	return r
}

func gateway(to string) plumbline.Difference {
	d := route
	d.Attributes = []plumbline.Attribute{{Path: "gateway", Before: `"a"`, After: to}}
	return d
}

const adoptBranch = "plumbline/drift/production/live-db"

// TestAdopt: what is written out in Git is brought to what is the case by one merge request for a stack, which is found again, brought up to date, and left
// alone once people have closed it.
func TestAdopt(t *testing.T) {
	t.Parallel()
	r := proposing(t, nil)
	r.found("live/db", false, gateway(`"b${c}"`))
	for range 3 {
		r.poll()
	}
	open := r.open1()
	if len(open) != 1 || open[0].Source != adoptBranch || open[0].Target != "main" || open[0].Title != "Adopt what live/db is in production" {
		t.Fatalf("%+v", open)
	}
	if got, want := r.show(adoptBranch+":live/db/main.tf"), strings.Replace(routes, `"a"`, `"b$${c}"`, 1); got != strings.TrimSpace(want) {
		t.Errorf("it holds\n%s", got)
	}
	if r.head(adoptBranch+"^") != r.head("main") || len(r.mends()) != 0 {
		t.Errorf("it stands on %s, beside %d runs", r.head(adoptBranch+"^"), len(r.mends()))
	}
	it := r.items("live/db")[0]
	if it.Remedy == nil || it.Remedy.MR != open[0].ID || it.Remedy.Why != "`plumbline env deploy production live/db` puts reality right instead" {
		t.Errorf("%+v", it.Remedy)
	}
	if run := r.runs(plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindProposal}}); len(run) != 1 || run[0].Stack.Name != "live/db" {
		t.Errorf("it is planned by %+v", run)
	}
	// The same again is nothing new, also when people have closed it.
	at, events := r.head(adoptBranch), it.Events
	r.found("live/db", false, gateway(`"b${c}"`))
	r.poll()
	r.forge.Close(open[0].ID)
	r.found("live/db", false, gateway(`"b${c}"`))
	r.poll()
	if r.head(adoptBranch) != at || len(r.open1()) != 0 || len(r.mends()) != 0 || r.items("live/db")[0].Events != events {
		t.Errorf("%s, %d open, %d runs, %d events", r.head(adoptBranch), len(r.open1()), len(r.mends()), r.items("live/db")[0].Events)
	}
	// Another difference is, on what the branch is by then.
	r.push("main", map[string]string{"README.md": "# 2\n"})
	r.poll()
	r.found("live/db", false, gateway(`"d"`))
	r.poll()
	r.poll()
	if open = r.open1(); len(open) != 1 || r.head(adoptBranch+"^") != r.head("main") || !strings.Contains(r.show(adoptBranch+":live/db/main.tf"), `"d"`) {
		t.Errorf("%d open, on %s", len(open), r.head(adoptBranch+"^"))
	}
	if !strings.Contains(r.show(adoptBranch), "- `aws_route.nat`: `gateway`") {
		t.Error("the commit does not say what it is about")
	}
	// Merged, Git says what is the case.
	r.merge("main", adoptBranch)
	r.poll()
	if run := r.newest("production", "live/db"); run.Kind != plumbline.KindDeploy || run.State != plumbline.StateQueued {
		t.Errorf("%s %s", run.Kind, run.State)
	}
}

// TestAdoptNot: what cannot be adopted is put right by a run, and the item tells why.
func TestAdoptNot(t *testing.T) {
	t.Parallel()
	computed := gateway(`"b"`)
	computed.Attributes = []plumbline.Attribute{{Path: "metric", Before: "1", After: "2"}}
	for _, tt := range []struct {
		name string
		set  func(r *rig)
		d    []plumbline.Difference
		why  string
	}{
		{"computed", nil, []plumbline.Difference{computed}, "metric of aws_route.nat is computed, and not written out"},
		{"one of two", nil, []plumbline.Difference{gateway(`"b"`), {Address: "aws_vpc.x", Type: "aws_vpc", Kind: plumbline.DriftDeleted}}, "aws_vpc.x is deleted outside, which no value in a file makes right"},
		{"signatures", func(r *rig) { r.repo.Proposals.Signed = true }, []plumbline.Difference{gateway(`"b"`)}, "its commits carry no signature, and production takes none without"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := proposing(t, tt.set)
			r.found("live/db", false, tt.d...)
			r.poll()
			if n := len(r.open1()); n != 0 || len(r.mends()) != 1 {
				t.Fatalf("%d open, %d runs", n, len(r.mends()))
			}
			for _, it := range r.items("live/db") {
				if it.Remedy == nil || it.Remedy.Run != r.mends()[0].ID || it.Remedy.Why != "Git is not made to say what is the case, since "+tt.why {
					t.Errorf("%+v", it.Remedy)
				}
			}
		})
	}
}

// TestAdoptNeverApplied: where Plumbline applies nothing, a merge request is all that can be proposed.
func TestAdoptNeverApplied(t *testing.T) {
	t.Parallel()
	r := proposing(t, func(r *rig) { r.repo.Environments[0].Apply = plumbline.ApplyNever })
	r.found("live/db", false, gateway(`"b"`))
	r.found("live/net", false, route)
	r.poll()
	if len(r.open1()) != 1 || len(r.mends()) != 0 {
		t.Errorf("%d open, %d runs", len(r.open1()), len(r.mends()))
	}
	if it := r.items("live/net")[0]; it.Remedy == nil || it.Remedy.What != plumbline.RemediateReport || !strings.HasPrefix(it.Remedy.Why, `production has apply = "never"`) {
		t.Errorf("%+v", it.Remedy)
	}
}

// TestAdoptLeavesPeopleAlone: a commit that a person has put on the branch stays.
func TestAdoptLeavesPeopleAlone(t *testing.T) {
	t.Parallel()
	r := proposing(t, nil)
	r.found("live/db", false, gateway(`"b"`))
	r.poll()
	theirs := r.commit(adoptBranch, "live/db/main.tf", routes+"# mine\n", nil)
	r.found("live/db", false, gateway(`"c"`))
	r.poll()
	if r.head(adoptBranch) != theirs {
		t.Errorf("the branch is at %s", r.head(adoptBranch))
	}
	if len(r.mends()) != 1 || !strings.Contains(r.items("live/db")[0].Remedy.Why, "branch "+adoptBranch+" has commits that are not Plumbline's") {
		t.Errorf("%d runs, %+v", len(r.mends()), r.items("live/db")[0].Remedy)
	}
}

// TestAdoptWithoutForge: on a bare remote the proposal is a branch.
func TestAdoptWithoutForge(t *testing.T) {
	t.Parallel()
	r := proposing(t, nil)
	r.forge = nil
	r.w = r.watcher()
	r.poll()
	r.found("live/db", false, gateway(`"b"`))
	r.poll()
	const branch = "propose/main/drift-production-live-db"
	if !strings.Contains(r.show(branch+":live/db/main.tf"), `"b"`) || r.items("live/db")[0].Remedy.MR != "main/drift-production-live-db" {
		t.Errorf("%+v", r.items("live/db")[0].Remedy)
	}
	r.poll()
	if mr := r.mr("main/drift-production-live-db"); mr.State != plumbline.MROpen {
		t.Errorf("%+v", mr)
	}
}

// TestAdoptAfterTrouble: a forge that fails between the push and the merge request, and a branch that moves before the next try, lead to one merge request.
func TestAdoptAfterTrouble(t *testing.T) {
	t.Parallel()
	r := proposing(t, nil)
	r.forge.Fault(func(_ context.Context, method string) error {
		if method == "OpenMergeRequest" {
			return errors.New("the forge is down")
		}
		return nil
	})
	r.found("live/db", false, gateway(`"b"`))
	r.warned("the forge is down")
	if r.head(adoptBranch+"^") != r.head("main") || len(r.mends()) != 0 {
		t.Errorf("the branch is on %s, %d runs", r.head(adoptBranch+"^"), len(r.mends()))
	}
	r.forge.Fault(nil)
	r.push("main", map[string]string{"README.md": "# 2\n"})
	r.poll()
	r.poll()
	if n := len(r.open1()); n != 1 || r.head(adoptBranch+"^") != r.head("main") || len(r.mends()) != 0 {
		t.Errorf("%d open, on %s, %d runs", n, r.head(adoptBranch+"^"), len(r.mends()))
	}
}
