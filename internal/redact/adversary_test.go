package redact

import (
	"strings"
	"testing"
	"time"
)

// TestHostileTextTakesNoLongerThanItMay has texts that make the most work for their length: keywords all over, tokens that never end, base64 of
// base64.
func TestHostileTextTakesNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	const size = unitSize / 4
	m := New("hunter22", "aaaaaaaaaaaaaaaa").WithShapes()
	for _, piece := range []string{
		"eyJ-", "eyJaaaaaaaaaaaaaaaaaaaa.", "eyJaaaaaaaaaaaaaaaaaaaa.eyJaaaaaaaaaaaaaaaaaaaa.", "://", "://a:", "://a:b@", "://a:b", "token", "token=", "token=\"", "password=a1b2c3d4;",
		"-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", "authorization:", "authorization: bearer ", "basic ", "curl ",
		"curl -u a", "AKIA", "AKIAAAAAAAAAAAAAAAAA ", "cGFzc3dvcmQ9", "aaaaaaaaaaaaaaaa", "(sensitive)", "ghp_a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6 ", "\\", "\\\"", "%25", "&amp;", "host=a password=",
		"host=a ", "sig=", "$2y$10$", "s.", "xoxb-1111111111-1111111111", "pypi-AgEIcHlwaS5vcmc", "xapp-1-A-1-", "\n", "x\n", "==", ":aa", "q~", "access-",
		"ops_eyJ", "glpat-", "sk", "atlasv1.", "key-", "auth:", "1//0", "ya29.a", "fm2_", "EAAC", "XoXe-1-",
	} {
		text := strings.Repeat(piece, size/len(piece))
		begin := time.Now()
		_ = m.String(text)
		took := time.Since(begin)
		masked := m.String(text[:size/16])
		if again := m.String(masked); again != masked {
			t.Errorf("%q: masked again, it changes", piece)
		}
		// Half a second is what the worst takes; a busy machine with the race detector takes many times that.
		if most := time.Minute; took > most {
			t.Errorf("%d bytes of %q take %v", len(text), piece, took)
		}
	}
}
