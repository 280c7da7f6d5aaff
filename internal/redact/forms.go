package redact

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const blanks = " \t\r\n"

// split returns the values to mask for one secret: itself, then its longer lines.
func split(secret string) []string {
	secret = strings.Trim(secret, blanks)
	if len(secret) < MinLen {
		return nil
	}
	values := []string{secret}
	if !strings.Contains(secret, "\n") {
		return values
	}
	for line := range strings.Lines(secret) {
		if line = strings.Trim(line, blanks); len(line) >= MinLine {
			values = append(values, line)
		}
	}
	return values
}

// forms returns value in all the forms that are looked for. Some may be equal.
func forms(value string) []string {
	out := []string{
		value,
		jsonEscape(value, true),
		jsonEscape(value, false),
		goEscape(value),
		asciiEscape(value),
		htmlEscape.Replace(value),
		htmlEscapePlus.Replace(value),
		htmlEscapeNames.Replace(value),
	}
	for _, escaped := range out[1:4] { // JSON in a string of JSON
		out = append(out, jsonEscape(escaped, true), jsonEscape(escaped, false))
	}
	for _, escaped := range []string{
		url.QueryEscape(value),
		url.PathEscape(value),
		// The password of a URL keeps other characters than its path does: git prints such URLs in its errors.
		strings.TrimPrefix(url.UserPassword("", value).String(), ":"),
	} {
		out = append(out, escaped, lowerHex(escaped))
	}
	for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for offset := range 3 {
			out = append(out, base64Forms(alphabet, value, offset)...)
		}
	}
	return out
}

// base64Forms returns what value looks like in base64 when it stands offset bytes (mod 3) into the encoded text:
// followed by more, at the end without padding, at the end with padding. A character carries 6 bits; those at the
// edges that also carry bits of a neighbour differ with it, so they are left out.
func base64Forms(alphabet *base64.Encoding, value string, offset int) []string {
	encoded := alphabet.EncodeToString(append(make([]byte, offset), value...))
	first := (8*offset + 5) / 6
	whole := 8 * (offset + len(value)) / 6
	return []string{
		encoded[first:whole],
		strings.TrimRight(encoded[first:], "="),
		encoded[first:],
	}
}

// jsonEscape returns s as it stands between the quotes of a JSON string.
func jsonEscape(s string, html bool) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r) }) {
		return s
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	if err := e.Encode(s); err != nil {
		return s // Encode refuses no string and a Builder no write; the plain form is masked in any case.
	}
	quoted := strings.TrimSuffix(b.String(), "\n")
	return quoted[1 : len(quoted)-1]
}

// goEscape returns s as %q prints it, without the quotation marks.
func goEscape(s string) string {
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// asciiEscape returns s as it stands in a JSON string whose writer, such as Python's, escapes everything but ASCII.
func asciiEscape(s string) string {
	var b strings.Builder
	for _, r := range jsonEscape(s, false) {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
			fmt.Fprintf(&b, `\u%04x`, hi)
			r = lo
		}
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}

// HTML as package html writes it, as html/template does, and with the names that other programs use.
var (
	htmlEscape      = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")
	htmlEscapePlus  = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;", "+", "&#43;")
	htmlEscapeNames = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;")
)

// lowerHex returns s, which is escaped for a URL, with its escapes in lower case, as some programs write them.
func lowerHex(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(s[i+1:i+3]))
			i += 2
		}
	}
	return string(b)
}

// chooseMask returns the first mask that cannot become part of a form when any text is put around it. Without such a
// choice "p4ss" before a masked secret would read "p4ss(sensitive)", which spells the password "p4ss(".
func chooseMask(forms []string) string {
	for _, mask := range []string{Mask, "[sensitive]", "{sensitive}", "*sensitive*", "~sensitive~", "********"} {
		if apart(mask, forms) {
			return mask
		}
	}
	for c := byte('!'); c <= '~'; c++ {
		if strings.IndexByte(`"\<>&'`, c) >= 0 {
			continue // would need escaping where the secret stood
		}
		if mask := strings.Repeat(string(c), 8); apart(mask, forms) {
			return mask
		}
	}
	return Mask
}

// apart reports whether no form can share a byte with mask in any text that contains both.
func apart(mask string, forms []string) bool {
	for _, f := range forms {
		if strings.Contains(mask, f) || strings.Contains(f, mask) {
			return false
		}
		for k := 1; k < min(len(f), len(mask)); k++ {
			if strings.HasSuffix(f, mask[:k]) || strings.HasPrefix(f, mask[len(mask)-k:]) {
				return false
			}
		}
	}
	return true
}
