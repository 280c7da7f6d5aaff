package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/memory"
	"golang.org/x/crypto/ssh"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Remote is where a repository is fetched from, with what proves who asks.
type Remote struct {
	URL        string // https://, http://, ssh://, user@host:path, file:// or a path
	Username   string // http: default "git"; ssh: default the URL's, then "git"
	Password   plumbline.Secret
	SSHKey     string // path of the private key; ssh only, where it is required
	KnownHosts string // path; default the user's, then the system's; a host that is not in it is refused

	// Credentials, if not nil, is asked before each connection over http, in place of Username and Password: for those that end soon.
	Credentials func(ctx context.Context) (username string, password plumbline.Secret, err error)
}

// remote is a Remote without credentials in its URL.
type remote struct {
	name       string
	url        string // what to connect to
	shown      string // what may be printed
	protocol   string
	username   string
	password   *plumbline.Secret // by pointer: fmt cannot ask a value in an unexported field to mask itself
	sshKey     string
	knownHosts string

	credentials func(ctx context.Context) (string, plumbline.Secret, error)
	last        *lately
}

// lately is what the newest connection proved itself with: what a server says of it may show some of that.
type lately struct {
	mu      sync.Mutex
	secrets []plumbline.Secret
}

func (l *lately) set(username string, password plumbline.Secret) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets = []plumbline.Secret{password}
	if len(username) > shortName { // there is a session token in it
		l.secrets = append(l.secrets, plumbline.NewSecret(username))
	}
}

func (l *lately) all() []plumbline.Secret {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.secrets
}

// shortName is longer than the names of users and shorter than any token.
const shortName = 64

// parse moves credentials out of the URL. Its errors do not show the URL, which may hold some.
func (r Remote) parse(name string) (remote, error) {
	bad := func(why string) (remote, error) {
		return remote{}, fmt.Errorf("URL of repository %s: %s: %w", name, why, plumbline.ErrInvalid)
	}
	ep, err := transport.NewEndpoint(r.URL)
	if err != nil || r.URL == "" {
		return bad("it is neither a URL nor a path")
	}
	out := remote{
		name: name, url: r.URL, shown: r.URL, protocol: ep.Protocol,
		username: r.Username, password: &r.Password, sshKey: r.SSHKey, knownHosts: r.KnownHosts,
		credentials: r.Credentials, last: &lately{},
	}
	if out.username == "" {
		out.username = ep.User
	}
	if out.password.IsZero() {
		*out.password = plumbline.NewSecret(ep.Password)
	}
	if out.username == "" {
		out.username = "git"
	}
	switch ep.Protocol {
	case "http", "https", "ssh":
		if ep.Host == "" {
			return bad("it names no host")
		}
	case "file":
	default:
		return bad("use https, http, ssh, file, or a path")
	}
	if strings.Contains(r.URL, "://") {
		u, err := url.Parse(r.URL)
		if err != nil {
			return bad("it cannot be parsed")
		}
		u.User = nil
		out.url = u.String()
		u.RawQuery, u.Fragment = "", "" // some forges take tokens there
		out.shown = u.String()
	}
	if out.protocol == "ssh" && out.sshKey == "" {
		return bad("ssh needs the path of a private key (ssh_key)")
	}
	return out, nil
}

// auth returns what the next connection proves itself with.
func (r *remote) auth(ctx context.Context) (transport.AuthMethod, error) {
	switch r.protocol {
	case "http", "https":
		if r.credentials != nil {
			username, password, err := r.credentials(ctx)
			if err != nil {
				return nil, fmt.Errorf("credentials of repository %s: %w", r.name, err)
			}
			r.last.set(username, password)
			return &githttp.BasicAuth{Username: username, Password: password.Reveal()}, nil
		}
		if r.password.IsZero() {
			return nil, nil
		}
		return &githttp.BasicAuth{Username: r.username, Password: r.password.Reveal()}, nil
	case "ssh":
		keys, err := gitssh.NewPublicKeysFromFile(r.username, r.sshKey, r.password.Reveal())
		if err != nil {
			return nil, fmt.Errorf("ssh key of repository %s: %w", r.name, err)
		}
		var files []string
		if r.knownHosts != "" {
			if _, err := os.Stat(r.knownHosts); err != nil {
				return nil, fmt.Errorf("known hosts of repository %s: %w", r.name, err)
			}
			files = []string{r.knownHosts}
		}
		hosts, err := gitssh.NewKnownHostsDb(files...)
		if err != nil {
			return nil, fmt.Errorf("known hosts of repository %s: %w", r.name, err)
		}
		ep, err := transport.NewEndpoint(r.url)
		if err != nil {
			return nil, err
		}
		port := ep.Port
		if port == 0 {
			port = gitssh.DefaultPort
		}
		// Ask for the kind of key that is on file: the server would else choose one, and look like an impostor.
		keys.HostKeyCallback = hosts.HostKeyCallback()
		keys.HostKeyAlgorithms = hosts.HostKeyAlgorithms(fmt.Sprintf("%s:%d", ep.Host, port))
		return sshAuth{keys}, nil
	}
	return nil, nil
}

