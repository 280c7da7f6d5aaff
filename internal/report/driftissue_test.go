package report

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// drifted is an environment with one of everything.
func drifted() DriftData {
	item := func(id int64, stack string, d plumbline.Difference, ago time.Duration) plumbline.DriftItem {
		it := plumbline.DriftItem{
			ID: id, Stack: plumbline.StackRef{Repository: "infra", Environment: "production", Name: stack}, Difference: d, Opened: t0.Add(-ago), LastSeen: t0, Seen: int(id),
		}
		it.Fingerprint = d.Fingerprint(it.Stack)
		return it
	}
	gateway := item(1, "live/net", plumbline.Difference{Address: "aws_route.nat", Type: "aws_route", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{
		{Path: "gateway_id", Before: `"igw-a"`, After: `"igw-b"`}}}, 2*time.Hour)
	gateway.Actor = &plumbline.Actor{Who: "arn:aws:iam::111122223333:user/ops-k", How: "the console"}
	gateway.Remedy = &plumbline.Remedy{What: plumbline.RemediatePropose, Run: 9815, MR: "77"}
	gone := item(2, "live/net", plumbline.Difference{Address: `aws_eip.old["eu|1"]`, Type: "aws_eip", Kind: plumbline.DriftDeleted}, 26*time.Hour)
	gone.Actor = &plumbline.Actor{Unknown: "CloudTrail keeps 90 days"}
	gone.Acknowledged = &plumbline.Acknowledgement{By: "alice@example.com", At: t0, Note: "see OPS-12"}
	desired := func(id int64, stack string) plumbline.DriftItem {
		it := item(id, stack, plumbline.Difference{Address: "aws_ecs_service.web", Type: "aws_ecs_service", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{
			{Path: "desired_count", Before: "4", After: "6"}, {Path: "password", Before: plumbline.Masked, After: plumbline.Masked, Sensitive: true}}}, 3*time.Hour)
		it.Cause = plumbline.Cause{Key: "k", Text: "desired_count of aws_ecs_service changed outside"}
		it.Flapping = true
		it.Remedy = &plumbline.Remedy{What: plumbline.RemediateApply, Run: 9816, Why: "3 applies a day are allowed, and were made"}
		return it
	}
	policy := item(5, "live/iam", plumbline.Difference{Address: "aws_iam_policy.backup", Type: "aws_iam_policy", Kind: plumbline.DriftChanged, Origin: plumbline.FromState, Attributes: []plumbline.Attribute{
		{Path: "description", Before: `"backup"`, After: `"backup, and more"`},
		{Path: "path", Before: `"/"`, After: `"/x/"`}, {Path: "tags.a", Before: `"1"`}, {Path: "tags.owner", Before: `"sre"`, After: `"dev"`},
		{Path: "policy", Before: `"{\"Statement\":[{\"Action\":[\"s3:GetObject\"]}]}"`, After: `"{\"Statement\":[{\"Action\":[\"s3:GetObject\",\"s3:PutObject\"]}]}"`}}}, 5*time.Hour)
	policy.Hidden = []string{"tags.owner"}
	extra := item(6, "live/net", plumbline.Difference{Address: "aws_vpc.mine", Type: "aws_vpc", Kind: plumbline.DriftAppeared, Attributes: []plumbline.Attribute{{Path: "cidr_block", After: `"10.0.0.0/16"`}}}, time.Hour)
	ignored := item(7, "live/app", plumbline.Difference{Address: "aws_autoscaling_group.web", Type: "aws_autoscaling_group", Kind: plumbline.DriftChanged}, time.Hour)
	ignored.Ignored = &plumbline.Ignored{Owner: "sre", Reason: "autoscaled", Until: t0.Add(30 * 24 * time.Hour)}
	noise := item(8, "live/app", plumbline.Difference{Address: "aws_s3_bucket.x", Type: "aws_s3_bucket", Kind: plumbline.DriftChanged}, time.Hour)
	noise.Noise = "2 applies had no effect on it"
	fixed := item(9, "live/db", plumbline.Difference{Address: "aws_db_instance.main", Type: "aws_db_instance", Kind: plumbline.DriftChanged}, 10*time.Hour)
	fixed.Resolved, fixed.How = t0.Add(-5*time.Hour), "applied by run 9790"
	return DriftData{
		Repository: "infra", Environment: "production", Commit: "8f31c2d8f31c2d8f31c2d8f31c2d8f31c2d8f31c", PublicURL: "https://plumbline.example.com", Now: t0,
		Items: []plumbline.DriftItem{fixed, noise, ignored, extra, policy, desired(4, "live/app"), desired(3, "live/jobs"), gone, gateway},
	}
}

