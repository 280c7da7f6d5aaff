package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

const pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END PRIVATE KEY-----\n"

func TestString(t *testing.T) {
	tests := []struct {
		name    string
		secrets []string
		in      string
		want    string
	}{
		{"no secrets", nil, "hunter22", "hunter22"},
		{"nothing to mask", []string{"hunter22"}, "hunter2 hunter", "hunter2 hunter"},
		{"plain", []string{"hunter22"}, "password=hunter22\n", "password=(sensitive)\n"},
		{"inside a word", []string{"hunter22"}, "xhunter22x", "x(sensitive)x"},
		{"twice", []string{"hunter22"}, "hunter22,hunter22", "(sensitive),(sensitive)"},
		{"touching", []string{"hunter22", "opensesame"}, "hunter22opensesame", "(sensitive)"},
		{"overlapping", []string{"abcdef", "defghi"}, "-abcdefghi-", "-(sensitive)-"},
		{"overlapping itself", []string{"abab"}, "-abababab-", "-(sensitive)-"},
		{"longest wins", []string{"cdef", "abcdefgh"}, "abcdefgh abcdefg", "(sensitive) ab(sensitive)g"},
		{"several within one", []string{"bbbb", "dddd", "abbbbcdddde"}, "abbbbcdddde abbbbcdddd", "(sensitive) a(sensitive)c(sensitive)"},
		{"too short", []string{"abc", ""}, "abc", "abc"},
		{"short with blanks", []string{" abc\n"}, " abc\n", " abc\n"},
		{"just long enough", []string{"abcd"}, "abcd", "(sensitive)"},
		{"the file's newline is no part of it", []string{"hunter22\n"}, "a hunter22\nb", "a (sensitive)\nb"},
		{"JSON", []string{`a"b\c`}, `{"p":"a\"b\\c"}`, `{"p":"(sensitive)"}`},
		{"JSON for HTML", []string{"a<b>&c"}, `{"p":"a\u003cb\u003e\u0026c"}`, `{"p":"(sensitive)"}`},
		{"query", []string{"a b/c+d"}, "?p=a+b%2Fc%2Bd&q=1", "?p=(sensitive)&q=1"},
		{"query in lower case", []string{"a b/c+d"}, "?p=a+b%2fc%2bd&q=1", "?p=(sensitive)&q=1"},
		{"path", []string{"a b/c+d"}, "/x/a%20b%2Fc+d/y", "/x/(sensitive)/y"},
		{"password in a URL", []string{"a:b@c$d;"}, "https://git:a%3Ab%40c$d;@example.com/", "https://git:(sensitive)@example.com/"},
		{"base64", []string{"hunter22"}, "Basic aHVudGVyMjI=", "Basic (sensitive)"},
		{"base64 without padding", []string{"hunter22"}, "aHVudGVyMjI.", "(sensitive)."},
		{"whole key", []string{pem}, "key: " + pem + "done", "key: (sensitive)\ndone"},
		{"indented key", []string{pem}, "  MIIEvQIBADANBgkqhkiG9w0B\r\n  AQEFAASCBKcwggSjAgEAAoIB\r\n", "  (sensitive)\r\n  (sensitive)\r\n"},
		{"short lines are text", []string{"password: |\n  true\n"}, "true", "true"},
		{"bytes that are not UTF-8", []string{"\xff\xfe\xfd\xfc"}, "a\xff\xfe\xfd\xfcb", "a(sensitive)b"},
		{"would be completed by the mask", []string{"p4ss(", "hunter22"}, "p4sshunter22 p4ss(", "p4ss[sensitive] [sensitive]"},
		{"the mask's own word", []string{"sensitive"}, "(sensitive)", "(********)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := New(tt.secrets...)
			if got := m.String(tt.in); got != tt.want {
				t.Errorf("String(%q) = %q, want %q", tt.in, got, tt.want)
			}
			if got := stream(t, m, tt.in, func() int { return 1 }); got != tt.want {
				t.Errorf("Writer, byte by byte: %q, want %q", got, tt.want)
			}
		})
	}
}

