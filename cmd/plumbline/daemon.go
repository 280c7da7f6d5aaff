package main

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/robfig/cron/v3"
	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/adopt"
	"github.com/plumbline/plumbline/internal/artifact"
	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/discover"
	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/git"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/policy"
	"github.com/plumbline/plumbline/internal/report"
	"github.com/plumbline/plumbline/internal/runner"
	"github.com/plumbline/plumbline/internal/store"
	"github.com/plumbline/plumbline/internal/terraform"
	"github.com/plumbline/plumbline/internal/watch"
	"github.com/plumbline/plumbline/internal/web"
	"github.com/plumbline/plumbline/internal/worker"
)

// daemon is everything that one node runs, built from one configuration by plain constructor calls.
type daemon struct {
	cfg     *config.Config
	log     *zap.Logger
	store   *store.Store
	dir     blobs
	repos   map[string]repoGit
	links   map[string]*link // by forge
	hook    *hooks
	web     *web.Server
	worker  *worker.Worker
	loops   []*loop
	lamps   lamps
	report  map[string]*loop // by repository
	poll    map[string]*loop
	lock    *os.File
	token   plumbline.Secret
	telling *telling
	ln      net.Listener
	shared  bool // the database may be shared with other nodes
}

// runnerProgram is what the runner is started from; "": this program. The benchmark, which is a test's program, sets it.
var runnerProgram string

// build makes a daemon. On error nothing is left open.
func build(ctx context.Context, cfg *config.Config, log *zap.Logger) (d *daemon, err error) {
	d = &daemon{cfg: cfg, log: log, repos: map[string]repoGit{}, links: map[string]*link{}, report: map[string]*loop{}, poll: map[string]*loop{}}
	d.shared = strings.HasPrefix(cfg.Server.Database, "postgres")
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
			d = nil
		}
	}()
	data := cfg.Server.DataDir
	if err := os.MkdirAll(data, 0o700); err != nil {
		return d, fmt.Errorf("data_dir: %w", err)
	}
	if err := prepare(cfg); err != nil {
		return d, err
	}
	if d.lock, err = lockDir(data); err != nil {
		return d, err
	}
	if d.token, err = loadToken(filepath.Join(data, "token")); err != nil {
		return d, err
	}
	var key artifact.Key
	if d.dir, key, err = openArtifacts(ctx, cfg.Server); err != nil {
		return d, err
	}
	auditKey, err := hkdf.Key(sha256.New, key[:], nil, "plumbline audit 1", 32)
	if err != nil {
		return d, err
	}
	if d.store, err = store.Open(ctx, store.Config{DSN: cfg.Server.Database, AuditKey: auditKey, Log: log.Named("store")}); err != nil {
		return d, err
	}
	digestKey, err := hkdf.Key(sha256.New, key[:], nil, "plumbline digest 1", 32)
	if err != nil {
		return d, err
	}
	host := runner.NewHost(runner.HostConfig{
		Exe: runnerProgram, Dir: filepath.Join(data, "work"), DigestKey: digestKey, Secrets: append([]string{d.token.Reveal()}, cfg.Secrets...),
		Engines: terraform.NewEngines(terraform.EnginesConfig{
			Default: plumbline.EngineRef{Name: cfg.Terraform.Engine, Constraint: cfg.Terraform.Version}, Install: cfg.Terraform.Install,
			Dir: filepath.Join(data, "engines"), ProviderMirror: cfg.Terraform.ProviderMirror,
		}),
	})
	docs := plans{dir: d.dir, store: d.store}
	caches := git.NewCache(64 << 20)
	for _, f := range cfg.Forges {
		if d.links[f.Name], err = newLink(ctx, f); err != nil {
			return d, err
		}
	}
	if d.telling, err = d.newTelling(ctx); err != nil {
		return d, err
	}
	for _, repo := range cfg.Repositories {
		if err := d.repository(repo, caches, docs); err != nil {
			return d, fmt.Errorf("repository %s: %w", repo.Name, err)
		}
	}
	d.hook = d.newHooks()
	for _, l := range d.links {
		if l.Queue == "" {
			continue
		}
		events, err := d.events(l)
		if err != nil {
			return d, err
		}
		d.loops = append(d.loops, events)
	}
	working := worker.Config{
		Name: cfg.Server.Node, Queue: d.store, Engine: host, Blobs: d.dir, Slots: cfg.Server.Workers, Drift: cfg.Server.DriftWorkers, Log: log.Named("worker"),
		Source:   source{repos: d.repos, store: d.store, envs: d.environment},
		Settings: d.settings, Rules: d.rules,
	}
	cloud, err := newClouds(ctx, cfg, d.environment, log.Named("aws"))
	if err != nil {
		return d, err
	}
	if cloud != nil {
		working.Cloud = cloud
		d.loops = append(d.loops, d.attribution(cloud.account)...)
	}
	d.worker = worker.New(working)
	if err := d.adapt(ctx); err != nil {
		return d, err
	}
	if err := d.store.Audit(ctx, plumbline.AuditEntry{
		At: time.Now(), Who: cfg.Server.Node, Action: plumbline.AuditConfigured, Outcome: "done", Detail: fmt.Sprintf("version %s, %d repositories", version(), len(cfg.Repositories)),
	}); err != nil {
		return d, err
	}
	ledger := anchored{d.store, filepath.Join(data, "audit.anchor")}
	d.loops = append(d.loops, d.expiry(), d.sweep(), d.anchor(ledger), d.forgetting())
	d.loops = append(d.loops, d.digests()...)
	if d.ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Server.Listen); err != nil {
		return d, fmt.Errorf("server.listen: %w", err)
	}
	if cfg.Server.PublicURL == "" {
		cfg.Server.PublicURL = "http://" + d.ln.Addr().String()
	}
	d.web = web.New(web.Config{
		Store: ledger, Plans: docs, Logs: docs, Repositories: cfg.Repositories, Token: d.token, PublicURL: cfg.Server.PublicURL,
		Version: version(), Log: log.Named("web"), Debug: d.lamps.list, Forges: d.allowances, Hooks: d.hook.Receive, Access: cfg.Access,
		Tokens: d.store, OIDC: signIn(cfg),
	})
	return d, nil
}