// only is d with those items that want keeps.
func only(d DriftData, want func(plumbline.DriftItem) bool) DriftData {
	d.Items = slices.DeleteFunc(slices.Clone(d.Items), func(it plumbline.DriftItem) bool { return !want(it) })
	return d
}

func TestDriftIssueGolden(t *testing.T) {
	show := func(i plumbline.Issue) string {
		if !strings.HasPrefix(i.Body, i.Marker+"\n") || !slices.Equal(i.Labels, []string{"drift"}) {
			t.Errorf("%+v", i)
		}
		return fmt.Sprintf("%s (open: %t)\n\n%s", i.Title, i.Open, i.Body)
	}
	d := drifted()
	golden(t, "drift-issue.md", show(DriftIssue(d, 65000)))
	golden(t, "drift-issue-over.md", show(DriftIssue(only(d, func(it plumbline.DriftItem) bool { return !it.Counts(t0) }), 65000)))
	d = only(d, func(it plumbline.DriftItem) bool { return !it.Open() })
	d.PublicURL = ""
	golden(t, "drift-issue-clean.md", show(DriftIssue(d, 65000)))
	golden(t, "drift-issue-cut.md", show(DriftIssue(driftedBy(60), 6000)))
}

// driftedBy is an environment where n resources of each kind differ.
func driftedBy(n int) DriftData {
	d := drifted()
	d.Items = nil
	for i := range n {
		for k, kind := range []plumbline.DifferenceKind{plumbline.DriftChanged, plumbline.DriftDeleted, plumbline.DriftAppeared} {
			it := plumbline.DriftItem{
				ID: int64(3*i + k), Stack: plumbline.StackRef{Repository: "infra", Environment: "production", Name: fmt.Sprintf("live/s%02d", i%7)}, Opened: t0, Seen: 1,
				Difference: plumbline.Difference{Address: fmt.Sprintf("aws_x.%s[%d]", kind, i), Type: "aws_x", Kind: kind, Attributes: []plumbline.Attribute{{Path: "a", Before: `"1"`, After: fmt.Sprintf("%q", strings.Repeat("v", 100))}}},
			}
			d.Items = append(d.Items, it)
		}
	}
	return d
}

// TestDriftIssueFits: whatever the limit, what is deleted stands before what is changed, and what is left out is counted.
func TestDriftIssueFits(t *testing.T) {
	d := driftedBy(400)
	all := DriftIssue(d, 0).Body
	shown := func(body string) (deleted, changed, left int) {
		_, rest, ok := strings.Cut(body, "… and ")
		if ok {
			if _, err := fmt.Sscanf(rest, "%d more, less dangerous", &left); err != nil {
				t.Fatal(err)
			}
		}
		table, _, _ := strings.Cut(body, "\n\n**What to do**")
		return strings.Count(table, "| 🔴 |"), strings.Count(table, "| 🟠 |"), left
	}
	before := 0
	for _, limit := range []int{1, 500, 2000, 10_000, 65_000, 262_144, 1_000_000} {
		body := DriftIssue(d, limit).Body
		if len(body) > limit {
			t.Fatalf("limit %d: %d bytes", limit, len(body))
		}
		if limit < 2000 {
			continue
		}
		deleted, changed, left := shown(body)
		if deleted+changed+left != 1200 || changed > 0 && deleted != 400 || deleted+changed < before {
			t.Errorf("limit %d: %d deleted, %d others, %d left out", limit, deleted, changed, left)
		}
		before = deleted + changed
		if !utf8.ValidString(body) || strings.Count(body, "```")%2 != 0 || strings.Count(body, "<details>") != strings.Count(body, "</details>") || !strings.HasSuffix(body, "\n") {
			t.Errorf("limit %d: something ends in the middle", limit)
		}
		if limit > len(all) && body != all {
			t.Errorf("limit %d: something is left out of %d bytes", limit, len(all))
		}
	}
	if before != 1200 {
		t.Errorf("%d of 1200 rows where there is room for all", before)
	}
}

