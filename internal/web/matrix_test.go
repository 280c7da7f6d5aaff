package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
	"github.com/plumbline/plumbline/internal/web/preview"
)

// What stands here is what is promised, written down a second time: no line of it is computed by what it checks.

// mayGrid is which role may do what.
const mayGrid = `
                  viewer operator approver admin
view              yes    yes      yes      yes
plan              no     yes      yes      yes
approve           no     no       yes      yes
reject            no     no       yes      yes
retry             no     yes      no       yes
cancel            no     yes      no       yes
deploy            no     no       no       yes
drift-check       no     yes      no       yes
acknowledge-drift no     yes      no       yes
ignore-drift      no     yes      no       yes
unlock            no     no       no       yes
debug             no     no       no       yes
break-glass       no     no       no       yes
freeze            no     yes      no       yes
propose           no     yes      no       yes
audit             no     no       no       yes
tokens            no     no       no       yes
`

// grid is mayGrid, by role and permission.
func grid(t *testing.T) map[string]map[string]bool {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(mayGrid), "\n")
	heads := strings.Fields(lines[0])
	out := map[string]map[string]bool{"none": {}}
	for _, h := range heads {
		out[h] = map[string]bool{}
	}
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		for i, h := range heads {
			out[h][cells[0]] = cells[i+1] == "yes"
		}
	}
	for _, p := range plumbline.Permissions {
		if _, ok := out["admin"][string(p)]; !ok {
			t.Fatalf("the permission %s is not in the grid", p)
		}
	}
	if len(lines)-1 != len(plumbline.Permissions) {
		t.Fatalf("the grid has %d permissions, and there are %d", len(lines)-1, len(plumbline.Permissions))
	}
	return out
}

