package redact

import (
	"bytes"
	"strings"
)

var (
	pemBegin = lazy(`\A-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----`)
	pemEnd   = lazy(`-----END (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----`)
	pemField = lazy(`^(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset|MessageID): `)
	pemBody  = lazy(`[A-Za-z0-9+/=]{16}`)
	pemRun   = lazy(`[A-Za-z0-9+/=]{48,}["',|\\]*\s*$`)
	pemStart = lazy(`^[\s"'|]*[A-Za-z0-9+/=]{32,}`)
	plusSign = strings.NewReplacer("&#43;", "+", "&#34;", "", "&quot;", "", "%2B", "+", "%2b", "+")
)

// pemBlock finds a private key in PEM, whose beginning is at at.start: up to its end, or, where that is missing, as far as the lines look like
// those of a key. Text that only mentions the markers is left alone.
func pemBlock(text string, at span) []span {
	m := pemBegin().FindStringIndex(text[at.start:])
	if m == nil {
		return nil
	}
	body := at.start + m[1]
	const longest = 16 << 10 // of a key; those of RSA with 16384 bits have 12,900 bytes
	near := text[body:min(len(text), body+longest)]
	if strings.Contains(near, "-----END ") { // quicker than the expression
		if e := pemEnd().FindStringIndex(near); e != nil && pemBody().MatchString(near[:e[0]]) {
			return []span{{at.start, body + e[1]}}
		}
	}
	end, i, k := body, body, keyLines{prefix: text[strings.LastIndexByte(text[:at.start], '\n')+1 : at.start]}
	for line := range strings.Lines(text[body:]) {
		if !k.next(line) {
			if m := pemStart().FindStringIndex(line[:min(len(line), endless)]); m != nil { // the last line of what is left of it
				end = i + m[1]
			}
			break
		}
		i += len(line)
		if k.lines > 0 {
			end = i
		}
	}
	if end == body {
		return nil
	}
	return []span{{at.start, at.start + len(strings.TrimRight(text[at.start:end], "\r\n"))}}
}

// keyLines tells how far the lines of a key go.
type keyLines struct {
	prefix string // what stands before the key in its first line; in the others, digits may differ
	lines  int    // how many have been part of the key, blank ones apart
	short  bool   // whether a short word may be the last line of the key
	blank  bool
}

// next reports whether line, the one after those before, belongs to the key.
func (k *keyLines) next(line string) bool {
	if len(line) > endless {
		return false
	}
	line = plusSign.Replace(line)
	t := trimKeyLine(line)
	if t == "" {
		if k.blank && k.short {
			return false // what follows two blank lines is something else
		}
		k.blank = k.blank || k.short || k.lines > 0
		k.short = false
		return true
	}
	if pemField().MatchString(t) {
		k.lines++
		return true
	}
	const whole = 32 // lines of keys have 64 or more, except the last
	if !isBase64(t) && k.prefixed(line) {
		t = trimKeyLine(line[len(k.prefix):])
	}
	if isBase64(t) && (k.short || len(t) >= whole) || pemRun().MatchString(line) {
		k.lines++
		k.short, k.blank = true, false
		return true
	}
	return false
}

// prefixed reports whether line begins as the first one does: with a time and what else a log puts before a line.
func (k *keyLines) prefixed(line string) bool {
	if len(line) <= len(k.prefix) || strings.Contains(k.prefix, "sensitive") { // a mask may stand for different texts
		return false
	}
	for i := range len(k.prefix) {
		if line[i] != k.prefix[i] && (!isDigit(line[i]) || !isDigit(k.prefix[i])) {
			return false
		}
	}
	return true
}

// trimKeyLine takes off what diffs, quotations and lists put around a line.
func trimKeyLine(line string) string {
	line = strings.TrimSpace(line)
	if len(line) > 1 && strings.IndexByte("+-~|>#", line[0]) >= 0 && line[1] == ' ' {
		line = line[2:]
	}
	return strings.Trim(line, " \t\r\"',|\\")
}

func isBase64(s string) bool {
	for i := range len(s) {
		if sextets[s[i]] < 0 && s[i] != '=' {
			return false
		}
	}
	return s != ""
}

// rest returns how much of text still belongs to the key.
func (k keyLines) rest(text string) int {
	n := 0
	for line := range strings.Lines(text) {
		if e := pemEnd().FindStringIndex(line); e != nil {
			return n + e[1]
		}
		if !k.next(line) {
			break
		}
		n += len(line)
	}
	return len(strings.TrimRight(text[:n], "\r\n"))
}

// openKey returns the private key that begins in line and may go on in the next one, or nil.
func openKey(line []byte) *keyLines {
	marker := []byte("-----BEGIN ")
	if !bytes.Contains(line, marker) { // quicker than to look for the last one
		return nil
	}
	i := bytes.LastIndex(line, marker)
	m := pemBegin().FindIndex(line[i:])
	if m == nil || trimKeyLine(plusSign.Replace(string(line[i+m[1]:]))) != "" {
		return nil
	}
	return &keyLines{prefix: string(line[:i])}
}
