package redact

import "strings"

// Characters that a name and what it is set to may be apart.
const (
	maxName = 64
	maxGap  = 48 // Terraform aligns the equals signs of a block
	// A longer value is judged by its beginning.
	maxJudged = 512
)

// named finds the values that text sets a name to which says that they are secret: password = "…", "token": "…", --api-key …, X-Vault-Token: …,
// ?access_token=…. at is one of the words that such names contain. Values that could just as well be names, words or references are left
// alone, since many a line says "secret: app-db" of something that is none.
func named(text string, at span) []span {
	begin, end := at.start, at.end
	for begin > max(0, at.start-maxName) && isName(text[begin-1]) {
		begin--
	}
	for end < min(len(text), at.end+maxName) && isName(text[end]) {
		end++
	}
	name := strings.TrimRight(text[begin:end], ".")
	if confidence(name) < surely || inARN(text[:begin]) {
		return nil
	}
	i, ok := operator(text, end, strings.HasPrefix(name, "--"))
	if !ok {
		return nil
	}
	var out []span
	for {
		v, next := value(text, i)
		if v.end == v.start {
			return out
		}
		if guess(text[v.start:v.end]) {
			for next == v.end && v.end-i >= endless-1 && v.end < len(text) && isToken(text[v.end]) {
				v.end, next = v.end+1, next+1
			}
			out = append(out, v)
		}
		// A plan shows an old value and a new one.
		i = skip(text, next, " ")
		if !strings.HasPrefix(text[i:], "->") && !strings.HasPrefix(text[i:], "=>") {
			return out
		}
		i = skip(text, i+2, " ")
	}
}

// inARN reports whether before ends within an ARN, as in arn:aws:secretsmanager:eu-west-2:123456789012:secret:prod/db-a1B2c3.
func inARN(before string) bool {
	const longest = 200
	before = before[max(0, len(before)-longest):]
	i := strings.LastIndex(before, "arn:")
	return i >= 0 && before[len(before)-1] == ':' && !strings.ContainsAny(before[i:], " \t\n\"'`")
}

func isName(c byte) bool { return isWord(c) || c == '-' || c == '.' }

// skip returns the first place at or after i that has none of the bytes in set, at most maxGap on.
func skip(text string, i int, set string) int {
	for end := min(len(text), i+maxGap); i < end && strings.IndexByte(set, text[i]) >= 0; {
		i++
	}
	return i
}

// operator returns where the value begins that the name ending at i is set to.
func operator(text string, i int, flag bool) (int, bool) {
	named := i
	i = skip(text, i, `"'`+"`]")
	i = skip(text, i, " \t")
	for _, op := range []string{"=>", ":=", "?=", "==", "=", ":"} {
		if strings.HasPrefix(text[i:], op) {
			return skip(text, i+len(op), " \t"), true
		}
	}
	return i, flag && i > named
}

// value returns the value at i, without its quotation marks, and where it ends with them. It looks no further than for endless bytes.
func value(text string, i int) (v span, next int) {
	if i == len(text) {
		return span{}, i
	}
	text = text[:min(len(text), i+endless)]
	if q := text[i]; q == '"' || q == '\'' || q == '`' {
		for k := i + 1; k < len(text); k++ {
			switch text[k] {
			case '\\':
				k++
			case q:
				return span{i + 1, k}, k + 1
			case '\n':
				return span{}, i
			}
		}
		return span{i + 1, len(text)}, len(text) // the rest of a line that was cut
	}
	end := i
	for end < len(text) && strings.IndexByte(" \t\r\n\"'`,;&|<>(){}[]\\#", text[end]) < 0 {
		end++
	}
	if end < len(text) && text[end] == '(' {
		return span{}, end // a call
	}
	for end > i && strings.IndexByte(".,:", text[end-1]) >= 0 {
		end--
	}
	return span{i, end}, end
}

// guess reports whether v is likely to be a secret, under a name that says so.
func guess(v string) bool {
	const least = 2.5 // bits for each character: "abababab1" has 1.4, eight different ones have 3
	v = v[:min(len(v), maxJudged)]
	if strings.ContainsAny(v, " \t\n") {
		return false
	}
	plain := meant(v)
	words := strings.TrimSpace(strings.ReplaceAll(plain, "+", " ")) // of a sentence in a query
	return SecretValue(plain) && SecretValue(words) && !isIdentifier(words) && entropy(plain) >= least
}

// meant returns what v, which was found in text as it stands, is once its escapes are undone: it may begin with a quotation mark, and then it is
// nothing, or go on behind one. Another reading of the text sees those right.
func meant(v string) string {
	if strings.Contains(v, "&") {
		v += ";" // an entity may have been cut
	}
	if strings.Contains(v, "%") {
		if decoded, ok := unescape(v, true); ok {
			v = strings.TrimLeft(decoded.text, " ")
		}
	} else if decoded, ok := unescape(v, false); ok {
		v = decoded.text
	}
	if i := strings.IndexAny(v, " \t\n\"'`<>(){}[]|"); i >= 0 && !strings.HasPrefix(v, "${") {
		if v[i] == '(' {
			return "" // a call
		}
		v = v[:i]
	}
	return strings.TrimSuffix(v, ";")
}
