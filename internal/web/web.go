// Package web shows people what is going on, takes their decisions.
package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Runs knows what became of the runs, takes what people decide about them.
type Runs interface {
	// Run returns one run, or ErrNotFound.
	Run(ctx context.Context, id plumbline.RunID) (plumbline.Run, error)
	// Runs lists runs, newest first.
	Runs(ctx context.Context, f plumbline.RunFilter) ([]plumbline.Run, error)
	// Events is a run's history, oldest first.
	Events(ctx context.Context, id plumbline.RunID) ([]plumbline.Event, error)
	// Update applies a rule to a run in one transaction; the rule's error is returned as it is.
	Update(ctx context.Context, id plumbline.RunID, now time.Time, rule plumbline.Rule) (plumbline.Run, error)
	RunsOfDeployment(ctx context.Context, id int64) ([]plumbline.Run, error)
	RunsOfMR(ctx context.Context, repo, id string) ([]plumbline.Run, error)
}

// Estate knows what is known of environments between runs.
type Estate interface {
	// Head is the commit last seen at the head of a branch; "" when it was never seen.
	Head(ctx context.Context, repo, branch string) (string, error)
	Findings(ctx context.Context, repo, branch string) ([]plumbline.Finding, error)
	Stacks(ctx context.Context, repo, env string) ([]plumbline.StackStatus, error)
	// Deployments lists an environment's deployments, newest first.
	Deployments(ctx context.Context, repo, env string, limit int) ([]plumbline.Deployment, error)
	MergeRequest(ctx context.Context, repo, id string) (plumbline.MergeRequest, error)
	MergeRequests(ctx context.Context, repo string, state plumbline.MRState) ([]plumbline.MergeRequest, error)
}

// Drifts knows what is different between Git and reality, takes what people decide about it.
type Drifts interface {
	// DriftItems lists drift items, newest first.
	DriftItems(ctx context.Context, f plumbline.DriftFilter) ([]plumbline.DriftItem, error)
	// DriftItem returns one drift item, or ErrNotFound.
	DriftItem(ctx context.Context, id int64) (plumbline.DriftItem, error)
	// DriftHistories returns the histories of drift items, those of one item together, oldest first.
	DriftHistories(ctx context.Context, items ...int64) ([]plumbline.DriftEvent, error)
	// UpdateDrift applies a rule to a drift item in one transaction; the rule's error is returned as it is.
	UpdateDrift(ctx context.Context, id int64, now time.Time, rule func(it plumbline.DriftItem, now time.Time) (plumbline.DriftWrite, error)) (plumbline.DriftItem, error)
	// IgnoreDrift has a rule hide drift of an environment at once, beside those of its configuration, and returns the rule's ID.
	IgnoreDrift(ctx context.Context, env plumbline.Environment, rule plumbline.IgnoreRule, who plumbline.Person, now time.Time) (int64, error)
	// LiftIgnore takes a rule back that somebody has set; ErrNotFound when there is none.
	LiftIgnore(ctx context.Context, env plumbline.Environment, id int64, who plumbline.Person, now time.Time) error
	// IgnoreRules lists the rules that people have set for an environment, those that have run out too.
	IgnoreRules(ctx context.Context, repo, env string) ([]plumbline.IgnoreRule, error)
	// DriftDays tells how often stacks were compared with reality, by day, since a time; "" does not narrow.
	DriftDays(ctx context.Context, repo, env, stack string, since time.Time) ([]plumbline.DriftDay, error)
}

// Wishes takes what people want of the watcher, tells when to look again.
type Wishes interface {
	// Request files a wish and returns its ID; the watcher fulfils it.
	Request(ctx context.Context, r plumbline.Request) (int64, error)
	// Requests are the wishes that are not fulfilled, oldest first. One is fulfilled in the same transaction that queues its runs.
	Requests(ctx context.Context, repo string) ([]plumbline.Request, error)
	// Subscribe returns a channel that receives after changes, and a function that ends the subscription. It is a wake-up, never the truth.
	Subscribe() (<-chan struct{}, func())
}

// Freezer keeps environments from taking changes, as people want it.
type Freezer interface {
	// Freeze keeps what is approved in an environment from being applied, from f.From on (zero: now) until f.Until (zero: until it is lifted). It returns the
	// freeze's ID.
	Freeze(ctx context.Context, repo, env string, f plumbline.Freeze, who plumbline.Person, now time.Time) (int64, error)
	// Thaw lifts a freeze, or all of an environment for the ID 0, and returns how many; ErrNotFound when there is none.
	Thaw(ctx context.Context, repo, env string, id int64, who plumbline.Person, reason string, now time.Time) (int, error)
	// Freezes lists those that people have set, in force or still to come: of one environment, or of all for "".
	Freezes(ctx context.Context, repo, env string, now time.Time) ([]plumbline.Frozen, error)
}

// Auditor notes what the store has no part in: a sign-in, a refusal.
type Auditor interface {
	Audit(ctx context.Context, e plumbline.AuditEntry) error
}

// AuditLog tells who decided what.
type AuditLog interface {
	AuditEntries(ctx context.Context, f plumbline.AuditFilter) ([]plumbline.AuditRow, error)
	// AuditEach calls do with each entry, as many as the filter's limit says, 0 being all, until do returns an error.
	AuditEach(ctx context.Context, f plumbline.AuditFilter, do func(plumbline.AuditRow) error) error
	// VerifyAudit checks the whole log, and that it holds the entries that the anchors name.
	VerifyAudit(ctx context.Context, anchors ...plumbline.Anchor) (plumbline.AuditReport, error)
}

// Store is where the stages meet.
type Store interface {
	Runs
	Estate
	Drifts
	Wishes
	Freezer
	Auditor
	AuditLog
}