// prepare reads what the configuration only names, so that a mistake in it keeps the daemon from starting.
func prepare(cfg *config.Config) (err error) {
	for _, repo := range cfg.Repositories {
		for i, env := range repo.Environments {
			if repo.Environments[i].PolicySum, err = policySum(env.Policies); err != nil {
				return fmt.Errorf("policies of %s: %w", env.Key(), err)
			}
			if len(env.Policies) > 0 {
				if _, err := policy.Load(env.Policies); err != nil {
					return fmt.Errorf("policies of %s: %w", env.Key(), err)
				}
			}
			if len(env.Signed.Keys) > 0 {
				if _, err := git.ParseKeys(env.Signed.Keys); err != nil {
					return fmt.Errorf("signed of %s: %w", env.Key(), err)
				}
			}
		}
	}
	return nil
}

// policySum tells the policies of this start from those of an earlier one: plans that wait are held against them again. What changes while the daemon
// runs counts for plans that are made after it.
func policySum(dirs []string) (string, error) {
	if len(dirs) == 0 {
		return "", nil
	}
	h := sha256.New()
	for _, dir := range dirs {
		root, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return "", err
		}
		err = filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case e.IsDir() && name != root && strings.HasPrefix(e.Name(), "."):
				return fs.SkipDir
			}
			if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			b, err := os.ReadFile(name)
			fmt.Fprintf(h, "%q %d\n%s\n", rel, len(b), b)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// signIn is the sign-in system; nil: there is none.
func signIn(cfg *config.Config) *web.OIDC {
	o := cfg.OIDC
	if o == nil {
		return nil
	}
	return &web.OIDC{
		Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: o.ClientSecret, Scopes: o.Scopes, RedirectURL: o.RedirectURL,
		NameClaim: o.NameClaim, GroupsClaim: o.GroupsClaim,
	}
}

