package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/bitbucket"
	"github.com/plumbline/plumbline/internal/forge/codecommit"
	"github.com/plumbline/plumbline/internal/forge/gitea"
	"github.com/plumbline/plumbline/internal/forge/github"
	"github.com/plumbline/plumbline/internal/forge/gitlab"
	"github.com/plumbline/plumbline/internal/forge/hook"
	"github.com/plumbline/plumbline/internal/forge/plain"
	"github.com/plumbline/plumbline/internal/git"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
)

// link is what the repositories on one forge share: what its token may ask, its credentials, its webhooks.
type link struct {
	config.Forge
	budget *forge.Budget
	hooks  *hook.Receiver   // nil: none are taken
	appKey plumbline.Secret // of a GitHub App
	aws    *aws.Account     // for CodeCommit
}

func newLink(ctx context.Context, f config.Forge) (*link, error) {
	l := &link{Forge: f, budget: &forge.Budget{}}
	if f.App != nil {
		pem, err := os.ReadFile(f.App.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("forge %s: the app's key: %w", f.Name, err)
		}
		l.appKey = plumbline.NewSecret(string(pem))
	}
	if f.Kind == "codecommit" {
		var err error
		if l.aws, err = aws.Load(ctx, aws.Config{Region: f.Region}); err != nil {
			return nil, fmt.Errorf("forge %s: %w", f.Name, err)
		}
	}
	if !f.Webhook.IsZero() {
		var err error
		if l.hooks, err = hook.New(hook.Config{Kind: f.Kind, Secrets: []plumbline.Secret{f.Webhook}}); err != nil {
			return nil, fmt.Errorf("forge %s: %w", f.Name, err)
		}
	}
	return l, nil
}

// client is the one place that knows the forges by name. It returns what speaks with the forge about a repository, and the repository's
// mirror, which open opens.
func (l *link) client(repo plumbline.Repository, open func(git.Remote) (*git.Repo, error)) (forge.Client, *git.Repo, error) {
	dial := forge.Dial{Budget: l.budget}
	var client forge.Client
	var remote git.Remote
	var err error
	switch l.Kind {
	case "gitlab":
		var c *gitlab.Client
		if c, err = gitlab.New(gitlab.Config{URL: l.URL, Project: repo.Project, Token: l.Token, Dial: dial}); err == nil {
			client, remote.Password = c, l.Token
			remote.URL, remote.Username = c.Remote()
		}
	case "github":
		conf := github.Config{URL: l.URL, Project: repo.Project, Token: l.Token, Dial: dial}
		if l.App != nil {
			conf.App = &github.App{ID: l.App.ID, InstallationID: l.App.Installation, Key: l.appKey}
		}
		var c *github.Client
		if c, err = github.New(conf); err == nil {
			client = c
			url, username := c.Remote()
			remote.URL = url
			remote.Credentials = func(ctx context.Context) (string, plumbline.Secret, error) {
				password, err := c.Password(ctx)
				return username, password, err
			}
		}
	case "gitea":
		var c *gitea.Client
		if c, err = gitea.New(gitea.Config{URL: l.URL, Project: repo.Project, Token: l.Token, Dial: dial}); err == nil {
			client, remote.Password = c, l.Token
			remote.URL, remote.Username = c.Remote()
		}
	case "bitbucket":
		var c *bitbucket.Client
		if c, err = bitbucket.New(bitbucket.Config{URL: l.URL, Project: repo.Project, Token: l.Token, Username: l.Username, Dial: dial}); err == nil {
			client, remote.Password = c, l.Token
			remote.URL, remote.Username = c.Remote()
		}
	case "codecommit":
		var c *codecommit.Client
		if c, err = codecommit.New(codecommit.Config{Region: l.Region, Project: repo.Project, Credentials: l.aws.Credentials(), Approve: l.Approves, Dial: dial}); err == nil {
			client, remote.URL, remote.Credentials = c, c.Remote(), c.GitPassword
		}
	case "git":
		remote = git.Remote{URL: l.URL + "/" + repo.Project, Username: l.Username, Password: l.Password, SSHKey: l.SSHKey, KnownHosts: l.KnownHosts}
	default:
		err = fmt.Errorf("forge %q has the unknown kind %q: %w", l.Name, l.Kind, plumbline.ErrInvalid)
	}
	if err != nil {
		return nil, nil, err
	}
	mirror, err := open(remote)
	if err != nil || client != nil {
		return client, mirror, err
	}
	c := plain.Config{Branches: repo.Branches()}
	if l.Notes {
		c.Notes = mirror
	}
	return plain.New(c), mirror, nil
}