// Logs reads what Terraform said.
type Logs interface {
	// WriteLog writes a run's log to w from byte `from` on, all attempts one after the other, and returns how many bytes it wrote. A run
	// without a log, or with a shorter one, writes nothing.
	WriteLog(ctx context.Context, w io.Writer, run plumbline.Run, from int64) (int64, error)
}

// Plans reads what a run would do.
type Plans interface {
	// Plan returns a run's plan, or ErrNotFound when it has none or it is not kept any more.
	Plan(ctx context.Context, run plumbline.Run) (plumbline.Plan, error)
	// PlanDocument returns the plan that a blob holds, or ErrNotFound when it is not kept any more.
	PlanDocument(ctx context.Context, doc plumbline.Blob) (plumbline.Plan, error)
}

// Loop is the lamp of one of the daemon's loops.
type Loop struct {
	Name   string        `json:"name"`
	Last   time.Time     `json:"last,omitzero"` // zero: it has not ticked yet
	Took   time.Duration `json:"took_ns"`
	Result string        `json:"result"` // one sentence
	Failed bool          `json:"failed"`
	Next   time.Time     `json:"next,omitzero"` // zero: when it is woken
}

// Forge is what a forge's token may still ask, as far as the forge says.
type Forge struct {
	Name   string
	Limit  int       // requests in a window; 0: the forge does not say
	Left   int       // of them
	Resets time.Time // when there are as many again
	Asked  int64     // requests since the daemon started
	Saved  int64     // of them, answered with "as before"
	Quiet  time.Time // it is not asked before then; zero: it can be asked
	Reason string    // why it is not asked, or asked less often
}

// Config makes a Server.
type Config struct {
	Store        Store
	Logs         Logs
	Plans        Plans
	Repositories []plumbline.Repository
	PublicURL    string           // what people call it by; its host is one that requests may name. Default: loopback names only
	Token        plumbline.Secret // bearer token of the API; none: the API takes session cookies only
	Debug        func() []Loop    // the lamps; default: none
	Version      string           // shown to people who are signed in
	Now          func() time.Time // default time.Now
	Log          *zap.Logger      // default: nowhere
	// Poll is how long a live log or page goes without looking when nothing wakes it. Default 2 s.
	Poll   time.Duration
	Forges func() []Forge   // default: none are shown
	Access plumbline.Access // what others than plumbline.Local may do; default: nothing
	OIDC   *OIDC            // where people sign in; default: nowhere, and SignInLink makes links
	Tokens Tokens           // default: there are no API tokens
	// Hooks takes one delivery of a webhook of the forge with that name in the configuration. It keeps neither header nor body, and returns
	// soon. Errors hold nothing of either: plumbline.ErrDenied when the forge did not sign it, ErrInvalid when it cannot be read, ErrNotFound
	// when that forge sends none. Default: there are no webhooks.
	Hooks func(ctx context.Context, forge string, header http.Header, body []byte) error
}

// Server answers people and programs.
type Server struct {
	c        Config
	host     string // of PublicURL
	secure   bool   // cookies travel over TLS only
	sessions *sessions
	oidc     *signOn // nil: there is no sign-in system
	gates    *gates
	pages    pages
	handler  http.Handler
	// How much the audit log is told of those who are not let in: of whom nothing is known, and of the others.
	strangers, known quota
}

// New returns a Server. Nobody is let in without a token or a sign-in link.
func New(c Config) *Server {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Debug == nil {
		c.Debug = func() []Loop { return nil }
	}
	if c.Poll == 0 {
		c.Poll = 2 * time.Second
	}
	s := &Server{c: c, sessions: newSessions(), gates: newGates(c.Repositories)}
	if u, err := url.Parse(c.PublicURL); err == nil {
		s.host, s.secure = strings.ToLower(u.Hostname()), u.Scheme == "https"
	}
	if c.OIDC != nil {
		s.oidc = newSignOn(*c.OIDC, c.PublicURL, c.Now, c.Log)
	}
	s.pages = s.parsePages()
	s.handler = s.mux()
	return s
}

// Handler answers all requests. Timeouts are its http.Server's; live logs and events lift the write deadline for themselves.
func (s *Server) Handler() http.Handler { return s.handler }

// environment finds a configured environment, or tells which there are.
func (s *Server) environment(repo, env string) (plumbline.Environment, error) {
	var names []string
	for _, r := range s.c.Repositories {
		for _, e := range r.Environments {
			if r.Name == repo && e.Name == env {
				return e, nil
			}
			names = append(names, e.Key())
		}
	}
	return plumbline.Environment{}, refuse(plumbline.ErrNotFound, choices("Environments", names), "There is no environment %s/%s.", repo, env)
}

func (s *Server) repository(name string) (plumbline.Repository, error) {
	var names []string
	for _, r := range s.c.Repositories {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return plumbline.Repository{}, refuse(plumbline.ErrNotFound, choices("Repositories", names), "There is no repository %s.", name)
}

// run finds a run by what stands in a path or a query.
func (s *Server) run(ctx context.Context, text string) (plumbline.Run, error) {
	id, err := parseRunID(text)
	if err != nil {
		return plumbline.Run{}, err
	}
	r, err := s.c.Store.Run(ctx, id)
	if errors.Is(err, plumbline.ErrNotFound) {
		return r, refuse(plumbline.ErrNotFound, "`plumbline runs list` shows those there are.", "There is no run %s.", id)
	}
	return r, err
}

// siblings are the runs of a run's deployment.
func (s *Server) siblings(ctx context.Context, r plumbline.Run) ([]plumbline.Run, error) {
	if r.Deployment == 0 {
		return nil, nil
	}
	return s.c.Store.RunsOfDeployment(ctx, r.Deployment)
}
