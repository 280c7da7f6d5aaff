package redact

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

//go:generate go test -run TestRulesAreCurrent -update .

var update = flag.Bool("update", false, "rewrite rules/shapes.json from rules/gitleaks.toml")

// leftOut are the rules of gitleaks that are not used, with the reason. Those that look for a vendor's name beside an ordinary value are not
// in it: see besideName.
var leftOut = map[string]string{
	"generic-api-key":                        "any value beside a word such as key, access or auth: names of resources, hashes, object keys",
	"sourcegraph-access-token":               "any 40 hexadecimal digits: commits; those with the prefix have a rule of our own",
	"facebook-access-token":                  "sixteen digits, a bar, a word: ids joined with | as Terraform prints them",
	"flutterwave-public-key":                 "a public key",
	"azure-ad-client-secret":                 "knows too few neighbours; a rule of our own knows the rest",
	"curl-auth-header":                       "a rule of our own finds the header wherever it stands",
	"curl-auth-user":                         "masks the name too, and needs the whole command; a rule of our own does not",
	"freemius-secret-key":                    "for PHP files alone (path)",
	"kubernetes-secret-yaml":                 "for YAML files alone (path), across lines",
	"nuget-config-password":                  "for nuget.config alone (path)",
	"pkcs12-file":                            "a path alone",
	"private-key":                            "replaced by one of our own that also masks a block that has lost its end",
	"sidekiq-sensitive-url":                  "a rule of our own masks the password of any URL",
	"jwt-base64":                             "base64 is decoded before the rules are tried",
	"microsoft-teams-webhook":                "its groups take four digits for the secret; a rule of our own masks the whole path",
	"aws-amazon-bedrock-api-key-short-lived": "matches the constant beginning of the token alone; a rule of our own has the rest",
}

// besideName is how gitleaks writes the rules that find a value of no shape of its own (32 hexadecimal digits, a UUID, a number) by a vendor's
// name up to 50 bytes before it. Terraform prints the names of vendors beside ids and hashes all day. What is secret among them stands under a
// name that says so, which the rule "named" looks for.
var besideName = []string{`(?i)[\w.-]{0,50}?`, `[\w.-]{0,50}?(?i:`}

// keywords are ours where those of the file are too common, or too vague to tell where a match begins.
var keywords = map[string][]string{
	"jwt":                             {"eyj"}, // every header is a JSON object
	"airtable-personnal-access-token": {"pat"}, // found with or without the vendor's name
}

// tail is how gitleaks ends a token. It knows the ends that source code has; in a log there are many more: & ) ] } , < |.
const (
	tail    = "(?:[\\x60'\"\\s;]|\\\\[nr]|$)"
	ourTail = "(?:[^0-9A-Za-z]|$)"
)

type gitleaks struct {
	Allowlist struct {
		Regexes, Stopwords []string
	}
	Rules []struct {
		ID, Regex, Path string
		SecretGroup     int
		Entropy         float64
		Keywords        []string
		Allowlists      []struct {
			Condition, RegexTarget    string
			Paths, Regexes, Stopwords []string
		}
	}
}

// TestRulesAreCurrent checks that rules/shapes.json is what rules/gitleaks.toml makes.
func TestRulesAreCurrent(t *testing.T) {
	var file gitleaks
	if _, err := toml.DecodeFile("rules/gitleaks.toml", &file); err != nil {
		t.Fatal(err)
	}
	got := compact(t, &file)
	if *update {
		if err := os.WriteFile("rules/shapes.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("rules/shapes.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("rules/shapes.json is not what rules/gitleaks.toml makes: go generate ./internal/redact")
	}
}

func compact(t *testing.T, file *gitleaks) []byte {
	t.Helper()
	var out ruleSet
	for _, re := range file.Allowlist.Regexes {
		if re == `(?i)^true|false|null$` { // as it stands, it lets every secret pass that contains "false"
			re = `(?i)^(?:true|false|null)$`
		}
		out.Allow = append(out.Allow, re)
	}
	out.Stopwords = file.Allowlist.Stopwords
	unused := map[string]bool{}
	for id := range leftOut {
		unused[id] = true
	}
	beside := 0
	for _, r := range file.Rules {
		if leftOut[r.ID] != "" {
			delete(unused, r.ID)
			continue
		}
		if slices.ContainsFunc(besideName, func(s string) bool { return strings.HasPrefix(r.Regex, s) }) {
			beside++
			continue
		}
		if r.Path != "" {
			t.Errorf("%s has a path: decide", r.ID)
		}
		c := &rule{ID: r.ID, Group: r.SecretGroup, Entropy: r.Entropy, Keywords: r.Keywords}
		if ours := keywords[r.ID]; ours != nil {
			c.Keywords = ours
		}
		for i, k := range c.Keywords {
			c.Keywords[i] = strings.ToLower(k)
		}
		c.Regex = strings.ReplaceAll(r.Regex, tail, ourTail)
		if rest, ok := strings.CutPrefix(c.Regex, `\b`); ok {
			c.Regex, c.Word = rest, true
		} else if rest, ok := strings.CutPrefix(c.Regex, `(?i)\b`); ok {
			c.Regex, c.Word = "(?i)"+rest, true
		}
		for _, a := range r.Allowlists {
			if len(a.Paths) > 0 && len(a.Regexes)+len(a.Stopwords) == 0 {
				continue
			}
			if a.RegexTarget != "" || a.Condition != "" || len(a.Stopwords) > 0 {
				t.Errorf("%s: an allowlist of a kind that is not handled", r.ID)
			}
			c.Allow = append(c.Allow, a.Regexes...)
		}
		re, err := syntax.Parse(c.Regex, syntax.Perl)
		if err != nil {
			t.Errorf("%s: %v", r.ID, err)
			continue
		}
		c.Reach = reach(re)
		starts, ok := leading(re)
		c.Prefix = ok && !slices.ContainsFunc(starts, func(s string) bool {
			return !slices.ContainsFunc(c.Keywords, func(k string) bool { return begins(s, k) })
		})
		if c.Prefix { // the others are found beside the token, not in it
			c.Keywords = slices.DeleteFunc(c.Keywords, func(k string) bool {
				return !slices.ContainsFunc(starts, func(s string) bool { return begins(s, k) })
			})
		}
		if len(c.Keywords) == 0 {
			t.Errorf("%s has no keyword", r.ID)
		}
		if !c.Prefix && (c.Reach == 0 || c.Word) {
			if c.Word {
				c.Regex, c.Word = `\b`+c.Regex, false
			}
			if c.Reach == 0 {
				t.Errorf("%s: a match has neither a known beginning nor a greatest length (starts %q)", r.ID, starts)
			}
		}
		out.Rules = append(out.Rules, c)
	}
	for id := range unused {
		t.Errorf("there is no rule %s to leave out", id)
	}
	t.Logf("%d rules kept, %d find a value beside a name, %d left out one by one", len(out.Rules), beside, len(file.Rules)-len(out.Rules)-beside)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		t.Fatal(err)
	}
	// A line for each rule, so that the next version's difference can be read.
	return bytes.ReplaceAll(b.Bytes(), []byte(`{"id"`), []byte("\n"+`{"id"`))
}

