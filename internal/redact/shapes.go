package redact

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// rule says what one kind of secret looks like.
type rule struct {
	ID       string   `json:"id"`
	Regex    string   `json:"regex"`
	Word     bool     `json:"word,omitempty"`    // no letter, digit or _ stands before a match
	Prefix   bool     `json:"prefix,omitempty"`  // a match begins with one of the keywords
	Group    int      `json:"group,omitempty"`   // the group that is the secret; 0: the first that is not empty, or else the match
	Reach    int      `json:"reach,omitempty"`   // the length of the longest match in bytes; 0: without bound, only with Prefix
	Entropy  float64  `json:"entropy,omitempty"` // in bits for each character; a secret has more
	Keywords []string `json:"keywords"`          // small letters; a match contains one, in any case
	Allow    []string `json:"allow,omitempty"`   // a secret that matches one of them is none

	look    func(text string, at span) []span // the rule as code, in place of Regex: what it finds around a keyword
	valid   func(secret string) bool          // what Regex cannot say
	once    sync.Once
	re      *regexp.Regexp
	allowed []*regexp.Regexp
}

// ruleSet is the content of rules/shapes.json.
type ruleSet struct {
	Allow     []string `json:"allow"`     // what matches one of them is no secret to any rule
	Stopwords []string `json:"stopwords"` // nor what contains one of them, in any case
	Rules     []*rule  `json:"rules"`
}

//go:embed rules/shapes.json
var shapesJSON []byte

// endless is how much of a line is tried for a match without bound. Of a longer one, what follows in the same characters belongs to it.
const endless = 8 << 10

// shapes finds secrets by what they look like. It is shared by all Maskers, and safe for concurrent use.
type shapes struct {
	class [256]uint8 // of the keywords' automaton, as are shift,
	shift uint
	table []uint16  // and table, in which hit is set in the states at which a keyword ends
	ends  []uint16  // ends[s] is which of rules
	rules [][]*rule // are to be tried at state s; the first is none
	allow func() []*regexp.Regexp
	stop  []string
}

// loadShapes reads the rules. It compiles none: that is done when a keyword of the rule turns up for the first time.
var loadShapes = sync.OnceValue(readShapes)

func readShapes() *shapes {
	var set ruleSet
	if err := json.Unmarshal(shapesJSON, &set); err != nil {
		panic(fmt.Sprintf("redact: rules/shapes.json: %v", err)) // built in: a test reads it
	}
	rules := slices.Concat(set.Rules, ownRules())
	byWord := map[string][]*rule{}
	for _, r := range rules {
		for _, k := range r.Keywords {
			byWord[k] = append(byWord[k], r)
		}
	}
	words := make([]string, 0, len(byWord))
	for k := range byWord {
		words = append(words, k)
	}
	a := newAutomaton(words, true)
	s := &shapes{class: a.class, shift: a.shift, rules: [][]*rule{nil}, stop: set.Stopwords}
	s.allow = sync.OnceValue(func() []*regexp.Regexp { return compileAll(set.Allow) })
	// Keywords that end in the same state are suffixes of each other: the longest one's rules are those of all.
	s.ends = make([]uint16, len(a.nodes))
	for _, k := range words {
		state := root
		for i := range len(k) {
			state = a.next(state, k[i])
		}
		s.ends[state] = uint16(len(s.rules))
		var all []*rule
		for i := range len(k) {
			all = append(all, byWord[k[i:]]...)
		}
		s.rules = append(s.rules, all)
	}
	for state := range s.ends { // breadth first: what it fails to has been set
		if s.ends[state] == 0 {
			s.ends[state] = s.ends[a.nodes[state].fail]
		}
	}
	if len(s.ends) > hit || len(a.table) != len(s.ends)<<a.shift {
		panic("redact: too many keywords") // built in: a test reads them
	}
	s.table = make([]uint16, len(a.table))
	for i, state := range a.table {
		if s.table[i] = uint16(state); s.ends[state] != 0 {
			s.table[i] |= hit
		}
	}
	return s
}

// lazy compiles an expression when it is needed for the first time.
func lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

func compileAll(list []string) []*regexp.Regexp {
	out := make([]*regexp.Regexp, len(list))
	for i, re := range list {
		out[i] = regexp.MustCompile(re)
	}
	return out
}

// compile makes the rule ready. Built-in expressions that do not compile are a mistake of ours, which a test finds.
func (r *rule) compile() {
	r.once.Do(func() {
		if r.Prefix {
			r.re = regexp.MustCompile(`\A(?:` + r.Regex + `)`)
		} else {
			r.re = regexp.MustCompile(r.Regex)
		}
		r.allowed = compileAll(r.Allow)
	})
}

// hit marks a state at which a keyword ends.
const hit = 1 << 15

// suspicious reports whether text is worth a closer look: whether a keyword is in it, or base64 of a text. All text goes through here.
func suspicious[T string | []byte](s *shapes, text T) bool {
	state, shift, class, table := uint16(root), s.shift&31, &s.class, s.table
	for i := 0; i < len(text); i++ {
		state = table[int(state)<<shift|int(class[text[i]])]
		if state&hit != 0 {
			return true
		}
	}
	return holdsBase64(text)
}