// asks is what a route asks for: a permission, "public" for nothing, "self" for being somebody, "wide token" for what the token that is made would have.
// With a run or an environment in its path it asks that there.
var asks = map[string]struct {
	want string
	run  string // the state of the run that it is sent to
	body string
	idle bool // it changes nothing here although it is allowed
}{
	"GET /healthz":        {want: "public"},
	"GET /readyz":         {want: "public"},
	"GET /static/{file}":  {want: "public"},
	"GET /sign-in":        {want: "public"},
	"POST /sign-in":       {want: "public"},
	"POST /hooks/{forge}": {want: "public"},
	"GET /auth/start":     {want: "public"},
	"GET /auth/callback":  {want: "public"},
	"POST /sign-out":      {want: "self"},
	"GET /tokens":         {want: "self"},
	"POST /tokens":        {want: "wide token", body: "name=x&role=viewer"},
	"GET /api/v1/tokens":  {want: "self"},
	"POST /api/v1/tokens": {want: "wide token", body: `{"name":"x","role":"viewer"}`},
	"GET /{$}":            {want: "view"},
	"GET /":               {want: "view"},
	"GET /api/":           {want: "view"},
	"GET /runs":           {want: "view"},
	"GET /drift":          {want: "view"},
	"GET /drift/report":   {want: "view"},
	"GET /debug":          {want: "debug"},
	"GET /merge-requests": {want: "view"},
	"GET /api/v1/runs":    {want: "view"},
	"GET /api/v1/drift":   {want: "view"},
	"GET /api/v1/why":     {want: "view"},

	"GET /api/v1/drift/report":                                       {want: "view"},
	"GET /drift/{item}":                                              {want: "view"},
	"GET /api/v1/drift/{item}":                                       {want: "view"},
	"POST /drift/{item}/acknowledge":                                 {want: "acknowledge-drift", body: "note=looking"},
	"POST /api/v1/drift/{item}/acknowledge":                          {want: "acknowledge-drift", body: `{"note":"looking"}`},
	"POST /drift/{item}/ignore":                                      {want: "ignore-drift", body: "owner=sre&reason=autoscaled"},
	"GET /api/v1/environments/{repo}/{env}/drift-rules":              {want: "view"},
	"POST /api/v1/environments/{repo}/{env}/drift-rules":             {want: "ignore-drift", body: `{"address":"a.*","owner":"sre","reason":"autoscaled"}`},
	"POST /api/v1/environments/{repo}/{env}/drift-rules/{rule}/lift": {want: "ignore-drift", body: `{}`},
	"POST /environments/{repo}/{env}/drift-rules/{rule}/lift":        {want: "ignore-drift"},

	"GET /api/v1/debug":   {want: "debug"},
	"GET /runs/{run}":     {want: "view", run: "awaiting"},
	"GET /runs/{run}/log": {want: "view", run: "awaiting"},

	"POST /tokens/{token}/revoke":        {want: "tokens"}, // another's
	"POST /api/v1/tokens/{token}/revoke": {want: "tokens"},
	"GET /runs/{run}/events":             {want: "view", run: "applied"},
	"POST /runs/{run}/approve":           {want: "approve", run: "awaiting", body: "digest=abcdef"},
	"POST /runs/{run}/reject":            {want: "reject", run: "awaiting", body: "reason=no"},
	"POST /runs/{run}/retry":             {want: "retry", run: "failed"},
	"POST /runs/{run}/cancel":            {want: "cancel", run: "queued"},
	"GET /environments/{repo}/{env}":     {want: "view"},

	"POST /environments/{repo}/{env}/deploy":             {want: "deploy"},
	"POST /environments/{repo}/{env}/drift-check":        {want: "drift-check"},
	"GET /merge-requests/{repo}/{id...}":                 {want: "view"},
	"GET /api/v1/runs/{run}":                             {want: "view", run: "awaiting"},
	"GET /api/v1/runs/{run}/plan":                        {want: "view", run: "awaiting"},
	"GET /api/v1/runs/{run}/log":                         {want: "view", run: "awaiting"},
	"POST /api/v1/runs/{run}/approve":                    {want: "approve", run: "awaiting", body: `{"digest":"abcdef"}`},
	"POST /api/v1/runs/{run}/reject":                     {want: "reject", run: "awaiting", body: `{"reason":"no"}`},
	"POST /api/v1/runs/{run}/retry":                      {want: "retry", run: "failed"},
	"POST /api/v1/runs/{run}/cancel":                     {want: "cancel", run: "queued"},
	"GET /api/v1/environments":                           {want: "view"},
	"GET /api/v1/environments/{repo}/{env}":              {want: "view"},
	"GET /api/v1/environments/{repo}/{env}/history":      {want: "view"},
	"GET /api/v1/environments/{repo}/{env}/requests":     {want: "view"},
	"POST /api/v1/environments/{repo}/{env}/deploy":      {want: "deploy", body: `{}`},
	"POST /api/v1/environments/{repo}/{env}/drift-check": {want: "drift-check", body: `{}`},
	"GET /api/v1/merge-requests":                         {want: "view"},
	"POST /runs/{run}/break-glass":                       {want: "break-glass", run: "awaiting", body: "digest=abcdef&reason=the+site+is+down&sure=yes"},
	"POST /environments/{repo}/{env}/freeze":             {want: "freeze", body: "reason=a+holiday"},
	"POST /environments/{repo}/{env}/thaw":               {want: "freeze", body: "id=1&reason=it+is+over"},
	"POST /environments/{repo}/{env}/promote":            {want: "propose", idle: true},
	"POST /environments/{repo}/{env}/rollback":           {want: "propose"},
	"GET /audit":                                      {want: "audit"},
	"POST /api/v1/runs/{run}/break-glass":             {want: "break-glass", run: "awaiting", body: `{"digest":"abcdef","reason":"the site is down"}`},
	"GET /api/v1/runs/{run}/why":                      {want: "view", run: "awaiting"},
	"GET /api/v1/environments/{repo}/{env}/calendar":  {want: "view"},
	"GET /api/v1/environments/{repo}/{env}/promotion": {want: "view"},
	"POST /api/v1/environments/{repo}/{env}/freeze":   {want: "freeze", body: `{"reason":"a holiday"}`},
	"POST /api/v1/environments/{repo}/{env}/thaw":     {want: "freeze", body: `{"reason":"it is over"}`},
	"POST /api/v1/environments/{repo}/{env}/promote":  {want: "propose", idle: true}, // nothing promotes to anything
	"POST /api/v1/environments/{repo}/{env}/rollback": {want: "propose"},
	"GET /api/v1/audit":                               {want: "audit"},
	"GET /api/v1/audit/export":                        {want: "audit"},
	"GET /api/v1/audit/verify":                        {want: "audit"},
}