// begins reports whether what begins with start begins with keyword, as far as can be said.
func begins(start, keyword string) bool {
	start = strings.ToLower(start)
	return strings.HasPrefix(start, keyword) || start != "" && strings.HasPrefix(keyword, start)
}

// reach is the length of the longest match in bytes, 0 when it has no bound.
func reach(re *syntax.Regexp) int {
	const none = -1
	var width func(*syntax.Regexp) int
	width = func(re *syntax.Regexp) int {
		switch re.Op {
		case syntax.OpLiteral:
			n := 0
			for _, r := range re.Rune {
				n += utf8.RuneLen(r)
			}
			return n
		case syntax.OpCharClass:
			if len(re.Rune) > 0 && re.Rune[len(re.Rune)-1] < utf8.RuneSelf {
				return 1
			}
			return utf8.UTFMax
		case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
			return utf8.UTFMax
		case syntax.OpCapture, syntax.OpQuest:
			return width(re.Sub[0])
		case syntax.OpStar, syntax.OpPlus:
			return none
		case syntax.OpRepeat:
			w := width(re.Sub[0])
			if re.Max < 0 || w == none {
				return none
			}
			return re.Max * w
		case syntax.OpConcat, syntax.OpAlternate:
			sum, most := 0, 0
			for _, s := range re.Sub {
				w := width(s)
				if w == none {
					return none
				}
				sum, most = sum+w, max(most, w)
			}
			if re.Op == syntax.OpConcat {
				return sum
			}
			return most
		default:
			return 0 // matches no byte
		}
	}
	return max(0, width(re))
}

// leading returns every text with which a match can begin, as far as it is fixed, unless there are too many.
func leading(re *syntax.Regexp) (starts []string, ok bool) {
	starts, _ = fixed(re)
	return starts, len(starts) > 0
}

// fixed returns the texts that re's matches can begin with, and whether they are whole matches.
func fixed(re *syntax.Regexp) (starts []string, whole bool) {
	const most = 200
	switch re.Op {
	case syntax.OpLiteral:
		return []string{string(re.Rune)}, true
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if starts = append(starts, string(r)); len(starts) > 40 {
					return []string{""}, false
				}
			}
		}
		return starts, true
	case syntax.OpCapture:
		return fixed(re.Sub[0])
	case syntax.OpEmptyMatch, syntax.OpWordBoundary, syntax.OpBeginText, syntax.OpEndText:
		return []string{""}, true
	case syntax.OpAlternate:
		whole = true
		for _, sub := range re.Sub {
			s, w := fixed(sub)
			starts, whole = append(starts, s...), whole && w
		}
		if len(starts) > most {
			return []string{""}, false
		}
		return starts, whole
	case syntax.OpConcat:
		starts = []string{""}
		for _, sub := range re.Sub {
			next, w := fixed(sub)
			var all []string
			for _, a := range starts {
				for _, b := range next {
					all = append(all, a+b)
				}
			}
			if len(all) > most {
				return starts, false
			}
			starts = all
			if !w {
				return starts, false
			}
		}
		return starts, true
	default:
		return []string{""}, false
	}
}
