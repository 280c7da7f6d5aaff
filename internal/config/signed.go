package config

import (
	"fmt"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// signed reads whose signatures count, and on which commits.
func (r *reader) signed(b *body) plumbline.SignedRule {
	commits := b.oneOf("commits", b.text("commits"), string(plumbline.SignedAll), string(plumbline.SignedMerge))
	keys := b.texts("keys")
	b.done()
	if len(keys) == 0 && (keys != nil || !b.has("keys")) {
		r.problem(b.place("keys"), "%s has no keys, so no commit could be good; add keys = [file(\"keys/alice.pub\")]", b.what)
	}
	rule := plumbline.SignedRule{Commits: plumbline.SignedCommits(commits), Keys: map[string]string{}}
	for i, t := range keys {
		name := fmt.Sprintf("keys[%d]", i)
		rule.Keys[name] = t.value
		if why := badKeys(t.value); why != "" {
			r.problem(t.at, "%s in %s %s", name, b.what, t.reason(why, "is not an OpenPGP or SSH public key"))
		}
	}
	return rule
}

const (
	beginPGP = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	endPGP   = "-----END PGP PUBLIC KEY BLOCK-----"
)

// badKeys says why a text cannot be one with public keys, or "". It finds what was mistaken for one; whether a key can be used is found out by
// whoever reads it. It quotes nothing but names of files.
func badKeys(s string) string {
	lines := strings.Split(strings.TrimPrefix(s, "\ufeff"), "\n")
	block, keys := false, 0
	for _, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "-----BEGIN ") && strings.Contains(line, "PRIVATE"):
			return "is a private key; list its public half, and make a new key if others can read this one"
		case line == beginPGP:
			if block {
				return "has an OpenPGP block that does not end"
			}
			block = true
			keys++
		case line == endPGP:
			block = false
		case block || line == "" || line[0] == '#':
		case hasSSHKey(line):
			keys++
		case len(lines) <= 2 && len(line) < 200 && isKeyFile(line):
			return fmt.Sprintf("is the name of a file, not what is in it; write file(%q)", line)
		default:
			return "is not an OpenPGP or SSH public key, which begin with \"" + beginPGP + "\" or \"ssh-ed25519 AAAA…\""
		}
	}
	switch {
	case block:
		return "has an OpenPGP block that does not end"
	case keys == 0:
		return "has no key in it"
	}
	return ""
}

// hasSSHKey reports whether a line has the name of a type and, after it, what every SSH key begins with in base64: the length of that name.
func hasSSHKey(line string) bool {
	words := strings.Fields(line)
	for i, w := range words[:len(words)-1] {
		if strings.HasPrefix(words[i+1], "AAAA") && (strings.HasPrefix(w, "ssh-") || strings.HasPrefix(w, "ecdsa-") || strings.HasPrefix(w, "sk-")) {
			return true
		}
	}
	return false
}

func isKeyFile(s string) bool {
	for _, ending := range []string{".pub", ".asc", ".gpg", ".pem", ".key"} {
		if strings.HasSuffix(s, ending) && !strings.ContainsAny(s, " \t\"") {
			return true
		}
	}
	return false
}