// FuzzDriftIssue puts hostile strings wherever a stranger can. Without -fuzz it takes the corpus.
func FuzzDriftIssue(f *testing.F) {
	for _, h := range hostile(f) {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, h string) {
		if len(h) <= longest {
			checkDriftIssue(t, h)
		}
	})
}

func checkDriftIssue(t *testing.T, h string) {
	t.Helper()
	d := drifted()
	d.Repository, d.Environment, d.Commit = h, h, h
	for i := range d.Items {
		it := &d.Items[i]
		it.Stack.Name, it.Difference.Address, it.Difference.Type, it.Difference.Deposed, it.How = h, h, h, h, h
		if it.Cause.Key != "" { // stacks are told apart by their names
			it.Stack.Name, it.Cause.Text = fmt.Sprint(h, it.ID), h
		}
		it.Difference.Attributes = append(it.Difference.Attributes, plumbline.Attribute{Path: h, Before: h, After: h}, plumbline.Attribute{Path: "value", Before: `"x"`, After: jsonOf(h)})
		if it.Actor != nil && it.Actor.Unknown == "" {
			it.Actor.Who, it.Actor.How = h, h
		} else if it.Actor != nil {
			it.Actor.Unknown = h
		}
		if it.Acknowledged != nil {
			it.Acknowledged.By, it.Acknowledged.Note = h, h
		}
		if it.Remedy != nil {
			it.Remedy.MR, it.Remedy.Why = h, h
		}
		if it.Ignored != nil {
			it.Ignored.Owner, it.Ignored.Reason = h, h
		}
		if it.Noise != "" {
			it.Noise = h
		}
	}
	open := DriftIssue(d, 0)
	over := DriftIssue(only(d, func(it plumbline.DriftItem) bool { return !it.Counts(t0) }), 0)
	for name, md := range readers {
		checkMarkdown(t, name, md, h, open.Body)
	}
	checkMarkdown(t, "GFM", readers["GFM"], h, over.Body)
	checkMarkdown(t, "GFM", readers["GFM"], "", DriftIssue(d, 4000).Body)
	for _, i := range []plumbline.Issue{open, over} {
		if strings.ContainsAny(i.Title, "\r\n") || !strings.HasPrefix(i.Body, i.Marker+"\n### ") || strings.Count(i.Body, i.Marker) != 1 ||
			strings.Count(i.Marker, "<!--") != 1 || strings.Count(i.Marker, "-->") != 1 || strings.Contains(i.Marker, "--!>") {
			t.Errorf("%q: title %q, marker %q", h, i.Title, i.Marker)
		}
	}
}

// look is a drift check of a stack of production.
func (r *rig) look(stack string, found ...plumbline.Difference) {
	r.t.Helper()
	r.now = r.now.Add(time.Hour)
	id := r.observe(plumbline.Observation{Runs: []plumbline.Run{r.newRun(plumbline.KindDrift, "production", stack, "c1")}})[0]
	r.start(id)
	rule := func(run *plumbline.Run, now time.Time) error {
		return run.Finish(run.Claim, plumbline.Outcome{Plan: &plumbline.Plan{}, Differences: found}, &plumbline.PlanInfo{}, now)
	}
	if _, err := r.store.FinishDrift(r.t.Context(), id, r.now, rule, plumbline.DriftLook{Found: found}); err != nil {
		r.t.Fatal(err)
	}
}

// issue is the one that there is.
func (r *rig) issue() forgetest.Issue {
	r.t.Helper()
	all := r.forge.Issues()
	if len(all) != 1 {
		r.t.Fatalf("%d issues, not 1: %+v", len(all), all)
	}
	return all[0]
}

