package tfplan

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/plumbline/plumbline/internal/plumbline"
)

type doc = map[string]any

// load reads a plan into plain Go values, to be changed.
func load(t *testing.T, name string) doc {
	t.Helper()
	file, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".txtar") {
		file = txtar.Parse(file).Files[0].Data
	}
	return parse(t, file)
}

func parse(t *testing.T, file []byte) doc {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(file))
	dec.UseNumber()
	var d doc
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

// encode writes a value. With a source of chance, members are in any order, numbers and strings spelled in any way, and
// blanks anywhere.
func encode(b *bytes.Buffer, v any, chance *rand.Rand) {
	blank := func() {
		if chance != nil && chance.IntN(4) == 0 {
			b.WriteString([]string{" ", "\n", "\t", "\r\n  "}[chance.IntN(4)])
		}
	}
	blank()
	defer blank()
	switch v := v.(type) {
	case doc:
		names := slices.Sorted(maps.Keys(v))
		if chance != nil {
			chance.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		}
		b.WriteByte('{')
		for i, name := range names {
			if i > 0 {
				b.WriteByte(',')
			}
			encode(b, name, chance)
			b.WriteByte(':')
			encode(b, v[name], chance)
		}
		blank()
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			encode(b, e, chance)
		}
		blank()
		b.WriteByte(']')
	case json.Number:
		s := v.String()
		if chance != nil && !strings.Contains(s, ".") {
			s += []string{"", ".0", "e0", ".00E+0"}[chance.IntN(4)]
		}
		b.WriteString(s)
	case string:
		if chance == nil || v == "" || v[0] >= 0x80 || v[0] < ' ' || chance.IntN(2) == 0 {
			b.Write(appendQuoted(nil, []byte(v)))
			return
		}
		fmt.Fprintf(b, `"\u%04x`, v[0])
		b.Write(appendQuoted(nil, []byte(v[1:]))[1:])
	default:
		s, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		b.Write(s)
	}
}

