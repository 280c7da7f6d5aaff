package tfplan

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestErrors(t *testing.T) {
	const head = `{"format_version":"1.2","resource_changes":[`
	for _, test := range []struct{ name, in, want string }{
		{"empty", "", "byte 0, in the plan: the input ends too early: unexpected EOF"},
		{"text", "Error: no plan", "byte 0, in the plan: not valid JSON"},
		{"list", "[]", "byte 0, in the plan: expected an object"},
		{"null", "null", "byte 4, in the plan: no format_version; expected the output of `terraform show -json PLANFILE`"},
		{"event stream", `{"@level":"info"}` + "\n" + `{"@level":"info"}`, "byte 17, in the plan: no format_version; expected the output of `terraform show -json PLANFILE`"},
		{"two plans", `{"format_version":"1.2"}{"format_version":"1.2"}`, "byte 25, in the plan: something follows its end"},
		{"garbage at the end", `{"format_version":"1.2"}plum-`, "byte 24, in the plan: not valid JSON"},
		{"version is a number", `{"format_version":1}`, "byte 19, in format_version: expected a string"},
		{"version is not given", `{"format_version":null}`, `byte 22, in format_version: version ""; Plumbline reads 1.x`},
		{"section twice", `{"format_version":"1.2","format_version":"1.2"}`, "byte 24, in the plan: an object has the same name twice"},
		{"changes are an object", `{"format_version":"1.2","resource_changes":{}}`, "byte 42, in resource_changes: expected an array"},
		{"change is a string", head + `"plum-"]}`, "byte 44, in resource_changes[0]: expected an object"},
		{"no address", head + `{"mode":"managed","change":{"actions":["no-op"]}}]}`, "byte 93, in resource_changes[0]: no address"},
		{"no mode", head + `{"address":"x.a","change":{"actions":["no-op"]}}]}`, "byte 92, in resource_changes[0] (x.a): no mode"},
		{"no change", head + `{"address":"x.a","mode":"managed"}]}`, "byte 78, in resource_changes[0] (x.a): no actions"},
		{"actions are a string", head + `{"address":"x.a","mode":"managed","change":{"actions":"create"}}]}`, "byte 97, in resource_changes[0] (x.a): expected an array"},
		{"action is a number", head + `{"address":"x.a","mode":"managed","change":{"actions":[1]}}]}`, "byte 100, in resource_changes[0] (x.a): expected a string"},
		{"read", head + `{"address":"x.a","mode":"managed","change":{"actions":["read"]}}]}`, "byte 108, in resource_changes[0] (x.a): a managed resource cannot be read only"},
		{"open", head + `{"address":"x.a","mode":"managed","change":{"actions":["forget","delete"]}}]}`, `byte 119, in resource_changes[0] (x.a): actions ["forget" "delete"] are not known to this version of Plumbline`},
		{"second address", head + `{"address":"x.a","mode":"data","change":{"actions":["read"]}},{"address":7}]}`, "byte 118, in resource_changes[1]: expected a string"},
		{"key of a sensitive map twice", head + `{"address":"x.a","mode":"managed","change":{"before":{"plum-key":1,"plum-key":2}}}]}`, "byte 111, in resource_changes[0] (x.a): an object has the same name twice"},
		{"escape", head + `{"address":"x.a","mode":"managed","change":{"before":"plum-\q"}}]}`, "byte 103, in resource_changes[0] (x.a): not valid JSON"},
		{"not UTF-8", head + `{"address":"x.a","mode":"managed","change":{"before":"plum-` + "\xff" + `"}}]}`, "byte 103, in resource_changes[0] (x.a): not valid JSON"},
		{"step of a path", head + `{"address":"x.a","mode":"managed","change":{"replace_paths":[["plum-",true]]}}]}`, "byte 119, in resource_changes[0] (x.a): a step in replace_paths is neither a name nor an index"},
		{"path", head + `{"address":"x.a","mode":"managed","change":{"replace_paths":["plum-"]}}]}`, "byte 112, in resource_changes[0] (x.a): replace_paths holds something other than paths"},
		{"deep", head + `{"address":"x.a","mode":"managed","change":{"before":` + strings.Repeat("[", 501) + strings.Repeat("]", 501) + `}}]}`, "byte 1099, in resource_changes[0] (x.a): a value is nested deeper than 500 levels"},
		{"action", `{"format_version":"1.2","action_invocations":[{"type":"plum"}]}`, "byte 61, in action_invocations[0]: no address"},
		{"deferred", `{"format_version":"1.2","deferred_changes":[{"reason":"plum"}]}`, "byte 61, in deferred_changes[0]: no resource_change"},
		{"deferred resource", `{"format_version":"1.2","deferred_changes":[{"resource_change":{"address":"x.a"}}]}`, "byte 80, in deferred_changes[0] (x.a): no mode"},
		{"deferred action", `{"format_version":"1.2","deferred_action_invocations":[{"action_invocation":null}]}`, "byte 80, in deferred_action_invocations[0]: no address"},
		{"no deferred action", `{"format_version":"1.2","deferred_action_invocations":[{}]}`, "byte 57, in deferred_action_invocations[0]: no action_invocation"},
		{"check", `{"format_version":"1.2","checks":[{"address":"plum"}]}`, "byte 44, in checks[0]: expected an object"},
		{"variable", `{"format_version":"1.2","variables":{"plum":[]}}`, "byte 43, in variables: expected an object"},
		{"output", `{"format_version":"1.2","output_changes":{"o":{"actions":["plum"]}}}`, `byte 66, in output_changes (o): actions ["plum"] are not known to this version of Plumbline`},
		{"prior state", `{"format_version":"1.2","prior_state":{"values":[]}}`, "byte 47, in prior_state: expected an object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := Read(strings.NewReader(test.in), Options{})
			if err == nil {
				t.Fatalf("no error, but %+v", p)
			}
			noSecret(t, err.Error())
			compare(t, "plan JSON, "+test.want, err.Error())
		})
	}
}

