package propose

import (
	"net/url"
	"path"
	"regexp"
	"strings"
)

// Forge is where the repository is hosted.
type Forge struct {
	Kind     string
	URL      string `json:",omitempty"` // "": the one that the kind has anyway
	Region   string `json:",omitempty"` // codecommit
	Project  string
	Known    bool   // the address says what it is; otherwise somebody has to
	SSH      bool   `json:",omitempty"` // git: a key is needed
	Password bool   `json:",omitempty"` // git: the address had somebody's name in it, so a password is needed
	Unread   bool   `json:",omitempty"` // the address could not be read, so URL and Project are examples
	Host     string `json:",omitempty"`

	notes []string
}

// A remote is an address taken apart, without the secrets that were in it.
type remote struct {
	scheme string // https, http, ssh, file
	user   string // ssh only: there it is no secret
	host   string // with a port, if one was given
	name   string // of the host alone
	path   string // without a slash at its end; absolute only for file
	asked  bool   // http: somebody's name was in it
}

var (
	scp        = regexp.MustCompile(`^(?:([^@/:]+)@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):([^:].*)$`)
	portAtEnd  = regexp.MustCompile(`:([0-9]+)$`)
	codecommit = regexp.MustCompile(`^(?:codecommit::([a-z0-9-]+)://)(?:[^@/]*@)?([A-Za-z0-9._-]+)$`)
	ofAWS      = regexp.MustCompile(`^git-codecommit(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$`)
)

// Secrets are the parts of an address that nobody should see: whoever prints an error of Git about it masks them.
func Secrets(address string) []string {
	_, rest, found := strings.Cut(address, "://")
	if !found {
		rest = address
	}
	at := strings.LastIndexByte(cutAt(rest, "?#"), '@')
	if at < 0 {
		return nil
	}
	user, password, _ := strings.Cut(rest[:at], ":")
	if !found {
		user = "" // git@host:path has no secret, x:y@host:path may
	}
	var out []string
	for _, s := range []string{password, user} {
		if s == "" || s == user && strings.HasPrefix(address, "ssh://") || s == "git" {
			continue
		}
		out = append(out, s)
		if meant, err := url.PathUnescape(s); err == nil && meant != s {
			out = append(out, meant)
		}
	}
	return out
}

// Shown is an address without what nobody should see.
func Shown(address string) string {
	if m := codecommit.FindStringSubmatch(address); m != nil {
		return "codecommit::" + m[1] + "://" + m[2]
	}
	r, ok := parseRemote(address)
	if !ok {
		return "an address that cannot be read"
	}
	if r.scheme == "file" {
		return r.path
	}
	user := ""
	if r.user != "" {
		user = r.user + "@"
	}
	return r.scheme + "://" + user + r.host + "/" + r.path
}

func cutAt(s, any string) string {
	if i := strings.IndexAny(s, any); i >= 0 {
		return s[:i]
	}
	return s
}

func parseRemote(address string) (r remote, ok bool) {
	if strings.HasPrefix(address, "/") {
		return remote{scheme: "file", path: path.Clean(address)}, true
	}
	scheme, _, found := strings.Cut(address, "://")
	if !found {
		m := scp.FindStringSubmatch(address)
		if m == nil {
			return r, false
		}
		user, _, _ := strings.Cut(m[1], ":")
		if strings.Contains(cutAt(m[3], "/"), "@") {
			return r, false // somebody's password, where a path should be
		}
		r = remote{scheme: "ssh", user: user, host: m[2], name: strings.ToLower(strings.Trim(m[2], "[]")), path: strings.Trim(cutAt(m[3], "?#"), "/")}
		return r, r.path != "" && !strings.HasPrefix(r.path, "~")
	}
	u, err := url.Parse(address)
	if err != nil {
		return r, false
	}
	r = remote{scheme: strings.ToLower(scheme), host: strings.ToLower(u.Host), name: strings.ToLower(u.Hostname()), path: strings.Trim(u.Path, "/")}
	switch r.scheme {
	case "file":
		r.path = path.Clean("/" + r.path)
		return r, u.Host == "" && r.path != "/"
	case "ssh", "git+ssh", "ssh+git":
		r.scheme = "ssh"
		r.user = u.User.Username()
	case "https", "http":
		r.asked = u.User != nil
	default:
		return r, false
	}
	return r, u.Hostname() != "" && r.path != "" && !strings.HasPrefix(r.path, "~")
}

// byHost are kinds of forges by a word in the name of their host.
var byHost = []struct{ word, kind string }{
	{"gitlab", "gitlab"}, {"github", "github"}, {"gitea", "gitea"}, {"forgejo", "gitea"}, {"codeberg", "gitea"},
}

