package diff

import "testing"

func TestCell(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain": "plain", "a=b": "a=b", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\t=1": "'\t=1", "\r=1": "'\r=1", "  =1": "'  =1", "\u00a0=1": "'\u00a0=1",
		"＝1": "'＝1", "|calc": "'|calc",
	} {
		if got := Cell(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestCode(t *testing.T) {
	for _, tt := range [][2]string{{"a", "`a`"}, {"a|b", "`a`&#124;`b`"}, {"|", "&#124;"}, {"`", "`` ` ``"}, {"a``b", "```a``b```"}, {" a", "`  a `"}, {"", ""}} {
		if got := Code(tt[0]); got != tt[1] {
			t.Errorf("%q is %q, want %q", tt[0], got, tt[1])
		}
	}
}
