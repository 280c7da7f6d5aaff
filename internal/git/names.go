package git

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxName = 255 // bytes, of every file system in use

// refuseName says why a tree's entry is neither shown nor laid out under that name, or "". A tree is made by whoever may
// push: Git's own tools refuse to write most of these, its object format allows them all.
func refuseName(name string) string {
	switch {
	case name == "":
		return "its name is empty"
	case name == "." || name == "..":
		return fmt.Sprintf("its name %q leads to another directory", name)
	case strings.Contains(name, "/"):
		return "its name contains a slash"
	case len(name) > maxName:
		return fmt.Sprintf("its name is %d bytes long, more than the %d that file systems allow", len(name), maxName)
	case !utf8.ValidString(name):
		return "its name is not UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "its name contains a control character"
	case isDotGit(name):
		return "its name stands for .git, which is Git's own"
	}
	return ""
}

// isDotGit reports whether some file system takes the name for ".git": in any case, with the code points that HFS+
// ignores (git's utf8.c, next_hfs_char), with what NTFS drops from the end of a name or takes for a stream, or by its
// short name; between backslashes too.
func isDotGit(name string) bool {
	name = strings.Map(func(c rune) rune {
		switch {
		case c >= 0x200c && c <= 0x200f, c >= 0x202a && c <= 0x202e, c >= 0x206a && c <= 0x206f, c == 0xfeff:
			return -1
		}
		return c
	}, name)
	for part := range strings.SplitSeq(name, `\`) {
		part, _, _ = strings.Cut(part, ":")
		part = strings.TrimRight(part, ". ")
		if strings.EqualFold(part, ".git") || strings.EqualFold(part, "git~1") {
			return true
		}
	}
	return false
}