func digest(t *testing.T, d doc, chance *rand.Rand) string {
	t.Helper()
	var b bytes.Buffer
	encode(&b, d, chance)
	p, err := Read(&b, Options{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	return p.Digest
}

// variants returns other values that could stand where v does.
func variants(v any) []any {
	switch v := v.(type) {
	case string:
		return []any{v + "!", nil, doc{}, []any{}, []any{v}, true}
	case json.Number:
		return []any{"1" + v, json.Number("-1"), nil, v.String()}
	case bool:
		return []any{!v, nil, strconv.FormatBool(v)}
	case nil:
		return []any{"x", doc{}, []any{}, false}
	case doc:
		more := maps.Clone(v)
		more["another"] = nil
		return []any{more, nil, []any{}}
	case []any:
		return []any{append(slices.Clone(v), nil), nil, doc{}}
	}
	panic("not JSON")
}

// gone, set in the place of an object's member, removes it.
var gone any = new(int)

// eachValue calls f for each value inside v, v included, which the mask does not hide, with a function to replace it.
func eachValue(v, mask any, path string, set func(any), f func(path string, v any, set func(any), others []any)) {
	if mask == true {
		return
	}
	f(path, v, set, variants(v))
	switch v := v.(type) {
	case doc:
		masks, _ := mask.(doc)
		for name, inner := range v {
			set := func(n any) {
				if v[name] = n; n == gone {
					delete(v, name)
				}
			}
			eachValue(inner, masks[name], path+"."+name, set, f)
			if masks[name] != true {
				f(path+"."+name, inner, set, []any{gone})
			}
		}
	case []any:
		masks, _ := mask.([]any)
		for i, inner := range v {
			var m any
			if i < len(masks) {
				m = masks[i]
			}
			eachValue(inner, m, fmt.Sprintf("%s[%d]", path, i), func(n any) { v[i] = n }, f)
		}
	}
}

// TestDigestSeesEverything changes one thing after the other in plans that have all kinds of them.
func TestDigestSeesEverything(t *testing.T) {
	for _, name := range []string{"replace", "objects", "unknown", "sensitive", "shapes", "names", "invocation", "forget-create", "lists", "keys"} {
		t.Run(name, func(t *testing.T) {
			d := load(t, "cases/"+name+".txtar")
			base := digest(t, d, nil)
			seen := 0
			differs := func(what string) {
				t.Helper()
				seen++
				if digest(t, d, nil) == base {
					t.Errorf("%s: same digest", what)
				}
			}
			member := func(in doc, at, name string, values ...any) {
				t.Helper()
				old, there := in[name]
				for _, v := range values {
					in[name] = v
					differs(fmt.Sprintf("%s.%s = %v", at, name, v))
				}
				if in[name] = old; !there {
					delete(in, name)
				}
			}
			value := func(in doc, at, name string, mask any) {
				t.Helper()
				old := in[name]
				var edits []func()
				eachValue(old, mask, at+"."+name, func(n any) { in[name] = n }, func(path string, v any, set func(any), others []any) {
					for _, n := range others {
						edits = append(edits, func() {
							set(n)
							differs(fmt.Sprintf("%s: %v => %v", path, v, n))
							set(v)
						})
					}
				})
				for _, edit := range edits {
					edit()
				}
			}
			for i, v := range d["resource_changes"].([]any) {
				r := v.(doc)
				c := r["change"].(doc)
				at := r["address"].(string)
				if r["mode"] != "managed" || slices.Equal(c["actions"].([]any), []any{"no-op"}) && c["importing"] == nil && r["previous_address"] == nil {
					continue
				}
				member(r, at, "address", at+"x")
				member(r, at, "previous_address", "another.x")
				member(r, at, "provider_name", "registry.opentofu.org/hashicorp/aws")
				member(r, at, "deposed", "deadbeef")
				member(r, at, "action_reason", "replace_by_triggers")
				for _, a := range []any{[]any{"create"}, []any{"update"}, []any{"delete"}, []any{"forget"}, []any{"delete", "create"}, []any{"create", "delete"}} {
					if !slices.Equal(a.([]any), c["actions"].([]any)) {
						member(c, at, "actions", a)
					}
				}
				member(c, at, "importing", doc{"id": "another"}, doc{"identity": doc{"id": json.Number("1")}})
				paths, _ := c["replace_paths"].([]any)
				member(c, at, "replace_paths", append(slices.Clone(paths), []any{"another"}), append(slices.Clone(paths), []any{"nodes", json.Number("7")}))
				if len(paths) > 0 {
					member(c, at, "replace_paths", paths[1:])
				}
				member(c, at, "after_unknown", doc{"another": true})
				value(c, at, "before", nil)
				value(c, at, "after", c["after_unknown"])

				list := d["resource_changes"].([]any)
				d["resource_changes"] = slices.Concat(list[:i], list[i+1:])
				differs(at + " left out")
				d["resource_changes"] = list
			}
			invocations, _ := d["action_invocations"].([]any)
			for i, v := range invocations {
				c := v.(doc)
				at := fmt.Sprintf("%s %d", c["address"], i)
				member(c, at, "address", at+"x")
				member(c, at, "provider_name", "registry.opentofu.org/hashicorp/aws")
				member(c, at, "invoke_action_trigger", doc{"another": true})
				value(c, at, "lifecycle_action_trigger", nil)
				if c["config_values"] != nil {
					value(c, at, "config_values", nil)
					member(c, at, "config_unknown", doc{"another": true})
				}
				d["action_invocations"] = slices.Concat(invocations[:i], invocations[i+1:])
				differs(at + " left out")
				d["action_invocations"] = slices.Concat(invocations, invocations[i:i+1])
				differs(at + " twice")
				d["action_invocations"] = invocations
			}
			outputs, _ := d["output_changes"].(doc)
			for name, v := range outputs {
				c := v.(doc)
				if slices.Equal(c["actions"].([]any), []any{"no-op"}) {
					continue
				}
				for _, a := range []any{[]any{"create"}, []any{"update"}, []any{"delete"}} {
					if !slices.Equal(a.([]any), c["actions"].([]any)) {
						member(c, name, "actions", a)
					}
				}
				value(c, name, "before", nil)
				if c["after_unknown"] != true {
					value(c, name, "after", c["after_unknown"])
					member(c, name, "after_unknown", true)
				}
				delete(outputs, name)
				differs("output " + name + " left out")
				outputs[name+"x"] = c
				differs("output " + name + " renamed")
				delete(outputs, name+"x")
				outputs[name] = c
			}
			if digest(t, d, nil) != base {
				t.Fatal("the test did not undo what it did")
			}
			t.Logf("%d changes", seen)
		})
	}
}

// TestDigestIgnoresTheRest spells and orders plans in other ways, and changes what the digest is not about.
func TestDigestIgnoresTheRest(t *testing.T) {
	for _, name := range []string{
		"cases/replace.txtar", "cases/objects.txtar", "cases/unknown.txtar", "cases/sensitive.txtar", "cases/shapes.txtar", "cases/names.txtar",
		"cases/invocation.txtar", "cases/lists.txtar", "cases/deferred.txtar",
		"real/5-both-same-resource.json", "real/0-create.json", "real/12-import.json",
	} {
		t.Run(name, func(t *testing.T) {
			d := load(t, name)
			base := digest(t, d, nil)
			for seed := range uint64(50) {
				chance := rand.New(rand.NewPCG(seed, 1))
				list := d["resource_changes"].([]any)
				chance.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
				invocations, _ := d["action_invocations"].([]any)
				chance.Shuffle(len(invocations), func(i, j int) { invocations[i], invocations[j] = invocations[j], invocations[i] })
				for _, v := range list {
					if paths, ok := v.(doc)["change"].(doc)["replace_paths"].([]any); ok {
						chance.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
					}
				}
				if got := digest(t, d, chance); got != base {
					t.Fatalf("order or spelling, seed %d: another digest", seed)
				}
			}
			for name, v := range map[string]any{
				"timestamp": "2030-01-01T00:00:00Z", "terraform_version": "1.99.0", "variables": doc{"x": doc{"value": "y"}},
				"prior_state": nil, "relevant_attributes": []any{doc{}}, "checks": []any{}, "resource_drift": []any{}, "applyable": false,
				"configuration": doc{}, "planned_values": doc{}, "a_later_field": doc{"x": []any{}}, "complete": false,
				"deferred_changes": []any{}, "deferred_action_invocations": nil,
			} {
				d[name] = v
			}
			for _, v := range d["resource_changes"].([]any) {
				r := v.(doc)
				c := r["change"].(doc)
				r["a_later_field"] = "x"
				c["generated_config"] = "x"
				before, isObject := c["before"].(doc)
				after, both := c["after"].(doc)
				if isObject && both && c["before_sensitive"] != true && c["after_sensitive"] != true {
					before["unchanged"], after["unchanged"] = doc{"a": []any{"b"}}, doc{"a": []any{"b"}}
				}
				if r["mode"] == "data" || slices.Equal(c["actions"].([]any), []any{"no-op"}) && isObject && both {
					before, after := doc{"other": "x"}, doc{"other": "x"}
					c["before"], c["after"] = before, after
				}
			}
			if got := digest(t, d, nil); got != base {
				t.Error("another digest for what is no change")
			}
		})
	}
}

// TestDigestKey shows that the key matters where something is sensitive, and nowhere else.
func TestDigestKey(t *testing.T) {
	for name, matters := range map[string]bool{"cases/sensitive.txtar": true, "cases/replace.txtar": false} {
		var b bytes.Buffer
		encode(&b, load(t, name), nil)
		var digests []string
		for _, key := range []string{"one", "two"} {
			p, err := Read(bytes.NewReader(b.Bytes()), Options{Key: []byte(key)})
			if err != nil {
				t.Fatal(err)
			}
			if p.Keyed != matters {
				t.Errorf("%s: keyed %t", name, p.Keyed)
			}
			digests = append(digests, p.Digest)
		}
		if (digests[0] != digests[1]) != matters {
			t.Errorf("%s: %v", name, digests)
		}
	}
}

// TestDigestWithoutKey shows that a digest without a key reveals nothing: it is another each time, unless nothing is sensitive.
func TestDigestWithoutKey(t *testing.T) {
	for name, keyed := range map[string]bool{"cases/sensitive.txtar": true, "cases/invocation.txtar": true, "cases/replace.txtar": false} {
		var b bytes.Buffer
		encode(&b, load(t, name), nil)
		var plans []plumbline.Plan
		for range 2 {
			p, err := Read(bytes.NewReader(b.Bytes()), Options{})
			if err != nil {
				t.Fatal(err)
			}
			plans = append(plans, p)
		}
		if plans[0].Keyed != keyed || (plans[0].Digest != plans[1].Digest) != keyed {
			t.Errorf("%s: keyed %t, digests %s and %s", name, plans[0].Keyed, plans[0].Digest, plans[1].Digest)
		}
	}
}

// TestDigestEncoding computes one digest by the words of the package comment.
func TestDigestEncoding(t *testing.T) {
	const in = `{"format_version":"1.2","resource_changes":[{"address":"x.a","mode":"managed","type":"x","provider_name":"registry.terraform.io/a/x",
		"change":{"actions":["delete","create"],"before":{"id":"1","n":1500,"s":"old","l":[]},"after":{"n":0.25,"s":"new","l":[null]},
		"after_unknown":{"id":true},"before_sensitive":{"s":true},"after_sensitive":{},"replace_paths":[["n"]]},"action_reason":"replace_because_cannot_update"}],
		"output_changes":{"o":{"actions":["create"],"before":null,"after":{"b":1,"a":true},"after_unknown":false},
		"p":{"actions":["create"],"before":null,"after_unknown":true,"after_sensitive":true}},
		"action_invocations":[{"address":"action.x.b","type":"x","name":"b","provider_name":"registry.terraform.io/a/x","config_values":{"n":2},
		"config_sensitive":{},"config_unknown":{"id":true},"lifecycle_action_trigger":{"triggering_resource_address":"x.a","action_trigger_block_index":0}}]}`
	mac := func(s string) string { return string(hmacSum(s)) }
	change := "3:x.a0:0:25:registry.terraform.io/a/x2;6:delete6:create29:replace_because_cannot_update0:1:11;1:n" +
		"2:id=3:\"1\"?" + "4:l[0]-=4:null" + "1:n=4:15e2=5:25e-2" + "1:s*" + mac(`"old"`) + "#" + mac(`"new"`)
	output := "1:o1;6:create" + "=4:null" + "=18:{\"a\":true,\"b\":1e0}"
	later := "1:p1;6:create" + "=4:null" + "?*"
	invocation := "10:action.x.b25:registry.terraform.io/a/x" +
		"68:{\"action_trigger_block_index\":0,\"triggering_resource_address\":\"x.a\"}0:" + "0:-{" + "2:id-?" + "1:n-=3:2e0"
	want := hexSum("plumbline plan 2\n" + "1;" + sum(change) + "2;" + sum(output) + sum(later) + "1;" + sum(invocation))
	p, err := Read(strings.NewReader(in), Options{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	compare(t, want, p.Digest)
}

// TestDigestOfMarks shows that what is not known yet and will be sensitive differs from what will not.
func TestDigestOfMarks(t *testing.T) {
	for _, format := range []string{
		`{"format_version":"1.2","output_changes":{"o":{"actions":["create"],"before":null,"after_unknown":true,"after_sensitive":%t}}}`,
		`{"format_version":"1.2","resource_changes":[{"address":"x.a","mode":"managed","type":"x","change":{"actions":["create"],"before":null,
		"after":{},"after_unknown":{"a":true},"after_sensitive":{"a":%t}}}]}`,
	} {
		open, marked := digest(t, parse(t, fmt.Appendf(nil, format, false)), nil), digest(t, parse(t, fmt.Appendf(nil, format, true)), nil)
		if open == marked {
			t.Errorf("one digest for both: %s", format)
		}
	}
}

// TestDigestOfObjects has the same change of objects with different ids.
func TestDigestOfObjects(t *testing.T) {
	for _, test := range []struct {
		actions, after, unknown, sensitive string
		differs                            bool
	}{
		{`"update"`, `{"id":%q,"n":2}`, `{}`, `{}`, true},
		{`"update"`, `{"id":%q,"n":2}`, `{}`, `{"id":true}`, false},
		{`"update"`, `{"id":%q,"n":2}`, `{}`, `{"id":false,"n":true}`, true},
		{`"delete"`, `null`, `{}`, `{}`, true},
		{`"delete","create"`, `{"n":2}`, `{"id":true}`, `{}`, true},
		{`"forget"`, `null`, `{}`, `{}`, true},
		{`"no-op"`, `{"id":%q,"n":1}`, `{}`, `{}`, false},
	} {
		of := func(id string) string {
			after := test.after
			if strings.Contains(after, "%q") {
				after = fmt.Sprintf(after, id)
			}
			return digest(t, parse(t, fmt.Appendf(nil, `{"format_version":"1.2","resource_changes":[{"address":"x.a","previous_address":"x.b","mode":"managed","type":"x",
			"change":{"actions":[%s],"before":{"id":%q,"n":1},"after":%s,"after_unknown":%s,"before_sensitive":%s,"after_sensitive":%[5]s}}]}`,
				test.actions, id, after, test.unknown, test.sensitive)), nil)
		}
		if (of("i-1") != of("i-2")) != test.differs {
			t.Errorf("%s, sensitive %s: the digests differ: %t", test.actions, test.sensitive, !test.differs)
		}
	}
}

func hmacSum(s string) []byte {
	m := hmac.New(sha256.New, testKey)
	m.Write([]byte(s))
	return m.Sum(nil)
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return string(h[:])
}

func hexSum(s string) string { return hex.EncodeToString([]byte(sum(s))) }