var (
	outside1 = plumbline.Difference{Address: "aws_route.nat", Type: "aws_route", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "gateway_id", Before: `"a"`, After: `"b"`}}}
	outside2 = plumbline.Difference{Address: "aws_eip.old", Type: "aws_eip", Kind: plumbline.DriftDeleted}
)

// TestDriftIssueLife: one issue, edited in place, closed when clean, opened again; not a request when there is nothing new.
func TestDriftIssueLife(t *testing.T) {
	r := newRig(t)
	asked := func() int { return r.forge.Requests("UpsertIssue") }
	r.look("a")
	r.settle()
	if asked() != 0 {
		t.Error("without drift the forge is asked for an issue")
	}
	for range 3 {
		r.look("a", outside1)
		r.settle()
	}
	if i := r.issue(); asked() != 1 || !i.Open || i.Edits != 0 || i.Title != "Drift in production: 1 changed" || !strings.Contains(i.Body, "`gateway_id` `\"a\"` → `\"b\"`") {
		t.Errorf("after three checks that find the same, %d requests: %+v", asked(), i)
	}
	r.look("b", outside2)
	r.settle()
	if i := r.issue(); i.Edits != 1 || i.Title != "Drift in production: 1 deleted, 1 changed" {
		t.Errorf("more of it: %+v", i)
	}

	// Somebody closes it. It stays so while nothing is new.
	r.forge.EditIssue(1, func(i *forgetest.Issue) { i.Open = false })
	r.look("b", outside2)
	r.settle()
	if i := r.issue(); i.Open || i.Edits != 1 {
		t.Errorf("closed by somebody, and nothing is new: %+v", i)
	}
	worse := outside1
	worse.Attributes = []plumbline.Attribute{{Path: "gateway_id", Before: `"a"`, After: `"c"`}}
	r.look("a", worse)
	r.settle()
	if i := r.issue(); !i.Open || !strings.Contains(i.Body, "→ `\"c\"`") {
		t.Errorf("closed by somebody, and it is another difference: %+v", i)
	}

	r.look("a")
	r.look("b")
	r.settle()
	if i := r.issue(); i.Open || i.Title != "Drift in production: none" || !strings.Contains(i.Body, "In sync again since") || !strings.Contains(i.Body, "2 resolved within a week") {
		t.Errorf("in sync: %+v", i)
	}
	n := asked()
	r.look("a")
	r.settle()
	if asked() != n {
		t.Error("still in sync, and the forge is asked")
	}
	r.look("a", outside1)
	r.settle()
	if i := r.issue(); !i.Open || i.Number != 1 {
		t.Errorf("drift again: %+v", i)
	}
}

// TestDriftIssueCrash: an issue that was made without anybody hearing of it is found, and closed when the drift is over.
func TestDriftIssueCrash(t *testing.T) {
	r := newRig(t)
	lost := errors.New("no answer")
	r.forge.Lose(func(string) error { return lost })
	r.look("a", outside1)
	if _, _, err := r.r.Flush(t.Context()); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	r.forge.Lose(nil)
	r.restart(nil)
	r.look("a")
	r.settle()
	if i := r.issue(); i.Open {
		t.Errorf("%+v", i)
	}
}