// The places: two repositories that have environments of the same names.
var (
	places    = []string{"infra/production", "infra/staging", "edge/production", "edge/staging"}
	runStates = []string{"awaiting", "applied", "failed", "queued"}
)

// scopes are the environments that a role or a token is for, and where that is; "" is what is about no environment.
var scopes = []struct {
	names  []string
	covers []string
}{
	{nil, []string{"", "infra/production", "infra/staging", "edge/production", "edge/staging"}},
	{[]string{"staging"}, []string{"infra/staging", "edge/staging"}},
	{[]string{"infra/production"}, []string{"infra/production"}},
}

func runAt(place, state string) plumbline.RunID {
	return plumbline.RunID(100*(slices.Index(places, place)+1) + slices.Index(runStates, state))
}

func runIn(place, state string) plumbline.Run {
	repo, env, _ := strings.Cut(place, "/")
	return plumbline.Run{
		ID: runAt(place, state), Kind: plumbline.KindDeploy, State: plumbline.State(state), Stack: plumbline.StackRef{Repository: repo, Environment: env, Name: "app"},
		Plan: &plumbline.PlanInfo{Digest: "abcdef0123456789", Changes: true}, Policy: plumbline.Policy{Apply: plumbline.ApplyApproval},
	}
}

// estate is a store with a run of each state in each place.
func estate() *preview.Store {
	s := &preview.Store{}
	for _, place := range places {
		s.Drift = append(s.Drift, itemIn(place))
		for _, state := range runStates {
			r := runIn(place, state)
			s.Status = append(s.Status, plumbline.StackStatus{Stack: r.Stack})
			s.Put(r)
		}
	}
	return s
}

// itemIn is the drift item of a place.
func itemIn(place string) plumbline.DriftItem {
	repo, env, _ := strings.Cut(place, "/")
	return plumbline.DriftItem{
		ID: int64(slices.Index(places, place) + 1), Stack: plumbline.StackRef{Repository: repo, Environment: env, Name: "app"}, Opened: preview.Now,
		Difference: plumbline.Difference{Address: "a.b", Type: "a", Kind: plumbline.DriftDeleted},
	}
}

func matrixRepositories() []plumbline.Repository {
	var out []plumbline.Repository
	for _, name := range []string{"infra", "edge"} {
		r := plumbline.Repository{Name: name, Forge: "corp"}
		for _, env := range []string{"production", "staging"} {
			r.Environments = append(r.Environments, plumbline.Environment{Repository: name, Name: env, Branch: "env/" + env, Apply: plumbline.ApplyApproval})
		}
		out = append(out, r)
	}
	return out
}

// drawer is where the tokens are; it can be emptied.
type drawer struct{ *preview.Store }

// matrix is a server that people come to.
type matrix struct {
	t      *testing.T
	store  *preview.Store
	tokens *drawer
	server *web.Server
	access plumbline.Access
}

func newMatrix(t *testing.T, access plumbline.Access) *matrix {
	t.Helper()
	m := &matrix{t: t, store: estate(), tokens: &drawer{&preview.Store{}}, access: access}
	m.server = web.New(web.Config{
		Store: m.store, Logs: m.store, Plans: m.store, Repositories: matrixRepositories(), Token: plumbline.NewSecret(preview.Token), Tokens: m.tokens,
		Access: access, Now: func() time.Time { return preview.Now },
	})
	return m
}

// door makes the header of somebody who comes through it, in a world as it was before anybody did anything.
type door func(m *matrix) http.Header

func bySession(name string, groups ...string) door {
	return func(m *matrix) http.Header {
		cookie, form := m.server.Enter(name, groups...)
		return http.Header{"Cookie": {cookie}, web.FormHeader: {form}}
	}
}

