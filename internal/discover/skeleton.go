package discover

import (
	"bytes"
	"unicode/utf8"
)

// An item is one top-level block of a file.
type item struct {
	start, end int // offsets in the file
	line       int // of start, 1-based
	column     int // of start, 1-based
}

// skeleton finds the top-level blocks of a file without parsing them, and returns those that discovery wants: terraform,
// provider, module, data "terraform_remote_state", and whatever may hold a path to a file.
//
// It understands as much of HCL's lexical grammar as it takes to know where a block ends: brackets, strings, templates,
// heredocs, comments. Wherever the file is not plainly right (brackets that do not match, a string without end, a character
// that has no place outside a string, a top-level attribute), or uses something rare (identifiers beyond ASCII, "$$$"), it
// gives up with ok = false and the whole file must be parsed, which finds the words for what is wrong. So what it accepts it
// must read as the parser does, and FuzzSkeleton holds it to that; what it gives up costs only time.
func skeleton(src []byte) (wanted []item, ok bool) {
	if !utf8.Valid(src) {
		return nil, false
	}
	l := lexer{src: src}
	line, counted := 1, 0
	for {
		if !l.blank() {
			return nil, false
		}
		if l.pos == len(src) {
			return wanted, true
		}
		start := l.pos
		keep, ok := l.header()
		if !ok || !l.body() || !l.endOfLine() {
			return nil, false
		}
		if keep || mentionsFiles(src[start:l.pos]) {
			indent := src[1+bytes.LastIndexByte(src[:start], '\n') : start]
			if bytes.ContainsFunc(indent, func(r rune) bool { return r >= 0x7f }) {
				return nil, false // a comment, or a byte order mark, whose characters would have to be counted
			}
			line += bytes.Count(src[counted:start], []byte{'\n'})
			counted = start
			wanted = append(wanted, item{start, l.pos, line, 1 + len(indent)})
		}
	}
}

type lexer struct {
	src  []byte
	pos  int
	open []byte // what is open: ( [ {, $ for a template sequence, " for a string, < for a heredoc
	docs []doc  // the heredocs among them
}

type doc struct {
	marker    []byte
	lineBegin bool // nothing of the present line was read yet, so it may be the end marker
}

// at returns the byte n after the current one, 0 beyond the end. A real NUL is refused wherever it could matter.
func (l *lexer) at(n int) byte {
	if l.pos+n < len(l.src) {
		return l.src[l.pos+n]
	}
	return 0
}

// blank goes to the next byte that is neither space nor comment.
func (l *lexer) blank() bool {
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' && l.at(1) == '\n':
			l.pos++
		case c == '#' || c == '/':
			if !l.comment() {
				return false
			}
		default:
			return true
		}
	}
	return true
}

// comment passes over the comment that begins here; false: none does, or it does not end.
func (l *lexer) comment() bool {
	rest := l.src[l.pos:]
	if rest[0] == '#' || l.at(1) == '/' {
		if n := bytes.IndexByte(rest, '\n'); n >= 0 {
			l.pos += n // the newline stays, as it also ends what stood before the comment
		} else {
			l.pos = len(l.src)
		}
		return true
	}
	if l.at(1) != '*' {
		return false
	}
	n := bytes.Index(rest[2:], []byte("*/"))
	l.pos += n + 4
	return n >= 0
}

func isIdent(c byte, first bool) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || !first && (c >= '0' && c <= '9' || c == '-')
}

func (l *lexer) ident() []byte {
	start := l.pos
	for l.pos < len(l.src) && isIdent(l.src[l.pos], l.pos == start) {
		l.pos++
	}
	return l.src[start:l.pos]
}

// header passes over a block's type and labels, to its opening brace. keep: discovery wants this block for its type.
func (l *lexer) header() (keep, ok bool) {
	kind := string(l.ident())
	if kind == "" {
		return false, false
	}
	var first []byte
	for n := 0; ; n++ {
		for l.at(0) == ' ' || l.at(0) == '\t' {
			l.pos++
		}
		var label []byte
		switch c := l.at(0); {
		case c == '{':
			switch kind {
			case "terraform", "provider", "module":
				return true, true
			case "data":
				return string(first) == "terraform_remote_state", true
			}
			return false, true
		case c == '"':
			end := bytes.IndexAny(l.src[l.pos+1:], "\"\\$%\n\r")
			if end < 0 || l.at(1+end) != '"' {
				return false, false
			}
			label = l.src[l.pos+1 : l.pos+1+end]
			l.pos += end + 2
		case isIdent(c, true):
			label = l.ident()
		default:
			return false, false
		}
		if n == 0 {
			first = label
		}
	}
}

// endOfLine says whether nothing but a comment follows on this line.
func (l *lexer) endOfLine() bool {
	for l.at(0) == ' ' || l.at(0) == '\t' {
		l.pos++
	}
	if l.pos == len(l.src) {
		return true
	}
	c, next := l.at(0), l.at(1)
	return c == '\n' || c == '\r' && next == '\n' || c == '#' || c == '/' && next == '/'
}

// boring bytes mean nothing to code outside of strings.
var boring = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c < 0x7f || c == '\t' || c == '\n'
	}
	for _, c := range "\"#/<(){}[]';`" {
		t[c] = false
	}
	return t
}()

