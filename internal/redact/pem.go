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
		if i == body && trimKeyLine(plusSign.Replace(line)) == "" { // the rest of the line that begins it
			i += len(line)
			continue
		}
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

// keyLines tells how far the lines of a key go. It looks at each line from its beginning, so that what is masked further on in a line, or joined to
// its end because a mask stands for several lines, does not make a key of it.
type keyLines struct {
	prefix string // what stands before the key in its first line; in the others, numbers may differ
	lines  int    // how many have been part of the key, blank ones apart
	short  bool   // whether a short word may be the last line of the key
	blank  bool   // whether the last line was
}

// next reports whether line, the one after those before, belongs to the key.
func (k *keyLines) next(line string) bool {
	if len(line) > endless {
		return false
	}
	t := k.bare(line)
	if t == "" {
		if k.blank {
			return false // what follows two blank lines is something else
		}
		k.blank, k.short = true, false
		return true
	}
	const whole = 32 // lines of keys have 64 or more, except the last
	switch {
	case pemField().MatchString(t):
	case isBase64(t) && (k.short || len(t) >= whole):
		k.short = true
	default:
		return false
	}
	k.lines++
	k.blank = false
	return true
}

// end returns where in line the key ends, if it does.
func (k *keyLines) end(line string) (int, bool) {
	m := pemEnd().FindStringIndex(line)
	if m == nil {
		return 0, false
	}
	before := strings.TrimLeft(k.bare(line[:m[0]]), "+-~|># ")
	return m[1], before == "" || isBase64(before)
}

// bare returns what line has of a key, without what stands before and around it.
func (k *keyLines) bare(line string) string {
	line = plusSign.Replace(line)
	t := trimKeyLine(line)
	if n, ok := k.prefixed(line); ok && !isBase64(t) {
		t = trimKeyLine(line[n:])
	}
	return t
}

// prefixed reports whether line begins as the first one does, with a time and what else a log puts before a line, and returns how long that is.
func (k *keyLines) prefixed(line string) (int, bool) {
	if strings.Contains(k.prefix, "sensitive") { // a mask may stand for different texts
		return 0, false
	}
	i, p := 0, 0
	for p < len(k.prefix) && i < len(line) {
		if isDigit(line[i]) && isDigit(k.prefix[p]) {
			for i < len(line) && isDigit(line[i]) {
				i++
			}
			for p < len(k.prefix) && isDigit(k.prefix[p]) {
				p++
			}
			continue
		}
		if line[i] != k.prefix[p] {
			return 0, false
		}
		i, p = i+1, p+1
	}
	return i, p == len(k.prefix)
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
		if end, ok := k.end(line); ok {
			return n + end
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