// The secret is put into text by the encoders themselves, not by the package's own idea of their output.
func TestStringHidesEncodedSecrets(t *testing.T) {
	for _, secret := range []string{"hunter22", "pa ss/wo+rd&<x>", "ünïcödé\"\\\t", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "a\nb\nc:d@e?f#g%h", pem} {
		m := New(secret)
		secret := strings.TrimSpace(secret)
		contains := func(t *testing.T, text string) {
			t.Helper()
			if masked := m.String(text); masked == text || strings.Contains(masked, secret) {
				t.Errorf("%q is shown in %q", secret, masked)
			}
		}
		contains(t, "a "+secret+" b")
		quoted, err := json.Marshal(map[string]string{"k": "x" + secret + "y"})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := m.String(string(quoted)), `{"k":"x(sensitive)y"}`; got != want {
			t.Errorf("JSON: %s, want %s", got, want)
		}
		u := url.URL{Scheme: "https", User: url.UserPassword("me", secret), Host: "example.com", RawQuery: url.Values{"q": {secret}}.Encode()}
		if got, want := m.String(u.String()), "https://me:(sensitive)@example.com?q=(sensitive)"; got != want {
			t.Errorf("URL: %s, want %s", got, want)
		}
		contains(t, "/"+url.PathEscape(secret)+"/")
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
			for before := range 5 {
				for after := range 5 {
					text := enc.EncodeToString([]byte(strings.Repeat("<", before) + secret + strings.Repeat("?", after)))
					masked := m.String(text)
					if strings.Count(masked, Mask) != 1 {
						t.Fatalf("base64 with %d bytes before, %d after: %q", before, after, masked)
					}
					// Left is what encodes the neighbours, and at most one mixed character on either side.
					left := strings.TrimRight(strings.Replace(masked, Mask, "", 1), "=")
					all := (8*(before+len(secret)+after) + 5) / 6
					if most := all - 8*(before+len(secret))/6 + (8*before+5)/6; len(left) > most {
						t.Errorf("base64 with %d bytes before, %d after: %q shows more than the neighbours", before, after, masked)
					}
				}
			}
		}
	}
}

func TestWithLeavesTheFirstAlone(t *testing.T) {
	a := New("hunter22")
	b := a.With("opensesame")
	const text = "hunter22 opensesame"
	if got, want := a.String(text), "(sensitive) opensesame"; got != want {
		t.Errorf("the first: %q, want %q", got, want)
	}
	if got, want := b.String(text), "(sensitive) (sensitive)"; got != want {
		t.Errorf("the second: %q, want %q", got, want)
	}
}

func TestWithPlain(t *testing.T) {
	m := New("hunter22").WithPlain(`open "sesame"`, "hunter22", "abc").With("swordfish")
	in := `hunter22 aHVudGVyMjI= open "sesame" {"a":"open \"sesame\""} open+%22sesame%22 swordfish abc`
	want := `(sensitive) (sensitive) (sensitive) {"a":"(sensitive)"} open+%22sesame%22 (sensitive) abc`
	if got := m.String(in); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPrintingAMaskerShowsNoSecret(t *testing.T) {
	m := New("hunter22")
	holder := struct{ M *Masker }{m}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		for _, v := range []any{m, holder} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "hunter22") || strings.Contains(got, "68756e746572") {
				t.Errorf("%s prints %s", verb, got)
			}
		}
	}
}

func TestWriterHoldsBackOnlyWhatItMust(t *testing.T) {
	m := New("hunter22", "two\nlines of text")
	tests := []struct {
		in   string
		want string
	}{
		{"a line\n", "a line\n"},
		{"hunting\n", "hunting\n"},
		{"a hunter", "a "},
		{"hunter22", "(sensitive)"},
		{"xhunter22hunt", "x(sensitive)"},
		{"one\ntwo\n", "one\n"},
	}
	for _, tt := range tests {
		var got bytes.Buffer
		w := m.Writer(&got)
		write(t, w, tt.in)
		if got.String() != tt.want {
			t.Errorf("after writing %q: %q, want %q", tt.in, got.String(), tt.want)
		}
	}
}