// forgeOf finds the forge of a repository by its address.
func forgeOf(f Facts, a Answers) Forge {
	if m := codecommit.FindStringSubmatch(f.Remote); m != nil && (a.Forge == "" || a.Forge == "codecommit") {
		return Forge{Kind: "codecommit", Region: m[1], Project: m[2], Known: true, Host: "codecommit"}
	}
	r, ok := parseRemote(f.Remote)
	if !ok {
		local := Forge{Kind: "git", URL: "file:///srv/git", Project: "infra.git", Known: true}
		if f.Checkout != "" {
			local = gitForge(remote{scheme: "file", path: f.Checkout})
		}
		if local.Unread = f.Checkout == "" || f.Remote != ""; local.Unread {
			local.URL, local.Project = "file:///srv/git", "infra.git"
		}
		if f.Remote == "" {
			local.notes = []string{"The checkout has no remote, so Plumbline would poll the checkout itself. That is good for trying it; on a server name the forge's address."}
		} else {
			local.notes = []string{"The remote's address is of no kind that Plumbline reads. Write url and project of the forge yourself."}
		}
		return local
	}
	host, kind := r.name, ""
	switch {
	case r.scheme == "file":
		return gitForge(r)
	case ofAWS.MatchString(host):
		kind = "codecommit"
	case host == "bitbucket.org" || host == "altssh.bitbucket.org":
		kind = "bitbucket"
	default:
		for _, label := range strings.FieldsFunc(host, func(c rune) bool { return c == '.' || c == '-' }) {
			for _, b := range byHost {
				if label == b.word && kind == "" {
					kind = b.kind
				}
			}
		}
	}
	known := kind != ""
	if a.Forge != "" {
		kind, known = a.Forge, true
	}
	out, fits := hosted(kind, r, host)
	if !fits {
		out = gitForge(r)
		if known && kind != "git" {
			out.notes = append(out.notes, "The address "+Shown(f.Remote)+" names no repository of a "+kind+" forge, so it is taken for a bare Git remote.")
		}
	}
	out.Known, out.Host = known, host
	return out
}

// hosted is a repository on a forge of that kind; false when its address names none.
func hosted(kind string, r remote, host string) (Forge, bool) {
	project := strings.TrimSuffix(r.path, ".git")
	parts := strings.Split(project, "/")
	f := Forge{Kind: kind, Project: project}
	base := ""
	switch kind {
	case "codecommit":
		m := ofAWS.FindStringSubmatch(host)
		if m == nil || len(parts) != 3 {
			return f, false
		}
		f.Region, f.Project = m[1], parts[2]
		return f, true
	case "gitlab":
		if len(parts) < 2 {
			return f, false
		}
		if host == "gitlab.com" || host == "altssh.gitlab.com" {
			return f, true
		}
	case "github", "gitea", "bitbucket":
		if len(parts) < 2 {
			return f, false
		}
		f.Project = strings.Join(parts[len(parts)-2:], "/")
		base = strings.Join(parts[:len(parts)-2], "/")
		if kind == "bitbucket" {
			return f, base == ""
		}
		if (host == "github.com" || host == "ssh.github.com") && kind == "github" {
			return f, base == ""
		}
	default:
		return f, false
	}
	// An API has a port of its own: what ssh listens on says nothing of it.
	at := r.host
	if r.scheme == "ssh" {
		at = strings.TrimSuffix(r.host, ":"+port(r.host))
	}
	f.URL = "https://" + at
	if r.scheme == "http" {
		f.notes = append(f.notes, "The remote is http. The forge's url is written as https, since a token would travel in clear; change it if there is no https.")
	}
	if base != "" {
		f.URL += "/" + escaped(base)
	}
	return f, true
}

func port(host string) string {
	if m := portAtEnd.FindStringSubmatch(host); m != nil {
		return m[1]
	}
	return ""
}

// gitForge takes any address for a bare Git remote.
func gitForge(r remote) Forge {
	f := Forge{Kind: "git", Known: true, Host: r.name, SSH: r.scheme == "ssh", Password: r.asked && r.scheme == "https"}
	dir, project := path.Split(r.path)
	f.Project = escaped(project)
	dir = strings.Trim(dir, "/")
	switch r.scheme {
	case "file":
		f.URL = "file:///" + escaped(dir)
	case "ssh":
		user := r.user
		if user == "" {
			user = "git"
		}
		f.URL = "ssh://" + escaped(user) + "@" + r.host
		fallthrough
	default:
		if r.scheme != "ssh" {
			f.URL = r.scheme + "://" + r.host
		}
		if dir != "" {
			f.URL += "/" + escaped(dir)
		}
	}
	return f
}

// escaped writes a path as it stands in a URL.
func escaped(p string) string {
	return strings.TrimPrefix((&url.URL{Path: "/" + p}).EscapedPath(), "/")
}
