package redact

import (
	"iter"
	"strconv"
	"strings"
)

// view is one reading of a text: what it says once escapes are undone, or base64 is decoded. The view that is none reads the text as it is.
type view struct {
	text string
	from []int32 // from[i] is where in the original byte i of text begins,
	to   []int32 // and to[i] where it ends
}

func (v view) back(s span) span {
	if v.from == nil {
		return s
	}
	return span{int(v.from[s.start]), int(v.to[s.end-1])}
}

// unescape reads text with the escapes of JSON, Go, HTML and URLs undone, however often each was applied: \\\" and \" are a quotation mark, and
// so are &#34; and &amp;quot;. With plus, a plus is a blank, as in the query of a URL. It reports false if nothing is escaped.
func unescape(text string, plus bool) (view, bool) {
	if !strings.ContainsAny(text, `\&%`) && (!plus || !strings.Contains(text, "+")) {
		return view{}, false
	}
	var b strings.Builder
	v := view{from: make([]int32, 0, len(text)), to: make([]int32, 0, len(text))}
	changed := false
	for i := 0; i < len(text); {
		s, n := text[i:i+1], 1
		switch text[i] {
		case '\\':
			s, n = unbackslash(text[i:])
		case '&':
			s, n = unentity(text[i:])
		case '%':
			s, n = unpercent(text[i:])
		case '+':
			if plus {
				s, changed = " ", true
			}
		}
		changed = changed || n > 1
		b.WriteString(s)
		for range len(s) {
			v.from, v.to = append(v.from, int32(i)), append(v.to, int32(i+n))
		}
		i += n
	}
	v.text = b.String()
	return v, changed
}

// unbackslash returns what the escape at the beginning of s stands for, and its length. Any number of backslashes is one.
func unbackslash(s string) (string, int) {
	n := len(s) - len(strings.TrimLeft(s, `\`))
	if n == len(s) {
		return `\`, n
	}
	hex := 0
	switch c := s[n]; c {
	case '"', '\'', '/', '`':
		return s[n : n+1], n + 1
	case 'n':
		return "\n", n + 1
	case 'r':
		return "\r", n + 1
	case 't':
		return "\t", n + 1
	case 'u':
		hex = 4
	case 'x':
		hex = 2
	}
	if hex > 0 && len(s) >= n+1+hex {
		if r, err := strconv.ParseUint(s[n+1:n+1+hex], 16, 16); err == nil {
			return string(rune(r)), n + 1 + hex
		}
	}
	return `\`, n
}

var entities = map[string]string{"quot": `"`, "apos": "'", "lt": "<", "gt": ">", "nbsp": " "}

func unentity(s string) (string, int) {
	n := 1
	for strings.HasPrefix(s[n:], "amp;") {
		n += len("amp;")
	}
	end := strings.IndexByte(s[n:min(len(s), n+8)], ';')
	if end < 0 {
		return "&", n
	}
	name := s[n : n+end]
	if c, ok := entities[name]; ok {
		return c, n + end + 1
	}
	if digits, ok := strings.CutPrefix(name, "#"); ok {
		base := 10
		if h := strings.TrimLeft(digits, "xX"); h != digits {
			digits, base = h, 16
		}
		if r, err := strconv.ParseUint(digits, base, 16); err == nil && r > 0 {
			return string(rune(r)), n + end + 1
		}
	}
	return "&", n
}

func unpercent(s string) (string, int) {
	n := 1
	for strings.HasPrefix(s[n:], "25") {
		n += 2
	}
	if len(s) >= n+2 {
		if c, err := strconv.ParseUint(s[n:n+2], 16, 8); err == nil {
			return string([]byte{byte(c)}), n + 2
		}
	}
	return "%", n
}

const (
	minRun  = 24 // characters of base64 that are worth decoding
	minText = 16 // bytes of text among what they decode to that are worth a look
)

// sextets is the value of each character of base64, of both alphabets, and -1 for all others.
var sextets = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = int8(i)
	}
	t['-'], t['_'] = 62, 63
	return t
}()

// run returns the first run of at least minRun characters of base64 at or after i, or an empty one.
func run[T string | []byte](text T, i int) span {
	for last := i + minRun - 1; last < len(text); {
		// The run that covers last, if there is one: characters before i have been seen.
		k := last
		for k >= i && sextets[text[k]] >= 0 {
			k--
		}
		if k >= i {
			i, last = k+1, k+minRun
			continue
		}
		end := last + 1
		for end < len(text) && sextets[text[end]] >= 0 {
			end++
		}
		return span{i, end}
	}
	return span{}
}

// printable reports whether c occurs in text that is ASCII.
func printable(c byte) bool { return c >= ' ' && c <= '~' || c == '\n' || c == '\t' || c == '\r' }

// stretch returns where the next text of at least minText bytes begins and ends among the bytes that run r decodes to when it is read from
// character shift on, beginning at byte i, or an empty span.
func stretch[T string | []byte](text T, r span, shift, i int) span {
	total := (r.end - r.start - shift) * 6 / 8
	for begin := i; i < total; i++ {
		if !printable(decoded(text, r.start+shift, i)) {
			if i-begin >= minText {
				return span{begin, i}
			}
			begin = i + 1
		} else if i == total-1 && total-begin >= minText {
			return span{begin, total}
		}
	}
	return span{}
}

// decoded returns byte i of what the base64 that begins at from says.
func decoded[T string | []byte](text T, from, i int) byte {
	k := from + i/3*4
	switch i % 3 {
	case 0:
		return byte(sextets[text[k]])<<2 | byte(sextets[text[k+1]])>>4
	case 1:
		return byte(sextets[text[k+1]])<<4 | byte(sextets[text[k+2]])>>2
	default:
		return byte(sextets[text[k+2]])<<6 | byte(sextets[text[k+3]])
	}
}

// holdsBase64 reports whether a run of base64 in text decodes to text.
func holdsBase64[T string | []byte](text T) bool {
	for r := run(text, 0); r.end > 0; r = run(text, r.end) {
		for shift := range 4 {
			if s := stretch(text, r, shift, 0); s.end > 0 {
				return true
			}
		}
	}
	return false
}

// base64Views yields every text that stands in text in base64.
func base64Views(text string) iter.Seq[view] {
	return func(yield func(view) bool) {
		for r := run(text, 0); r.end > 0; r = run(text, r.end) {
			for shift := range 4 {
				for s := stretch(text, r, shift, 0); s.end > 0; s = stretch(text, r, shift, s.end) {
					if !yield(base64View(text, r, shift, s)) {
						return
					}
				}
			}
		}
	}
}

// base64View reads bytes s of what run r says from character shift on. A byte stands in all the characters that carry some of its bits, and the
// last one of the run in the padding too.
func base64View(text string, r span, shift int, s span) view {
	v := view{from: make([]int32, 0, s.end-s.start), to: make([]int32, 0, s.end-s.start)}
	b := make([]byte, 0, s.end-s.start)
	begin := r.start + shift
	for i := s.start; i < s.end; i++ {
		b = append(b, decoded(text, begin, i))
		v.from = append(v.from, int32(begin+i*8/6))
		v.to = append(v.to, int32(min(r.end, begin+(8*(i+1)+5)/6)))
	}
	if n := len(v.to) - 1; int(v.to[n]) == r.end {
		for range 2 {
			if int(v.to[n]) < len(text) && text[v.to[n]] == '=' {
				v.to[n]++
			}
		}
	}
	v.text = string(b)
	return v
}
