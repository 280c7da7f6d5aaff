package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Action is what somebody wants to do.
type Action = plumbline.Permission

// The actions. ActionPublic is what needs nobody, ActionSelf what is about nobody but the one who asks, whatever else they may.
const (
	ActionPublic     Action = "public"
	ActionSelf       Action = "self"
	ActionView              = plumbline.MayView
	ActionApprove           = plumbline.MayApprove
	ActionReject            = plumbline.MayReject
	ActionRetry             = plumbline.MayRetry
	ActionCancel            = plumbline.MayCancel
	ActionDeploy            = plumbline.MayDeploy
	ActionDriftCheck        = plumbline.MayDriftCheck
	ActionDebug             = plumbline.MayDebug
)

// Identity is who asks. The zero Identity is nobody.
type Identity struct {
	Name    string
	Groups  []string         // that the sign-in system tells
	Limit   *plumbline.Limit // of the API token that a program shows
	token   int64            // its ID; 0: it shows none
	session *session         // of a browser; nil: a program with a token
}

// person is who it is, whatever name the sign-in system has for them.
func (i Identity) person(access plumbline.Access) plumbline.Person {
	door := plumbline.DoorAPI
	if i.session != nil {
		door = plumbline.DoorWeb
	}
	p := access.Person(i.Name, i.Groups, door)
	p.Limit = i.Limit
	return p
}

// local is whoever holds the token or came by the sign-in link of a daemon without a sign-in system.
const local = plumbline.Local

// authorize is the door of pages and programs to the one function that decides whether somebody may do something. environment is
// "repository/environment", "" where the question is not about one.
func authorize(access plumbline.Access, who Identity, a Action, environment string) error {
	switch {
	case a == ActionPublic:
		return nil
	case who.Name == "":
		return errNobody
	case a == ActionSelf:
		return nil
	}
	return access.Allow(who.person(access), a, environment)
}

const (
	linkLife = 15 * time.Minute
	// sessionLife is how long the session of plumbline.Local lasts: whoever has the machine has its token as well.
	sessionLife = 24 * time.Hour
	// personLife is how long somebody stays signed in at most. An ID token says until when it may be shown, which is minutes, and nothing of
	// this; groups that somebody has left count until then.
	personLife = 12 * time.Hour
	// personIdle is after how long without a request they are signed out.
	personIdle = 2 * time.Hour
	cookieName = "plumbline_session"
	maxNext    = 1000 // bytes
	formField  = "form_token"
)

// session is one browser that signed in. Sessions live in memory: a restart of the daemon ends them, and people sign in again.
type session struct {
	who     string   // as the sign-in system names them
	groups  []string // that it told of when they signed in
	form    string   // what its forms must carry
	expires time.Time
	idle    time.Duration // without a request it ends earlier; 0: it does not
	seen    time.Time     // when it was last used; guarded by sessions.mu
}

// sessions keeps hashes only, so that comparing tells nothing of a secret by the time it takes.
type sessions struct {
	mu    sync.Mutex
	links map[[32]byte]time.Time // sign-in codes that nobody used, and until when they are good
	open  map[[32]byte]*session
}

func newSessions() *sessions {
	return &sessions{links: map[[32]byte]time.Time{}, open: map[[32]byte]*session{}}
}

// random is 32 random bytes as text that URLs and cookies can carry.
func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (s *sessions) purge(now time.Time) {
	for k, until := range s.links {
		if !now.Before(until) {
			delete(s.links, k)
		}
	}
	for k, v := range s.open {
		if v.over(now) {
			delete(s.open, k)
		}
	}
}

func (v *session) over(now time.Time) bool {
	return !now.Before(v.expires) || (v.idle > 0 && now.Sub(v.seen) >= v.idle)
}

func (s *sessions) link(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.purge(now)
	code := random()
	s.links[sha256.Sum256([]byte(code))] = now.Add(linkLife)
	return code
}

// redeem takes a sign-in code out of the world; it reports whether it was good.
func (s *sessions) redeem(code string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.purge(now)
	key := sha256.Sum256([]byte(code))
	_, ok := s.links[key]
	delete(s.links, key)
	return ok
}

