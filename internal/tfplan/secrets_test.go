package tfplan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestPlantedSecrets makes values and masks by chance and looks for every value under a mask.
func TestPlantedSecrets(t *testing.T) {
	for seed := range uint64(500) {
		chance := rand.New(rand.NewPCG(seed, 2))
		g := planter{chance: chance}
		change := doc{"actions": []any{[]string{"update", "create", "delete", "no-op"}[chance.IntN(4)]}}
		before, after, masks := g.pair(0, false)
		change["before"], change["after"] = before, after
		change["before_sensitive"], change["after_sensitive"], change["after_unknown"] = masks[0], masks[1], masks[2]
		resource := doc{"address": "x.a", "mode": "managed", "type": "x", "change": change}
		drift := doc{"address": "x.a", "mode": "managed", "type": "x", "change": maps.Clone(change)}
		drift["change"].(doc)["actions"] = []any{"update"}
		output := maps.Clone(change)
		if len(g.hidden) > 0 {
			output["before_sensitive"], output["after_sensitive"] = true, true
		}
		invocation := doc{
			"address": "action.x.a", "type": "x", "config_values": after, "config_sensitive": union2(masks[0], masks[1]), "config_unknown": masks[2],
			"invoke_action_trigger": doc{},
		}
		var b bytes.Buffer
		encode(&b, doc{
			"format_version": "1.2", "resource_changes": []any{resource}, "resource_drift": []any{drift}, "output_changes": doc{"o": output},
			"variables":          doc{"v": doc{"value": "hidden-variable"}, "password": doc{"value": doc{"x": "hidden-named"}}},
			"action_invocations": []any{invocation}, "deferred_changes": []any{doc{"reason": "unknown", "resource_change": resource}},
			"deferred_action_invocations": []any{doc{"reason": "unknown", "action_invocation": invocation}},
			"configuration":               doc{"root_module": doc{"variables": doc{"v": doc{"sensitive": true}}}},
		}, chance)
		told := map[string]bool{}
		p, err := Read(bytes.NewReader(b.Bytes()), Options{
			Key: testKey, Secrets: func(s string) { told[s] = true }, SecretName: func(name string) bool { return name == "password" },
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("hidden-")) {
			t.Fatalf("seed %d: a sensitive value got through:\n%s\n%s", seed, b.Bytes(), text)
		}
		for _, s := range append(g.hidden, "hidden-variable", "hidden-named") {
			if !told[s] {
				t.Fatalf("seed %d: %s was not told:\n%s", seed, s, b.Bytes())
			}
		}
		for range 20 { // break it anywhere
			broken := bytes.Clone(b.Bytes())
			broken[chance.IntN(len(broken))] = `"{}[],:\x`[chance.IntN(9)]
			if _, err := Read(bytes.NewReader(broken), Options{}); err != nil && strings.Contains(err.Error(), "hidden-") {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
}

// union2 marks what either mask does.
func union2(a, b any) any {
	var x, y bytes.Buffer
	encode(&x, a, nil)
	encode(&y, b, nil)
	var v any
	if err := json.Unmarshal(appendMask(nil, union(x.Bytes(), y.Bytes())), &v); err != nil {
		panic(err)
	}
	return v
}

// TestVariablesAnyOrder has more variables than are held, and the configuration first.
func TestVariablesAnyOrder(t *testing.T) {
	variables := fmt.Sprintf(`"variables":{"big":{"value":%q},"kept":{"value":"ordinary"},"late":{"value":"hidden-late"},"bigger":{"value":[%q]}}`,
		strings.Repeat("b", maxVariables-100), strings.Repeat("c", 100))
	const configuration = `"configuration":{"root_module":{"variables":{"late":{"sensitive":true},"kept":{"sensitive":false}}}}`
	for _, sections := range []string{variables + "," + configuration, configuration + "," + variables} {
		var told []string
		_, err := Read(strings.NewReader(`{"format_version":"1.2",`+sections+`}`), Options{Secrets: func(s string) { told = append(told, s) }})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(told)
		if want := []string{strings.Repeat("c", 100), "hidden-late"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	}
}

// planter makes values. Those that a mask covers begin with "hidden-"; a value whose counterpart alone is covered is hidden
// with it, so it begins like that, too.
type planter struct {
	chance *rand.Rand
	hidden []string
	n      int
}

func (g *planter) leaf(covered bool) any {
	g.n++
	if !covered {
		return fmt.Sprintf("open-%d", g.n)
	}
	s := fmt.Sprintf("hidden-%d", g.n)
	g.hidden = append(g.hidden, s)
	return s
}

// pair makes the two values at a place, and the masks before_sensitive, after_sensitive, after_unknown.
func (g *planter) pair(depth int, covered bool) (before, after any, masks [3]any) {
	masks = [3]any{false, false, false}
	if !covered && depth > 0 && g.chance.IntN(4) == 0 {
		switch g.chance.IntN(3) {
		case 0:
			masks[0] = true
		case 1:
			masks[1] = true
		case 2:
			masks[0], masks[1] = true, true
		}
		before, after, _ = g.pair(depth, true)
		if g.chance.IntN(4) == 0 {
			masks[2] = true
		}
		return before, after, masks
	}
	if depth > 3 || depth > 0 && g.chance.IntN(3) == 0 {
		before = g.leaf(covered)
		if g.chance.IntN(5) == 0 {
			return before, before, masks
		}
		return before, g.leaf(covered), masks
	}
	if depth > 0 && g.chance.IntN(2) == 0 {
		b, a, m := []any{}, []any{}, [3][]any{{}, {}, {}}
		for range g.chance.IntN(4) {
			vb, va, vm := g.pair(depth+1, covered)
			b, a = append(b, vb), append(a, va)
			for i := range m {
				m[i] = append(m[i], vm[i])
			}
		}
		return b, a, [3]any{m[0], m[1], m[2]}
	}
	b, a, m := doc{}, doc{}, [3]doc{{}, {}, {}}
	for i := range g.chance.IntN(5) {
		name := []string{"a", "b.c", `d"`, "", "e"}[i]
		vb, va, vm := g.pair(depth+1, covered)
		b[name], a[name] = vb, va
		for i := range m {
			m[i][name] = vm[i]
		}
	}
	return b, a, [3]any{m[0], m[1], m[2]}
}

// TestMasksHideNoMore shows that what is not sensitive is still seen.
func TestMasksHideNoMore(t *testing.T) {
	p := sample(t, "5-both-same-resource")
	var masked, open int
	for _, c := range slices.Concat(p.Changes, p.Drift) {
		for _, a := range c.Attributes {
			if a.Before == plumbline.Masked || a.After == plumbline.Masked {
				masked++
			} else {
				open++
			}
		}
	}
	if masked != 0 || open != 6 {
		t.Errorf("%d attributes masked, %d open", masked, open)
	}
}
