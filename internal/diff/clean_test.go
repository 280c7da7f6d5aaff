package diff

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"plain ~ text":               "plain ~ text",
		"tab\there":                  "tab    here",
		"two\nlines\r\n":             `two\nlines\r\n`,
		"\x1b[31mred\x1b[0m":         `\u001b[31mred\u001b[0m`,
		"\x00\x7f\u0080\u009b31m":    `\u0000\u007f\u0080\u009b31m`,
		"admin\u202e\u2066//\u2069":  `admin\u202e\u2066//\u2069`,
		"\u200e\u200f\u061c":         `\u200e\u200f\u061c`,
		"a\u200bb\u200cc\u200dd":     `a\u200bb\u200cc\u200dd`,
		"\ufeffbom":                  `\ufeffbom`,
		"a\u2028b\u2029c\u0085d":     `a\u2028b\u2029c\u0085d`,
		"tag\U000e0041\U000e007f":    `tag\U000e0041\U000e007f`,
		"v\ufe0f\U000e0100":          `v\ufe0f\U000e0100`,
		"soft\u00adhyphen\u00a0nbsp": `soft\u00adhyphen\u00a0nbsp`,
		"\u115f\u3164\uffa0\u2800":   `\u115f\u3164\uffa0\u2800`,
		"bad\xff\xc3":                "bad\ufffd\ufffd",
		"Ünïcode 名前 🙂 ≤ …":           "Ünïcode 名前 🙂 ≤ …",
		`back\slash "quoted" <b>`:    `back\slash "quoted" <b>`,
	} {
		got := Clean(in)
		if got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
		if again := Clean(got); again != got {
			t.Errorf("Clean is not stable for %q: %q, then %q", in, got, again)
		}
	}
}

func TestCutKeepsRunesAndTellsValuesApart(t *testing.T) {
	long := strings.Repeat("名", 1000)
	for n := range 200 {
		got := cut(long, n)
		if !utf8.ValidString(got) || strings.ContainsRune(got, utf8.RuneError) {
			t.Fatalf("cut at %d breaks a character: %q", n, got)
		}
	}
	a, b := cut(long+"a", maxText), cut(long+"b", maxText)
	if a == b {
		t.Errorf("two values look the same: %s", a)
	}
	if !strings.Contains(a, "(3,001 bytes, sha256 ") {
		t.Errorf("the size is not said: %s", a)
	}
}

func TestHTML(t *testing.T) {
	lines := []Line{
		{Sign: "-/+", Text: `aws_x["<script>"]`, Note: "replaced: a"},
		{Sign: "~", Depth: 1, Text: `a = "<b>&amp;" -> "x"`, Note: "forces replacement"},
		{Sign: "+", Depth: 2, Text: "b\u202e", Note: "\x1b"},
		{Sign: " ", Depth: 1, Text: "}"},
	}
	want := `<span class="del res">-/+ aws_x[&#34;&lt;script&gt;&#34;]  <em class="note"># replaced: a</em></span>
<span class="chg forces">~     a = &#34;&lt;b&gt;&amp;amp;&#34; -&gt; &#34;x&#34;  <em class="note"># forces replacement</em></span>
<span class="add">+       b\u202e  <em class="note"># \u001b</em></span>
<span class="ctx">      }</span>
`
	if got := string(HTML(lines)); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
