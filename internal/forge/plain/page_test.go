package plain

import (
	"reflect"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestPage(t *testing.T) {
	const key, other = "0123456789ab", "ba9876543210"
	success := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess, Description: "ok"}
	for name, c := range map[string]struct {
		in   string
		want page
		out  string // "": in
	}{
		"empty":       {in: ""},
		"people only": {in: "Looks good.\n\n  -- Ann\n", want: page{text: "Looks good.\n\n  -- Ann"}},
		"all": {
			in:   "Plumbline note " + key + " of 2 lines:\na\nb\n\nStatuses:\nsuccess  plumbline  ok\n\nAnn was here.\n",
			want: page{notes: []note{{key, "a\nb"}}, statuses: []plumbline.CommitStatus{success}, text: "Ann was here."},
		},
		"people before, between and after": {
			in:   "before\nPlumbline note " + key + " of 1 lines:\na\nbetween\nStatuses:\nsuccess  plumbline  ok\nafter\n",
			want: page{notes: []note{{key, "a"}}, statuses: []plumbline.CommitStatus{success}, text: "before\n\nbetween\n\nafter"},
			out:  "Plumbline note " + key + " of 1 lines:\na\n\nStatuses:\nsuccess  plumbline  ok\n\nbefore\n\nbetween\n\nafter\n",
		},
		"a note that looks like everything": {
			in:   "Plumbline note " + key + " of 4 lines:\nStatuses:\nsuccess  x  y\n\nPlumbline note " + other + " of 9 lines:\n",
			want: page{notes: []note{{key, "Statuses:\nsuccess  x  y\n\nPlumbline note " + other + " of 9 lines:"}}},
		},
		"a note that ends in blank lines": {
			in:   "Plumbline note " + key + " of 3 lines:\na\n\n\n",
			want: page{notes: []note{{key, "a\n\n"}}},
		},
		"more lines announced than there are": {
			in:   "Plumbline note " + key + " of 4 lines:\na\nb\n",
			want: page{text: "Plumbline note " + key + " of 4 lines:\na\nb"},
		},
		"the word without statuses": {in: "Statuses:\nall fine\n", want: page{text: "Statuses:\nall fine"}},
		"the newest of a context": {
			in:   "Statuses:\npending  plumbline  wait\nerror  a  -\nsuccess  plumbline  ok\n",
			want: page{statuses: []plumbline.CommitStatus{{Context: "a", State: plumbline.ToldError}, success}},
			out:  "Statuses:\nerror  a  -\nsuccess  plumbline  ok\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := parsePage([]byte(c.in))
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("read as %+v\nwant %+v", got, c.want)
			}
			out := c.out
			if out == "" {
				out = c.in
			}
			if s := string(got.format()); s != out {
				t.Errorf("written as %q\nwant %q", s, out)
			}
		})
	}
}

func TestParseStatus(t *testing.T) {
	for _, line := range []string{
		"", "success", "success  a", "fine  a  b", "success   a  b", "success  a  b  ", "success  a  b  url", "success  a  b  ()",
		"success  a  b  (u)  x", "success    b", " success  a  b", "success  a  b\r", "success\ta\tb", "success  a  b  (u v)",
	} {
		if s, ok := parseStatus(line); ok {
			t.Errorf("%q is read as %+v", line, s)
		}
	}
	for _, s := range []plumbline.CommitStatus{
		{Context: "a b", State: plumbline.ToldPending, Description: "(in parentheses)"},
		{Context: "a", State: plumbline.ToldError, URL: "https://example.com/(a)"},
		{Context: "(a)", State: plumbline.ToldFailure, Description: "- -", URL: ")("},
	} {
		if got, ok := parseStatus(formatStatus(s)); !ok || got != s {
			t.Errorf("%+v is read as %+v", s, got)
		}
	}
}

// FuzzPage: reading never panics, what was read and written is read as the same, and edits keep the rest.
func FuzzPage(f *testing.F) {
	for _, s := range []string{
		"", "\n", "text\n", "Statuses:\nsuccess  a  b  (u)\n", "Plumbline note 0123456789ab of 1 lines:\na\n\nStatuses:\n",
		"Plumbline note 0123456789ab of 4 lines:\nStatuses:\nsuccess  a  b\nfoo", "Statuses:\nStatuses:\nerror  a  -\n\n\nx\r\n\x00\xff",
		"x\nPlumbline note 0123456789ab of 2 lines:\n\n\nPlumbline note 0123456789ab of 1 lines:\n\n",
	} {
		f.Add([]byte(s), "body\n", "context", "description", "https://example.com")
	}
	f.Fuzz(func(t *testing.T, b []byte, body, context, description, url string) {
		p := parsePage(b)
		out := p.format()
		again := parsePage(out)
		if !reflect.DeepEqual(p, again) {
			t.Fatalf("%q is read as\n%#v\nwritten as %q, which is read as\n%#v", b, p, out, again)
		}
		const key = "ffffffffffff"
		again.setNote(key, body)
		s := clean(plumbline.CommitStatus{Context: context, State: plumbline.ToldSuccess, Description: description, URL: url})
		if sayable(s) {
			again.setStatus(s)
		}
		edited := parsePage(again.format())
		if !reflect.DeepEqual(edited, again) {
			t.Fatalf("%#v is written as %q, which is read as\n%#v", again, again.format(), edited)
		}
		if edited.text != p.text {
			t.Fatalf("people's text %q became %q", p.text, edited.text)
		}
	})
}
