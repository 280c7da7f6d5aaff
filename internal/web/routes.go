package web

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// route is one line of the table of everything that is answered.
type route struct {
	method string
	path   string // pattern of net/http's ServeMux
	action Action // what one must be allowed to do; none: nobody is
	page   bool   // errors are pages; else JSON
	handle func(w http.ResponseWriter, r *http.Request, who Identity) error
}

func (rt route) pattern() string { return rt.method + " " + rt.path }

// routes is the table. A route whose action authorize does not know is closed to everybody.
func (s *Server) routes() []route {
	get, post := http.MethodGet, http.MethodPost
	const page, api = true, false
	return []route{
		{get, "/healthz", ActionPublic, api, s.healthz},
		{get, "/readyz", ActionPublic, api, s.readyz},
		{get, "/static/{file}", ActionPublic, page, s.static},
		{get, "/sign-in", ActionPublic, page, s.signInPage},
		{post, "/sign-in", ActionPublic, page, s.signIn},
		{post, "/sign-out", ActionSelf, page, s.signOut},
		{get, "/auth/start", ActionPublic, page, s.authStart},
		{get, "/auth/callback", ActionPublic, page, s.authCallback},
		{get, "/tokens", ActionSelf, page, s.tokensPage},
		{post, "/tokens", ActionSelf, page, s.tokenForm},
		{post, "/tokens/{token}/revoke", ActionSelf, page, s.revokeTokenForm},
		{get, "/api/v1/tokens", ActionSelf, api, s.apiTokens},
		{post, "/api/v1/tokens", ActionSelf, api, s.apiMakeToken},
		{post, "/api/v1/tokens/{token}/revoke", ActionSelf, api, s.apiRevokeToken},
		{post, "/hooks/{forge}", ActionPublic, api, s.hook}, // its signature is looked at instead

		{get, "/{$}", ActionView, page, s.overviewPage},
		{get, "/runs", ActionView, page, s.runsPage},
		{get, "/runs/{run}", ActionView, page, s.runPage},
		{get, "/runs/{run}/log", ActionView, page, s.runLog},
		{get, "/runs/{run}/events", ActionView, page, s.runEvents},
		{post, "/runs/{run}/approve", ActionApprove, page, s.approveForm},
		{post, "/runs/{run}/reject", ActionReject, page, s.rejectForm},
		{post, "/runs/{run}/retry", ActionRetry, page, s.retryForm},
		{post, "/runs/{run}/cancel", ActionCancel, page, s.cancelForm},
		{get, "/environments/{repo}/{env}", ActionView, page, s.environmentPage},
		{post, "/environments/{repo}/{env}/deploy", ActionDeploy, page, s.deployForm},
		{post, "/environments/{repo}/{env}/drift-check", ActionDriftCheck, page, s.driftCheckForm},
		{get, "/drift", ActionView, page, s.driftPage},
		{get, "/drift/report", ActionView, page, s.driftReportPage},
		{get, "/drift/{item}", ActionView, page, s.driftItemPage},
		{post, "/drift/{item}/acknowledge", plumbline.MayAcknowledgeDrift, page, s.acknowledgeForm},
		{post, "/drift/{item}/ignore", plumbline.MayIgnoreDrift, page, s.ignoreForm},
		{post, "/environments/{repo}/{env}/drift-rules/{rule}/lift", plumbline.MayIgnoreDrift, page, s.liftForm},
		{get, "/merge-requests", ActionView, page, s.mergeRequestsPage},
		{get, "/merge-requests/{repo}/{id...}", ActionView, page, s.mergeRequestPage},
		{get, "/debug", ActionDebug, page, s.debugPage},

		{post, "/runs/{run}/break-glass", plumbline.MayBreakGlass, page, s.breakGlassForm},
		{post, "/environments/{repo}/{env}/freeze", plumbline.MayFreeze, page, s.freezeForm},
		{post, "/environments/{repo}/{env}/thaw", plumbline.MayFreeze, page, s.thawForm},
		{post, "/environments/{repo}/{env}/promote", plumbline.MayPropose, page, s.promoteForm},
		{post, "/environments/{repo}/{env}/rollback", plumbline.MayPropose, page, s.rollbackForm},
		{get, "/audit", plumbline.MayAudit, page, s.auditPage},

		{get, "/", ActionView, page, s.nothing},

		{get, "/api/v1/runs", ActionView, api, s.apiRuns},
		{get, "/api/v1/runs/{run}", ActionView, api, s.apiRun},
		{get, "/api/v1/runs/{run}/plan", ActionView, api, s.apiPlan},
		{get, "/api/v1/runs/{run}/log", ActionView, api, s.runLog},
		{post, "/api/v1/runs/{run}/approve", ActionApprove, api, s.apiApprove},
		{post, "/api/v1/runs/{run}/reject", ActionReject, api, s.apiReject},
		{post, "/api/v1/runs/{run}/retry", ActionRetry, api, s.apiRetry},
		{post, "/api/v1/runs/{run}/cancel", ActionCancel, api, s.apiCancel},
		{get, "/api/v1/environments", ActionView, api, s.apiEnvironments},
		{get, "/api/v1/environments/{repo}/{env}", ActionView, api, s.apiEnvironment},
		{get, "/api/v1/environments/{repo}/{env}/history", ActionView, api, s.apiHistory},
		{get, "/api/v1/environments/{repo}/{env}/requests", ActionView, api, s.apiRequests},
		{post, "/api/v1/environments/{repo}/{env}/deploy", ActionDeploy, api, s.apiDeploy},
		{post, "/api/v1/environments/{repo}/{env}/drift-check", ActionDriftCheck, api, s.apiDriftCheck},
		{get, "/api/v1/drift", ActionView, api, s.apiDrift},
		{get, "/api/v1/drift/report", ActionView, api, s.apiDriftReport},
		{get, "/api/v1/drift/{item}", ActionView, api, s.apiDriftItem},
		{post, "/api/v1/drift/{item}/acknowledge", plumbline.MayAcknowledgeDrift, api, s.apiAcknowledge},
		{get, "/api/v1/environments/{repo}/{env}/drift-rules", ActionView, api, s.apiDriftRules},
		{post, "/api/v1/environments/{repo}/{env}/drift-rules", plumbline.MayIgnoreDrift, api, s.apiIgnore},
		{post, "/api/v1/environments/{repo}/{env}/drift-rules/{rule}/lift", plumbline.MayIgnoreDrift, api, s.apiLift},
		{get, "/api/v1/merge-requests", ActionView, api, s.apiMergeRequests},
		{get, "/api/v1/why", ActionView, api, s.apiWhy},
		{get, "/api/v1/debug", ActionDebug, api, s.apiDebug},

		{post, "/api/v1/runs/{run}/break-glass", plumbline.MayBreakGlass, api, s.apiBreakGlass},
		{get, "/api/v1/runs/{run}/why", ActionView, api, s.apiRunWhy},
		{get, "/api/v1/environments/{repo}/{env}/calendar", ActionView, api, s.apiCalendar},
		{get, "/api/v1/environments/{repo}/{env}/promotion", ActionView, api, s.apiPromotion},
		{post, "/api/v1/environments/{repo}/{env}/freeze", plumbline.MayFreeze, api, s.apiFreeze},
		{post, "/api/v1/environments/{repo}/{env}/thaw", plumbline.MayFreeze, api, s.apiThaw},
		{post, "/api/v1/environments/{repo}/{env}/promote", plumbline.MayPropose, api, s.apiPromote},
		{post, "/api/v1/environments/{repo}/{env}/rollback", plumbline.MayPropose, api, s.apiRollback},
		{get, "/api/v1/audit", plumbline.MayAudit, api, s.apiAudit},
		{get, "/api/v1/audit/export", plumbline.MayAudit, api, s.apiAuditExport},
		{get, "/api/v1/audit/verify", plumbline.MayAudit, api, s.apiAuditVerify},

		{get, "/api/", ActionView, api, s.nothing},
	}
}

