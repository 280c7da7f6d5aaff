package tfplan

import (
	"strconv"
	"strings"
)

func appendName(path, name []byte) []byte {
	if !isIdentifier(name) {
		return append(appendQuoted(append(path, '['), name), ']')
	}
	if len(path) > 0 {
		path = append(path, '.')
	}
	return append(path, name...)
}

func appendIndex(path []byte, i int) []byte {
	return append(strconv.AppendInt(append(path, '['), int64(i), 10), ']')
}

// isIdentifier reports whether a name can follow a dot. Digits and dashes may not come first, as in Terraform.
func isIdentifier(name []byte) bool {
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-'):
		default:
			return false
		}
	}
	return len(name) > 0
}

// meet reports whether one path is at or below the other when indexes are not compared.
func meet(a, b string) bool {
	i, j, quoted := 0, 0, false
	for ; i < len(a) && j < len(b); i, j = i+1, j+1 {
		if a[i] != b[j] {
			return false
		}
		switch {
		case quoted && a[i] == escape:
			if i, j = i+1, j+1; i == len(a) || j == len(b) || a[i] != b[j] {
				return false
			}
		case a[i] == quote:
			quoted = !quoted
		case a[i] == '[' && !quoted:
			i, j = pastDigits(a, i), pastDigits(b, j)
		}
	}
	rest := a[min(i, len(a)):] + b[min(j, len(b)):]
	return rest == "" || i == 0 || rest[0] == '.' || rest[0] == '['
}

// pastDigits returns the index of the last of the digits that follow s[i], or i.
func pastDigits(s string, i int) int {
	for i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
		i++
	}
	return i
}

// within reports whether path is at or below root.
func within(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	return ok && (rest == "" || root == "" || rest[0] == '.' || rest[0] == '[')
}
