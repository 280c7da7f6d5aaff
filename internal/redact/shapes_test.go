package redact

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/redact/redacttest"
)

// Tokens of tests are put together here, so that no scanner takes them for real ones.
var (
	githubToken = "ghp" + "_a1B2c3D4e5F6a7B8c9D0e1F2a3B4c5D6e7F8"
	stripeKey   = "sk" + "_live_a1B2c3D4e5F6a7B8c9D0e1F2"
	keyBody     = strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n", 3)
	privateKey  = "-----BEGIN RSA " + "PRIVATE KEY-----\n" + keyBody + "short==\n-----END RSA " + "PRIVATE KEY-----"
)

func TestShapes(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"a token", "token " + githubToken + " used", "token (sensitive) used"},
		{"a longer token of the kind", githubToken + "abc", "(sensitive)"},
		{"two tokens", githubToken + githubToken, "(sensitive)"},
		{"only the secret of an assignment", `api_key = "a1b2c3d4e5f6"  # new`, `api_key = "(sensitive)"  # new`},
		{"both values of a change", `~ token = "a1b2c3d4e5f6" -> "f6e5d4c3b2a1"`, `~ token = "(sensitive)" -> "(sensitive)"`},
		{"a password in a URL", "postgres://app:hunter2@db.example.com/app", "postgres://app:(sensitive)@db.example.com/app"},
		{"an @ in it", "postgres://app:p@ss@db.example.com/app", "postgres://app:(sensitive)@db.example.com/app"},
		{"a token as user", "https://a1b2c3d4e5f6a7b8c9d0@example.com/x.git", "https://(sensitive)@example.com/x.git"},
		{"no password", "ssh://git@example.com:22/x.git", "ssh://git@example.com:22/x.git"},
		{"a header", "Authorization: Bearer a1b2c3d4e5f6a7b8c9d0", "Authorization: Bearer (sensitive)"},
		{"basic", "basic cm9ib3Q6aHVudGVyMg==", "basic (sensitive)"},
		{"basic, but text", "basic authentication", "basic authentication"},
		{"registry", `{"auth": "cm9ib3Q6aHVudGVyMg=="}`, `{"auth": "(sensitive)"}`},
		{"connection string", "Server=db;User ID=app;Password=s3cr;", "Server=db;User ID=app;Password=(sensitive);"},
		{"libpq", "host=db user=app password=secret dbname=app", "host=db user=app password=(sensitive) dbname=app"},
		{"password hash", "app:$2y$10$" + strings.Repeat("abcdefgH1./", 4) + "abcdefgH1", "app:(sensitive)"},
		{"key", "a\n" + privateKey + "\nb", "a\n(sensitive)\nb"},
		{"key without its end", "a\n-----BEGIN PRIVATE KEY-----\n" + keyBody + "b is no key\n", "a\n(sensitive)\nb is no key\n"},
		{"key without its end, cut within a line", "-----BEGIN PRIVATE KEY-----\n" + keyBody[:50] + "... (more)\nb\n", "(sensitive)... (more)\nb\n"},
		{"key in a log", "12:00 -----BEGIN PRIVATE KEY-----\n12:00 " + strings.ReplaceAll(strings.TrimSpace(keyBody), "\n", "\n12:01 ") + "\n12:02 abc=\n12:02 -----END PRIVATE KEY-----\n", "12:00 (sensitive)\n"},
		{"key in a log that counts", "9 ms: -----BEGIN PRIVATE KEY-----\n9 ms: " + strings.ReplaceAll(strings.TrimSpace(keyBody), "\n", "\n10 ms: ") + "\n10 ms: abc=\nall done\n", "9 ms: (sensitive)\nall done\n"},
		{"PGP without its end", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n" + keyBody + "\n\ndone\n", "(sensitive)\n\n\ndone\n"},
		{"end of another text", "see -----BEGIN PRIVATE KEY-----\nand what is long enough: 0123456789abcdef -----END PRIVATE KEY-----\n", "see -----BEGIN PRIVATE KEY-----\nand what is long enough: 0123456789abcdef -----END PRIVATE KEY-----\n"},
		{"key in JSON", `{"k":"` + strings.ReplaceAll(privateKey, "\n", `\n`) + `"}`, `{"k":"(sensitive)"}`},
		{"key in JSON, cut off", `{"k":"-----BEGIN PRIVATE KEY-----\n` + strings.ReplaceAll(keyBody+keyBody[:40], "\n", `\n`) + `","n":1}`, `{"k":"(sensitive)","n":1}`},
		{"key in JSON, cut off soon", `{"k":"-----BEGIN PRIVATE KEY-----\n` + keyBody[:60] + `","n":1}`, `{"k":"(sensitive)","n":1}`},
		{"PGP", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n" + keyBody + "=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n", "(sensitive)\n"},
		{"public key", "-----BEGIN PUBLIC KEY-----\n" + keyBody + "-----END PUBLIC KEY-----\n", "-----BEGIN PUBLIC KEY-----\n" + keyBody + "-----END PUBLIC KEY-----\n"},
		{"a mention of a key", "no -----BEGIN PRIVATE KEY-----\nfound in the file\n", "no -----BEGIN PRIVATE KEY-----\nfound in the file\n"},
		{"base64", "data: " + "ZXhwb3J0IEFQSV9LRVk9YTFiMmMzZDRlNWY2YTFiMg==", "data: ZXhwb3J0IEFQSV9LRVk9(sensitive)"},
		{"allowed by the rule", "AKIA" + "IOSFODNN7EXAMPLE", "AKIA" + "IOSFODNN7EXAMPLE"},
		{"too little entropy", "ghp_" + strings.Repeat("a", 36), "ghp_" + strings.Repeat("a", 36)},
		{"beside a value that is known", "hunter22" + stripeKey, "(sensitive)"},
		{"around a value that is known", githubToken[:20] + "hunter22" + githubToken[20:], "(sensitive)"},
		{"behind a value of several lines", "one line\ntwo lines " + stripeKey, "(sensitive) (sensitive)"},
		{"masked before", "https://a:(sensitive)@b password=(sensitive)", "https://a:(sensitive)@b password=(sensitive)"},
		{"half a mask", "https://a:x(sensitive)y@b", "https://a:(sensitive)@b"},
	}
	m := New("hunter22", "one line\ntwo lines").WithShapes()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := m.String(tt.in); got != tt.want {
				t.Errorf("String(%q) =\n%q, want\n%q", tt.in, got, tt.want)
			}
			for _, cuts := range [][]byte{{0}, {1, 2}, {9}, {255}} {
				consistent(t, m, tt.in, cuts)
			}
		})
	}
}