// sshAuth bounds how long a host may take to answer: go-git does not pass a context to the dialling.
type sshAuth struct{ *gitssh.PublicKeys }

func (a sshAuth) ClientConfig() (*ssh.ClientConfig, error) {
	c, err := a.PublicKeys.ClientConfig()
	if err == nil {
		c.Timeout = 30 * time.Second
	}
	return c, err
}

// Refs lists the remote's refs, full name to commit (for an annotated tag: to the tag), in one request and without
// fetching anything. HEAD and peeled tags are left out. An empty repository has none. A repository that is not there is
// plumbline.ErrNotFound, credentials that do not let us in are plumbline.ErrDenied.
func (r *Repo) Refs(ctx context.Context) (map[string]string, error) {
	auth, err := r.remote.auth(ctx)
	if err != nil {
		return nil, err
	}
	rem := gogit.NewRemote(memory.NewStorage(), &config.RemoteConfig{Name: "origin", URLs: []string{r.remote.url}})
	list, err := rem.ListContext(ctx, &gogit.ListOptions{Auth: auth, PeelingOption: gogit.IgnorePeeled})
	if err != nil && !errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return nil, r.remote.explain(ctx, "list the refs of", err)
	}
	refs := make(map[string]string, len(list))
	listed := make(map[string]bool, len(list))
	for _, ref := range list {
		if name := ref.Name().String(); ref.Type() == plumbing.HashReference && strings.HasPrefix(name, "refs/") {
			refs[name] = ref.Hash().String()
			listed[local(name)] = true
		}
	}
	r.listing.Lock()
	r.listed = listed
	r.listing.Unlock()
	return refs, nil
}

// Fetch brings refs into the mirror at the commits that were listed, with their history. It does not connect when the
// mirror has all of them. Force-pushes are nothing special. A ref that has moved so that its listed commit cannot be had
// any more is plumbline.ErrNotFound; the others are fetched all the same, the next listing tells where it went.
//
// While a pack is indexed go-git holds its objects in memory one by one: a fetch takes as much as the largest new file.
func (r *Repo) Fetch(ctx context.Context, refs map[string]string) error {
	for name, commit := range refs {
		if _, err := parseHash(commit); err != nil {
			return fmt.Errorf("fetch %q: %w", name, err)
		}
		if !strings.HasPrefix(name, "refs/") || strings.ContainsAny(name, "*:") {
			return fmt.Errorf("fetch %q: not the full name of a ref: %w", name, plumbline.ErrInvalid)
		}
	}
	if len(r.absent(refs)) == 0 {
		return nil
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", r.name, err)
	}
	defer unlock()
	want := r.absent(refs)
	if len(want) == 0 { // whoever had the lock fetched them
		return nil
	}
	if err := r.forget(); err != nil {
		return fmt.Errorf("fetch %s: %w", r.name, err)
	}
	err = r.fetch(ctx, want)
	if errors.Is(err, gogit.NoMatchingRefSpecError{}) { // one was deleted after the listing, which fails them all
		there, lerr := r.Refs(ctx)
		if lerr != nil {
			return lerr
		}
		want = slices.DeleteFunc(want, func(name string) bool { return there[name] == "" })
		err = nil
		if len(want) > 0 {
			err = r.fetch(ctx, want)
		}
	}
	if err != nil {
		return r.remote.explain(ctx, "fetch", err)
	}
	if gone := r.absent(refs); len(gone) > 0 {
		return fmt.Errorf("fetch %s: %s moved or went away after it was listed at %s: %w",
			r.name, gone[0], plumbline.Short(refs[gone[0]]), plumbline.ErrNotFound)
	}
	return nil
}

