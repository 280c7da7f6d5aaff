package artifact

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// ErrName marks a name that no blob can have.
var ErrName = errors.New("not the name of an artifact")

const (
	maxName    = 512 // bytes
	maxSegment = 240 // bytes, so that a file name with the suffix stays within the 255 of file systems

	// sealedSuffix ends the name of a blob's file. No name can contain a plus sign, so that "a" and "a/b" never want the same path,
	// and nothing else in the directory is taken for a blob.
	sealedSuffix = "+sealed"
	tempPrefix   = "+put-"
)

// checkName is the only judge of names: segments of letters, digits, '.', '_', '-' joined by single slashes,
// none of them "." or "..", 512 bytes in all.
func checkName(name string) error {
	wrong := func(why string) error { return fmt.Errorf("%.80q: %w: %s", name, ErrName, why) }
	if name == "" {
		return wrong("it is empty")
	}
	if len(name) > maxName {
		return wrong(fmt.Sprintf("it has %d bytes, at most %d are allowed", len(name), maxName))
	}
	for segment := range strings.SplitSeq(name, "/") {
		switch {
		case segment == "":
			return wrong("a part between slashes is empty")
		case segment == "." || segment == "..":
			return wrong("a part is " + segment)
		case len(segment) > maxSegment:
			return wrong(fmt.Sprintf("a part has %d bytes, at most %d are allowed", len(segment), maxSegment))
		}
		for i := range len(segment) {
			if !nameByte(segment[i]) {
				return wrong("only letters, digits, '.', '_', '-' and '/' are allowed")
			}
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// prefixDir returns the directory in which the names that begin with prefix are.
func prefixDir(prefix string) (string, error) {
	dir, rest := path.Split(prefix)
	dir = strings.TrimSuffix(dir, "/")
	if rest != "" && rest != "." && rest != ".." {
		if err := checkName(rest); err != nil {
			return "", err
		}
	}
	if dir == "" && !strings.HasPrefix(prefix, "/") {
		return ".", nil
	}
	return dir, checkName(dir)
}
