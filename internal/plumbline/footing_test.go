package plumbline

import (
	"testing"
	"time"
)

// TestFollow: a check that has waited while its stack was applied does not look at what is new in the light of what was applied before.
func TestFollow(t *testing.T) {
	settled := func(commit string) StackStatus {
		return StackStatus{Commit: commit, Checked: true, Spec: StackSpec{Name: "net", Version: "new"}}
	}
	unsettled := settled("old")
	unsettled.Unsettled = true
	never := settled("old")
	never.NeverApplied = true
	for _, test := range []struct {
		name         string
		ahead        string
		st           StackStatus
		commit, base string
		inSync       bool
		spec         string
	}{
		{"nothing has happened", "", settled("old"), "old", "old", true, "old"},
		{"nothing has happened to a stack with a commit to come", "new", settled("old"), "old", "old", true, "old"},
		{"the commit to come was applied", "new", settled("new"), "new", "new", true, "new"},
		{"the commit to come is half applied", "new", unsettled, "new", "old", false, "new"},
		{"something else was applied", "new", settled("newer"), "new", "newer", false, "new"},
		{"something else was applied, nothing to come", "", settled("newer"), "old", "newer", false, "old"},
		{"it was destroyed", "", never, "old", "old", false, "old"},
	} {
		r := Run{Kind: KindDrift, Commit: "old", Base: "old", InSync: true, Ahead: test.ahead, Spec: StackSpec{Name: "net", Version: "old"}}
		r.Follow(test.st)
		if r.Commit != test.commit || r.Base != test.base || r.InSync != test.inSync || r.Spec.Version != test.spec {
			t.Errorf("%s: commit %s, base %s, in sync %t, spec %s", test.name, r.Commit, r.Base, r.InSync, r.Spec.Version)
		}
		if moved := test.ahead != "" && r.Commit != "old"; moved == (r.Ahead == test.ahead) && moved {
			t.Errorf("%s: still ahead by %s", test.name, r.Ahead)
		}
	}
	given := settled("old")
	given.Given = "variables"
	told := Run{Kind: KindDrift, Commit: "old", Base: "old", InSync: true}
	if told.Follow(given); told.Given != "variables" {
		t.Errorf("applied with %q", told.Given)
	}
	guess := Run{Kind: KindDrift, Commit: "old", Base: "old"}
	if guess.Follow(settled("old")); guess.InSync {
		t.Error("what was not known when it was queued is guessed")
	}
}

// TestEndOfACheck: what a check comes to by what it found, and where it stood.
func TestEndOfACheck(t *testing.T) {
	difference, noise := Difference{Address: "a.a", Kind: DriftChanged}, Difference{Address: "a.a", Kind: DriftChanged, Noise: "the same"}
	for _, test := range []struct {
		name      string
		run       Run
		out       Outcome
		changes   bool
		want      State
		unapplied bool
	}{
		{"nothing", Run{InSync: true}, Outcome{}, false, StateClean, false},
		{"only outputs, of a stack in sync", Run{InSync: true}, Outcome{}, true, StateClean, false},
		{"only what means the same", Run{InSync: true}, Outcome{Differences: []Difference{noise}}, true, StateClean, false},
		{"drift", Run{InSync: true}, Outcome{Differences: []Difference{noise, difference}}, true, StateDrifted, false},
		{"nothing, at the commit before the one to come", Run{InSync: true, Ahead: "new"}, Outcome{}, false, StatePlanned, true},
		{"drift, at the commit before the one to come", Run{InSync: true, Ahead: "new"}, Outcome{Differences: []Difference{difference}}, true, StateDrifted, true},
		{"what Git asks for", Run{}, Outcome{Unapplied: true, Pending: 3}, true, StatePlanned, true},
		{"what other variables ask for", Run{InSync: true}, Outcome{Unapplied: true, Pending: 1, Undecided: true}, true, StatePlanned, true},
		{"what nobody can tell", Run{}, Outcome{}, true, StatePlanned, false},
	} {
		r := test.run
		r.Kind, r.State, r.Claim = KindDrift, StatePlanning, Claim{"w", 1}
		test.out.Plan = &Plan{}
		if err := r.Finish(r.Claim, test.out, &PlanInfo{Changes: test.changes}, t0); err != nil || r.State != test.want || r.Unapplied != test.unapplied || r.Pending != test.out.Pending {
			t.Errorf("%s: %s, unapplied %t, %d pending (%v)", test.name, r.State, r.Unapplied, r.Pending, err)
		}
	}
}

// TestWeighPartial: a check that saw a part only does not say that all is well, even when rules ignore what it saw.
func TestWeighPartial(t *testing.T) {
	r := Run{Kind: KindDrift, State: StateDrifted, Partial: "the plan failed"}
	if r.Weigh(0, t0); r.State != StatePlanned {
		t.Errorf("%s", r.State)
	}
}

// TestCannotTell: items are resolved only by a check that could have found them.
func TestCannotTell(t *testing.T) {
	found := []Difference{
		{Address: "a.real", Kind: DriftChanged}, {Address: "a.stray", Kind: DriftAppeared, Origin: FromState}, {Address: "a.clock", Kind: DriftSelf},
	}
	writes, _ := ReconcileDrift(nil, DriftLook{At: t0, Found: found})
	var items []DriftItem
	for i, w := range writes {
		w.Item.ID = int64(i + 1)
		items = append(items, w.Item)
	}
	for _, test := range []struct {
		name string
		look DriftLook
		want []string
	}{
		{"all was seen", DriftLook{}, []string{"a.real", "a.stray", "a.clock"}},
		{"what is in the state was not told from what is to come", DriftLook{Undecided: true}, []string{"a.real"}},
		{"the configuration cannot be planned", DriftLook{Partial: true, Undecided: true}, nil},
	} {
		test.look.At = t0.Add(time.Hour)
		writes, news := ReconcileDrift(items, test.look)
		var got []string
		for _, w := range writes {
			if !w.Item.Open() {
				got = append(got, w.Item.Difference.Address)
			}
		}
		if len(got) != len(test.want) || news != (len(got) > 0) {
			t.Errorf("%s: %q resolved, want %q; news %t", test.name, got, test.want, news)
		}
	}
}