// absent returns the names whose commits are not in the mirror, sorted.
func (r *Repo) absent(refs map[string]string) []string {
	var out []string
	for name, commit := range refs {
		h := plumbing.NewHash(commit)
		if err := r.objects.do(func(st *filesystem.Storage) error { return st.HasEncodedObject(h) }); err != nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (r *Repo) fetch(ctx context.Context, names []string) error {
	auth, err := r.remote.auth(ctx)
	if err != nil {
		return err
	}
	specs := make([]config.RefSpec, len(names))
	for i, n := range names {
		specs[i] = config.RefSpec("+" + n + ":" + local(n))
	}
	st := r.objects.open()
	rem := gogit.NewRemote(st, &config.RemoteConfig{Name: "origin", URLs: []string{r.remote.url}})
	err = rem.FetchContext(ctx, &gogit.FetchOptions{RefSpecs: specs, Auth: auth, Tags: gogit.NoTags})
	if errors.Is(err, gogit.NoErrAlreadyUpToDate) {
		err = nil
	}
	return errors.Join(err, st.Close())
}

// forget removes the mirror's refs that the last listing does not account for. They only tell the remote what we have,
// and each one makes that answer longer.
func (r *Repo) forget() error {
	r.listing.Lock()
	listed := r.listed
	r.listing.Unlock()
	if listed == nil {
		return nil
	}
	st := r.objects.open()
	refs, err := st.IterReferences()
	if err != nil {
		return err
	}
	return errors.Join(refs.ForEach(func(ref *plumbing.Reference) error {
		if name := ref.Name().String(); strings.HasPrefix(name, localRefs) && !listed[name] {
			return st.RemoveReference(ref.Name())
		}
		return nil
	}), st.Close())
}

const localRefs = "refs/plumbline/"

// local is the mirror's own name for a remote's ref.
func local(name string) string {
	sum := sha256.Sum256([]byte(name))
	return localRefs + hex.EncodeToString(sum[:16])
}

// explain turns what a connection failed with into what a person can act on. No credential is in its text.
func (r *remote) explain(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", doing, r.name, ctx.Err())
	}
	refuse := func(kind error, next, format string, args ...any) error {
		return &plumbline.Refusal{Kind: kind, What: fmt.Sprintf(format, args...), Next: next}
	}
	var web *githttp.Err
	text := err.Error()
	switch {
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return refuse(plumbline.ErrNotFound, "Check its URL, and that the forge's token may read it: many forges hide what a token may not see.",
			"Repository %s is not at %s.", r.name, r.shown)
	case errors.Is(err, transport.ErrAuthenticationRequired) && r.password.IsZero() && r.credentials == nil:
		return refuse(plumbline.ErrDenied, "Set the forge's token.", "%s wants a user name and a password or token for repository %s, and none is set.", r.shown, r.name)
	case errors.Is(err, transport.ErrAuthenticationRequired):
		return refuse(plumbline.ErrDenied, "Check whether the forge's token is right, or has expired.",
			"%s does not accept the user name and token of repository %s.", r.shown, r.name)
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return refuse(plumbline.ErrDenied, "Give the token the right to read the repository, and to write where notes are kept in Git.",
			"%s does not let the token of repository %s do this.", r.shown, r.name)
	case strings.Contains(text, "unable to authenticate"):
		return refuse(plumbline.ErrDenied, "Check that the key's public half is registered there.",
			"%s does not accept user %s with the key in %s.", r.shown, r.username, r.sshKey)
	case strings.Contains(text, "knownhosts:"):
		return refuse(plumbline.ErrDenied, "Compare the host's key with the one its operator publishes, then put it into the known_hosts file.",
			"The ssh host of %s does not show a key that known_hosts has for it.", r.shown)
	case strings.Contains(text, "dubious ownership"):
		return refuse(plumbline.ErrDenied, "Run Plumbline as its owner, or let this user read it: git config --global --add safe.directory PATH.",
			"Git does not open %s because it belongs to another user.", r.shown)
	case errors.Is(err, exec.ErrNotFound):
		return refuse(plumbline.ErrNotFound, "Install git.", "Reading %s takes the program git, which is not there.", r.shown)
	case errors.As(err, &web) && (web.StatusCode() == http.StatusTooManyRequests || web.StatusCode() == http.StatusServiceUnavailable):
		// The caller's own back-off decides when to try again.
		return fmt.Errorf("%s %s: %s is busy: status %d", doing, r.name, r.shown, web.StatusCode())
	}
	if masked := r.mask(text); masked != text {
		err = errors.New(masked)
	}
	return fmt.Errorf("%s %s (%s): %w", doing, r.name, r.shown, err)
}

// mask takes the password out of what a server or library says, as it is and as it stands in URLs.
func (r *remote) mask(text string) string {
	for _, secret := range append([]plumbline.Secret{*r.password}, r.last.all()...) {
		if p := secret.Reveal(); p != "" {
			text = strings.NewReplacer(p, plumbline.Masked, url.QueryEscape(p), plumbline.Masked, url.PathEscape(p), plumbline.Masked).Replace(text)
		}
	}
	return text
}