// TestDriftIssueTwoReporters: two daemons have one issue.
func TestDriftIssueTwoReporters(t *testing.T) {
	r := newRig(t)
	r.look("a", outside1)
	first := r.r
	r.restart(nil)
	for _, one := range []*Reporter{first, r.r, first, r.r} {
		if _, _, err := one.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if i := r.issue(); i.Edits != 0 || r.forge.Requests("UpsertIssue") != 1 {
		t.Errorf("%d requests: %+v", r.forge.Requests("UpsertIssue"), i)
	}
}

// TestDriftIssueStranger: somebody else's issue with our marker stays as it is.
func TestDriftIssueStranger(t *testing.T) {
	r := newRig(t)
	r.forge.OpenIssue("mallory", "Nothing to see", DriftMarker("infra", "production"))
	r.look("a", outside1)
	r.settle()
	all := r.forge.Issues()
	if len(all) != 2 || all[0].Edits != 0 || all[0].Title != "Nothing to see" || all[1].Author != "plumbline" || !all[1].Open {
		t.Errorf("%+v", all)
	}
}

// TestDriftIssueOff: not where it is switched off, and not where a forge has none.
func TestDriftIssueOff(t *testing.T) {
	r := newRig(t)
	r.repo.Environments[0].Drift.NoIssue = true
	r.restart(nil)
	r.look("a", outside1)
	r.settle()
	r.says("c1", "plumbline/production/drift: failure")
	if n := r.forge.Requests("UpsertIssue"); n != 0 {
		t.Errorf("%d requests", n)
	}
	r = newRig(t)
	r.r.c.Forge = bareForge{r.forge.Client()}
	r.look("a", outside1)
	r.settle()
	r.says("c1", "plumbline/production/drift: failure")
}

// bareForge has notes and statuses, and nothing else.
type bareForge struct{ Forge }

// TestDriftIssueRefused: that the token may write no issues is told once for each news; the status is set, and nothing is kept back.
func TestDriftIssueRefused(t *testing.T) {
	r := newRig(t)
	r.forge.Fault(func(_ context.Context, method string) error {
		if method == "UpsertIssue" {
			return fmt.Errorf("no: %w", plumbline.ErrDenied)
		}
		return nil
	})
	r.look("a", outside1)
	_, _, err := r.r.Flush(t.Context())
	if err == nil || !strings.Contains(err.Error(), "set issue = false in drift") {
		t.Errorf("%v", err)
	}
	r.says("c1", "plumbline/production/drift: failure")
	if _, _, err := r.r.Flush(t.Context()); err != nil || r.forge.Requests("UpsertIssue") != 1 {
		t.Errorf("again: %v, %d requests", err, r.forge.Requests("UpsertIssue"))
	}
	r.forge.Fault(nil)
	r.look("b", outside2)
	r.settle()
	if i := r.issue(); !i.Open || !strings.Contains(i.Title, "1 deleted, 1 changed") {
		t.Errorf("allowed since: %+v", i)
	}
	// A forge that is away is asked again.
	r.forge.Fault(forgetest.Outage)
	r.look("b")
	if _, _, err := r.r.Flush(t.Context()); err == nil {
		t.Error("nobody is told that the forge is away")
	}
	r.forge.Fault(nil)
	r.settle()
	if i := r.issue(); i.Title != "Drift in production: 1 changed" {
		t.Errorf("%+v", i)
	}
}

// TestDriftIssueAcknowledged: what people do about drift is shown.
func TestDriftIssueAcknowledged(t *testing.T) {
	r := newRig(t)
	r.look("a", outside1)
	r.settle()
	acknowledge := func(by, note string) {
		t.Helper()
		items, err := r.store.DriftItems(t.Context(), plumbline.DriftFilter{Repository: "infra", Stack: "a"})
		if err != nil || len(items) != 1 {
			t.Fatal(items, err)
		}
		if _, err := r.store.UpdateDrift(t.Context(), items[0].ID, r.now, func(it plumbline.DriftItem, now time.Time) (plumbline.DriftWrite, error) {
			return it.Acknowledge(plumbline.Person{Name: by}, note, now)
		}); err != nil {
			t.Fatal(err)
		}
		r.settle()
	}
	acknowledge("alice", "on it")
	if i := r.issue(); i.Edits != 1 || !i.Open || !strings.Contains(i.Body, "| known to alice: on it |") {
		t.Errorf("%+v", i)
	}
	// Who has closed it and then takes note of it has peace.
	r.forge.EditIssue(1, func(i *forgetest.Issue) { i.Open = false })
	acknowledge("bob", "me too")
	if i := r.issue(); i.Edits != 2 || i.Open || !strings.Contains(i.Body, "| known to bob: me too |") {
		t.Errorf("closed by somebody, then acknowledged: %+v", i)
	}
	r.look("b", outside2)
	r.settle()
	if i := r.issue(); !i.Open {
		t.Errorf("and then there is more: %+v", i)
	}
	r.forge.EditIssue(1, func(i *forgetest.Issue) { i.Deleted = true })
	acknowledge("carol", "")
	if all := r.forge.Issues(); len(all) != 0 {
		t.Errorf("deleted by somebody, then acknowledged: %+v", all)
	}
}
