package redact

import (
	"encoding/base64"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/redact/redacttest"
)

// corpusMasker knows the secrets that are configured.
func corpusMasker() *Masker {
	var known []string
	for _, s := range redacttest.Secrets() {
		if s.Configured {
			known = append(known, s.Value)
		}
	}
	return New(known...).WithShapes()
}

func TestCorpusIsLargeEnough(t *testing.T) {
	kinds, names := map[string]bool{}, map[string]bool{}
	list := redacttest.Secrets()
	for _, s := range list {
		if kinds[s.Kind] = true; names[s.Name] || !strings.Contains(s.Text, s.Value) || !s.Shown(s.Text) {
			t.Errorf("%s is there twice, or not in its text", s.Name)
		}
		names[s.Name] = true
	}
	if len(list) < 200 || len(kinds) < 12 {
		t.Errorf("%d secrets of %d kinds", len(list), len(kinds))
	}
	if n := len(redacttest.Ordinary()); n < 300 {
		t.Errorf("%d ordinary lines", n)
	}
}

// readings returns text as it is, and everything that a reader would find in it by undoing escapes and base64.
func readings(text string) []string {
	out := []string{text, html.UnescapeString(text)}
	if s, err := url.QueryUnescape(text); err == nil {
		out = append(out, s)
	}
	if s, err := url.PathUnescape(text); err == nil {
		out = append(out, s)
	}
	slash := strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n", `\u0026`, "&", `\u003c`, "<", `\u003e`, ">")
	once := slash.Replace(text)
	out = append(out, once, slash.Replace(once))
	for _, s := range base64Run.FindAllString(text, -1) {
		s = strings.NewReplacer("-", "+", "_", "/").Replace(s)
		for shift := range 4 {
			part := s[shift:]
			b, err := base64.RawStdEncoding.DecodeString(part[:len(part)/4*4])
			if err == nil {
				out = append(out, string(b))
			}
		}
	}
	return out
}

var base64Run = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}`)

// TestNoSecretGetsThrough puts every secret of the corpus into every place, and reads the result the way a curious person would.
func TestNoSecretGetsThrough(t *testing.T) {
	m := corpusMasker()
	places := 0
	for _, s := range redacttest.Secrets() {
		for _, p := range redacttest.Places() {
			text := p.Put(s.Text)
			masked := m.String(text)
			places++
			for _, r := range readings(masked) {
				if s.Shown(r) {
					t.Errorf("%s, %s:\n%s\nbecomes\n%s", s.Name, p.Name, text, masked)
					break
				}
			}
		}
	}
	t.Logf("%d secrets in %d texts", len(redacttest.Secrets()), places)
}

// TestNoSecretGetsThroughAStream writes every other text byte by byte, and many of them in two writes that are cut at every byte.
func TestNoSecretGetsThroughAStream(t *testing.T) {
	t.Parallel()
	m := corpusMasker()
	for i, s := range redacttest.Secrets() {
		for k, p := range redacttest.Places() {
			if (i+k)%2 != 0 {
				continue
			}
			text := p.Put(s.Text)
			want := m.String(text)
			if got := cutAt(t, m, text, 1); got != want {
				t.Errorf("%s, %s, byte by byte:\n%s\nString:\n%s", s.Name, p.Name, got, want)
			}
			// Two writes, cut at every byte: each secret in some of its places, the long ones in one or none.
			if every := 6; (i+k)%every != 0 || len(text) > 300 && (i+k)%(8*every) != 0 {
				continue
			}
			for cut := range len(text) {
				if got := cutAt(t, m, text, cut, len(text)); got != want {
					t.Fatalf("%s, %s, cut at %d:\n%s\nString:\n%s", s.Name, p.Name, cut, got, want)
				}
			}
		}
	}
}

// cutAt writes text in pieces of the lengths given, the last of them repeated.
func cutAt(t *testing.T, m *Masker, text string, lengths ...int) string {
	t.Helper()
	var got strings.Builder
	w := m.Writer(&got)
	for len(text) > 0 {
		n := min(lengths[0], len(text))
		if len(lengths) > 1 {
			lengths = lengths[1:]
		}
		write(t, w, text[:n])
		text = text[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return got.String()
}

func TestOrdinaryTextIsLeftAlone(t *testing.T) {
	m := New().WithShapes()
	lines := redacttest.Ordinary()
	for _, line := range lines {
		if got := m.String(line); got != line {
			t.Errorf("%s\nbecomes\n%s", line, got)
		}
	}
	all := strings.Join(lines, "\n")
	if m.String(all) != all {
		t.Error("together, they are not left alone")
	}
	for _, p := range redacttest.Places() {
		for _, line := range lines {
			text := p.Put(line)
			if got := m.String(text); got != text {
				t.Errorf("%s: %s\nbecomes\n%s", p.Name, text, got)
			}
		}
	}
}

// TestEveryRuleCompiles: a rule is compiled when it is needed, which must not be the first time that anybody sees its mistakes.
func TestEveryRuleCompiles(t *testing.T) {
	s := loadShapes()
	var all []*rule
	for _, rules := range s.rules {
		all = append(all, rules...)
	}
	s.allow()
	for _, r := range all {
		if r.look == nil {
			r.compile()
			if !r.Prefix && r.Reach == 0 {
				t.Errorf("%s has neither a beginning nor a reach", r.ID)
			}
		}
		if slices.ContainsFunc(r.Keywords, func(k string) bool { return k != strings.ToLower(k) || len(k) < 2 }) {
			t.Errorf("%s has keywords %q", r.ID, r.Keywords)
		}
	}
}