// find returns the stretches of text that look like secrets in one of its readings, sorted and apart.
func (s *shapes) find(text string) []span {
	spans := s.read(text, view{})
	if v, ok := unescape(text, false); ok {
		spans = append(spans, s.read(v.text, v)...)
	}
	if strings.Contains(text, "+") && strings.ContainsAny(text, "?%") { // perhaps the query of a URL
		if v, ok := unescape(text, true); ok {
			spans = append(spans, s.read(v.text, v)...)
		}
	}
	return join(spans)
}

// read returns the secrets in text, which is v's or, for the view that is none, the original itself.
func (s *shapes) read(text string, v view) []span {
	var out []span
	for _, found := range s.match(text) {
		out = append(out, v.back(found))
	}
	for inner := range base64Views(text) {
		for _, found := range s.match(inner.text) {
			out = append(out, v.back(inner.back(found)))
		}
		if again, ok := unescape(inner.text, false); ok {
			for _, found := range s.match(again.text) {
				out = append(out, v.back(inner.back(again.back(found))))
			}
		}
	}
	return out
}

// match returns what the rules find in text as it stands.
func (s *shapes) match(text string) []span {
	var out []span
	var done map[*rule]span // the last secret that a rule has found: it does not look again in there
	state := uint16(root)
	for i := range len(text) {
		state = s.table[int(state&^hit)<<s.shift|int(s.class[text[i]])]
		if state&hit == 0 {
			continue
		}
		for _, r := range s.rules[s.ends[state&^hit]] {
			for _, word := range r.Keywords {
				at := i + 1 - len(word)
				if at < 0 || !strings.EqualFold(text[at:i+1], word) {
					continue
				}
				if last := done[r]; at >= last.start && at < last.end {
					break
				}
				if found := s.try(r, text, span{at, i + 1}); len(found) > 0 {
					if done == nil {
						done = map[*rule]span{}
					}
					last := &found[len(found)-1]
					done[r] = *last
					if r.look == nil && last.start == at { // kinds of tokens grow longer over the years
						for last.end < len(text) && isWord(text[last.end]) && text[last.end] != '_' {
							last.end++
						}
					}
					out = append(out, found...)
				}
				break
			}
		}
	}
	return out
}

// try returns what r finds around its keyword.
func (s *shapes) try(r *rule, text string, at span) []span {
	if r.look != nil {
		return r.look(text, at)
	}
	if r.Word && at.start > 0 && isWord(text[at.start-1]) && r.Prefix {
		return nil
	}
	r.compile()
	// The stretch is a little longer than a match can be, so that its ends are not mistaken for those of the line.
	const more = 8
	from, to := at.start, len(text)
	if !r.Prefix {
		from = max(0, at.start-r.Reach-more)
	}
	if r.Reach > 0 {
		to = min(to, at.end+r.Reach+more)
	} else {
		to = min(to, at.start+endless)
	}
	var out []span
	for _, m := range r.re.FindAllStringSubmatchIndex(text[from:to], -1) {
		if from > 0 && m[0] == 0 && !r.Prefix {
			continue // its beginning is not in sight: not a match around this keyword
		}
		g := span{from + m[0], from + m[1]}
		if r.Group > 0 {
			g = span{from + m[2*r.Group], from + m[2*r.Group+1]}
		} else {
			for k := 2; k < len(m); k += 2 {
				if m[k] >= 0 && m[k+1] > m[k] {
					g = span{from + m[k], from + m[k+1]}
					break
				}
			}
		}
		if g.start < from || !s.secret(r, text[g.start:g.end]) {
			continue
		}
		if r.Reach == 0 && g.end == to {
			for g.end < len(text) && isToken(text[g.end]) {
				g.end++
			}
		}
		out = append(out, g)
	}
	return out
}

// secret reports whether what a rule has found is one.
func (s *shapes) secret(r *rule, found string) bool {
	if r.Entropy > 0 && entropy(found) <= r.Entropy || r.valid != nil && !r.valid(found) {
		return false
	}
	matches := func(re *regexp.Regexp) bool { return re.MatchString(found) }
	if slices.ContainsFunc(r.allowed, matches) || slices.ContainsFunc(s.allow(), matches) {
		return false
	}
	lower := strings.ToLower(found)
	return !slices.ContainsFunc(s.stop, func(word string) bool { return strings.Contains(lower, word) })
}

// entropy is Shannon's, in bits for each character, as gitleaks computes it.
func entropy(s string) float64 {
	counts := map[rune]int{}
	for _, c := range s {
		counts[c]++
	}
	sum := 0.0
	for _, n := range counts {
		p := float64(n) / float64(len(s))
		sum -= p * math.Log2(p)
	}
	return sum
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// isToken reports whether c is of the characters that tokens are made of.
func isToken(c byte) bool { return isWord(c) || strings.IndexByte("-.+/=~", c) >= 0 }

// join sorts spans, and makes one of those that overlap or touch.
func join(spans []span) []span {
	if len(spans) < 2 {
		return spans
	}
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	out := spans[:1]
	for _, s := range spans[1:] {
		if last := &out[len(out)-1]; s.start <= last.end {
			last.end = max(last.end, s.end)
		} else {
			out = append(out, s)
		}
	}
	return out
}
