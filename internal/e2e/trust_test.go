package e2e

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// session is what AWS knows of somebody who asks for a role.
type session struct {
	caller string
	name   string // of the session
	id     string // external; "": none is given
	tags   map[string]string
}

// trusts asks the trust policies of the two roles for the sessions that Plumbline opens, and for others.
func trusts(t *testing.T, plan, apply string) {
	t.Helper()
	ours := func(kind plumbline.Kind) session {
		return session{
			caller: "arn:aws:iam::444455556666:role/plumbline-task", name: "plumbline-run-9812", id: "plumbline-6f1d0c",
			tags: map[string]string{"repository": "infra", "environment": "production", "stack": "live/net", "commit": "8f31c2d", "kind": string(kind)},
		}
	}
	for kind, may := range map[plumbline.Kind]bool{plumbline.KindProposal: false, plumbline.KindDrift: false, plumbline.KindDeploy: true, plumbline.KindDestroy: true} {
		if !trusted(t, plan, ours(kind)) {
			t.Errorf("a run of the kind %s does not get the plan role", kind)
		}
		if trusted(t, apply, ours(kind)) != may {
			t.Errorf("a run of the kind %s gets the apply role: %v, want %v", kind, !may, may)
		}
	}
	who := ours(plumbline.KindDrift)
	who.name, who.tags = "plumbline-who", nil
	if !trusted(t, plan, who) || trusted(t, apply, who) {
		t.Error("who asks CloudTrail does not get the plan role, or gets the apply role")
	}
	who.name = "plumbline-who-else"
	if trusted(t, plan, who) {
		t.Error("a session of another name gets the plan role without tags")
	}
	for what, change := range map[string]func(*session){
		"another role":               func(s *session) { s.caller = "arn:aws:iam::444455556666:role/somebody" },
		"a person":                   func(s *session) { s.name = "ann" },
		"a wrong external ID":        func(s *session) { s.id = "plumbline" },
		"no external ID":             func(s *session) { s.id = "" },
		"a run of another branch":    func(s *session) { s.tags["environment"] = "staging" },
		"a run of another project":   func(s *session) { s.tags["repository"] = "other" },
		"a session without a commit": func(s *session) { delete(s.tags, "commit") },
		"a session without a kind":   func(s *session) { delete(s.tags, "kind") },
		"a session without tags":     func(s *session) { s.tags = nil },
		"a tag of somebody's own":    func(s *session) { s.tags["team"] = "red" },
	} {
		s := ours(plumbline.KindDeploy)
		change(&s)
		for role, document := range map[string]string{"plan": plan, "apply": apply} {
			if trusted(t, document, s) {
				t.Errorf("%s gets the %s role", what, role)
			}
		}
	}
}

// trusted evaluates a trust policy as AWS documents it, as far as ours go: a session with tags needs both rights. Whatever it does not know fails the
// test.
func trusted(t *testing.T, role string, s session) bool {
	t.Helper()
	var object struct {
		Policy string `json:"assume_role_policy"`
	}
	var policy struct {
		Statement []struct {
			Effect    string
			Principal map[string]texts
			Action    texts
			Condition map[string]map[string]texts
		}
	}
	if err := json.Unmarshal([]byte(role), &object); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(object.Policy), &policy); err != nil {
		t.Fatal(err)
	}
	known := map[string]texts{"sts:RoleSessionName": {s.name}}
	if s.id != "" {
		known["sts:ExternalId"] = texts{s.id}
	}
	for k, v := range s.tags {
		known["aws:RequestTag/"+k] = texts{v}
	}
	if len(s.tags) > 0 {
		known["aws:TagKeys"] = slices.Sorted(maps.Keys(s.tags))
	}
	needed := []string{"sts:AssumeRole"}
	if len(s.tags) > 0 {
		needed = append(needed, "sts:TagSession")
	}
	for _, action := range needed {
		allowed := false
		for _, st := range policy.Statement {
			if st.Effect != "Allow" {
				t.Fatalf("a statement that has the effect %q", st.Effect)
			}
			allowed = allowed || slices.Contains(st.Action, action) && slices.Contains(st.Principal["AWS"], s.caller) && holds(t, st.Condition, known)
		}
		if !allowed {
			return false
		}
	}
	return true
}

// holds reports whether all conditions hold.
func holds(t *testing.T, conditions map[string]map[string]texts, known map[string]texts) bool {
	t.Helper()
	for operator, keys := range conditions {
		operator, all := strings.CutPrefix(operator, "ForAllValues:")
		for key, wanted := range keys {
			fits := func(value string) bool {
				switch operator {
				case "StringEquals":
					return slices.Contains(wanted, value)
				case "StringLike":
					return slices.ContainsFunc(wanted, func(pattern string) bool {
						// Slashes mean nothing in AWS's patterns, and something in path's.
						ok, err := path.Match(strings.ReplaceAll(pattern, "/", "|"), strings.ReplaceAll(value, "/", "|"))
						if err != nil {
							t.Fatal(err)
						}
						return ok
					})
				}
				t.Fatalf("the operator %q is not known here", operator)
				return false
			}
			values := known[key]
			switch {
			case len(values) == 0 && !all: // AWS: without the key the condition does not hold
				return false
			case slices.ContainsFunc(values, func(v string) bool { return !fits(v) }):
				return false
			}
		}
	}
	return true
}

// texts is one text or a list of them, as policies have it.
type texts []string

// UnmarshalJSON reads either.
func (x *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*x = texts{one}
		return nil
	}
	var list []string
	err := json.Unmarshal(b, &list)
	*x = list
	return err
}