// repository adds what watches and tells of one repository.
func (d *daemon) repository(repo plumbline.Repository, caches *git.Cache, docs plans) error {
	l, ok := d.links[repo.Forge]
	if !ok {
		return fmt.Errorf("forge %q: %w", repo.Forge, plumbline.ErrInvalid)
	}
	client, mirror, err := l.client(repo, func(remote git.Remote) (*git.Repo, error) {
		return git.Open(git.Config{Dir: filepath.Join(d.cfg.Server.DataDir, "mirrors"), Cache: caches}, repo.Name, remote)
	})
	if err != nil {
		return err
	}
	r := repoGit{Repo: mirror, cache: discover.NewCache(100_000), memo: &layouts{byID: map[string]plumbline.Layout{}}}
	d.repos[repo.Name] = r
	w := watch.New(watch.Config{Repository: repo, Git: r, Forge: client, Ledger: d.store, Access: d.cfg.Access, Adopt: adopt.Literals})
	schedule, err := cron.ParseStandard(repo.Poll)
	if err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	poll := newLoop("poll "+repo.Name, func(ctx context.Context) (string, time.Time, error) {
		now := time.Now()
		next := jittered(now, schedule.Next(now))
		if d.shared {
			if mine, err := d.store.Lease(ctx, "poll "+repo.Name, d.cfg.Server.Node, now, time.Until(next)+30*time.Second); err != nil || !mine {
				return "another node polls it", next, err
			}
		}
		res, err := w.Poll(ctx)
		for _, warning := range res.Warnings {
			d.log.Warn(warning)
		}
		return fmt.Sprintf("%d moved, %d runs queued%s", res.Moved, res.Queued, strings.Join(append([]string{""}, res.Warnings...), "; ")), next, err
	})
	d.poll[repo.Name] = poll
	d.loops = append(d.loops, poll)
	for _, env := range repo.Environments {
		d.loops = append(d.loops, d.driftLoops(env, w)...)
	}
	reporter := report.New(report.Config{
		Repository: repo, Forge: client, Ledger: d.store, Plans: docs, PublicURL: d.cfg.Server.PublicURL,
		Sinks: d.telling.sinks, Mask: d.telling.mask, Announced: d.telling.wake,
	})
	d.report[repo.Name] = newLoop("report "+repo.Name, func(ctx context.Context) (string, time.Time, error) {
		if d.shared {
			// Two reporters at once could post two notes. The lease outlives any one flush by far.
			if mine, err := d.store.Lease(ctx, "report "+repo.Name, d.cfg.Server.Node, time.Now(), 2*time.Minute); err != nil || !mine {
				return "another node reports", time.Now().Add(30 * time.Second), err
			}
		}
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		told, again, err := reporter.Flush(forge.Urgent(ctx)) // people wait for what it says: polls are slowed before it is
		next := time.Time{}
		if again > 0 {
			next = time.Now().Add(again)
		}
		return fmt.Sprintf("%d told", told), next, err
	})
	d.report[repo.Name].rest = 8
	return nil
}

func (d *daemon) environment(s plumbline.StackRef) (plumbline.Environment, bool) {
	repo, ok := d.cfg.Repository(s.Repository)
	if !ok {
		return plumbline.Environment{}, false
	}
	return repo.Environment(s.Environment)
}

func (d *daemon) settings(ctx context.Context, run plumbline.Run) (worker.Settings, error) {
	s := run.Stack
	env, ok := d.environment(s)
	if !ok {
		return worker.Settings{}, fmt.Errorf("%s is not in the configuration any more: %w", s, plumbline.ErrInvalid)
	}
	engine := plumbline.EngineRef{Name: d.cfg.Terraform.Engine, Constraint: d.cfg.Terraform.Version}
	if run.Spec.Version != "" {
		engine.Constraint = run.Spec.Version
	}
	out := worker.Settings{Engine: engine, Vars: env.Vars, Backend: env.Backend, Env: env.Env, Checks: env.Checks, Policies: env.Policies}
	if len(env.Policies) == 0 {
		return out, nil
	}
	var err error
	out.Facts, err = d.facts(ctx, env, run)
	return out, err
}

// facts is what policies know of a run.
func (d *daemon) facts(ctx context.Context, env plumbline.Environment, run plumbline.Run) (plumbline.Facts, error) {
	f := plumbline.Facts{
		Kind: run.Kind, Repository: run.Stack.Repository, Environment: env.Name, Stack: run.Stack.Name, Directory: run.Spec.Dir, Branch: env.Branch,
		Commit: run.Commit, MergeRequest: run.MR, Authors: run.Authors, By: run.By, Time: run.Started.UTC(),
	}
	items, err := d.store.DriftItems(ctx, plumbline.DriftFilter{Repository: run.Stack.Repository, Environment: env.Name, Stack: run.Stack.Name})
	if err != nil {
		return f, err
	}
	for _, it := range items {
		if it.Counts(f.Time) {
			f.Drift++
		}
	}
	if run.MR == "" {
		return f, nil
	}
	mr, err := d.store.MergeRequest(ctx, run.Stack.Repository, run.MR)
	if err != nil {
		return f, err
	}
	f.Labels = mr.Labels
	return f, nil
}

// rules are those in force for a stack.
func (d *daemon) rules(s plumbline.StackRef) (plumbline.Environment, plumbline.Access, bool) {
	env, ok := d.environment(s)
	return env, d.cfg.Access, ok
}

// adapt puts everything that is under way under the rules of this configuration, before anything more is applied.
func (d *daemon) adapt(ctx context.Context) error {
	errSame := errors.New("the same rules")
	for _, repo := range d.cfg.Repositories {
		runs, err := d.store.Runs(ctx, plumbline.RunFilter{
			Repository: repo.Name, Limit: 100_000,
			States: []plumbline.State{plumbline.StateQueued, plumbline.StatePlanning, plumbline.StateAwaiting, plumbline.StateApproved},
		})
		if err != nil {
			return err
		}
		for _, run := range runs {
			env, ok := repo.Environment(run.Stack.Environment)
			if !ok {
				continue // it has nowhere to be applied to: its next step fails
			}
			after, err := d.store.Update(ctx, run.ID, time.Now(), func(r *plumbline.Run, now time.Time) error {
				if !r.Adapt(env, d.cfg.Access, now) {
					return errSame
				}
				return nil
			})
			switch {
			case errors.Is(err, errSame):
			case err != nil:
				return fmt.Errorf("put run %s under the rules of this configuration: %w", run.ID, err)
			case after.State != run.State:
				d.log.Warn("the rules have changed", zap.Stringer("run", run.ID), zap.String("stack", run.Stack.String()), zap.String("state", string(after.State)))
			}
		}
	}
	return nil
}

