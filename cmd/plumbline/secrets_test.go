package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/redact/redacttest"
)

type object = map[string]any

// plantedPlan is a plan in which each text stands in every section, as a value and where names and messages stand. Those that are
// configured are marked as sensitive in one place, or are the value of a sensitive variable: everywhere else, nothing marks them.
func plantedPlan(t *testing.T, secrets []redacttest.Secret) []byte {
	t.Helper()
	var changes, drift, deferred, invocations, checks []any
	outputs, variables, declared := object{}, object{}, object{}
	for i, s := range secrets {
		name := fmt.Sprintf("s%03d", i)
		if s.Configured {
			variables[name], declared[name] = object{"value": s.Value}, object{"sensitive": true}
		}
		values := object{"id": "id-" + name, "direct": s.Text, "nested": []any{object{"list": []any{"first", s.Text}, "map": object{"a b": s.Text}}}}
		for k, p := range redacttest.Places() {
			values[fmt.Sprintf("place_%02d", k)] = p.Put(s.Text)
		}
		doc, err := json.Marshal(object{"Statement": []any{object{"Sid": "x", "Value": s.Text}}})
		if err != nil {
			t.Fatal(err)
		}
		values["document"] = string(doc)
		values["yaml"] = "a:\n  b: c\n  text: |\n    " + strings.ReplaceAll(s.Text, "\n", "\n    ") + "\n"
		before := object{"id": "id-" + name, "direct": "before", "document": `{"Statement":[{"Sid":"x"}]}`, "yaml": "a:\n  b: c\n"}
		key := s.Text
		if strings.Contains(key, "\n") || len(key) > 200 {
			key = name // nothing has such a name
		}
		address := fmt.Sprintf("x_y.%s[%s]", name, strconv.Quote(key))
		change := func(actions []any, before, after any) object {
			return object{
				"address": address, "mode": "managed", "type": "x_y", "name": name, "provider_name": "registry.terraform.io/a/x",
				"change": object{"actions": actions, "before": before, "after": after, "after_unknown": object{}, "before_sensitive": object{}, "after_sensitive": object{}},
			}
		}
		switch i % 4 {
		case 0:
			changes = append(changes, change([]any{"update"}, before, values))
		case 1:
			changes = append(changes, change([]any{"create"}, nil, values))
		case 2:
			changes = append(changes, change([]any{"delete"}, values, nil))
		default:
			c := change([]any{"delete", "create"}, before, values)
			c["change"].(object)["replace_paths"] = []any{[]any{"direct"}}
			c["change"].(object)["importing"] = object{"id": key}
			c["previous_address"] = "x_y.old[" + strconv.Quote(key) + "]"
			changes = append(changes, c)
		}
		drift = append(drift, change([]any{"update"}, before, values))
		deferred = append(deferred, object{"reason": "resource_config_unknown", "resource_change": change([]any{"create"}, nil, values)})
		invocations = append(invocations, object{
			"address": "action." + address, "type": "x_run", "name": name, "config_values": object{"text": s.Text}, "config_sensitive": object{}, "config_unknown": object{},
			"lifecycle_action_trigger": object{"triggering_resource_address": address, "action_trigger_event": "AfterCreate"},
		})
		outputs[name] = object{"actions": []any{"create"}, "before": nil, "after": s.Text, "after_unknown": false, "before_sensitive": false, "after_sensitive": false}
		checks = append(checks, object{
			"address": object{"kind": "check", "name": name, "to_display": "check." + name}, "status": "fail",
			"instances": []any{object{"address": object{"to_display": "check." + name}, "status": "fail", "problems": []any{object{"message": "it said " + s.Text}}}},
		})
	}
	doc, err := json.Marshal(object{
		"format_version": "1.2", "terraform_version": "1.14.0", "variables": variables, "resource_changes": changes, "resource_drift": drift, "deferred_changes": deferred,
		"action_invocations": invocations, "output_changes": outputs, "checks": checks, "complete": false, "applyable": true, "errored": false,
		"configuration": object{"root_module": object{"variables": declared}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

var escapes = regexp.MustCompile(`\\(["\\/nt])`)

// TestPlantedSecrets plants the corpus in all places of a plan and reads every report, as it is and with its escapes undone.
func TestPlantedSecrets(t *testing.T) {
	secrets := redacttest.Secrets()
	kinds := map[string]bool{}
	earlier := filepath.Join(t.TempDir(), "earlier.json")
	if err := os.WriteFile(earlier, plantedPlan(t, secrets[:1]), 0o600); err != nil {
		t.Fatal(err)
	}
	reports := 0
	const batch = 20 // so that nothing is left out because of its size
	for len(secrets) > 0 {
		planted := secrets[:min(batch, len(secrets))]
		secrets = secrets[len(planted):]
		doc := plantedPlan(t, planted)
		page := filepath.Join(t.TempDir(), "page.html")
		for _, args := range [][]string{{}, {"--markdown", "--html", page}, {"--markdown", "--limit", "codecommit"}, {"--json"}, {"--since", earlier}, {"--since", earlier, "--json"}} {
			var out, errOut bytes.Buffer
			if code := run(t.Context(), append([]string{"report", "-"}, args...), bytes.NewReader(doc), &out, &errOut); code != exitDone {
				t.Fatalf("exit code %d: %s", code, &errOut)
			}
			texts := map[string]string{strings.Join(args[:min(2, len(args))], " "): out.String()}
			if len(args) > 2 && args[1] == "--html" {
				b, err := os.ReadFile(page)
				if err != nil {
					t.Fatal(err)
				}
				texts["page"] = string(b)
			}
			for what, text := range texts {
				reports++
				if what != "page" && !strings.Contains(text, "(sensitive)") {
					t.Errorf("%s: nothing is masked in\n%.1000s", what, text)
				}
				plain := escapes.ReplaceAllString(html.UnescapeString(text), "$1")
				again := escapes.ReplaceAllString(plain, "$1")
				for _, s := range planted {
					kinds[s.Kind] = true
					for _, r := range []string{text, plain, again} {
						if s.Shown(r) {
							t.Errorf("%s: shows %s (%s): %s", what, s.Name, s.Kind, excerpt(r, s))
							break
						}
					}
				}
			}
		}
	}
	if len(redacttest.Secrets()) < 200 || len(kinds) < 12 {
		t.Errorf("%d secrets of %d kinds", len(redacttest.Secrets()), len(kinds))
	}
	t.Logf("%d secrets of %d kinds in %d reports", len(redacttest.Secrets()), len(kinds), reports)
}

// excerpt is the line of text that shows a secret.
func excerpt(text string, s redacttest.Secret) string {
	for line := range strings.Lines(text) {
		if s.Shown(line) {
			return fmt.Sprintf("%.300s", line)
		}
	}
	return "across lines"
}

// TestOrdinaryPlan holds that a plan of ordinary texts, some of which speak of secrets, is reported as it is.
func TestOrdinaryPlan(t *testing.T) {
	values := object{}
	lines := redacttest.Ordinary()
	for i, l := range lines {
		values[fmt.Sprintf("line_%03d", i)] = l
	}
	doc, err := json.Marshal(object{"format_version": "1.2", "resource_changes": []any{object{
		"address": "x_y.z", "mode": "managed", "type": "x_y", "change": object{"actions": []any{"update"}, "before": object{}, "after": values},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Stacks []struct {
			Plan struct {
				Changes []struct {
					Attributes []struct{ Path, After string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(reported(t, "ordinary", doc, "--json")), &got); err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	for _, a := range got.Stacks[0].Plan.Changes[0].Attributes {
		shown[a.Path] = a.After
	}
	for i, l := range lines {
		if path := fmt.Sprintf("line_%03d", i); shown[path] != l {
			t.Errorf("%q is shown as %q", l, shown[path])
		}
	}
}
