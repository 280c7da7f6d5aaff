package web

import "net/http"

// Route is a line of the table of routes, for tests that walk it.
type Route struct {
	Method, Path string
	Action       Action
	Page         bool
}

// Routes returns the table.
func (s *Server) Routes() []Route {
	var out []Route
	for _, rt := range s.routes() {
		out = append(out, Route{rt.method, rt.path, rt.action, rt.page})
	}
	return out
}

// The parts that tests look at from outside.
var (
	Authorize = authorize
	Problems  = problem
	Prose     = prose
)

// Local is who the token and a session stand for.
var Local = Identity{Name: local}

// FormField and FormHeader carry the form token.
const (
	FormField  = formField
	FormHeader = formHeader
	CookieName = cookieName
)

// Tail keeps the last bytes of a text.
func Tail(most int, pieces ...string) (string, bool) {
	t := tail{most: most}
	for _, p := range pieces {
		_, _ = t.Write([]byte(p)) // never fails
	}
	return t.String()
}

// What bounds deliveries.
const (
	HookWait    = hookWait
	HookRate    = hookRate
	HookBurst   = hookBurst
	HooksAtOnce = hooksAtOnce
	HookQuiet   = hookQuiet
)

// As answers as if somebody had signed in, or shown a token.
func (s *Server) As(who Identity) http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		mux.HandleFunc(rt.pattern(), func(rw http.ResponseWriter, r *http.Request) {
			w := &response{ResponseWriter: rw}
			if err := s.answer(w, r, rt, who); err != nil {
				s.fail(w, r, rt, who, err)
			}
		})
	}
	return mux
}

// Enter opens a session as the sign-in system would for somebody, and returns its cookie and the token of its forms.
func (s *Server) Enter(name string, groups ...string) (cookie, form string) {
	now := s.c.Now()
	value := s.sessions.start(session{who: name, groups: groups, expires: now.Add(personLife), idle: personIdle}, now)
	return cookieName + "=" + value, s.sessions.find(value, now, true).form
}

// What signing in is tested by.
var (
	LocalPath = localPath
	TokenHash = tokenHash
)

// What bounds signing in.
const (
	JourneyCookie = journeyCookie
	JourneyLife   = journeyLife
	ProviderRest  = providerRest
	PersonLife    = personLife
	PersonIdle    = personIdle
)
