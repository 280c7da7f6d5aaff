package tfplan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
		{"open", head + `{"address":"x.a","mode":"managed","change":{"actions":["forget","create"]}}]}`, `byte 119, in resource_changes[0] (x.a): actions ["forget" "create"] are not known to this version of Plumbline`},
		{"second address", head + `{"address":"x.a","mode":"data","change":{"actions":["read"]}},{"address":7}]}`, "byte 118, in resource_changes[1]: expected a string"},
		{"key of a sensitive map twice", head + `{"address":"x.a","mode":"managed","change":{"before":{"plum-key":1,"plum-key":2}}}]}`, "byte 111, in resource_changes[0] (x.a): an object has the same name twice"},
		{"escape", head + `{"address":"x.a","mode":"managed","change":{"before":"plum-\q"}}]}`, "byte 103, in resource_changes[0] (x.a): not valid JSON"},
		{"not UTF-8", head + `{"address":"x.a","mode":"managed","change":{"before":"plum-` + "\xff" + `"}}]}`, "byte 103, in resource_changes[0] (x.a): not valid JSON"},
		{"step of a path", head + `{"address":"x.a","mode":"managed","change":{"replace_paths":[["plum-",true]]}}]}`, "byte 119, in resource_changes[0] (x.a): a step in replace_paths is neither a name nor an index"},
		{"path", head + `{"address":"x.a","mode":"managed","change":{"replace_paths":["plum-"]}}]}`, "byte 112, in resource_changes[0] (x.a): replace_paths holds something other than paths"},
		{"deep", head + `{"address":"x.a","mode":"managed","change":{"before":` + strings.Repeat("[", 501) + strings.Repeat("]", 501) + `}}]}`, "byte 1099, in resource_changes[0] (x.a): a value is nested deeper than 500 levels"},
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
		p, err := Read(bytes.NewReader(doc), Options{Key: testKey, Secrets: func(string) {}, MaxAttributes: 5})
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
		Classify(again, p)
		Classify(p, again)
	})
}