func TestFlush(t *testing.T) {
	var got bytes.Buffer
	w := New("hunter22").Writer(&got)
	for _, step := range []struct{ write, want string }{
		{"a hunt", "a hunt"},
		{"er22 b", "a hunt(sensitive) b"},
		{"", "a hunt(sensitive) b"},
	} {
		write(t, w, step.write)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if got.String() != step.want {
			t.Errorf("after %q: %q, want %q", step.write, got.String(), step.want)
		}
	}
}

func TestTheRestOfAFlushedSecretGoesOnAtOnce(t *testing.T) {
	var got bytes.Buffer
	w := New("hunter22").Writer(&got)
	write(t, w, "hunt")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	write(t, w, "er22")
	if got.String() != "hunt(sensitive)" {
		t.Errorf("got %q", got.String())
	}
}

func TestClose(t *testing.T) {
	var got bytes.Buffer
	w := New("hunter22").Writer(&got)
	write(t, w, "hunter2")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got.String() != "hunter2" {
		t.Errorf("got %q", got.String())
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if err := w.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}

type failing struct {
	n   int
	err error
}

func (f failing) Write(p []byte) (int, error) { return min(f.n, len(p)), f.err }

func TestWriterReportsErrors(t *testing.T) {
	full := errors.New("disk full")
	w := New("hunter22").Writer(failing{err: full})
	if n, err := w.Write([]byte("x")); n != 0 || !errors.Is(err, full) {
		t.Errorf("Write = %d, %v", n, err)
	}
	if err := w.Close(); !errors.Is(err, full) {
		t.Errorf("Close = %v", err)
	}
	short := New("hunter22").Writer(failing{n: 1})
	if _, err := short.Write([]byte("xy")); err == nil {
		t.Error("a short write went unnoticed")
	}
}

func write(t *testing.T, w *Writer, s string) {
	t.Helper()
	if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("Write(%q) = %d, %v", s, n, err)
	}
}