func byToken(limit plumbline.Limit, by string, groups ...string) door {
	return func(m *matrix) http.Header {
		m.keep(plumbline.Token{Name: "used", By: m.access.Person(by, nil, "").Name, Groups: groups, Limit: limit, Hash: web.TokenHash("plb_x")})
		return http.Header{"Authorization": {"Bearer plb_x"}}
	}
}

func byMachine(*matrix) http.Header { return http.Header{"Authorization": {"Bearer " + preview.Token}} }

func (m *matrix) keep(tok plumbline.Token) {
	if _, err := m.tokens.CreateToken(m.t.Context(), tok); err != nil {
		m.t.Fatal(err)
	}
}

// anonymous is what nobody may.
func anonymous(*matrix) http.Header { return http.Header{} }

// walk sends every request of the table through a door, to every place that it can be about, and counts. may says what should be allowed.
func (m *matrix) walk(name string, in door, may func(want, place string) bool) int {
	m.t.Helper()
	n := 0
	for _, rt := range m.server.Routes() {
		pattern := rt.Method + " " + rt.Path
		about := []string{""}
		if strings.Contains(rt.Path, "{run}") || strings.Contains(rt.Path, "{env}") || strings.Contains(rt.Path, "{item}") {
			about = places
		}
		for _, place := range about {
			e, known := asks[pattern]
			if !known {
				m.t.Fatalf("%s is not in the table: say what it asks for", pattern)
			}
			if e.want != "public" {
				n++
				m.cell(name, pattern, in, place, may(e.want, place))
			}
		}
	}
	return n
}

// cell sends one request. What is refused must change nothing; what is allowed must change something, unless it only looks.
func (m *matrix) cell(name, pattern string, in door, place string, allowed bool) {
	m.t.Helper()
	e := asks[pattern]
	method, path, _ := strings.Cut(pattern, " ")
	repo, env, _ := strings.Cut(place, "/")
	m.tokens.Store = &preview.Store{}
	m.keep(plumbline.Token{Name: "of another", By: "root@example.com", Limit: plumbline.Limit{Role: plumbline.RoleViewer}, Hash: "1"})
	var run plumbline.Run
	if e.run != "" {
		run = runIn(place, e.run)
		m.store.Put(run)
	}
	path = strings.NewReplacer("{$}", "", "{run}", run.ID.String(), "{id...}", "43", "{token}", "1", "{env}", env, "{item}", fmt.Sprint(slices.Index(places, place)+1), "{rule}", "1").Replace(path)
	path = strings.Replace(path, "{repo}", strings.SplitN(place+"/infra", "/", 2)[0], 1)
	if repo == "" {
		path = strings.Replace(path, "/merge-requests//", "/merge-requests/infra/", 1)
	}
	if path == "/api/v1/why" {
		path += "?stack=app"
	}
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(e.body))
	r.Header = in(m)
	if !strings.HasPrefix(path, "/api/") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if strings.HasSuffix(path, "/freeze") || strings.HasSuffix(path, "/thaw") {
		m.frozen(repo, env)
	}
	if strings.Contains(pattern, "drift") && method == http.MethodPost {
		m.drifted(repo, env)
	}
	before := m.world(run.ID)
	w := httptest.NewRecorder()
	m.server.Handler().ServeHTTP(w, r)
	if got := w.Code != http.StatusForbidden && w.Code != http.StatusUnauthorized; got != allowed || w.Code >= 500 {
		m.t.Errorf("%s: %s in %q: status %d, want it allowed: %t\n%s", name, pattern, place, w.Code, allowed, w.Body)
	}
	changed := m.world(run.ID) != before
	if want := allowed && !e.idle && method != http.MethodGet && pattern != "POST /sign-out"; changed != want {
		m.t.Errorf("%s: %s in %q: status %d, something has changed: %t, want %t", name, pattern, place, w.Code, changed, want)
	}
}