// start opens a session and returns its cookie.
func (s *sessions) start(v session, now time.Time) (cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.purge(now)
	cookie = random()
	v.form, v.seen = random(), now
	s.open[sha256.Sum256([]byte(cookie))] = &v
	return cookie
}

// find returns an open session. A page that looks for news by itself does not keep one open: used is false for it.
func (s *sessions) find(cookie string, now time.Time, used bool) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.open[sha256.Sum256([]byte(cookie))]
	if v == nil || v.over(now) {
		return nil
	}
	if used {
		v.seen = now
	}
	return v
}

func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(cookie)))
}

// SignInLink returns a link below base that signs one browser in as plumbline.Local, once, within 15 minutes. Where there is a sign-in system it
// leads to that instead.
func (s *Server) SignInLink(base string) string {
	page := strings.TrimSuffix(base, "/") + "/sign-in"
	if s.oidc != nil {
		return page
	}
	return page + "?code=" + s.sessions.link(s.c.Now())
}

// identify tells who sends a request. A token that is given and wrong is not made good by a cookie.
func (s *Server) identify(r *http.Request) (Identity, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "bearer") {
			return Identity{}, errNobody
		}
		if s.isToken(token) {
			return Identity{Name: local}, nil
		}
		return s.byToken(r.Context(), token)
	}
	c, err := r.Cookie(cookieName)
	if err != nil {
		return Identity{}, errNobody
	}
	v := s.sessions.find(c.Value, s.c.Now(), !strings.HasSuffix(r.URL.Path, "/events"))
	if v == nil {
		return Identity{}, errNobody
	}
	return Identity{Name: v.who, Groups: v.groups, session: v}, nil
}

func (s *Server) isToken(given string) bool {
	if s.c.Token.IsZero() {
		return false
	}
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(s.c.Token.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// formHeader carries the form token of a request whose body is not a form.
const formHeader = "Plumbline-Form-Token"

// intended makes sure that a browser's request that changes something was sent by one of our own pages. A program with the token is
// believed: no other site can make it send one.
func (s *Server) intended(r *http.Request, rt route, who Identity) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return refuse(plumbline.ErrDenied, "Open the page here and do it there.", "This request comes from another site.")
	}
	if rt.action == ActionPublic || who.session == nil {
		return nil
	}
	given := r.Header.Get(formHeader)
	if given == "" && rt.page {
		if err := parseForm(r); err != nil {
			return err
		}
		given = r.PostForm.Get(formField)
	}
	if subtle.ConstantTimeCompare([]byte(given), []byte(who.session.form)) != 1 {
		return refuse(plumbline.ErrDenied, "Load the page again, then send it again.", "The form was not made for this session.")
	}
	return nil
}

// signInBody is the body of the sign-in page.
type signInBody struct {
	Problem
	Provider string // host of the sign-in system; "": there is none
	Start    string // address at which a sign-in begins
	Down     bool   // the sign-in system cannot be used now
}

func (s *Server) showSignIn(w http.ResponseWriter, r *http.Request, status int, p Problem) error {
	b := signInBody{Problem: p}
	if s.oidc != nil {
		b.Provider, b.Start = s.oidc.name(), s.oidc.start(localPath(r.URL.Query().Get("next")))
		if _, err := s.oidc.find(r.Context()); err != nil {
			b.Down = true
			if p.What == "" {
				_, b.Problem = problem(err)
			}
		}
	}
	return s.render(w, status, "signin", view{Title: "Sign in", Body: b})
}

