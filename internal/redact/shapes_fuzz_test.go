package redact

import (
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/redact/redacttest"
)

// consistent returns what m makes of text, having checked that it is the same however text is cut into writes, and that masking it again changes
// nothing.
func consistent(t *testing.T, m *Masker, text string, cuts []byte) string {
	t.Helper()
	masked := m.String(text)
	var b strings.Builder
	w := m.Writer(&b)
	for i, rest := 0, text; len(rest) > 0; i++ {
		n := 5
		if len(cuts) > 0 {
			n = 1 + int(cuts[i%len(cuts)])
		}
		n = min(n, len(rest))
		write(t, w, rest[:n])
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != masked {
		t.Fatalf("Writer(%q) = %q, String = %q", text, got, masked)
	}
	if again := m.String(masked); again != masked {
		same := 0
		for same < min(len(again), len(masked)) && again[same] == masked[same] {
			same++
		}
		t.Fatalf("String(%q) = %q,\nand of that %q:\n%.80q is not\n%.80q, after %q", text, masked, again, again[same:], masked[same:], masked[max(0, same-200):same])
	}
	return masked
}

// pieces are what FuzzShapes puts together: secrets, what gives them away, and what is around them.
func pieces() []string {
	out := []string{
		"password", "secret=", "token: ", "\"api_key\": \"", "://", "@", ":", "=", " ", "\n", "\r\n", "\"", "\\\"", "\\n", "\\\\", "&#34;", "&amp;", "%3D", "%2B", "+",
		"-----BEGIN RSA PRIVATE KEY-----\n", "-----END RSA PRIVATE KEY-----", "-----BEGIN ", "PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\n",
		"Authorization: Basic ", "Bearer ", "AKIA", "eyJ", "ghp_", "(sensitive)", "[sensitive]", "${", "}", "<", ">", "'", ";", "arn:aws:", "x", "1", "/", ".", "-", "_", "é",
	}
	for _, s := range redacttest.Secrets() {
		if len(s.Text) < 300 {
			out = append(out, s.Text)
		}
	}
	return out
}

var allPieces = pieces()

// fuzzText makes a text by a script: a byte below 128 is itself, another one and the two after it choose a piece, and where it is cut off.
func fuzzText(script []byte) string {
	const most = 8 << 10
	var b strings.Builder
	for i := 0; i < len(script) && b.Len() < most; i++ {
		if script[i] < 128 || i+2 >= len(script) {
			b.WriteByte(script[i])
			continue
		}
		piece := allPieces[(int(script[i]-128)<<8|int(script[i+1]))%len(allPieces)]
		if cut := int(script[i+2]); cut < 128 {
			piece = piece[cut%len(piece):]
		} else if cut > 200 {
			piece = piece[:cut%len(piece)]
		}
		b.WriteString(piece)
		i += 2
	}
	return b.String()[:min(b.Len(), most)]
}

// FuzzShapes checks that masking is the same however a text is cut, changes nothing the second time, and ends soon.
func FuzzShapes(f *testing.F) {
	f.Add([]byte("a \x80\x00\x00b\x81\x05\x00 \x90\x30\x02"), []byte{1, 3, 7})
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\nabc\n"), []byte{2})
	f.Add([]byte("password=\"hunter2hunter2!\" -> \"a\"\nAuthorization: Basic cm9ib3Q6aHVudGVyMg==\n"), []byte{})
	m := New("hunter22", "two\nlines of text", "p4ss w0rd").WithShapes()
	f.Fuzz(func(t *testing.T, script, cuts []byte) {
		text := fuzzText(script)
		begin := time.Now()
		consistent(t, m, text, cuts)
		if took := time.Since(begin); took > 20*time.Second { // of a busy machine
			t.Errorf("%d bytes took %v", len(text), took)
		}
	})
}