// expiry finds leases, plans and approvals whose time is over. A lease is good for more than two missed heartbeats; an apply is
// given longer, since another node cannot know whether its daemon comes back to it.
func (d *daemon) expiry() *loop {
	const graceForApply = 2 * time.Minute
	return newLoop("expire", func(ctx context.Context) (string, time.Time, error) {
		now := time.Now()
		runs, err := d.store.Expire(ctx, now, func(r plumbline.Run) bool {
			return r.State == plumbline.StateApplying && now.Sub(r.LeaseUntil) < graceForApply
		})
		for _, r := range runs {
			d.log.Warn("expired", zap.Stringer("run", r.ID), zap.String("stack", r.Stack.String()), zap.String("state", string(r.State)))
		}
		return fmt.Sprintf("%d expired", len(runs)), now.Add(5 * time.Second), err
	})
}

func (d *daemon) sweep() *loop {
	return newLoop("sweep", func(ctx context.Context) (string, time.Time, error) {
		n, err := d.worker.Sweep(ctx)
		return fmt.Sprintf("%d directories cleared", n), time.Now().Add(10 * time.Minute), err
	})
}

// dispatch wakes the loops of those repositories that a change concerns.
func (d *daemon) dispatch(ctx context.Context) {
	changed, cancel := d.store.Subscribe()
	defer cancel()
	// The tick is for what was missed: a wake-up is never the truth.
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		reports, requests, err := d.store.Attention(ctx)
		if err != nil && ctx.Err() == nil {
			d.log.Warn("look for what is to be told", zap.Error(err))
		}
		for _, r := range reports {
			if l := d.report[r]; l != nil {
				l.wake()
			}
		}
		for _, r := range requests {
			if l := d.poll[r]; l != nil {
				l.wake()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

// run works until drain ends, then finishes what is being applied; ctx ends that wait.
func (d *daemon) run(ctx, drain context.Context) error {
	server := &http.Server{
		Handler: d.web.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		ErrorLog:    zap.NewStdLog(d.log.Named("http")),
		BaseContext: func(net.Listener) context.Context { return drain }, // live logs end when the daemon is told to stop
	}
	var serving, noticing, telling sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(d.ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("serve", zap.Error(err))
		}
	})
	// Telling people goes on until the last apply has ended: how it ended is the news.
	talk, hush := context.WithCancel(context.WithoutCancel(ctx))
	for _, l := range d.loops {
		noticing.Go(func() { l.run(drain, &d.lamps, d.log) })
	}
	for _, l := range d.report {
		telling.Go(func() { l.run(talk, &d.lamps, d.log) })
	}
	for _, l := range d.telling.loops {
		telling.Go(func() { l.run(talk, &d.lamps, d.log) })
	}
	telling.Go(func() { d.dispatch(talk) })

	err := d.worker.Run(ctx, drain)
	noticing.Wait()
	hush()
	telling.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	for _, l := range d.report {
		if _, _, err := l.round(last); err != nil {
			d.log.Warn("last words", zap.String("loop", l.name), zap.Error(err)) // the next daemon tells
		}
	}
	if e := server.Shutdown(last); e != nil {
		err = errors.Join(err, server.Close())
	}
	serving.Wait()
	return err
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another daemon uses %s; give each its own server.data_dir: %w", dir, plumbline.ErrConflict), f.Close())
	}
	return f, nil
}

// loadToken reads the token that commands on this machine prove themselves with, or makes one.
func loadToken(path string) (plumbline.Secret, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) >= 32 {
		return plumbline.NewSecret(strings.TrimSpace(string(b))), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return plumbline.Secret{}, err
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	token := hex.EncodeToString(raw)
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return plumbline.Secret{}, fmt.Errorf("token: %w", err)
	}
	return plumbline.NewSecret(token), nil
}

// close frees what build opened.
func (d *daemon) close() error {
	var errs []error
	if d.ln != nil {
		errs = append(errs, d.ln.Close())
	}
	for _, r := range d.repos {
		errs = append(errs, r.Close())
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.dir != nil {
		errs = append(errs, d.dir.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	var out []error
	for _, err := range errs {
		if !errors.Is(err, net.ErrClosed) {
			out = append(out, err)
		}
	}
	return errors.Join(out...)
}
