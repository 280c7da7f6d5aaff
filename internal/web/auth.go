package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Action is what somebody wants to do.
type Action = plumbline.Permission

// The actions. ActionPublic is what needs nobody.
const (
	ActionPublic     Action = "public"
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
	Limit   *plumbline.Limit // of the token that a program shows
	session *session         // of a browser; nil: a program with the token
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
	}
	return access.Allow(who.person(access), a, environment)
}

const (
	linkLife    = 15 * time.Minute
	sessionLife = 24 * time.Hour
	cookieName  = "plumbline_session"
	formField   = "form_token"
)

// session is one browser that signed in. Sessions live in memory: a restart of the daemon ends them.
type session struct {
	form    string // what its forms must carry
	expires time.Time
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
		if !now.Before(v.expires) {
			delete(s.open, k)
		}
	}
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

func (s *sessions) start(now time.Time) (cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.purge(now)
	cookie = random()
	s.open[sha256.Sum256([]byte(cookie))] = &session{form: random(), expires: now.Add(sessionLife)}
	return cookie
}

func (s *sessions) find(cookie string, now time.Time) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.open[sha256.Sum256([]byte(cookie))]
	if v == nil || !now.Before(v.expires) {
		return nil
	}
	return v
}

func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(cookie)))
}

// SignInLink returns a link below base that signs one browser in, once, within 15 minutes.
func (s *Server) SignInLink(base string) string {
	return strings.TrimSuffix(base, "/") + "/sign-in?code=" + s.sessions.link(s.c.Now())
}

// identify tells who sends a request. A token that is given and wrong is not made good by a cookie.
func (s *Server) identify(r *http.Request) (Identity, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if strings.EqualFold(scheme, "bearer") && s.isToken(strings.TrimSpace(token)) {
			return Identity{Name: local}, nil
		}
		return Identity{}, errNobody
	}
	c, err := r.Cookie(cookieName)
	if err != nil {
		return Identity{}, errNobody
	}
	v := s.sessions.find(c.Value, s.c.Now())
	if v == nil {
		return Identity{}, errNobody
	}
	return Identity{Name: local, session: v}, nil
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

// signInPage redeems a sign-in link, or shows where a token can be given. A HEAD request, as link checkers send, redeems nothing.
func (s *Server) signInPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	code := r.URL.Query().Get("code")
	switch {
	case code == "" || r.Method != http.MethodGet:
		return s.render(w, http.StatusOK, "signin", view{Title: "Sign in"})
	case s.sessions.redeem(code, s.c.Now()):
		s.welcome(w)
	case who.Name == "":
		return s.render(w, http.StatusUnauthorized, "signin", view{Title: "Sign in",
			Body: "This link was used before, or is older than 15 minutes."})
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// signIn takes the API token from the form on the sign-in page.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, _ Identity) error {
	if err := parseForm(r); err != nil {
		return err
	}
	if !s.isToken(strings.TrimSpace(r.PostForm.Get("token"))) {
		return s.render(w, http.StatusUnauthorized, "signin", view{Title: "Sign in", Body: "This is not the token."})
	}
	s.welcome(w)
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (s *Server) welcome(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: s.sessions.start(s.c.Now()), Path: "/", MaxAge: int(sessionLife / time.Second),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.secure,
	})
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request, _ Identity) error {
	if c, err := r.Cookie(cookieName); err == nil {
		s.sessions.end(c.Value)
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.secure})
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
	return nil
}