// signInPage redeems a sign-in link, or shows where one can sign in. A HEAD request, as link checkers send, redeems nothing.
func (s *Server) signInPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	code := r.URL.Query().Get("code")
	switch {
	case code == "" || r.Method != http.MethodGet:
		return s.showSignIn(w, r, http.StatusOK, Problem{})
	case s.sessions.redeem(code, s.c.Now()):
		if err := s.welcome(w, r, s.localSession(), "by the link that the daemon printed"); err != nil {
			return err
		}
	case who.Name == "":
		return s.showSignIn(w, r, http.StatusUnauthorized, Problem{What: "This link was used before, or is older than 15 minutes."})
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// signIn takes the machine's token from the form on the sign-in page.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, _ Identity) error {
	if err := parseForm(r); err != nil {
		return err
	}
	if !s.isToken(strings.TrimSpace(r.PostForm.Get("token"))) {
		s.turnedDown(r.Context(), Identity{}, plumbline.AuditEntry{Door: plumbline.DoorWeb, Detail: "sign-in with a token that is not the machine's"})
		return s.showSignIn(w, r, http.StatusUnauthorized, Problem{What: "This is not the token."})
	}
	if err := s.welcome(w, r, s.localSession(), "with the machine's token"); err != nil {
		return err
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (s *Server) localSession() session {
	return session{who: local, expires: s.c.Now().Add(sessionLife)}
}

// welcome opens a session in the browser, in place of the one that it has. Nobody comes in whom the audit log does not know of.
func (s *Server) welcome(w http.ResponseWriter, r *http.Request, v session, how string) error {
	now := s.c.Now()
	who := Identity{Name: v.who, Groups: v.groups, session: &v}.person(s.c.Access)
	err := s.c.Store.Audit(r.Context(), plumbline.AuditEntry{
		At: now, Who: who.Name, Door: who.Door, Action: plumbline.AuditSignIn, Outcome: "done", Detail: how,
	})
	if err != nil {
		return fmt.Errorf("note a sign-in: %w", err)
	}
	s.leave(r)
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: s.sessions.start(v, now), Path: "/", MaxAge: int(v.expires.Sub(now) / time.Second),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.secure,
	})
	return nil
}

// leave ends the session of a request's browser.
func (s *Server) leave(r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		s.sessions.end(c.Value)
	}
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request, _ Identity) error {
	s.leave(r)
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.secure})
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
	return nil
}

// localPath is an address to go on to: one of our own pages, "/" for anything else.
func localPath(next string) string {
	if len(next) > maxNext || !strings.HasPrefix(next, "/") || strings.ContainsFunc(next, func(c rune) bool { return c == '\\' || c <= ' ' || !unicode.IsPrint(c) }) {
		return "/"
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || strings.HasPrefix(u.Path, "//") || strings.HasPrefix(u.Path, "/auth/") || u.Path == "/sign-in" {
		return "/"
	}
	return u.RequestURI()
}

// signInHere is the sign-in page that comes back to where a request wanted to go.
func signInHere(r *http.Request) string {
	if next := localPath(r.URL.RequestURI()); r.Method == http.MethodGet && next != "/" {
		return "/sign-in?" + url.Values{"next": {next}}.Encode()
	}
	return "/sign-in"
}

const (
	// Refusals beyond these are counted, not listed: the audit log only grows, and strangers can be refused as often as they like.
	refusalsAtOnce = 100
	refusalsEvery  = 10 * time.Second
)

// quota is how many refusals the audit log takes.
type quota struct {
	mu     sync.Mutex
	left   float64
	at     time.Time // when left was true; zero: it is full
	untold int
}

// take reports whether one more may be listed, and how many were not since the last.
func (q *quota) take(now time.Time) (untold int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.at.IsZero() {
		q.left = refusalsAtOnce
	} else {
		q.left = min(refusalsAtOnce, q.left+max(now.Sub(q.at).Seconds(), 0)/refusalsEvery.Seconds())
	}
	q.at = now
	if q.left < 1 {
		q.untold++
		return 0, false
	}
	q.left--
	untold, q.untold = q.untold, 0
	return untold, true
}

// turnedDown tells the audit log of somebody who was not let in. Strangers do not crowd out those who are known. A log that cannot be written lets
// nobody in.
func (s *Server) turnedDown(ctx context.Context, who Identity, e plumbline.AuditEntry) {
	e.At, e.Action, e.Outcome = s.c.Now(), plumbline.AuditRefused, "refused"
	q := &s.strangers
	if who.Name != "" {
		p := who.person(s.c.Access)
		q, e.Who, e.Door = &s.known, p.Name, p.Door
	}
	untold, ok := q.take(e.At)
	if !ok {
		return
	}
	if untold > 0 {
		e.Detail += fmt.Sprintf(" (%d more were refused before this and are not listed)", untold)
	}
	// A client that goes away at once must not thereby stay unknown.
	if err := s.c.Store.Audit(context.WithoutCancel(ctx), e); err != nil {
		s.c.Log.Error("note a refusal in the audit log", zap.String("detail", e.Detail), zap.Error(err))
	}
}
