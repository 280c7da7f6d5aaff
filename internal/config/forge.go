package config

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// accepts are the schemes of a forge's url, by kind.
var accepts = map[string][]string{
	"gitea": {"https", "http"},
	"git":   {"https", "http", "ssh", "file"},
}

const nameRule = "names are 1 to 63 of a-z, 0-9, \".\", \"_\" and \"-\", and begin with a letter or digit"

// name checks the last label of a block.
func (r *reader) name(b *body, kind string) string {
	name := b.labels[len(b.labels)-1]
	if !ValidName(name) {
		remedy := nameRule
		if low := strings.ReplaceAll(strings.ToLower(name), " ", "-"); ValidName(low) {
			remedy = fmt.Sprintf("write %q: %s", low, nameRule)
		}
		r.problem(b.label, "%q is not a valid name of %s; %s", name, kind, remedy)
	}
	return name
}

func (r *reader) forge(b *body) (Forge, bool) {
	f := Forge{Kind: b.labels[0], Name: r.name(b, "a forge")}
	fresh := r.declare(fmt.Sprintf("forge %q", f.Name), b.label, "give one another name")
	if accepts[f.Kind] == nil {
		switch near := nearest(f.Kind, []string{"gitea", "git"}); {
		case slices.Contains(later["forges"], f.Kind):
			r.problem(b.at, "forge %q is not supported by this version of Plumbline; there are \"gitea\" and \"git\"", f.Kind)
		case near != "":
			r.problem(b.at, "unknown kind of forge %q; did you mean %q?", f.Kind, near)
		default:
			r.problem(b.at, "unknown kind of forge %q; there are \"gitea\" and \"git\"", f.Kind)
		}
		return f, fresh
	}
	u := r.forgeURL(b, &f)
	f.Token = b.confidential("token")
	f.Username = b.text("username").value
	f.Password = b.confidential("password")
	f.SSHKey = r.keyFile(b, "ssh_key")
	f.KnownHosts = r.keyFile(b, "known_hosts")
	f.Notes = b.boolean("notes", true) && f.Kind == "git"
	b.done()

	if f.Kind == "gitea" && !b.has("token") {
		r.problem(b.at, "%s has no token, without which nothing can be written on a merge request; add token = env(\"GITEA_TOKEN\")", b.what)
	}
	if u != nil {
		r.fits(b, f, u)
	}
	return f, fresh
}

// forgeURL reads the url of a forge; nil when it cannot be used.
func (r *reader) forgeURL(b *body, f *Forge) *url.URL {
	example := map[string]string{"gitea": `"https://gitea.example.com"`, "git": `"file:///srv/git"`}[f.Kind]
	t := b.required("url", example)
	if !t.ok {
		return nil
	}
	u, err := url.Parse(t.value)
	secrets := addressSecrets(t.value)
	for _, s := range secrets {
		r.secret(s)
	}
	switch {
	// Before anything else, since the other messages show the url.
	case len(secrets) > 0:
		r.problem(t.at, "url of %s has a password in it; write it into password = env(\"…\")", b.what)
	case f.Kind == "git" && strings.HasPrefix(t.value, "/"):
		r.problem(t.at, "url of %s is a path; write url = %s", b.what, text{value: "file://" + t.value, secret: t.secret})
	case err != nil || u.Scheme == "" || !slices.Contains(accepts[f.Kind], u.Scheme):
		remedy := ""
		if !t.secret && f.Kind == "git" && strings.Contains(t.value, "@") && !strings.Contains(t.value, "://") {
			remedy = "; write git@host:path as \"ssh://git@host/path\""
		}
		r.problem(t.at, "url %s of %s must begin with %s%s", t, b.what, schemes(accepts[f.Kind]), remedy)
	case u.Scheme == "file" && (u.Host != "" || !path.IsAbs(u.Path)):
		r.problem(t.at, "url %s of %s must have three slashes and an absolute path: \"file:///srv/git\"", t, b.what)
	case u.Scheme != "file" && u.Hostname() == "":
		r.problem(t.at, "url %s of %s has no host; write url = \"%s://git.example.com\"", t, b.what, u.Scheme)
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		r.problem(t.at, "url %s of %s can have a host and a path, nothing else", t, b.what)
	case u.User != nil && u.Scheme != "ssh":
		r.problem(t.at, "url %s of %s has a user in it; write it into username", t, b.what)
	default:
		f.URL = strings.TrimRight(t.value, "/")
		return u
	}
	return nil
}

func schemes(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s + "://"
	}
	return strings.Join(out, " or ")
}

// keyFile is the path of a file with keys, which is easily mistaken for its content.
func (r *reader) keyFile(b *body, name string) string {
	t := b.text(name)
	switch {
	case !t.ok:
		return ""
	case strings.ContainsAny(t.value, "\n") || strings.HasPrefix(t.value, "-----BEGIN"):
		r.secret(t.value)
		r.problem(t.at, "%s in %s is the path of a file, not its content; write %s = \"/etc/plumbline/%s\"", name, b.what, name, name)
		return ""
	case t.value == "":
		r.problem(t.at, "%s in %s is empty; leave it out, or name a file", name, b.what)
		return ""
	}
	return r.path(t.at.Filename, t.value)
}

// fits refuses settings of a forge that have no effect with its kind or url, or that would give a secret away.
func (r *reader) fits(b *body, f Forge, u *url.URL) {
	refuse := func(why string, names ...string) {
		for _, name := range names {
			if b.has(name) {
				r.problem(b.nameAt(name), "%s in %s has no effect: %s", name, b.what, why)
			}
		}
	}
	if f.Kind == "git" {
		refuse("a Git remote without an API asks for username and password; write password instead", "token")
	}
	switch {
	case f.Kind == "gitea":
		refuse("the token is used for Git as well; take it out", "username", "password", "ssh_key", "known_hosts")
		refuse("a gitea forge keeps its own notes; take it out", "notes")
	case u.Scheme == "ssh":
		// The password is the key's passphrase.
		if !b.has("ssh_key") {
			r.problem(b.at, "%s has no ssh_key, without which nothing proves to the other side who asks; add ssh_key = \"/etc/plumbline/ssh_key\"", b.what)
		}
	case u.Scheme == "file":
		refuse("a directory needs no sign-in; take it out", "username", "password", "ssh_key", "known_hosts")
	default:
		refuse("only an ssh:// url uses it; take it out", "ssh_key", "known_hosts")
		if b.has("username") && !b.has("password") {
			r.problem(b.nameAt("username"), "%s has a username and nothing to prove it; add password = env(\"…\")", b.what)
		}
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) && (b.has("token") || b.has("password")) {
		name := "token"
		if !b.has(name) {
			name = "password"
		}
		r.problem(b.in.Attributes["url"].Expr.Range(), "url of %s is http, so the %s would travel in clear for anybody on the way to read; write https", b.what, name)
	}
}
