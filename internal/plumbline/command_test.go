package plumbline

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseCommand(t *testing.T) {
	for body, want := range map[string]string{
		"plumbline plan":                                "plan",
		"plumbline plan live/net":                       "plan live/net",
		"plumbline  approve\tlive/net 3f9a1c \r\n":      "approve live/net 3f9a1c",
		"plumbline reject it opens 22 to the world":     "reject it opens 22 to the world",
		"plumbline help\n\nHow does this work?":         "help",
		"plumbline":                                     "help",
		"plumbline plna":                                "plna",
		"plumbline destroy everything now":              "destroy everything now",
		"plumbline plan\nand then plumbline approve":    "plan",
		"> plumbline approve":                           "",
		">plumbline approve\n\nno":                      "",
		"    plumbline approve":                         "",
		" plumbline approve":                            "",
		"```\nplumbline approve\n```":                   "",
		"`plumbline approve`":                           "",
		"- plumbline approve":                           "",
		"Please run plumbline approve":                  "",
		"LGTM\nplumbline approve":                       "",
		"Plumbline approve":                             "",
		"plumbline-bot approve":                         "",
		"plumblineapprove":                              "",
		"plumbline\napprove":                            "",
		"<!-- x -->plumbline approve":                   "",
		"plumbline is a tool that we might try":         "",
		"plumbline says:\nall is well":                  "",
		"\nplumbline approve":                           "",
		"plumbline approve " + strings.Repeat("x", 600): "",
		"": "",
	} {
		c, ok := ParseCommand(body)
		got := strings.TrimSpace(strings.Join(append([]string{string(c.Verb)}, c.Args...), " "))
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"plumbline plan a", "plumbline reject x `y`", "> plumbline approve", "plumbline \x00\xff", "plumbline approve a 3f9a1c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		c, ok := ParseCommand(body)
		if !ok {
			return
		}
		if !strings.HasPrefix(body, "plumbline") {
			t.Errorf("%q fires", body)
		}
		if quoted, _ := ParseCommand("> " + body); quoted.Verb != "" && quoted.known() {
			t.Errorf("%q fires when it is quoted", body)
		}
		if why := c.Impossible(); strings.ContainsAny(why, "\n<>@[]") || len(why) > 400 {
			t.Errorf("%q: the answer %q", body, why)
		}
	})
}

func TestImpossible(t *testing.T) {
	for body, want := range map[string]string{
		"plumbline plna":                  "There is no command `plna`",
		"plumbline <img`>@x":              "There is no command `imgx`",
		"plumbline unlock":                "does not release state locks",
		"plumbline reject":                "needs a reason",
		"plumbline plan a b":              "one stack at most",
		"plumbline approve a b":           "must be the plan's digest",
		"plumbline approve a 3f9a1c":      "",
		"plumbline approve 3f9a1c":        "",
		"plumbline reject a b c":          "",
		"plumbline approve a 3f9a1c more": "one stack at most",
	} {
		c, ok := ParseCommand(body)
		if got := c.Impossible(); !ok || want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: %t, %q; want %q", body, ok, got, want)
		}
	}
	c, _ := ParseCommand("plumbline approve")
	c.Edited = true
	if !strings.Contains(c.Impossible(), "edited") {
		t.Errorf("an edited comment: %q", c.Impossible())
	}
}

