package config

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Kinds are the kinds of forges.
var Kinds = []string{"gitlab", "github", "gitea", "bitbucket", "codecommit", "git"}

// kind is what the language says of one kind of forge.
type kind struct {
	schemes  []string // of its url; none: it has no url
	standard string   // the url that it has unless another is given
	example  string   // of a url
	token    string   // of a line with its token; "": it has none
	others   string   // why settings of other kinds have no effect
	pushers  bool     // it tells who pushed the head of a merge request
	issues   bool     // it has issues
}

var kinds = map[string]kind{
	"gitlab":     {schemes: web, standard: "https://gitlab.com", token: `token = env("GITLAB_TOKEN")`, others: tokenForGit, pushers: true, issues: true},
	"github":     {schemes: web, standard: "https://github.com", token: `token = env("GITHUB_TOKEN"), or app { … }`, others: tokenForGit, pushers: true, issues: true},
	"gitea":      {schemes: web, example: `"https://gitea.example.com"`, token: `token = env("GITEA_TOKEN")`, others: tokenForGit, issues: true},
	"bitbucket":  {schemes: web, standard: "https://api.bitbucket.org/2.0", token: `token = env("BITBUCKET_TOKEN")`, others: tokenForGit},
	"codecommit": {others: "AWS credentials are used for the API and for Git, from where the AWS SDK finds them; take it out", pushers: true},
	"git":        {schemes: []string{"https", "http", "ssh", "file"}, example: `"file:///srv/git"`},
}

var web = []string{"https", "http"}

const tokenForGit = "the token is used for Git as well; take it out"

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
	k, ok := kinds[f.Kind]
	if !ok {
		if near := nearest(f.Kind, slices.Sorted(slices.Values(Kinds))); near != "" {
			r.problem(b.at, "unknown kind of forge %q; did you mean %q?", f.Kind, near)
		} else {
			r.problem(b.at, "unknown kind of forge %q; there are %s", f.Kind, strings.Join(Kinds, ", "))
		}
		return f, fresh
	}
	u := r.forgeURL(b, &f, k)
	f.Token = b.confidential("token")
	f.Webhook = b.confidential("webhook_secret")
	f.Username = b.text("username").value
	f.Password = b.confidential("password")
	f.SSHKey = r.keyFile(b, "ssh_key")
	f.KnownHosts = r.keyFile(b, "known_hosts")
	f.Notes = b.boolean("notes", true) && f.Kind == "git"
	switch f.Kind {
	case "codecommit":
		f.Region = b.required("region", `"eu-west-1"`).value
		f.Queue = r.queue(b)
		f.Approves = b.boolean("approve", false)
	case "github":
		if a := b.one("app"); a != nil {
			f.App = r.app(a)
		}
	}
	b.done()

	if k.token != "" && !b.has("token") && !b.holds("app") {
		r.problem(b.at, "%s has no token, without which nothing can be written on a merge request; add %s", b.what, k.token)
	}
	if b.has("token") && f.App != nil {
		r.problem(b.nameAt("token"), "%s has a token and an app; take one of them out", b.what)
	}
	r.fits(b, f, k, u)
	return f, fresh
}

// app reads which GitHub App Plumbline is.
func (r *reader) app(b *body) *App {
	a := &App{ID: r.id(b, "id"), Installation: r.id(b, "installation"), KeyFile: r.keyFile(b, "key_file")}
	b.done()
	if !b.has("id") {
		r.problem(b.at, "%s has no id; add id = 123456, the App ID on its settings page", b.what)
	}
	if !b.has("key_file") {
		r.problem(b.at, "%s has no key_file; add key_file = \"/etc/plumbline/github-app.pem\"", b.what)
	}
	return a
}

// id is a number that the forge gave.
func (r *reader) id(b *body, name string) int64 { return int64(b.number(name, 0, 1, math.MaxInt32)) }

// queue is the address of an SQS queue.
func (r *reader) queue(b *body) string {
	t := b.text("queue")
	if !t.ok {
		return ""
	}
	u, err := url.Parse(t.value)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Count(u.Path, "/") != 2 || u.User != nil || u.RawQuery != "" {
		r.problem(t.at, "queue of %s must be the URL of an SQS queue: \"https://sqs.eu-west-1.amazonaws.com/111122223333/plumbline\"", b.what)
		return ""
	}
	return t.value
}

// forgeURL reads the url of a forge; nil when it cannot be used, or has none.
func (r *reader) forgeURL(b *body, f *Forge, k kind) *url.URL {
	if len(k.schemes) == 0 {
		if b.has("url") {
			r.problem(b.nameAt("url"), "url in %s has no effect: its addresses follow from the region; take it out", b.what)
			_ = b.text("url")
		}
		return nil
	}
	if k.standard != "" && !b.has("url") {
		f.URL = k.standard
		return nil
	}
	t := b.required("url", cmp.Or(k.example, fmt.Sprintf("%q", k.standard)))
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
	case err != nil || u.Scheme == "" || !slices.Contains(k.schemes, u.Scheme):
		remedy := ""
		if !t.secret && f.Kind == "git" && strings.Contains(t.value, "@") && !strings.Contains(t.value, "://") {
			remedy = "; write git@host:path as \"ssh://git@host/path\""
		}
		r.problem(t.at, "url %s of %s must begin with %s%s", t, b.what, schemes(k.schemes), remedy)
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
func (r *reader) fits(b *body, f Forge, k kind, u *url.URL) {
	refuse := func(why string, names ...string) {
		for _, name := range names {
			if b.has(name) {
				r.problem(b.nameAt(name), "%s in %s has no effect: %s", name, b.what, why)
			}
		}
	}
	switch f.Kind {
	case "git":
		refuse("a Git remote without an API asks for username and password; write password instead", "token")
		refuse("a Git remote without an API has no webhooks; it is polled", "webhook_secret")
	case "codecommit":
		refuse(k.others, "token", "username", "password", "ssh_key", "known_hosts")
		refuse("CodeCommit sends events to an SQS queue; write queue instead", "webhook_secret")
		refuse("CodeCommit keeps its own notes; take it out", "notes")
	case "bitbucket": // with a username, the token is that user's
		refuse(k.others, "password", "ssh_key", "known_hosts")
		refuse("a bitbucket forge keeps its own notes; take it out", "notes")
	default:
		refuse(k.others, "username", "password", "ssh_key", "known_hosts")
		refuse("a "+f.Kind+" forge keeps its own notes; take it out", "notes")
	}
	if u == nil {
		return
	}
	switch {
	case f.Kind != "git":
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
	if u.Scheme == "http" && !loopback(u.Hostname()) && (b.has("token") || b.has("password") || f.App != nil) {
		name := "token"
		switch {
		case f.App != nil:
			name = "app's token"
		case !b.has(name):
			name = "password"
		}
		r.problem(b.in.Attributes["url"].Expr.Range(), "url of %s is http, so the %s would travel in clear for anybody on the way to read; write https", b.what, name)
	}
}
