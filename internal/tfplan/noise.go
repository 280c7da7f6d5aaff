package tfplan

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// noise says why attributes mean the same on both sides, each of them, although they are written differently; "": they do not, or nobody can tell.
//
//	nothing and an empty text, list or map              providers read them back for each other
//	5 and "5", 1 and 1.0, true and "true"               one value, told as another type
//	texts that hold the same JSON                       whitespace, order of members
//	… of a policy (it has a Statement)                  order of lists, one element with or without a list around it
//
// A list in another order is no noise: Terraform keeps sets in an order of its own, so where it shows another order, order counts
// to the provider. If it does not, applying has no effect, which is found out by that.
func noise(attributes []plumbline.Attribute) string {
	var whys []string
	for _, a := range attributes {
		if a.Sensitive || a.Unknown {
			return ""
		}
		why := alike(a.Before, a.After)
		if why == "" {
			return ""
		}
		if !slices.Contains(whys, why) {
			whys = append(whys, why)
		}
	}
	return strings.Join(whys, "; ")
}

// alike says why two values mean the same; "": they do not.
func alike(before, after string) string {
	if void(before) && void(after) {
		return "an empty value stands where there was nothing, or the other way round"
	}
	var x, y any
	if !plumbline.IsJSON(before) || !plumbline.IsJSON(after) || decode(before, &x) != nil || decode(after, &y) != nil {
		return ""
	}
	if sx, ok := x.(string); ok {
		if sy, ok := y.(string); ok {
			return sameDocument(sx, sy)
		}
	}
	if scalar(x) != "" && scalar(x) == scalar(y) {
		return "one value is written as another type"
	}
	return ""
}

func void(v string) bool {
	return v == "" || v == "null" || v == `""` || v == "[]" || v == "{}"
}

// scalar is what a number, a truth value or a text says; "": it is none.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		if n, ok := numeral(v); ok {
			return n
		}
		return v
	case json.Number:
		if n, ok := numeral(v.String()); ok {
			return n
		}
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return ""
}

// numeral is a number in one spelling: 1.50 and 1.5 are one. Exponents are left alone.
func numeral(s string) (string, bool) {
	var n json.Number
	if decode(s, &n) != nil || strings.ContainsAny(s, "eE\"") {
		return "", false
	}
	if strings.Contains(s, ".") {
		s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	}
	return s, true
}

// sameDocument says why two texts hold the same JSON; "": they do not. Two plain texts are never the same: they were told apart before.
func sameDocument(a, b string) string {
	var x, y any
	if !document(a) || !document(b) || decode(a, &x) != nil || decode(b, &y) != nil {
		return ""
	}
	if sameJSON(x, y) {
		return "both texts hold the same JSON"
	}
	if isPolicy(x) && isPolicy(y) && sameJSON(loose(x), loose(y)) {
		return "both policies say the same"
	}
	return ""
}

func document(s string) bool {
	s = strings.TrimSpace(s)
	return strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[")
}

func isPolicy(v any) bool {
	o, ok := v.(map[string]any)
	return ok && o["Statement"] != nil
}

// loose is a policy without the liberties that its writers have: lists in order, and none around one element.
func loose(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[name] = loose(member)
		}
		return out
	case []any:
		texts := make([]string, 0, len(v))
		byText := map[string]any{}
		for _, element := range v {
			element = loose(element)
			text := spelled(element)
			texts = append(texts, text)
			byText[text] = element
		}
		slices.Sort(texts)
		texts = slices.Compact(texts)
		if len(texts) == 1 {
			return byText[texts[0]]
		}
		out := make([]any, len(texts))
		for i, text := range texts {
			out[i] = byText[text]
		}
		return out
	}
	return v
}

func sameJSON(x, y any) bool { return spelled(x) == spelled(y) }

// spelled is a value in one spelling: members in order of their names.
func spelled(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error() // what was decoded can be encoded
	}
	return string(b)
}

// decode reads one JSON value with its numbers as they are written.
func decode(s string, into any) error {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return &json.SyntaxError{Offset: d.InputOffset()}
	}
	return nil
}

// withoutMirrors leaves out what tags_all says after tags: AWS's provider keeps every tag in both.
func withoutMirrors(attributes []plumbline.Attribute) []plumbline.Attribute {
	mirrors := func(a plumbline.Attribute) bool {
		rest, ok := strings.CutPrefix(a.Path, "tags_all")
		return ok && slices.ContainsFunc(attributes, func(b plumbline.Attribute) bool {
			return b.Path == "tags"+rest && b.Before == a.Before && b.After == a.After
		})
	}
	if !slices.ContainsFunc(attributes, mirrors) {
		return attributes
	}
	return slices.DeleteFunc(slices.Clone(attributes), mirrors)
}