func (s *Server) mux() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		mux.Handle(rt.pattern(), s.serve(rt))
	}
	return mux
}

// maxBody is the longest body of a request, in bytes: a deploy that names every stack of a large environment.
const maxBody = 1 << 20

// serve is what every route has in common: headers, who asks and whether they may, the error's way out.
func (s *Server) serve(rt route) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := &response{ResponseWriter: rw}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)

		var who Identity
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				s.fail(w, r, rt, who, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
			}
		}()
		err := func() error {
			// Health checks come by address: from a load balancer, a kubelet.
			if rt.path != "/healthz" && rt.path != "/readyz" && !s.served(r.Host) {
				return errMisdirected
			}
			var err error
			if who, err = s.identify(r); err != nil && rt.action != ActionPublic {
				return err
			}
			return s.answer(w, r, rt, who)
		}()
		if err != nil {
			s.fail(w, r, rt, who, err)
		}
	})
}

// answer does what somebody asks for if they may.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, rt route, who Identity) (err error) {
	run, environment := s.about(r)
	defer func() {
		if err != nil {
			s.refused(r, rt.action, who, run, environment, err)
		}
	}()
	if err := s.intended(r, rt, who); err != nil {
		return err
	}
	if err := authorize(s.c.Access, who, rt.action, environment); err != nil {
		return err
	}
	return rt.handle(w, r, who)
}

