package report

import (
	"fmt"
	"html"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Three places in a note take strings from repositories and plans: running text, code spans with fenced blocks, and the HTML of a
// <summary>. Forges go on reading after the Markdown is read: they turn @names, #1, !2, $3, ~label, %milestone, commits and addresses in
// running text into links, which no backslash stops everywhere, but they leave code alone. So running text consists of words without any
// syntax, and whatever looks like syntax is shown as code. Nothing is dropped: white space is folded, what cannot be seen is made visible,
// what is very long is cut with its length beside it.

// maxText is how many bytes of one string from outside a note shows.
const maxText = 400

// text is a string in running Markdown, also inside a table or a link.
func text(s string) string { return words(brief(fold(s)), asIs, span) }

func asIs(w string) string { return w }

// htmlText is a string inside an element of a raw line of HTML.
func htmlText(s string) string {
	return words(brief(fold(s)), html.EscapeString, func(s string) string { return "<code>" + html.EscapeString(s) + "</code>" })
}

// htmlCode is a string in an element of its own.
func htmlCode(s string) string { return "<code>" + html.EscapeString(brief(s)) + "</code>" }

// code is a code span.
func code(s string) string { return codeWith(span, s) }

func codeWith(span func(string) string, s string) string {
	s = brief(s)
	if s == "" {
		return nameless
	}
	return span(s)
}

// nameless stands where a name is empty: without it, what is around would mean something else.
const nameless = "(empty)"

// cell is text in which `code` that Plumbline itself wrote stays code.
func (v voice) cell(s string) string {
	parts := strings.Split(s, "`")
	if len(parts)%2 == 0 {
		return v.text(s)
	}
	var b strings.Builder
	for i, p := range parts {
		if i%2 == 1 {
			b.WriteString(v.code(p))
			continue
		}
		// text folds white space at its ends, which parts words here
		if strings.HasPrefix(p, " ") && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(v.text(p))
		if strings.HasSuffix(p, " ") && strings.TrimSpace(p) != "" && i < len(parts)-1 {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// words goes through the words of s: harmless ones are written by plain, the others by code, without the punctuation around them.
func words(s string, plain, code func(string) string) string {
	var b strings.Builder
	for i, w := range quoted(strings.Fields(s)) {
		if i > 0 {
			b.WriteByte(' ')
		}
		if harmless(w) && (i > 0 || !startsBlock(w)) {
			b.WriteString(plain(w))
			continue
		}
		core := strings.TrimRight(strings.TrimLeft(w, `("'`), `)"',.;:?`)
		if core == "" || startsBlock(w) {
			b.WriteString(code(w))
			continue
		}
		before, after, _ := strings.Cut(w, core)
		b.WriteString(plain(before) + code(core) + plain(after))
	}
	return b.String()
}

// quoted joins the words between a backtick and the next: people write `like this` in messages.
func quoted(words []string) []string {
	out := words[:0:0]
	from := -1 // where words that belong together begin in out
	for _, w := range words {
		odd := strings.Count(w, "`")%2 == 1
		switch {
		case from < 0 && odd:
			from = len(out)
			out = append(out, w)
		case from >= 0 && odd:
			out = append(out[:from], strings.Join(append(out[from:], w), " "))
			from = -1
		default:
			out = append(out, w)
		}
	}
	return out
}

// harmless reports whether no Markdown, no forge and no terminal sees anything in a word but its letters.
func harmless(w string) bool {
	for _, r := range w {
		if r < utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(`.,;:/'"()-+=?!%`, r) {
			return false
		}
	}
	switch {
	case isClock(strings.Trim(w, `(),.;`)):
		return true
	case strings.ContainsAny(strings.TrimRight(w, `)"',.;:?!%`), ":!%"), strings.HasPrefix(w, ":"): // addresses, emoji, !42, %1
		return false
	case strings.Contains(w, "=="), strings.Contains(strings.ToLower(w), "www."):
		return false
	}
	for _, token := range strings.FieldsFunc(w, func(r rune) bool { return r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if isCommit(token) || isTicket(token) {
			return false
		}
	}
	return true
}

// startsBlock reports whether a word that is the first of a line or list item would make it a heading, a list, a rule or a command.
func startsBlock(w string) bool {
	if strings.ContainsAny(w[:1], "-+=/") {
		return true
	}
	digits := strings.TrimLeft(w, "0123456789")
	return digits != w && (digits == "." || digits == ")")
}

// isClock reports whether a word is a time of day: 09:00.
func isClock(w string) bool {
	return len(w) == 5 && w[2] == ':' && strings.Trim(w[:2]+w[3:], "0123456789") == ""
}

// isCommit reports whether forges may take a word for a commit.
func isCommit(w string) bool {
	return len(w) >= 7 && len(w) <= 64 && strings.Trim(w, "0123456789abcdefABCDEF") == ""
}

// isTicket reports whether forges may take a word for an issue of GitHub's (GH-1) or of another tracker (OPS-12).
func isTicket(w string) bool {
	key, number, ok := strings.Cut(w, "-")
	return ok && number != "" && unicode.IsDigit(rune(number[0])) && strings.ToUpper(key) == key && strings.ToLower(key) != key
}

// span is a code span of one line, in a table as well.
func span(s string) string { return diff.Code(s) }

// bar begins each line of a block that is not a diff, as in Terraform's own messages.
const bar = "│ "

// fenced is a code block. Each of the lines begins with a sign, a bar or four spaces, so that none of them can end the block, nor be the
// first thing on its line for those who look for commands there.
func fenced(lang string, lines []string) string {
	return "```" + lang + "\n" + strings.Join(lines, "\n") + "\n```\n"
}

// barred are the lines of a text of several lines, for a code block.
func barred(s string) []string {
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(s, "\r\n", "\n"), "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(bar+brief(l), " ")
	}
	return lines
}

// fold makes one line of a text.
func fold(s string) string { return strings.Join(strings.Fields(s), " ") }

// brief is a string on one line, cut where it is very long.
func brief(s string) string {
	if len(s) > maxText {
		return cutTo(diff.Clean(head(s, maxText)), len(s))
	}
	return diff.Clean(s)
}

// cutTo is the beginning of a string, and how long all of it is.
func cutTo(beginning string, size int) string { return beginning + fmt.Sprintf("… (%d bytes)", size) }

// head returns the first n bytes of s, or fewer where that would part a character.
func head(s string, n int) string {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// linkTo is a link to one of our pages, or the bare label where there is no public address.
func linkTo(base, label, path string) string {
	if base == "" {
		return label
	}
	return "[" + label + "](" + strings.TrimSuffix(base, "/") + "/" + path + ")"
}

// says is what a summary counts, in words, the most dangerous first.
func says(s plumbline.Summary, bold bool) string {
	var parts []string
	add := func(n int, what string, danger bool) {
		if n == 0 {
			return
		}
		p := fmt.Sprintf("%d %s", n, what)
		if danger && bold {
			p = "**" + p + "**"
		}
		parts = append(parts, p)
	}
	add(s.Replace, "to replace", true)
	add(s.Delete, "to destroy", true)
	add(s.Forget, "to forget", false)
	if s.Invoke > 0 {
		parts = append(parts, count(s.Invoke, "action")+" to run")
	}
	add(s.Create, "to add", false)
	add(s.Update, "to change", false)
	add(s.Move, "moved", false)
	add(s.Import, "to import", false)
	if len(parts) == 0 && s.Output > 0 {
		parts = append(parts, count(s.Output, "output")+" to change")
	}
	return strings.Join(parts, ", ")
}
