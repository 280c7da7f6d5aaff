package diff

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tabWidth is the spaces that a tab becomes: wide enough that what is indented still looks it.
const tabWidth = 4

// Clean makes s one line on which is to be seen what is in it. Tabs become spaces. Line breaks, control characters, the marks that change the
// direction of text, and what has no shape (zero-width and tag characters, variation selectors, spaces other than the ordinary one)
// become escapes such as \u202e. Bytes that are not UTF-8 become U+FFFD.
func Clean(s string) string {
	if isPlain(s) {
		return s
	}
	return string(appendVisible(make([]byte, 0, len(s)+16), s, false))
}

// isPlain reports whether there is nothing but printable ASCII.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// appendVisible appends s as [Clean] makes it, or as what stands in a JSON string.
func appendVisible(dst []byte, s string, quoted bool) []byte {
	for _, r := range s {
		switch {
		case quoted && (r == '"' || r == '\\'):
			dst = append(dst, '\\', byte(r))
		case r == '\t' && !quoted:
			dst = append(dst, "    "[:tabWidth]...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case isVisible(r):
			dst = utf8.AppendRune(dst, r)
		case r > 0xFFFF:
			dst = fmt.Appendf(dst, `\U%08x`, r)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
	}
	return dst
}

// isVisible reports whether a character has a shape of its own, or is the ordinary space.
func isVisible(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= ' ' && r <= '~'
	}
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) && r != brailleBlank
}

// brailleBlank counts as a symbol in Unicode and is empty all the same.
const brailleBlank = '\u2800'

// quote is s as a JSON string, visible.
func quote(s string) string { return `"` + string(appendVisible(nil, s, true)) + `"` }

// shorten is s as a JSON string, when it is longer than most bytes only its beginning and what tells it from others.
func shorten(s string, most int) string {
	if len(s) <= most {
		return quote(s)
	}
	return quote(head(s, most*3/5)+"…") + " " + measured(s)
}

// cut is s on one line, likewise.
func cut(s string, most int) string {
	if len(s) <= most {
		return Clean(s)
	}
	return Clean(head(s, most*3/5)) + "… " + measured(s)
}

// shortName is a name, an address or a path on one line.
func shortName(s string) string { return cut(s, maxText) }

// head is the beginning of s, at most n bytes, whole runes.
func head(s string, n int) string {
	if n >= len(s) {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// measured says how long s is and which one, for anybody who holds it and wants to know.
func measured(s string) string {
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("(%s, sha256 %x)", quantity(len(s), "byte"), sum[:6])
}

// quantity is a number of things.
func quantity(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return thousands(n) + " " + thing + "s"
}

// thousands is a number with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