// TestCutShort cuts a plan after every byte.
func TestCutShort(t *testing.T) {
	doc, err := os.ReadFile("testdata/real/5-both-same-resource.json")
	if err != nil {
		t.Fatal(err)
	}
	doc = bytes.TrimSpace(doc)
	for n := range doc {
		_, err := Read(bytes.NewReader(doc[:n]), Options{})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		noSecret(t, err.Error())
	}
}

// TestReaderFails shows that the error of the input gets through, and that reading in small pieces changes nothing.
func TestReaderFails(t *testing.T) {
	doc, err := os.ReadFile("testdata/real/5-both-same-resource.json")
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("terraform show: exit status 1")
	_, err = Read(io.MultiReader(bytes.NewReader(doc[:3000]), iotest.ErrReader(broken)), Options{})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "in resource_changes[1] (fsx_file.b): terraform show") {
		t.Errorf("got %v", err)
	}
	whole, err := Read(bytes.NewReader(doc), Options{})
	if err != nil {
		t.Fatal(err)
	}
	pieces, err := Read(iotest.OneByteReader(bytes.NewReader(doc)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	compare(t, dump(whole), dump(pieces))
}

func TestMaxAttributes(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(`{"format_version":"1.2","resource_changes":[`)
	actions := []string{`["create"]`, `["update"]`, `["delete"]`, `["delete","create"]`, `["update"]`}
	for i, a := range actions {
		if i > 0 {
			doc.WriteByte(',')
		}
		before, after := `{"a":1,"b":{"c":2},"d":null}`, `{"a":2,"b":{"c":3}}`
		switch a {
		case `["create"]`:
			before = "null"
		case `["delete"]`:
			after = "null"
		}
		fmt.Fprintf(&doc, `{"address":"x.%d","mode":"managed","type":"x","change":{"actions":%s,"before":%s,"after":%s}}`, i, a, before, after)
	}
	doc.WriteString(`]}`)
	kept := func(most int) (string, plumbline.Plan) {
		p, err := Read(strings.NewReader(doc.String()), Options{MaxAttributes: most})
		if err != nil {
			t.Fatal(err)
		}
		var counts []string
		for _, c := range p.Changes {
			counts = append(counts, fmt.Sprint(len(c.Attributes)))
		}
		return strings.Join(counts, " "), p
	}
	all, whole := kept(0)
	if all != "2 2 2 2 2" || whole.Truncated {
		t.Errorf("by default: %s, truncated %t", all, whole.Truncated)
	}
	for most, want := range map[int]string{
		10: "2 2 2 2 2", 9: "1 2 2 2 2", 8: "0 2 2 2 2", 7: "0 2 2 2 1", 5: "0 1 2 2 0", 4: "0 0 2 2 0", 1: "0 0 1 0 0", -1: "0 0 0 0 0",
	} {
		got, p := kept(most)
		if got != want || p.Truncated != (most < 10) {
			t.Errorf("%d at most: got %s, truncated %t; want %s", most, got, p.Truncated, want)
		}
		if p.Digest != whole.Digest || p.Summary != whole.Summary {
			t.Errorf("%d at most: digest or summary differ", most)
		}
	}
}

// TestMaxBytes bounds the bytes that are kept, not only the number of attributes. No value is cut.
func TestMaxBytes(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(`{"format_version":"1.2","resource_changes":[`)
	actions := []string{`["create"]`, `["update"]`, `["delete","create"]`}
	for i, a := range actions {
		if i > 0 {
			doc.WriteByte(',')
		}
		fmt.Fprintf(&doc, `{"address":"x.%d","mode":"managed","type":"x","change":{"actions":%s,"before":{"a":"","b":""},"after":{"a":"%0999d","b":"%01999d"}}}`, i, a, i, i)
	}
	fmt.Fprintf(&doc, `],"output_changes":{"a":{"actions":["update"],"before":"%0999d","after":"%01999d"},"b":{"actions":["create"],"before":null,"after":"%0999d"}},`, 1, 1, 1)
	fmt.Fprintf(&doc, `"checks":[{"address":{"to_display":"check.c"},"status":"fail","instances":[{"address":{"to_display":"check.c"},"status":"fail","problems":[{"message":"%0999d"},{"message":"%01999d"}]}]}]}`, 1, 1)
	var whole plumbline.Plan
	for _, test := range []struct {
		most int
		want string
	}{
		{0, "2 2 2, outputs 1001 2001 1001, problems 2"},
		{-1, "0 0 0, outputs 31 31 31, problems 0"},
		{1 << 20, "2 2 2, outputs 1001 2001 1001, problems 2"},
		{9024, "2 2 2, outputs 1001 2001 1001, problems 2"},
		{9023, "1 2 2, outputs 1001 2001 1001, problems 2"},
		{4012, "0 1 2, outputs 1001 2001 1001, problems 2"},
		{3005, "0 0 1, outputs 1001 2001 31, problems 2"},
		{2500, "0 0 1, outputs 1001 31 31, problems 1"},
		{10, "0 0 0, outputs 31 31 31, problems 0"},
	} {
		p, err := Read(strings.NewReader(doc.String()), Options{Key: testKey, MaxBytes: test.most})
		if err != nil {
			t.Fatal(err)
		}
		var counts []string
		for _, c := range p.Changes {
			counts = append(counts, fmt.Sprint(len(c.Attributes)))
		}
		got := fmt.Sprintf("%s, outputs %d %d %d, problems %d", strings.Join(counts, " "),
			len(p.Outputs[0].Before), len(p.Outputs[0].After), len(p.Outputs[1].After), len(p.Checks[0].Problems))
		if got != test.want {
			t.Errorf("%d bytes: got %s, want %s", test.most, got, test.want)
		}
		if test.most == 0 {
			whole = p
		}
		if p.Truncated != (test.want != "2 2 2, outputs 1001 2001 1001, problems 2") {
			t.Errorf("%d bytes: truncated %t", test.most, p.Truncated)
		}
		if p.Digest != whole.Digest {
			t.Errorf("%d bytes: another digest", test.most)
		}
	}
}

// TestKeptInAnyOrder shows that what is kept does not depend on the order in which changes come.
func TestKeptInAnyOrder(t *testing.T) {
	for seed := range uint64(300) {
		chance := rand.New(rand.NewPCG(seed, 5))
		var changes []any
		for i := range 30 {
			before, after := doc{}, doc{}
			for k := range chance.IntN(6) {
				before[fmt.Sprint("k", k)], after[fmt.Sprint("k", k)] = "", strings.Repeat("x", chance.IntN(100))
			}
			before["l"], after["l"] = []any{"a", "b", "c"}, []any{"b", doc{"d": "e"}, "c", "f"}[chance.IntN(4):] // told by what they hold
			actions := [][]any{{"create"}, {"update"}, {"delete"}, {"delete", "create"}, {"forget"}, {"no-op"}}[chance.IntN(6)]
			changes = append(changes, doc{"address": fmt.Sprintf("x.%02d", i), "mode": "managed", "type": "x", "change": doc{"actions": actions, "before": before, "after": after}})
		}
		o := Options{Key: testKey, MaxAttributes: 1 + chance.IntN(40), MaxBytes: 1 + chance.IntN(3000)}
		var first string
		for range 5 {
			chance.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
			deferred := []any{}
			for _, c := range changes {
				deferred = append(deferred, doc{"reason": "x", "resource_change": c})
			}
			var b bytes.Buffer
			encode(&b, doc{"format_version": "1.2", "resource_changes": changes, "resource_drift": changes, "deferred_changes": deferred}, nil)
			in := b.Bytes()
			p, err := Read(bytes.NewReader(in), o)
			if err != nil {
				t.Fatal(err)
			}
			bounded(t, p, o.MaxAttributes, o.MaxBytes)
			all, err := Read(bytes.NewReader(in), Options{Key: testKey})
			if err != nil {
				t.Fatal(err)
			}
			nothingLost(t, all, p)
			if first == "" {
				first = dump(p)
			}
			compare(t, first, dump(p))
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestTooLong has values that are not kept, among them one with a secret that nobody marked.
func TestTooLong(t *testing.T) {
	long := func(s string) string { return s + strings.Repeat("x", maxValue) }
	doc := fmt.Sprintf(`{"format_version":"1.2","resource_changes":[{"address":"x.a","mode":"managed","type":"x","change":{"actions":["update"],
		"before":{"a":%q,"b":%q,"u":[%q],"p":"short","s":%q},"after":{"a":%q,"b":"short","p":%q,"s":%q},
		"after_unknown":{"u":true},"before_sensitive":{"s":true},"after_sensitive":{"s":true}}}],
		"output_changes":{"o":{"actions":["create"],"before":null,"after":{"v":%q}}}}`,
		long("plum-1"), long("plum-2"), long("plum-3"), long("plum-4"), long("plum-5"), strings.Repeat("y", maxValue-2), long("plum-6"), long("plum-7"))
	read := func(key string) plumbline.Plan {
		t.Helper()
		p, err := Read(strings.NewReader(doc), Options{Key: []byte(key)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := read(string(testKey))
	text := dump(p)
	noSecret(t, text)
	hash := func(value string) string { return hex.EncodeToString(hmacSum(value))[:12] }
	quoted := func(s string) string { return `"` + long(s) + `"` }
	want := map[string][2]string{
		"a": {plumbline.TooLong(maxValue+8, hash(quoted("plum-1"))), plumbline.TooLong(maxValue+8, hash(quoted("plum-5")))},
		"b": {plumbline.TooLong(maxValue+8, hash(quoted("plum-2"))), `"short"`},
		"p": {`"short"`, `"` + strings.Repeat("y", maxValue-2) + `"`},
		"s": {plumbline.Masked, plumbline.Masked},
		"u": {plumbline.TooLong(maxValue+10, hash("["+quoted("plum-3")+"]")), ""},
	}
	for _, a := range p.Changes[0].Attributes {
		if got := [2]string{a.Before, a.After}; got != want[a.Path] {
			t.Errorf("%s: got %.100q, want %.100q", a.Path, got, want[a.Path])
		}
		delete(want, a.Path)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	if got, want := p.Outputs[0].After, plumbline.TooLong(maxValue+14, hash(`{"v":`+quoted("plum-7")+`}`)); got != want {
		t.Errorf("output: got %s, want %s", got, want)
	}
	if p.Truncated {
		t.Error("truncated, though each value stands there with its hash")
	}
	one, another := dump(read("")), dump(read("")) // without a key, no two are the same
	if dump(read("another key")) == text || one == another {
		t.Error("a hash that does not depend on the key lets anyone check what the value is")
	}
}

// TestTooManyOutputs shows that the first by name are kept, in whatever order they come, and that all of them count.
func TestTooManyOutputs(t *testing.T) {
	const n = 25
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("o%02d", i)
	}
	for seed := range uint64(20) {
		rand.New(rand.NewPCG(seed, 6)).Shuffle(n, func(i, j int) { names[i], names[j] = names[j], names[i] })
		var doc strings.Builder
		for i, name := range names {
			if i > 0 {
				doc.WriteByte(',')
			}
			fmt.Fprintf(&doc, `%q:{"actions":["create"],"before":null,"after":%q}`, name, name)
		}
		in := `{"format_version":"1.2","output_changes":{` + doc.String() + `}}`
		all, err := Read(strings.NewReader(in), Options{})
		if err != nil || all.Truncated || len(all.Outputs) != n {
			t.Fatalf("all: %d outputs, truncated %t, %v", len(all.Outputs), all.Truncated, err)
		}
		for most, want := range map[int]int{-1: 1, 1: 1, 7: 7, n - 1: n - 1, n: n} {
			p, err := Read(strings.NewReader(in), Options{MaxAttributes: most})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(p.Outputs, all.Outputs[:want]) || p.Truncated != (want < n) {
				t.Errorf("%d at most: %v, truncated %t", most, p.Outputs, p.Truncated)
			}
			if p.Summary.Output != n || p.Digest != all.Digest || !p.HasChanges() {
				t.Errorf("%d at most: %d counted, digest %s, not %s", most, p.Summary.Output, p.Digest, all.Digest)
			}
		}
	}
}

func TestTooManyChecks(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(`{"format_version":"1.2","checks":[{"address":{"to_display":"check.c"},"status":"fail","instances":[`)
	for i := range maxChecks + 5 {
		if i > 0 {
			doc.WriteByte(',')
		}
		fmt.Fprintf(&doc, `{"address":{"to_display":"check.c[%d]"},"status":"fail"}`, i)
	}
	doc.WriteString(`]},{"address":{"to_display":"check.d"},"status":"error"}]}`)
	p, err := Read(strings.NewReader(doc.String()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Checks) != maxChecks+2 || p.Truncated {
		t.Fatalf("%d checks, truncated %t", len(p.Checks), p.Truncated)
	}
	if last := p.Checks[maxChecks+1]; last.Address != "(5 more)" || last.Status != plumbline.CheckFailed {
		t.Errorf("those that are left out: %+v", last)
	}
}

func TestCanonicalNumbers(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "0.00": "0", "0e5": "0", "1": "1e0", "-1": "-1e0", "10": "1e1", "1e1": "1e1", "1.0": "1e0", "100e-2": "1e0",
		"0.25": "25e-2", "2.50E+3": "25e2", "-0.001": "-1e-3", "12345678901234567890123": "12345678901234567890123e0",
		"1e99999999999999999999": "1e99999999999999999999",
	} {
		if got := string(appendNumber(nil, []byte(in))); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, pattern := range []string{"testdata/real/*.json", "testdata/cases/*.txtar"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds: %v", err)
		}
		for _, file := range files {
			doc, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			if filepath.Ext(file) == ".txtar" {
				doc = txtar.Parse(doc).Files[0].Data
			}
			f.Add(doc)
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		p, err := Read(bytes.NewReader(doc), Options{
			Key: testKey, Secrets: func(string) {}, SecretName: func(name string) bool { return strings.HasSuffix(name, "n") }, MaxAttributes: 5, MaxBytes: 500,
		})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "plan JSON, byte ") {
				t.Errorf("an error without a place: %v", err)
			}
			return
		}
		again, err := Read(iotest.HalfReader(bytes.NewReader(doc)), Options{Key: testKey})
		if err != nil || again.Digest != p.Digest || again.Summary != p.Summary {
			t.Errorf("read twice: %v, %v, %v", p.Summary, again.Summary, err)
		}
		for _, c := range []Circumstances{{}, {InSync: true}, {InSync: true, ByItself: true}} {
			Classify(again, p, c)
			v := Classify(p, again, c)
			MaskDifferences(v.Differences, strings.Clone)
		}
		wellFormed(t, p)
		wellFormed(t, again)
		bounded(t, p, 5, 500)
		nothingLost(t, again, p)

		text := dump(again)
		Mask(&again, strings.Clone)
		compare(t, text, dump(again))
		for _, secret := range []string{"a", "a.", "\",\"", "0", "[", "{}"} {
			Mask(&p, func(s string) string { return strings.ReplaceAll(s, secret, plumbline.Masked) })
			wellFormed(t, p)
		}
	})
}

// wellFormed checks what holds of every plan, masked or not.
func wellFormed(t *testing.T, p plumbline.Plan) {
	t.Helper()
	value := func(v string) {
		if plumbline.IsJSON(v) && !json.Valid([]byte(v)) {
			t.Errorf("neither JSON nor a word that stands for a value: %q", v)
		}
	}
	for _, c := range slices.Concat(p.Changes, p.Drift, p.Deferred) {
		for _, a := range c.Attributes {
			value(a.Before)
			value(a.After)
			if a.Whole < 0 || a.Whole > len(a.Path) || a.Whole > 0 && !within(a.Path, a.Path[:a.Whole]) {
				t.Errorf("%q: the first %d bytes are not the way to something around it", a.Path, a.Whole)
			}
		}
	}
	for _, o := range p.Outputs {
		value(o.Before)
		value(o.After)
	}
}

// nothingLost checks that a plan says of each change how many attributes are left out, compared with one that has them all.
func nothingLost(t *testing.T, all, p plumbline.Plan) {
	t.Helper()
	if all.Truncated {
		return
	}
	count := func(p plumbline.Plan) map[string]int {
		n := map[string]int{}
		for name, list := range map[string][]plumbline.Change{"change": p.Changes, "drift": p.Drift, "deferred": p.Deferred} {
			for _, c := range list {
				n[name+" "+c.Address] += len(c.Attributes) + c.Omitted
			}
		}
		return n
	}
	if want, got := count(all), count(p); !maps.Equal(want, got) {
		t.Errorf("kept and left out: %v; there are %v", got, want)
	}
}

// bounded checks that a plan keeps no more than it was told.
func bounded(t *testing.T, p plumbline.Plan, attributes, bytes int) {
	t.Helper()
	for name, list := range map[string][]plumbline.Change{"changes": p.Changes, "drift": p.Drift, "deferred": p.Deferred} {
		var used room
		for _, c := range list {
			used = used.plus(c.Attributes)
		}
		if !(room{attributes, bytes}).holds(used) {
			t.Errorf("%s: %+v kept", name, used)
		}
	}
	n := 0
	for _, c := range p.Checks {
		for _, s := range c.Problems {
			n += len(s)
		}
	}
	for _, o := range p.Outputs {
		if plumbline.IsJSON(o.Before) && plumbline.IsJSON(o.After) {
			n = max(n, len(o.Before)+len(o.After))
		}
	}
	if n > bytes {
		t.Errorf("%d bytes of problems or in one output kept", n)
	}
}