func TestShapesStayWithWith(t *testing.T) {
	values := New("hunter22")
	both := values.WithShapes().With("opensesame")
	text := "hunter22 opensesame " + stripeKey
	if got, want := values.String(text), "(sensitive) opensesame "+stripeKey; got != want {
		t.Errorf("values: %q, want %q", got, want)
	}
	if got, want := both.String(text), "(sensitive) (sensitive) (sensitive)"; got != want {
		t.Errorf("shapes: %q, want %q", got, want)
	}
}

func TestWriterWithShapesHoldsALineBack(t *testing.T) {
	var got bytes.Buffer
	w := New("two\nlines").WithShapes().Writer(&got)
	for _, step := range []struct{ write, want string }{
		{"a line\n", "a line\n"},
		{"half a ", "a line\n"},
		{"line\nand ", "a line\nhalf a line\n"},
		{"more\n", "a line\nhalf a line\nand more\n"},
		{"ends in two\n", "a line\nhalf a line\nand more\n"},
		{"words\n", "a line\nhalf a line\nand more\nends in two\nwords\n"},
	} {
		write(t, w, step.write)
		if got.String() != step.want {
			t.Errorf("after %q: %q, want %q", step.write, got.String(), step.want)
		}
	}
}

// A key of which a part was flushed is still one.
func TestFlushWithinAKey(t *testing.T) {
	for _, lines := range []int{1, 2, 3, 4} {
		var got bytes.Buffer
		w := New().WithShapes().Writer(&got)
		all := strings.SplitAfter("first\n"+privateKey+" and more\nlast\n", "\n")
		write(t, w, strings.Join(all[:1+lines], ""))
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		write(t, w, strings.Join(all[1+lines:], ""))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(got.String(), "MIIE") || strings.Contains(got.String(), "short") || !strings.HasSuffix(got.String(), " and more\nlast\n") {
			t.Errorf("flushed after %d lines: %q", lines, got.String())
		}
	}
}