// drifted leaves nothing of what anybody did about drift, but one rule in an environment.
func (m *matrix) drifted(repo, env string) {
	m.store.Drift = nil
	for _, place := range places {
		m.store.Drift = append(m.store.Drift, itemIn(place))
		r, e, _ := strings.Cut(place, "/")
		if err := m.store.LiftIgnore(m.t.Context(), plumbline.Environment{Repository: r, Name: e}, 1, plumbline.Person{}, preview.Now); err != nil && !errors.Is(err, plumbline.ErrNotFound) {
			m.t.Fatal(err)
		}
		for id := int64(2); id < 4; id++ {
			_ = m.store.LiftIgnore(m.t.Context(), plumbline.Environment{Repository: r, Name: e}, id, plumbline.Person{}, preview.Now) // it need not be there
		}
	}
	rule := plumbline.IgnoreRule{Address: "x.y", Owner: "sre", Reason: "for the test"}
	if id, err := m.store.IgnoreDrift(m.t.Context(), plumbline.Environment{Repository: repo, Name: env}, rule, plumbline.Person{Name: "root@example.com"}, preview.Now); err != nil || id != 1 {
		m.t.Fatal(id, err)
	}
}

// frozen leaves one freeze, in an environment.
func (m *matrix) frozen(repo, env string) {
	who := plumbline.Person{Name: "root@example.com"}
	for _, place := range places {
		r, e, _ := strings.Cut(place, "/")
		if _, err := m.store.Thaw(m.t.Context(), r, e, 0, who, "", preview.Now); err != nil && !errors.Is(err, plumbline.ErrNotFound) {
			m.t.Fatal(err)
		}
	}
	if _, err := m.store.Freeze(m.t.Context(), repo, env, plumbline.Freeze{Reason: "for the test"}, who, preview.Now); err != nil {
		m.t.Fatal(err)
	}
}

// world is what requests can change, apart from when a token was used.
func (m *matrix) world(id plumbline.RunID) string {
	toks, err := m.tokens.Tokens(m.t.Context(), "")
	if err != nil {
		m.t.Fatal(err)
	}
	frozen, err := m.store.Freezes(m.t.Context(), "", "", preview.Now)
	if err != nil {
		m.t.Fatal(err)
	}
	s := fmt.Sprint(len(m.store.Filed()), len(frozen))
	for _, place := range places {
		repo, env, _ := strings.Cut(place, "/")
		rules, err := m.store.IgnoreRules(m.t.Context(), repo, env)
		if err != nil {
			m.t.Fatal(err)
		}
		s += fmt.Sprint(" ", len(rules))
	}
	for _, it := range m.store.Drift {
		s += fmt.Sprint(" ", it.State(preview.Now))
	}
	for _, tok := range toks {
		s += fmt.Sprint(" ", tok.ID, tok.Revoked.IsZero())
	}
	if id != 0 {
		r, err := m.store.Run(m.t.Context(), id)
		if err != nil {
			m.t.Fatal(err)
		}
		s += fmt.Sprint(" ", r.State, r.Attempt, len(r.Approvals), r.WishBy, r.RejectedBy)
	}
	return s
}

