// Package preview shows every page with canned data.
package preview

import (
	"errors"
	"net/http"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
)

// Now is the moment at which the canned data stands.
var Now = time.Date(2026, 11, 20, 14, 42, 0, 0, time.UTC)

// Token is the API token of the canned server; it opens nothing else.
const Token = "preview"

// Pages are the addresses worth looking at, by name.
var Pages = []struct{ Name, Path string }{
	{"overview", "/"},
	{"runs", "/runs"},
	{"runs-none", "/runs?stack=live/none"},
	{"run-awaiting", "/runs/9815"},
	{"run-applying", "/runs/9814"},
	{"run-queued", "/runs/9816"},
	{"run-interrupted", "/runs/9820"},
	{"run-failed", "/runs/9818"},
	{"run-drifted", "/runs/9788"},
	{"run-proposal", "/runs/9809"},
	{"run-clean", "/runs/9790"},
	{"run-difference", "/runs/9770"},
	{"run-forbidden", "/runs/9771"},
	{"run-glass", "/runs/9772"},
	{"run-held", "/runs/9773"},
	{"run-checks", "/runs/9774"},
	{"run-agreed", "/runs/9755"},
	{"environment-frozen", "/environments/lake/main"},
	{"environment-promotes", "/environments/lake/trial"},
	{"merge-request-checks", "/merge-requests/lake/52"},
	{"audit", "/audit?verify=1"},
	{"audit-narrow", "/audit?who=ops-b&environment=lake%2Fmain&before=6"},
	{"audit-none", "/audit?who=nobody"},
	{"environment-waiting", "/environments/infra/production"},
	{"environment-degraded", "/environments/edge/live"},
	{"environment-new", "/environments/edge/sandbox"},
	{"drift", "/drift"},
	{"drift-none", "/drift?environment=staging"},
	{"drift-one", "/drift?repository=infra&environment=production"},
	{"drift-ignored", "/drift?state=ignored,noise"},
	{"drift-item", "/drift/3"},
	{"drift-item-ignored", "/drift/4"},
	{"drift-item-resolved", "/drift/1"},
	{"drift-item-hostile", "/drift/20"},
	{"drift-report", "/drift/report"},
	{"merge-requests", "/merge-requests"},
	{"merge-requests-none", "/merge-requests?state=closed"},
	{"merge-request", "/merge-requests/infra/43"},
	{"merge-request-name", "/merge-requests/infra/tidy/names"},
	{"debug", "/debug"},
	{"sign-in", "/sign-in"},
	{"tokens", "/tokens"},
	{"tokens-all", "/tokens?all=true"},
	{"not-found", "/runs/1"},
}

// NewServer returns a server over canned data, and its store.
func NewServer() (*web.Server, *Store) {
	s := NewStore()
	return newServer(s), s
}

// NewWholeServer returns a server over all canned data, the lake's too, and its store.
func NewWholeServer() (*web.Server, *Store) {
	s := NewStore()
	s.AddLake()
	return newServer(s), s
}

func newServer(s *Store) *web.Server {
	s.tokens = tokens()
	return web.New(web.Config{
		Tokens: s,
		Store:  s, Logs: s, Plans: s, Repositories: s.Repositories(), Token: plumbline.NewSecret(Token),
		Debug: loops, Forges: forges, Version: "preview", Now: func() time.Time { return Now }, Poll: 50 * time.Millisecond,
	})
}

// Handler shows every page without a sign-in. Decisions change the canned data, in memory.
func Handler() http.Handler {
	server, _ := NewWholeServer()
	h := server.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+Token)
		h.ServeHTTP(w, r)
	})
}

func forges() []web.Forge {
	return []web.Forge{
		{Name: "corp", Limit: 2000, Left: 1874, Resets: Now.Add(41 * time.Second), Asked: 48211, Saved: 40977},
		{Name: "hub", Limit: 5000, Resets: Now.Add(18 * time.Minute), Asked: 5012, Saved: 911, Quiet: Now.Add(18 * time.Minute), Reason: "the forge says that nothing is left"},
		{Name: "tea", Asked: 1204},
	}
}

func loops() []web.Loop {
	return []web.Loop{
		{Name: "poll infra", Last: Now.Add(-12 * time.Second), Took: 38 * time.Millisecond, Result: "412 refs, nothing new", Next: Now.Add(19 * time.Second)},
		{Name: "poll edge", Last: Now.Add(-3 * time.Minute), Took: 10 * time.Second, Failed: true,
			Result: errors.New("list refs of edge: the forge asks to be left alone until 14:45").Error(), Next: Now.Add(3 * time.Minute)},
		{Name: "drift infra/production", Last: Now.Add(-2 * time.Hour), Took: 210 * time.Millisecond, Result: "4 checks queued", Next: Now.Add(4 * time.Hour)},
		{Name: "worker", Last: Now.Add(-41 * time.Second), Took: 6 * time.Millisecond, Result: "applying run 9814"},
		{Name: "report", Result: "nothing to tell"},
	}
}
