package diff

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const yamlNote = "only layout, quoting or order of keys differs"

// parseYAMLs reads two YAML texts that each hold one mapping or sequence. It returns nil unless what the texts mean is certain to be what is
// compared: there may be no anchors, aliases, merge keys, tags, directives, names that are not strings or occur twice; and the two must have
// the same comments, because people change those on purpose. Scripts are no YAML; nor is, without a mapping inside, what may be a list of
// rules of which the first counts; and carriage returns, which YAML takes for nothing, matter to other readers.
func parseYAMLs(before, after string) (b, a *document) {
	if strings.Contains(before, "\r") || strings.Contains(after, "\r") || !slices.Equal(comments(before), comments(after)) {
		return nil, nil
	}
	return parseYAML(before), parseYAML(after)
}

func parseYAML(s string) *document {
	if len(s) > maxYAML || strings.HasPrefix(s, "#!") || strings.HasPrefix(s, "%") || strings.Contains(s, "\n%") {
		return nil
	}
	var n yaml.Node
	err := yaml.Load([]byte(s), &n, yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxLevels), loaderlimits.AliasValue(0))))
	if err != nil || n.Kind != yaml.DocumentNode || len(n.Content) != 1 {
		return nil
	}
	d, ok := readYAML(n.Content[0], 0)
	if !ok || !slices.ContainsFunc(d.items, (*document).hasMapping) {
		return nil
	}
	return d
}

// hasMapping reports whether d is a mapping, or has one in it.
func (d *document) hasMapping() bool {
	return d.kind == '{' || slices.ContainsFunc(d.items, (*document).hasMapping)
}

func readYAML(n *yaml.Node, level int) (*document, bool) {
	if level > maxLevels || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		return nil, false
	}
	switch n.Kind {
	case yaml.MappingNode:
		d := &document{kind: '{'}
		seen := make(map[string]bool, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, ok := readYAML(n.Content[i], level+1)
			if !ok || name.kind != '"' || seen[name.text] || name.text == "<<" {
				return nil, false
			}
			seen[name.text] = true
			item, ok := readYAML(n.Content[i+1], level+1)
			if !ok {
				return nil, false
			}
			d.names, d.items = append(d.names, name.text), append(d.items, item)
		}
		return d.seal(), true
	case yaml.SequenceNode:
		d := &document{kind: '['}
		for _, c := range n.Content {
			item, ok := readYAML(c, level+1)
			if !ok {
				return nil, false
			}
			d.items = append(d.items, item)
		}
		return d.seal(), true
	case yaml.ScalarNode:
		quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
		if quoted || isString(n) {
			return (&document{kind: '"', text: n.Value}).seal(), true
		}
		d := &document{text: n.Value}
		if n.Value == "" {
			d.text = "null"
		}
		return d.seal(), true
	default:
		return nil, false
	}
}

// isString reports whether a plain scalar is a string to every reader. Some take yes for a truth value, 12:30 for a number and 2026-01-02 for a
// date; for them it makes a difference whether such a word stands in quotes.
func isString(n *yaml.Node) bool {
	if n.ShortTag() != "!!str" || n.Value == "" {
		return false
	}
	switch c := n.Value[0]; {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '/', c == '_':
	default:
		return false
	}
	switch strings.ToLower(n.Value) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	return true
}

// comments are the ends of lines that may be comments; what looks like one in a string counts, too.
func comments(s string) []string {
	var out []string
	for line := range strings.Lines(s) {
		for i := range len(line) {
			if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
				out = append(out, strings.TrimSpace(line[i:]))
				break
			}
		}
	}
	return out
}