func TestChosen(t *testing.T) {
	run := func(id RunID, env, stack, alias string) Run {
		return Run{ID: id, Stack: StackRef{Repository: "infra", Environment: env, Name: stack}, Spec: StackSpec{Alias: alias}}
	}
	runs := []Run{run(9, "prod", "live/net", "network"), run(8, "prod", "live/app", ""), run(7, "prod", "live/net", "network"), run(6, "lab", "live/net", "")}
	for body, want := range map[string][]RunID{
		"plumbline plan":                   {9, 8, 6},
		"plumbline plan live/net":          {9, 6},
		"plumbline plan prod/live/net":     {9},
		"plumbline plan network":           {9},
		"plumbline plan nothing":           nil,
		"plumbline approve 3f9a1c":         {9, 8, 6},
		"plumbline approve 3f9":            nil,
		"plumbline reject it is too much":  nil,
		"plumbline reject live/app costly": {8},
	} {
		c, _ := ParseCommand(body)
		chosen, _ := c.Chosen(runs)
		var got []RunID
		for _, r := range chosen {
			got = append(got, r.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
}

func TestAgree(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	awaiting := Run{State: StateAwaiting, Planned: at.Add(-time.Hour), Version: 3, Reported: 3, Told: at, Plan: &PlanInfo{Digest: strings.Repeat("3f9a1c", 10)}, Policy: Policy{Approval: ApprovalRule{Count: 1}}}
	for _, c := range []struct {
		name   string
		wrote  time.Time
		digest string
		want   error
	}{
		{"after the plan", at.Add(time.Second), "", nil},
		{"before the plan", at.Add(-time.Second), "", ErrConflict},
		{"in the same instant", at, "", ErrConflict},
		{"before the plan, with its digest", at.Add(-time.Second), "3f9a1c", nil},
		{"with another digest", at.Add(time.Second), "aaaaaa", ErrConflict},
		{"with too little of it", at.Add(time.Second), "3f", ErrInvalid},
	} {
		r := awaiting
		err := Command{By: "corp/ann", At: c.wrote}.Agree(Person{Name: "corp/ann"}, Access{}, c.digest)(&r, at.Add(time.Minute))
		if !errors.Is(err, c.want) || (err == nil) != (r.State == StateApproved) {
			t.Errorf("%s: %v, %s", c.name, err, r.State)
		}
	}
	untold := awaiting
	untold.Version++
	if err := (Command{By: "corp/ann", At: at.Add(time.Hour)}).Agree(Person{Name: "corp/ann"}, Access{}, "")(&untold, at); !errors.Is(err, ErrConflict) {
		t.Errorf("a plan that nobody was told of: %v", err)
	}
	if err := (Command{By: "corp/ann", At: at}).Agree(Person{Name: "corp/ann"}, Access{}, "")(&Run{State: StateQueued}, at); err == nil {
		t.Error("a run without a plan was agreed to")
	}
}

// TestAllow walks roles, permissions and environments.
func TestAllow(t *testing.T) {
	a := Access{Roles: []Role{
		{Name: RoleViewer, Users: []string{"*"}},
		{Name: RoleOperator, Users: []string{"corp/olga"}},
		{Name: RoleApprover, Users: []string{"corp/ann"}, Environments: []string{"production"}},
		{Name: RoleApprover, Users: []string{"corp/ned"}, Environments: []string{"edge/live"}},
		{Name: RoleAdmin, Users: []string{"corp/root"}},
		{Name: "owner", Users: []string{"corp/eve"}},
	}}
	all := permits[RoleAdmin]
	may := map[string]map[string][]Permission{
		"corp/olga":     {"infra/production": permits[RoleOperator], "infra/lab": permits[RoleOperator], "": permits[RoleOperator]},
		"corp/ann":      {"infra/production": permits[RoleApprover], "infra/lab": {MayView}, "": {MayView}, "infra/": {MayView}, "production": permits[RoleApprover]},
		"corp/ned":      {"edge/live": permits[RoleApprover], "infra/live": {MayView}, "live": {MayView}, "edge/": {MayView}},
		"corp/root":     {"infra/production": all, "": all},
		"corp/eve":      {"infra/production": {MayView}, "": {MayView}},
		"other/ann":     {"infra/production": {MayView}},
		"ann":           {"infra/production": {MayView}},
		"corp/Ann":      {"infra/production": permits[RoleApprover]},
		"LOCAL":         {"infra/production": {MayView}},
		"":              {"infra/production": nil, "": nil},
		Local:           {"infra/production": all, "": all},
		"corp/" + Local: {"infra/production": {MayView}},
	}
	for who, envs := range may {
		for env, want := range envs {
			for _, p := range append(slices.Clone(all), "everything", "") {
				err := a.Allow(a.Person(who, nil, DoorWeb), p, env)
				if (err == nil) != slices.Contains(want, p) || err != nil && !errors.Is(err, ErrDenied) {
					t.Errorf("%q may %q in %q: %v", who, p, env, err)
				}
			}
		}
	}
	for _, p := range all {
		if (Access{}).Allow(Person{Name: "corp/ann"}, p, "infra/production") == nil {
			t.Errorf("without roles, somebody may %s", p)
		}
	}
}