// stream writes text in pieces whose lengths come from next, checks that no more is held back than may be, and
// returns what came out.
func stream(t *testing.T, m *Masker, text string, next func() int) string {
	t.Helper()
	longest := 0
	for _, n := range m.built().nodes {
		longest = max(longest, int(n.depth))
	}
	var got bytes.Buffer
	w := m.Writer(&got)
	for len(text) > 0 {
		n := min(next(), len(text))
		write(t, w, text[:n])
		if len(w.buf) >= max(1, longest) {
			t.Fatalf("holds back %d bytes; the longest form has %d", len(w.buf), longest)
		}
		text = text[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return got.String()
}

// mask is String written the obvious way.
func mask(m *Masker, all []string, text string) string {
	covered := make([]bool, len(text))
	for _, f := range all {
		for i := 0; i+len(f) <= len(text); i++ {
			if text[i:i+len(f)] == f {
				for j := range len(f) {
					covered[i+j] = true
				}
			}
		}
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !covered[i]:
			b.WriteByte(text[i])
		case i == 0 || !covered[i-1]:
			b.WriteString(m.built().mask)
		}
	}
	return b.String()
}

// FuzzMasker has four secrets of up to 20 bytes: few enough that a mask apart from all of them exists. The script
// makes the text: a byte below 128 is itself, another one stands for a form of a secret, cut at an end by the byte after it.
func FuzzMasker(f *testing.F) {
	f.Add("hunter22", "opensesame", "a b\"<>&/", "line one is\nline two is", []byte("x\x80\x00\x95\x00 \xa0\x03z\xb1\x04"), []byte{1, 3, 7})
	f.Add("aaaa", "aaaaaaaa", "aabaab", "", []byte("aaaaaaabaabaaa\x81\x02"), []byte{2})
	f.Add("sens", ")abc", "abc(", "\xff\xff\xff\xff", []byte("abc\x80\x00abc\x90\x01(sensitive)"), []byte{})
	f.Fuzz(func(t *testing.T, s1, s2, s3, s4 string, script, cuts []byte) {
		if len(script) > 200 {
			script = script[:200]
		}
		secrets := []string{s1, s2, s3, s4}
		var all []string
		for i, s := range secrets {
			secrets[i] = s[:min(len(s), 20)]
			for _, v := range split(secrets[i]) {
				all = append(all, forms(v)...)
			}
		}
		m := New(secrets[:2]...).With(secrets[2:]...)
		var b strings.Builder
		for i := 0; i < len(script); i++ {
			if script[i] < 128 || len(all) == 0 {
				b.WriteByte(script[i])
				continue
			}
			form, cut := all[int(script[i]-128)%len(all)], byte(0)
			if i++; i < len(script) {
				cut = script[i]
			}
			if n := int(cut/2) % len(form); cut%2 == 0 {
				b.WriteString(form[n:])
			} else {
				b.WriteString(form[:len(form)-n])
			}
		}
		text := b.String()

		masked := m.String(text)
		if want := mask(m, all, text); masked != want {
			t.Fatalf("String(%q) with %q = %q, want %q", text, secrets, masked, want)
		}
		for _, form := range all {
			if strings.Contains(masked, form) {
				t.Fatalf("String(%q) with %q = %q shows %q", text, secrets, masked, form)
			}
		}
		i := 0
		got := stream(t, m, text, func() int {
			if len(cuts) == 0 {
				return 5
			}
			i++
			return 1 + int(cuts[i%len(cuts)])
		})
		if got != masked {
			t.Fatalf("Writer(%q) with %q = %q, String = %q", text, secrets, got, masked)
		}
		if m.built().mask != Mask && m.built().mask[0] == m.built().mask[1] {
			return // masks of one character cannot be told from the text beside them
		}
		masked = consistent(t, m.WithShapes(), text, cuts)
		for _, form := range all {
			if strings.Contains(masked, form) {
				t.Fatalf("with shapes, String(%q) with %q = %q shows %q", text, secrets, masked, form)
			}
		}
	})
}

// A stream longer than the piece in which it is handled, with secrets across the borders.
func TestWriterWithLongWrites(t *testing.T) {
	m, text := sample(300 << 10)
	want := m.String(text)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		if got := stream(t, m, text, func() int { return 1 + rng.IntN(100<<10) }); got != want {
			t.Fatal("the stream differs from the string")
		}
	}
}

// sample returns a Masker of 50 secrets, and a log of n bytes in which every thousandth line shows one.
func sample(n int) (*Masker, string) {
	rng := rand.New(rand.NewPCG(3, 4))
	random := func(n int) string {
		const chars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
		b := make([]byte, n)
		for i := range b {
			b[i] = chars[rng.IntN(len(chars))]
		}
		return string(b)
	}
	secrets := make([]string, 50)
	for i := range secrets {
		secrets[i] = random(8 + i)
	}
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "module.network[%d].aws_subnet.private: Refreshing state... [id=subnet-%016x]\n", i, rng.Uint64())
		if i%1000 == 0 {
			all := forms(secrets[rng.IntN(50)])
			fmt.Fprintf(&b, "debug: %s\n", all[rng.IntN(len(all))])
		}
	}
	return New(secrets...), b.String()[:n]
}

func BenchmarkString(b *testing.B) {
	m, text := sample(10 << 20)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_ = m.String(text)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkWriter(b *testing.B) {
	m, text := sample(10 << 20)
	lines := slices.Collect(strings.Lines(text))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		w := m.Writer(discard{})
		for _, line := range lines {
			if _, err := w.Write([]byte(line)); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	m, _ := sample(1)
	for b.Loop() {
		_ = m.With(pem)
	}
}