// body passes over a bracketed whole, from its opening bracket to the one that closes it.
func (l *lexer) body() bool {
	for l.pos < len(l.src) {
		if n := len(l.open); n > 0 && l.open[n-1] == '"' {
			if !l.quoted() {
				return false
			}
			continue
		} else if n > 0 && l.open[n-1] == '<' {
			if !l.heredoc(&l.docs[len(l.docs)-1]) {
				return false
			}
			continue
		}
		c := l.src[l.pos]
		if boring[c] {
			l.pos++
			continue
		}
		switch c {
		case '"', '(', '[', '{':
			if len(l.open) > maxNesting {
				return false
			}
			l.open = append(l.open, c)
		case ')', ']', '}':
			top := l.open[len(l.open)-1]
			if c == ')' && top != '(' || c == ']' && top != '[' || c == '}' && top != '{' && top != '$' {
				return false
			}
			l.open = l.open[:len(l.open)-1]
			if len(l.open) == 0 {
				l.pos++
				return true
			}
		case '\r':
			if l.at(1) != '\n' {
				return false
			}
		case '#':
			l.comment()
			continue
		case '/':
			if l.at(1) == '/' || l.at(1) == '*' {
				if !l.comment() {
					return false
				}
				continue
			}
		case '<':
			if l.at(1) != '<' {
				break
			}
			l.pos += 2
			if l.at(0) == '-' {
				l.pos++
			}
			marker := l.ident()
			if l.at(0) == '\r' {
				l.pos++
			}
			if len(marker) == 0 || l.at(0) != '\n' || len(l.open) > maxNesting {
				return false // two less-than signs are no operator either
			}
			l.docs = append(l.docs, doc{marker, true})
			l.open = append(l.open, '<')
		default: // a character that has no place here, or an identifier beyond ASCII
			return false
		}
		l.pos++
	}
	return false
}

// quoted goes on in a string, until after its end or into a template sequence.
func (l *lexer) quoted() bool {
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; c {
		case '"':
			l.open = l.open[:len(l.open)-1]
			l.pos++
			return true
		case '\n', '\r':
			return false
		case '\\':
			if next := l.at(1); next == 0 || next == '\n' || next == '\r' {
				return false
			}
			l.pos += 2
		case '$', '%':
			if entered, ok := l.sequence(); entered || !ok {
				return ok
			}
		default:
			l.pos++
		}
	}
	return false
}

// heredoc goes on in a heredoc, until its end or into a template sequence. The newline after the end marker is left.
func (l *lexer) heredoc(d *doc) bool {
	for l.pos < len(l.src) {
		if d.lineBegin {
			d.lineBegin = false
			n := bytes.IndexByte(l.src[l.pos:], '\n')
			if n < 0 {
				return false
			}
			line := bytes.TrimSuffix(l.src[l.pos:l.pos+n], []byte{'\r'})
			if bytes.Equal(bytes.TrimSpace(line), d.marker) {
				l.pos += len(line)
				l.open = l.open[:len(l.open)-1]
				l.docs = l.docs[:len(l.docs)-1]
				return bytes.IndexByte(line, '\r') < 0
			}
		}
		switch c := l.src[l.pos]; {
		case c == '\n':
			d.lineBegin = true
			l.pos++
		case c == '\r' && l.at(1) != '\n':
			return false
		case c == '$' || c == '%':
			if entered, ok := l.sequence(); entered || !ok {
				return ok
			}
		default:
			l.pos++
		}
	}
	return false
}

// sequence passes over a "$" or "%" in a template, and into the sequence if it begins one. Not ok: a run of these that is
// neither a sequence nor an escaped one, about which the real scanner has its own ideas.
func (l *lexer) sequence() (entered, ok bool) {
	c, next := l.at(0), l.at(1)
	switch {
	case next == '{':
		if len(l.open) > maxNesting {
			return false, false
		}
		l.open = append(l.open, '$')
		l.pos += 2
		return true, true
	case next == c && l.at(2) == '{': // "$${" is plain text
		l.pos += 3
		return false, true
	case next == '$' || next == '%' || next == 0:
		return false, false
	}
	l.pos++
	return false, true
}

// mentionsFiles says whether there may be a call of a function with file in its name, or path.module and its like, in a
// piece of code. It may say yes for nothing, as for a word in a string.
func mentionsFiles(code []byte) bool {
	return mentions(code, "file", true, '(') || mentions(code, "path", false, '.')
}

func mentions(code []byte, word string, longer bool, then byte) bool {
	for {
		n := bytes.Index(code, []byte(word))
		if n < 0 {
			return false
		}
		code = code[n+len(word):]
		rest := code
		for longer && len(rest) > 0 && isIdent(rest[0], false) {
			rest = rest[1:]
		}
		// Between the two there may be space, and where newlines do not matter those too, and comments.
		rest = bytes.TrimLeft(rest, " \t\r\n")
		if len(rest) > 0 && (rest[0] == then || rest[0] == '#') {
			return true
		}
		if len(rest) > 1 && rest[0] == '/' && (rest[1] == '/' || rest[1] == '*') {
			return true
		}
	}
}