// The line after a flushed mention of a key is no key.
func TestFlushAfterAMention(t *testing.T) {
	var got bytes.Buffer
	w := New().WithShapes().Writer(&got)
	write(t, w, "-----BEGIN PRIVATE KEY-----\n")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	write(t, w, "is what it must begin with\n"+stripeKey+"\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if want := "-----BEGIN PRIVATE KEY-----\nis what it must begin with\n(sensitive)\n"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

// In a line longer than what is looked at together, a secret is found wherever it stands, and nothing else is.
func TestLongLines(t *testing.T) {
	known := "known secret of some length"
	m := New(known).WithShapes()
	rng := rand.New(rand.NewPCG(7, 8))
	long := []byte("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhYmNkZWYifQ.") // 4 KiB
	for range 4000 {
		long = append(long, "abcdefghijklmnopqrstuvwxyz0123456789"[rng.IntN(36)])
	}
	for _, secret := range []string{githubToken, known, string(long), `"private_key": "` + strings.ReplaceAll(privateKey, "\n", `\n`) + `"`} {
		for range 60 {
			before := unitSize - overlap - 5000 + rng.IntN(overlap+10000)
			if rng.IntN(2) == 0 {
				before += unitSize - overlap
			}
			text := strings.Repeat("ab, ", before/4) + secret + " " + strings.Repeat("cd, ", rng.IntN(30000))
			masked := m.String(text)
			if !strings.Contains(masked, Mask) || len(masked) > len(text)-len(secret)+40 || strings.Contains(masked, secret[len(secret)-20:]) {
				t.Fatalf("%.20q after %d bytes is not masked: %d bytes become %d", secret, before, len(text), len(masked))
			}
			if got := cutAt(t, m, text, 1+rng.IntN(70000)); got != masked {
				t.Fatalf("%.20q after %d bytes: the stream differs from the string", secret, before)
			}
		}
	}
}

// A log with everything in it, in writes of all lengths.
func TestStreamOfTheCorpus(t *testing.T) {
	m := corpusMasker()
	rng := rand.New(rand.NewPCG(9, 10))
	ordinary := redacttest.Ordinary()
	var b strings.Builder
	for _, s := range redacttest.Secrets() {
		for range rng.IntN(4) {
			b.WriteString(ordinary[rng.IntN(len(ordinary))] + "\n")
		}
		places := redacttest.Places()
		b.WriteString(places[rng.IntN(len(places))].Put(s.Text) + "\n")
	}
	text := b.String()
	want := m.String(text)
	for _, s := range redacttest.Secrets() {
		if s.Shown(want) {
			t.Errorf("%s is shown", s.Name)
		}
	}
	for _, most := range []int{1, 7, 100, 5000, 100000} {
		rest := text
		var got strings.Builder
		w := m.Writer(&got)
		for len(rest) > 0 {
			n := min(len(rest), 1+rng.IntN(most))
			write(t, w, rest[:n])
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got.String() != want {
			t.Errorf("in writes of up to %d bytes, the stream differs from the string", most)
		}
	}
	if again := m.String(want); again != want {
		t.Error("masked again, it changes")
	}
}

func TestPrintingAMaskerWithShapesShowsNoSecret(t *testing.T) {
	if got := fmt.Sprintf("%+v", New("hunter22").WithShapes()); got != "redact.Masker(1 values, shapes)" {
		t.Errorf("prints %s", got)
	}
}