// served reports whether a Host header names this server. A page elsewhere whose name was made to point at a loopback address (DNS
// rebinding) still sends its own name.
func (s *Server) served(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || (s.host != "" && host == s.host) {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// response remembers whether anything was written.
type response struct {
	http.ResponseWriter
	wrote bool
}

func (w *response) WriteHeader(status int) {
	w.wrote = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeJSON encodes the whole answer before its first byte is written.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	return gone(err)
}

// gone drops the error of a write to a client: it went away, and there is nobody left to tell.
func gone(error) error { return nil }

// readJSON decodes a request's body into v; an empty body leaves v as it is. Unknown fields are errors: a misspelt "stacks" would
// otherwise mean all of them.
func readJSON(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	var tooLarge *http.MaxBytesError
	switch err := dec.Decode(v); {
	case err == nil && dec.More():
		return refuse(plumbline.ErrInvalid, "", "The request's body has more than one JSON value.")
	case err == nil, errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &tooLarge):
		return err
	default:
		return refuse(plumbline.ErrInvalid, "", "The request's body cannot be read: %v.", err)
	}
}

// parseForm reads a form from a request's body.
func parseForm(r *http.Request) error {
	var tooLarge *http.MaxBytesError
	switch err := r.ParseForm(); {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return err
	default:
		return refuse(plumbline.ErrInvalid, "", "The form cannot be read: %v.", err)
	}
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request, _ Identity) error {
	return writeText(w, "ok\n")
}

// readyz is ready when the store answers.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request, _ Identity) error {
	if _, err := s.c.Store.Runs(r.Context(), plumbline.RunFilter{Limit: 1}); err != nil {
		return fmt.Errorf("ask the store: %w", err)
	}
	return writeText(w, "ok\n")
}

func writeText(w http.ResponseWriter, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte(text))
	return gone(err)
}

func (s *Server) nothing(_ http.ResponseWriter, r *http.Request, _ Identity) error {
	return refuse(plumbline.ErrNotFound, "The overview at / leads everywhere.", "There is nothing at %s.", r.URL.Path)
}

//go:embed static
var staticFiles embed.FS

var staticTypes = map[string]string{
	"style.css":   "text/css; charset=utf-8",
	"live.js":     "text/javascript; charset=utf-8",
	"favicon.svg": "image/svg+xml",
}

func (s *Server) static(w http.ResponseWriter, r *http.Request, _ Identity) error {
	name := r.PathValue("file")
	kind, ok := staticTypes[name]
	if !ok {
		return refuse(plumbline.ErrNotFound, "", "There is nothing at %s.", r.URL.Path)
	}
	b, err := staticFiles.ReadFile("static/" + name)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	// Pages name their files by content, so a name never means another content.
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, err = w.Write(b)
	return gone(err)
}