// TestMatrix: door × role × what it is for × how somebody has it × place × route.
func TestMatrix(t *testing.T) {
	may := grid(t)
	cells := 0
	expect := func(role string, covers []string) func(want, place string) bool {
		return func(want, place string) bool {
			switch want {
			case "self":
				return true
			case "wide token":
				want, place = "view", ""
			}
			return may[role][want] && slices.Contains(covers, place)
		}
	}
	// By a token one makes none, and the rest is as without it.
	butTokens := func(f func(want, place string) bool) func(want, place string) bool {
		return func(want, place string) bool { return want != "wide token" && f(want, place) }
	}
	all := plumbline.Limit{Role: plumbline.RoleAdmin}
	const name = "alice@example.com"
	people := []plumbline.Known{{Name: name, Also: []string{"corp/alice"}, Groups: []string{"oncall"}}, {Name: "bob@example.com", Also: []string{"corp/bob"}}}
	holds := []struct {
		how    string
		users  []string
		groups []string // that the role is for
		in     []string // that the sign-in system tells
		has    bool
	}{
		{how: "user", users: []string{"bob@example.com", name}, has: true},
		{how: "group", groups: []string{"sre"}, in: []string{"dev", "sre"}, has: true},
		{how: "group of the configuration", groups: []string{"oncall"}, has: true},
		{how: "alias", users: []string{"corp/alice"}, has: true},
		{how: "user with capitals", users: []string{"Alice@Example.com"}, has: true},
		{how: "everybody", users: []string{"*"}, has: true},
		{how: "another's name", users: []string{"bob@example.com", "alice", "hub/alice", "corp/alice2"}},
		{how: "another group", groups: []string{"sre"}, in: []string{"SRE", "sre2", "dev"}},
		{how: "a group called as they are", groups: []string{name, "corp/alice"}},
	}
	for _, role := range []string{"none", "viewer", "operator", "approver", "admin"} {
		for _, scope := range scopes {
			for _, h := range holds {
				if (role == "none" || !h.has) && (scope.names != nil || role == "none" && h.how != "user") {
					continue // who has nothing has it nowhere
				}
				a := plumbline.Access{People: people, Roles: []plumbline.Role{{Name: plumbline.RoleAdmin, Users: []string{"root@example.com"}}}}
				has := role
				if role != "none" {
					a.Roles = append(a.Roles, plumbline.Role{Name: plumbline.RoleName(role), Users: h.users, Groups: h.groups, Environments: scope.names})
				}
				if !h.has {
					has = "none"
				}
				m := newMatrix(t, a)
				what := fmt.Sprintf("%s in %v by %s", role, scope.names, h.how)
				cells += m.walk("session, "+what, bySession(name, h.in...), expect(has, scope.covers))
				cells += m.walk("token, "+what, byToken(all, name, h.in...), butTokens(expect(has, scope.covers)))
			}
		}
	}

	// A token narrows, it never widens.
	for _, owner := range []string{"viewer", "operator", "approver", "admin"} {
		for _, scope := range scopes {
			m := newMatrix(t, plumbline.Access{Roles: []plumbline.Role{{Name: plumbline.RoleName(owner), Users: []string{name}, Environments: scope.names}}})
			for _, limit := range []string{"viewer", "operator", "approver", "admin", "", "root"} {
				for _, narrow := range scopes {
					f := func(want, place string) bool {
						if want == "self" {
							return true
						}
						return want != "wide token" && may[owner][want] && may[limit][want] && slices.Contains(scope.covers, place) && slices.Contains(narrow.covers, place)
					}
					what := fmt.Sprintf("token for %s in %v of %s in %v", limit, narrow.names, owner, scope.names)
					cells += m.walk(what, byToken(plumbline.Limit{Role: plumbline.RoleName(limit), Environments: narrow.names}, name), f)
				}
			}
		}
	}

	// Several roles add up, each where it is.
	m := newMatrix(t, plumbline.Access{Roles: []plumbline.Role{
		{Name: plumbline.RoleViewer, Users: []string{"*"}}, {Name: plumbline.RoleApprover, Groups: []string{"sre"}, Environments: []string{"production"}},
		{Name: plumbline.RoleOperator, Users: []string{name}, Environments: []string{"edge/staging"}},
	}})
	cells += m.walk("several roles", bySession(name, "sre"), func(want, place string) bool {
		return want == "self" || want == "wide token" || may["viewer"][want] ||
			may["approver"][want] && strings.HasSuffix(place, "/production") || may["operator"][want] && place == "edge/staging"
	})

	// The operator of the machine may do anything, nobody may nothing, whatever the configuration says.
	for _, a := range []plumbline.Access{{}, {Roles: []plumbline.Role{{Name: plumbline.RoleAdmin, Users: []string{"*"}, Groups: []string{"*"}}}}} {
		m := newMatrix(t, a)
		cells += m.walk("the machine's token", byMachine, func(string, string) bool { return true })
		cells += m.walk("the machine's session", bySession(plumbline.Local), func(string, string) bool { return true })
		cells += m.walk("nobody", anonymous, func(string, string) bool { return false })
		cells += m.walk("somebody without a name", bySession(""), func(string, string) bool { return false })
	}
	t.Logf("%d cells", cells)
}