// hooks brings polls forward when a forge says that something happened.
type hooks struct {
	links map[string]*link
	repos []plumbline.Repository
	wake  map[string]*spaced // by repository
	now   func() time.Time
}

// Receive takes a delivery. What comes of it is a poll that would have come anyway.
func (h *hooks) Receive(_ context.Context, forge string, header http.Header, body []byte) error {
	l := h.links[forge]
	if l == nil || l.hooks == nil {
		return fmt.Errorf("webhooks of forge %q: %w", forge, plumbline.ErrDenied)
	}
	event, err := l.hooks.Receive(header, body, h.now())
	if err != nil || !event.Wakes() {
		return err
	}
	for _, repo := range h.repos {
		if repo.Forge == forge && event.About(repo.Project) {
			h.wake[repo.Name].wake()
		}
	}
	return nil
}

// spaced wakes a loop at most once in a while: however many deliveries come, the forge is asked no more often than that.
type spaced struct {
	least time.Duration
	do    func()

	mu   sync.Mutex
	last time.Time
	due  bool
}

func (s *spaced) wake() {
	s.mu.Lock()
	wait := s.least - time.Since(s.last)
	switch {
	case s.due:
		s.mu.Unlock()
	case wait <= 0:
		s.last = time.Now()
		s.mu.Unlock()
		s.do()
	default:
		s.due = true
		s.mu.Unlock()
		time.AfterFunc(wait, func() {
			s.mu.Lock()
			s.due, s.last = false, time.Now()
			s.mu.Unlock()
			s.do()
		})
	}
}

// hookSpacing is the least time between two polls of a repository that webhooks ask for.
const hookSpacing = time.Second

// newHooks returns what takes the webhooks of all forges. Where other nodes may poll, a delivery becomes a wish in the database, which wakes
// whoever polls.
func (d *daemon) newHooks() *hooks {
	h := &hooks{links: d.links, repos: d.cfg.Repositories, wake: map[string]*spaced{}, now: time.Now}
	for name, l := range d.poll {
		wake := l.wake
		if d.shared {
			wake = func() { d.wish(name) }
		}
		h.wake[name] = &spaced{least: hookSpacing, do: wake}
	}
	return h
}

// wish asks for a poll of a repository by any node. One that cannot be written costs a poll's interval.
func (d *daemon) wish(repo string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	pending, err := d.store.Requests(ctx, repo)
	if err == nil && !slices.ContainsFunc(pending, func(r plumbline.Request) bool { return r.Kind == plumbline.RequestPoll }) {
		_, err = d.store.Request(ctx, plumbline.Request{Repository: repo, Kind: plumbline.RequestPoll, By: "webhook", At: time.Now()})
	}
	if err != nil {
		d.log.Warn("a webhook's wish for a poll", zap.String("repository", repo), zap.Error(err))
	}
}

// events reads the queue with a forge's events.
func (d *daemon) events(l *link) (*loop, error) {
	q, err := codecommit.NewQueue(codecommit.QueueConfig{Region: l.Region, URL: l.Queue, Credentials: l.aws.Credentials()})
	if err != nil {
		return nil, fmt.Errorf("forge %s: %w", l.Name, err)
	}
	wake := d.hook.wake
	return newLoop("events "+l.Name, func(ctx context.Context) (string, time.Time, error) {
		names, err := q.Receive(ctx)
		woken := 0
		for _, repo := range d.cfg.Repositories {
			if repo.Forge == l.Name && slices.Contains(names, repo.Project) {
				wake[repo.Name].wake()
				woken++
			}
		}
		return fmt.Sprintf("%d repositories to look at", woken), time.Now(), err
	}), nil
}

// allowances are what the forges' tokens may still ask.
func (d *daemon) allowances() []web.Forge {
	var out []web.Forge
	for _, f := range d.cfg.Forges {
		l := d.links[f.Name]
		if l == nil || f.Kind == "git" {
			continue
		}
		s := l.budget.State()
		one := web.Forge{Name: f.Name, Asked: s.Asked, Saved: s.Saved, Quiet: s.Quiet, Reason: s.Reason}
		if s.Limit > 0 && s.Left >= 0 {
			one.Limit, one.Left, one.Resets = s.Limit, s.Left, s.Resets
		}
		out = append(out, one)
	}
	return out
}