// TestMatrixTable: what the table says of a route that there is not, or of a person who need not be one, is not tested.
func TestMatrixTable(t *testing.T) {
	m := newMatrix(t, plumbline.Access{})
	have := map[string]bool{}
	for _, rt := range m.server.Routes() {
		pattern := rt.Method + " " + rt.Path
		have[pattern] = true
		if e, known := asks[pattern]; !known {
			t.Errorf("%s is not in the table: say what it asks for", pattern)
		} else if (rt.Action == web.ActionPublic) != (e.want == "public") {
			t.Errorf("%s is for %q, and the table says %q", pattern, rt.Action, e.want)
		}
	}
	for pattern := range asks {
		if !have[pattern] {
			t.Errorf("the table has %s, which there is not", pattern)
		}
	}
}

// TestApprovalMatrix: whose yes counts, by the door that they come through.
func TestApprovalMatrix(t *testing.T) {
	people := []plumbline.Known{
		{Name: "alice@example.com", Also: []string{"corp/alice"}}, {Name: "dev@example.com", Also: []string{"corp/dev", "dev@git.example.com"}},
		{Name: "pusher@example.com", Also: []string{"corp/pusher"}}, {Name: "early@example.com", Also: []string{"corp/early"}},
	}
	access := plumbline.Access{People: people, Roles: []plumbline.Role{
		{Name: plumbline.RoleApprover, Groups: []string{"approvers"}}, {Name: plumbline.RoleAdmin, Users: []string{"root@example.com"}},
		{Name: plumbline.RoleApprover, Users: []string{"near@example.com"}, Environments: []string{"staging"}},
	}}
	type person struct {
		name   string
		groups []string
	}
	alice, carol := person{"alice@example.com", []string{"approvers", "sre"}}, person{"carol@example.com", []string{"approvers"}}
	doors := map[string]func(person) door{
		"web": func(p person) door { return bySession(p.name, p.groups...) },
		"token": func(p person) door {
			return byToken(plumbline.Limit{Role: plumbline.RoleApprover}, p.name, p.groups...)
		},
		"alias": func(p person) door {
			return bySession(strings.Replace(strings.ToUpper(p.name), "@EXAMPLE.COM", "@example.com", 1), p.groups...)
		},
	}
	rule := func(from ...string) plumbline.ApprovalRule { return plumbline.ApprovalRule{From: from} }
	not := func(x ...plumbline.Exclusion) plumbline.ApprovalRule { return plumbline.ApprovalRule{Not: x} }
	const yes, no = plumbline.StateApproved, plumbline.StateAwaiting
	for _, tt := range []struct {
		name string
		rule plumbline.ApprovalRule
		who  person
		want plumbline.State
	}{
		{"anybody who may", rule(), carol, yes},
		{"who may not approve", rule(), person{"mallory@example.com", []string{"sre"}}, no},
		{"who may, elsewhere", rule(), person{"near@example.com", nil}, no},
		{"user", rule("user:alice@example.com"), alice, yes},
		{"user by an alias", rule("user:corp/alice"), alice, yes},
		{"user by another's", rule("user:corp/alice"), carol, no},
		{"group", rule("group:sre"), alice, yes},
		{"group that they are not in", rule("group:sre"), carol, no},
		{"group, but may not approve", rule("group:sre"), person{"mallory@example.com", []string{"sre"}}, no},
		{"role", rule("role:approver"), carol, yes},
		{"role that they have not", rule("role:admin"), carol, no},
		{"role admin", rule("role:admin"), person{"root@example.com", nil}, yes},
		{"one of several", rule("user:nobody@example.com", "group:sre", "role:admin"), alice, yes},
		{"none of several", rule("user:nobody@example.com", "group:sre", "role:admin"), carol, no},
		{"a kind that there is not", rule("team:sre"), alice, no},
		{"author", not(plumbline.NotAuthor), person{"dev@example.com", []string{"approvers"}}, no},
		{"author where they may", not(), person{"dev@example.com", []string{"approvers"}}, yes},
		{"not the author", not(plumbline.NotAuthor), alice, yes},
		{"pusher", not(plumbline.NotLastPusher), person{"pusher@example.com", []string{"approvers"}}, no},
		{"pusher, where authors are excluded", not(plumbline.NotAuthor), person{"pusher@example.com", []string{"approvers"}}, yes},
		{"earlier approver", not(plumbline.NotEarlierApprover), person{"early@example.com", []string{"approvers"}}, no},
		{"not an earlier approver", not(plumbline.NotEarlierApprover), alice, yes},
		{"all exclusions", not(plumbline.NotAuthor, plumbline.NotLastPusher, plumbline.NotEarlierApprover), alice, yes},
		{"the right group, but the author", plumbline.ApprovalRule{From: []string{"group:sre"}, Not: []plumbline.Exclusion{plumbline.NotAuthor}},
			person{"dev@example.com", []string{"approvers", "sre"}}, no},
	} {
		for name, in := range doors {
			m := newMatrix(t, access)
			run := gated(tt.rule)
			m.store.Put(run)
			m.approve(in(tt.who))
			if r := m.run(); r.State != tt.want {
				t.Errorf("%s, by %s: the run is %s, want %s", tt.name, name, r.State, tt.want)
			}
		}
	}

	// Two are two people, not two doors.
	comment := func(name string) func(*matrix) {
		return func(m *matrix) {
			who := access.Person(name, nil, plumbline.DoorComment)
			_, err := m.store.Update(t.Context(), runAt("infra/production", "awaiting"), preview.Now, func(r *plumbline.Run, now time.Time) error {
				return r.Approve(who, access, "abcdef", now)
			})
			if err != nil {
				t.Errorf("%s by comment: %v", name, err)
			}
		}
	}
	through := func(door string, p person) func(*matrix) { return func(m *matrix) { m.approve(doors[door](p)) } }
	for _, tt := range []struct {
		name    string
		steps   []func(*matrix)
		missing int
	}{
		{"one", []func(*matrix){through("web", alice)}, 1},
		{"one, twice", []func(*matrix){through("web", alice), through("web", alice)}, 1},
		{"one, by web and comment", []func(*matrix){through("web", alice), comment("corp/alice")}, 1},
		{"one, by comment and web", []func(*matrix){comment("corp/alice"), through("web", alice)}, 1},
		{"one, by web and token", []func(*matrix){through("web", alice), through("token", alice)}, 1},
		{"one, by token and comment", []func(*matrix){through("token", alice), comment("Corp/Alice")}, 1},
		{"one, by web with capitals", []func(*matrix){through("web", alice), through("alias", alice)}, 1},
		{"one whom no configuration knows, with capitals", []func(*matrix){through("web", carol), through("alias", carol)}, 1},
		{"two", []func(*matrix){through("web", alice), through("web", carol)}, 0},
		{"two, by comment and token", []func(*matrix){comment("corp/alice"), through("token", carol)}, 0},
	} {
		m := newMatrix(t, access)
		m.store.Put(gated(plumbline.ApprovalRule{Count: 2}))
		for _, step := range tt.steps {
			step(m)
		}
		r := m.run()
		if got := r.Missing(preview.Now); got != tt.missing || (r.State == yes) != (tt.missing == 0) {
			t.Errorf("%s: %d are missing, want %d; the run is %s", tt.name, got, tt.missing, r.State)
		}
	}
}

// gated is a run that dev wrote, pusher pushed, and of which early approved another plan.
func gated(rule plumbline.ApprovalRule) plumbline.Run {
	r := runIn("infra/production", "awaiting")
	r.Policy.Approval = rule
	r.Authors, r.Pushers = []string{"dev@git.example.com"}, []string{"corp/pusher"}
	r.Approvals = []plumbline.Approval{{By: "early@example.com", Also: []string{"corp/early"}, Digest: "0123456789abcdef", At: preview.Now.Add(-time.Hour)}}
	return r
}

func (m *matrix) approve(in door) {
	m.t.Helper()
	r := httptest.NewRequest("POST", "http://localhost/api/v1/runs/"+runAt("infra/production", "awaiting").String()+"/approve", strings.NewReader(`{"digest":"abcdef"}`))
	m.tokens.Store = &preview.Store{}
	r.Header = in(m)
	w := httptest.NewRecorder()
	m.server.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusOK && w.Code != http.StatusForbidden && w.Code != http.StatusConflict {
		m.t.Errorf("approve: %d %s", w.Code, w.Body)
	}
}

func (m *matrix) run() plumbline.Run {
	r, err := m.store.Run(m.t.Context(), runAt("infra/production", "awaiting"))
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}
