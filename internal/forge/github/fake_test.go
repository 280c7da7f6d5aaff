package github_test

import (
	"cmp"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	jwt "github.com/golang-jwt/jwt/v5"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
)

type object map[string]any

// hub is a GitHub with one repository, acme/infra. Its answers are GitHub's own examples with other values; each is checked against GitHub's
// description, and so is each request.
type hub struct {
	t   testing.TB
	url string

	mu       sync.Mutex
	clock    time.Time
	last     int64
	users    map[string]int64  // by login
	tokens   map[string]string // token to login
	things   []*thing          // pull requests and issues: number 1 is the first
	comments []*remark
	signs    []*sign
	statuses []object // oldest first
	deploys  []object
	said     map[int64][]object // statuses of deployments, oldest first
	checks   []object
	notes    map[int64]int // annotations by check run
	branches map[string]string
	pushes   []object // newest first
	requests []string
	private  bool                                              // answers as to somebody who may not see the repository
	lose     func(*http.Request) bool                          // does what is asked and breaks the connection
	before   func(w http.ResponseWriter, r *http.Request) bool // answers in its place
	app      *hubApp
}

// thing is a pull request or an issue.
type thing struct {
	number           int
	login            string
	title, body      string
	state            string
	labels           []string
	at, updated      time.Time
	pull, locked     bool
	head, base, sha  string
	fork             bool // from another repository
	draft, conflicts bool
	merged           string // commit
	reviews          []object
}

type remark struct {
	id          int64
	number      int
	login, body string
	at, updated time.Time
}

type sign struct {
	id, comment    int64
	login, content string
}

type hubApp struct {
	id, installation int64
	slug             string
	key              *rsa.PublicKey
	now              func() time.Time
	made             int // tokens
	life             time.Duration
	claims           []jwt.RegisteredClaims
}

const (
	bot, dev      = "plumbline", "dev"
	token         = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
	devToken      = "ghp_dev"
	commentLimit  = 65536
	contextMost   = 255
	describeMost  = 140
	annotateAtOne = 50
)

func newHub(t testing.TB) *hub {
	t.Helper()
	h := &hub{
		t: t, clock: time.Now().UTC().Truncate(time.Second).Add(-50 * time.Second),
		users: map[string]int64{bot: 101, dev: 102, "eve": 103}, tokens: map[string]string{token: bot, devToken: dev},
		said: map[int64][]object{}, notes: map[int64]int{}, last: 1000,
		branches: map[string]string{"main": strings.Repeat("a", 40), "env/production": strings.Repeat("b", 40)},
	}
	checked := describe(t).checked(t, h)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		lose := h.lose != nil && h.lose(r)
		before := h.before
		h.mu.Unlock()
		switch {
		case before != nil && before(w, r):
		case lose:
			checked.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		default:
			checked.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	h.url = srv.URL
	return h
}

func (h *hub) tick() time.Time {
	h.clock = h.clock.Add(time.Second)
	return h.clock
}

func (h *hub) id() int64 {
	h.last++
	return h.last
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func (h *hub) sha() string { return fmt.Sprintf("%040x", h.id()) }

// ServeHTTP answers as GitHub does.
func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, r.Method+" "+r.URL.Path)
	w.Header().Set("Date", h.clock.Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*call) (int, any){
		"GET /app":                                                       (*call).getApp,
		"GET /repos/acme/infra/installation":                             (*call).getInstallation,
		"POST /app/installations/{id}/access_tokens":                     (*call).postToken,
		"GET /user":                                                      (*call).getUser,
		"GET /users/{login}":                                             (*call).getUser,
		"GET /repos/acme/infra":                                          (*call).getRepo,
		"GET /repos/acme/infra/activity":                                 (*call).listActivity,
		"GET /repos/acme/infra/pulls":                                    (*call).listPulls,
		"POST /repos/acme/infra/pulls":                                   (*call).postPull,
		"GET /repos/acme/infra/pulls/{number}":                           (*call).getPull,
		"PATCH /repos/acme/infra/pulls/{number}":                         (*call).patchPull,
		"GET /repos/acme/infra/pulls/{number}/reviews":                   (*call).listReviews,
		"GET /repos/acme/infra/issues":                                   (*call).listIssues,
		"POST /repos/acme/infra/issues":                                  (*call).postIssue,
		"PATCH /repos/acme/infra/issues/{number}":                        (*call).patchIssue,
		"POST /repos/acme/infra/issues/{number}/labels":                  (*call).postLabels,
		"GET /repos/acme/infra/issues/{number}/comments":                 (*call).listComments,
		"POST /repos/acme/infra/issues/{number}/comments":                (*call).postComment,
		"PATCH /repos/acme/infra/issues/comments/{id}":                   (*call).patchComment,
		"DELETE /repos/acme/infra/issues/comments/{id}":                  (*call).deleteComment,
		"GET /repos/acme/infra/issues/comments/{id}/reactions":           (*call).listReactions,
		"POST /repos/acme/infra/issues/comments/{id}/reactions":          (*call).postReaction,
		"DELETE /repos/acme/infra/issues/comments/{id}/reactions/{sign}": (*call).deleteReaction,
		"POST /repos/acme/infra/statuses/{sha}":                          (*call).postStatus,
		"GET /repos/acme/infra/commits/{sha}/status":                     (*call).combinedStatus,
		"GET /repos/acme/infra/deployments":                              (*call).listDeployments,
		"POST /repos/acme/infra/deployments":                             (*call).postDeployment,
		"GET /repos/acme/infra/deployments/{id}/statuses":                (*call).listDeploymentStatuses,
		"POST /repos/acme/infra/deployments/{id}/statuses":               (*call).postDeploymentStatus,
		"POST /repos/acme/infra/check-runs":                              (*call).postCheck,
		"PATCH /repos/acme/infra/check-runs/{id}":                        (*call).patchCheck,
		"GET /repos/acme/infra/commits/{sha}/check-runs":                 (*call).listChecks,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c := &call{hub: h, r: r, header: w.Header()}
			status, v := c.serve(answer)
			b, err := json.Marshal(v)
			if err != nil {
				h.t.Error(err)
			}
			if tag := fmt.Sprintf(`W/"%x"`, sha256.Sum256(b)); r.Method == "GET" && status == 200 {
				w.Header().Set("ETag", tag)
				if r.Header.Get("If-None-Match") == tag {
					status, v = 304, nil
				}
			}
			w.WriteHeader(status)
			if v == nil {
				return
			}
			_, _ = w.Write(b) // who asked may not wait for the answer: that is one of the faults
		})
	}
	mux.ServeHTTP(w, r)
}

// call is one request.
type call struct {
	*hub
	r      *http.Request
	header http.Header
	login  string
	in     object
}

func (c *call) serve(answer func(*call) (int, any)) (int, any) {
	bearer := strings.TrimPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	if c.isApp() {
		if !c.signed(bearer) {
			return refuse(401, "A JSON web token could not be decoded")
		}
	} else if c.login = c.tokens[bearer]; c.login == "" {
		return refuse(401, "Bad credentials")
	}
	if c.private && strings.HasPrefix(c.r.URL.Path, "/repos/") {
		return refuse(404, "Not Found")
	}
	if c.r.ContentLength > 0 {
		if err := json.NewDecoder(c.r.Body).Decode(&c.in); err != nil {
			return refuse(400, "Problems parsing JSON")
		}
	}
	return answer(c)
}

func (c *call) isApp() bool {
	return strings.HasPrefix(c.r.URL.Path, "/app") || strings.HasSuffix(c.r.URL.Path, "/installation")
}

// signed checks a JWT as GitHub's documentation says it does.
func (c *call) signed(token string) bool {
	if c.app == nil {
		return false
	}
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return c.app.key, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(fmt.Sprint(c.app.id)), jwt.WithIssuedAt(), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(c.app.now))
	c.app.claims = append(c.app.claims, claims)
	return err == nil && !claims.ExpiresAt.After(c.app.now().Add(10*time.Minute))
}

func refuse(status int, message string, details ...object) (int, any) {
	out := object{"message": message, "documentation_url": "https://docs.github.com/rest", "status": strconv.Itoa(status)}
	if len(details) > 0 {
		out["errors"] = details
	}
	return status, out
}

func invalid(resource, field, message string) (int, any) {
	return refuse(422, "Validation Failed", object{"resource": resource, "field": field, "code": "custom", "message": message})
}

func (c *call) str(key string) string { s, _ := c.in[key].(string); return s }

func (c *call) strs(key string) (out []string) {
	list, _ := c.in[key].([]any)
	for _, v := range list {
		s, _ := v.(string)
		out = append(out, s)
	}
	return out
}

func (c *call) pathID(name string) int64 {
	n, err := strconv.ParseInt(c.r.PathValue(name), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (c *call) query(name string) string { return c.r.URL.Query().Get(name) }

// paged returns a page, and says in the Link header where the next is: under an address of GitHub's own choice.
func (c *call) paged(all []any) []any {
	size, _ := strconv.Atoi(c.query("per_page"))
	page, _ := strconv.Atoi(c.query("page"))
	size, page = cmp.Or(size, 30), cmp.Or(page, 1)
	from, to := min((page-1)*size, len(all)), min(page*size, len(all))
	if to < len(all) {
		q := c.r.URL.Query()
		q.Set("page", strconv.Itoa(page+1))
		c.header.Set("Link", fmt.Sprintf(`<https://api.github.com/repositories/1296269%s?%s>; rel="next"`, strings.TrimPrefix(c.r.URL.Path, "/repos/acme/infra"), q.Encode()))
	}
	return append([]any{}, all[from:to]...)
}

// user is a simple user.
func (h *hub) user(login string) object {
	u := example(h.t, "issue-comment")["user"].(map[string]any)
	u["login"], u["id"], u["html_url"] = login, h.users[login], "https://github.com/"+url.PathEscape(login)
	if strings.HasSuffix(login, "[bot]") {
		u["type"] = "Bot"
	}
	return u
}

func (c *call) getUser() (int, any) {
	view := "private"
	login, name := c.login, "private-user-response-with-public-and-private-profile-information"
	if asked := c.r.PathValue("login"); asked != "" {
		view, login, name = "public", asked, "public-user-default-response"
	} else if strings.HasSuffix(login, "[bot]") {
		return refuse(403, "Resource not accessible by integration")
	}
	if c.users[login] == 0 {
		return refuse(404, "Not Found")
	}
	u := example(c.t, name)
	for k, v := range c.user(login) {
		u[k] = v
	}
	u["user_view_type"] = view
	return 200, u
}

func (c *call) getRepo() (int, any) {
	repo := example(c.t, "full-repository-default-response")
	repo["full_name"], repo["name"], repo["language"] = "acme/infra", "infra", "HCL"
	for _, other := range []string{"source", "parent", "template_repository"} {
		delete(repo, other)
	}
	return 200, repo
}

func (c *call) getApp() (int, any) {
	out := example(c.t, "integration")
	out["id"], out["slug"] = c.app.id, c.app.slug
	return 200, out
}

func (c *call) getInstallation() (int, any) {
	if c.app.installation == 0 {
		return refuse(404, "Not Found")
	}
	out := example(c.t, "installation")
	out["id"], out["app_id"] = c.app.installation, c.app.id
	return 200, out
}

func (c *call) postToken() (int, any) {
	if c.pathID("id") != c.app.installation {
		return refuse(404, "Not Found")
	}
	if !slices.Equal(c.strs("repositories"), []string{"infra"}) {
		c.t.Errorf("a token for %v", c.in)
	}
	c.app.made++
	made := fmt.Sprintf("ghs_%d_secret", c.app.made)
	c.tokens[made] = c.app.slug + "[bot]"
	out := example(c.t, "installation-token")
	delete(out, "repositories")
	out["token"], out["expires_at"] = made, stamp(c.app.now().Add(c.app.life))
	return 201, out
}

func (c *call) listActivity() (int, any) {
	out := []any{}
	for _, p := range c.pushes {
		if ref := c.query("ref"); ref == "" || p["ref"] == ref {
			out = append(out, p)
		}
	}
	return 200, out
}

// find returns a pull request or an issue by the number in the path.
func (c *call) find() *thing {
	n := c.pathID("number")
	if n < 1 || int(n) > len(c.things) || c.things[n-1].state == deleted {
		return nil
	}
	return c.things[n-1]
}

func (c *call) pullObject(p *thing, name string) object {
	o := example(c.t, name)
	o["id"], o["number"], o["state"], o["title"], o["body"], o["locked"], o["draft"] = 5000+p.number, p.number, p.state, p.title, p.body, p.locked, p.draft
	o["html_url"] = fmt.Sprintf("https://github.com/acme/infra/pull/%d", p.number)
	o["user"], o["created_at"], o["updated_at"] = c.user(p.login), stamp(p.at), stamp(p.updated)
	o["merged_at"], o["closed_at"] = nil, nil
	o["labels"] = labelObjects(c.t, p.labels, "label-items")
	o["requested_teams"] = []any{} // the example of one is older than its description
	if p.state == "closed" {
		o["closed_at"] = stamp(p.updated)
	}
	head, base := o["head"].(map[string]any), o["base"].(map[string]any)
	head["ref"], head["sha"], head["label"] = p.head, p.sha, "acme:"+p.head
	base["ref"], base["sha"], base["label"] = p.base, c.branches[p.base], "acme:"+p.base
	if p.fork {
		head["repo"].(map[string]any)["id"] = 77
	}
	o["merge_commit_sha"] = strings.Repeat("7", 40) // of GitHub's trial
	if p.merged != "" {
		o["merge_commit_sha"], o["merged_at"] = p.merged, stamp(p.updated)
	}
	if name == "pull-request" {
		o["merged"], o["mergeable"], o["comments"] = p.merged != "", !p.conflicts, 0
		if p.state != "open" {
			o["mergeable"] = nil
		}
	}
	return o
}

func labelObjects(t testing.TB, names []string, from string) []any {
	out := []any{}
	for i, n := range names {
		l := example(t, from)
		l["name"], l["id"] = n, 900+i
		out = append(out, l)
	}
	return out
}

func (c *call) listPulls() (int, any) {
	var all []any
	for _, p := range slices.Backward(c.things) {
		state := cmp.Or(c.query("state"), "open")
		if p.pull && (state == "all" || p.state == state) && (c.query("base") == "" || c.query("base") == p.base) {
			all = append(all, c.pullObject(p, "pull-request-simple-items"))
		}
	}
	return 200, c.paged(all)
}

func (c *call) getPull() (int, any) {
	if p := c.find(); p != nil && p.pull {
		return 200, c.pullObject(p, "pull-request")
	}
	return refuse(404, "Not Found")
}

func (c *call) postPull() (int, any) {
	head, base := c.str("head"), c.str("base")
	if c.branches[head] == "" {
		return invalid("PullRequest", "head", "head sha can't be blank")
	}
	for _, p := range c.things {
		if p.pull && p.state == "open" && p.head == head && p.base == base {
			return invalid("PullRequest", "", "A pull request already exists for acme:"+head+".")
		}
	}
	p := c.add(&thing{pull: true, login: c.login, title: c.str("title"), body: c.str("body"), head: head, base: base, sha: c.branches[head]})
	p.draft, _ = c.in["draft"].(bool)
	return 201, c.pullObject(p, "pull-request")
}

func (h *hub) add(x *thing) *thing {
	x.number, x.state = len(h.things)+1, "open"
	x.at = h.tick()
	x.updated = x.at
	h.things = append(h.things, x)
	return x
}

func (c *call) patchPull() (int, any) {
	p := c.find()
	if p == nil || !p.pull {
		return refuse(404, "Not Found")
	}
	c.change(p)
	return 200, c.pullObject(p, "pull-request")
}

func (c *call) change(x *thing) {
	for key, field := range map[string]*string{"title": &x.title, "body": &x.body, "state": &x.state} {
		if v, ok := c.in[key].(string); ok {
			*field = v
		}
	}
	if _, ok := c.in["labels"]; ok {
		x.labels = c.strs("labels")
	}
	x.updated = c.tick()
}

func (c *call) listReviews() (int, any) {
	p := c.find()
	if p == nil {
		return refuse(404, "Not Found")
	}
	var all []any
	for _, r := range p.reviews {
		all = append(all, r)
	}
	return 200, c.paged(all)
}

func (c *call) issueObject(i *thing) object {
	o := example(c.t, "issue")
	delete(o, "pull_request")
	o["id"], o["number"], o["state"], o["title"], o["body"] = 5000+i.number, i.number, i.state, i.title, i.body
	o["html_url"], o["locked"] = fmt.Sprintf("https://github.com/acme/infra/issues/%d", i.number), i.locked
	o["user"], o["created_at"], o["updated_at"] = c.user(i.login), stamp(i.at), stamp(i.updated)
	o["labels"], o["closed_at"], o["closed_by"], o["state_reason"] = labelObjects(c.t, i.labels, "label-items"), nil, nil, nil
	if i.pull {
		o["pull_request"] = object{"url": "https://x.example.com", "html_url": "https://x.example.com", "diff_url": "https://x.example.com", "patch_url": "https://x.example.com"}
	}
	return o
}

func (c *call) listIssues() (int, any) {
	var all []any
	things := slices.Clone(c.things)
	if c.query("sort") == "updated" {
		slices.SortStableFunc(things, func(a, b *thing) int { return a.updated.Compare(b.updated) })
	}
	for _, i := range slices.Backward(things) {
		if (c.query("state") == "all" || i.state == cmp.Or(c.query("state"), "open")) && (c.query("creator") == "" || c.query("creator") == i.login) {
			all = append(all, c.issueObject(i))
		}
	}
	return 200, c.paged(all)
}

func (c *call) postIssue() (int, any) {
	if utf8.RuneCountInString(c.str("title")) > 256 {
		return invalid("Issue", "title", "title is too long (maximum is 256 characters)")
	}
	if utf8.RuneCountInString(c.str("body")) > 65536 {
		return invalid("Issue", "body", "body is too long (maximum is 65536 characters)")
	}
	i := c.add(&thing{login: c.login, title: c.str("title"), body: c.str("body"), labels: c.strs("labels")})
	return 201, c.issueObject(i)
}

func (c *call) patchIssue() (int, any) {
	i := c.find()
	if i == nil {
		return refuse(404, "Not Found")
	}
	c.change(i)
	return 200, c.issueObject(i)
}

func (c *call) postLabels() (int, any) {
	i := c.find()
	if i == nil {
		return refuse(404, "Not Found")
	}
	i.labels = append(i.labels, c.strs("labels")...)
	i.updated = c.tick()
	return 200, labelObjects(c.t, i.labels, "label-items")
}

func (c *call) commentObject(n *remark) object {
	o := example(c.t, "issue-comment")
	o["id"], o["body"], o["user"], o["created_at"], o["updated_at"] = n.id, n.body, c.user(n.login), stamp(n.at), stamp(n.updated)
	if n.login == "" {
		o["user"] = nil
	}
	o["html_url"] = fmt.Sprintf("https://github.com/acme/infra/pull/%d#issuecomment-%d", n.number, n.id)
	return o
}

func (c *call) listComments() (int, any) {
	if c.find() == nil {
		return refuse(404, "Not Found")
	}
	since, _ := time.Parse(time.RFC3339, c.query("since")) // the zero time is before all
	var all []any
	for _, n := range c.comments {
		if int64(n.number) == c.pathID("number") && !n.updated.Before(since) {
			all = append(all, c.commentObject(n))
		}
	}
	return 200, c.paged(all)
}

func (c *call) tooLong() bool { return utf8.RuneCountInString(c.str("body")) > commentLimit }

func (c *call) postComment() (int, any) {
	p := c.find()
	switch {
	case p == nil:
		return refuse(404, "Not Found")
	case p.locked:
		return refuse(403, "Unable to create comment because issue is locked.")
	case c.tooLong():
		return invalid("IssueComment", "data", "Body is too long (maximum is 65536 characters)")
	}
	return 201, c.commentObject(c.comment(p, c.login, c.str("body")))
}

func (h *hub) comment(p *thing, login, body string) *remark {
	n := &remark{id: h.id(), number: p.number, login: login, body: body, at: h.tick()}
	n.updated, p.updated = n.at, n.at
	h.comments = append(h.comments, n)
	return n
}

func (h *hub) commentByID(id int64) *remark {
	i := slices.IndexFunc(h.comments, func(n *remark) bool { return n.id == id })
	if i < 0 {
		return nil
	}
	return h.comments[i]
}

func (c *call) patchComment() (int, any) {
	n := c.commentByID(c.pathID("id"))
	switch {
	case n == nil:
		return refuse(404, "Not Found")
	case c.tooLong():
		return invalid("IssueComment", "data", "Body is too long (maximum is 65536 characters)")
	}
	n.body, n.updated = c.str("body"), c.tick()
	return 200, c.commentObject(n)
}

func (c *call) deleteComment() (int, any) {
	n := c.commentByID(c.pathID("id"))
	if n == nil {
		return refuse(404, "Not Found")
	}
	c.comments = slices.DeleteFunc(c.comments, func(o *remark) bool { return o == n })
	return 204, nil
}

func (c *call) signObject(s *sign) object {
	o := example(c.t, "reaction")
	o["id"], o["content"], o["user"] = s.id, s.content, c.user(s.login)
	return o
}

func (c *call) listReactions() (int, any) {
	id := c.pathID("id")
	if c.commentByID(id) == nil {
		return refuse(404, "Not Found")
	}
	var all []any
	for _, s := range c.signs {
		if s.comment == id {
			all = append(all, c.signObject(s))
		}
	}
	return 200, c.paged(all)
}

func (c *call) postReaction() (int, any) {
	id := c.pathID("id")
	if c.commentByID(id) == nil {
		return refuse(404, "Not Found")
	}
	for _, s := range c.signs {
		if s.comment == id && s.login == c.login && s.content == c.str("content") {
			return 200, c.signObject(s)
		}
	}
	s := &sign{c.id(), id, c.login, c.str("content")}
	c.signs = append(c.signs, s)
	return 201, c.signObject(s)
}

func (c *call) deleteReaction() (int, any) {
	n := len(c.signs)
	c.signs = slices.DeleteFunc(c.signs, func(s *sign) bool { return s.id == c.pathID("sign") && s.login == c.login })
	if len(c.signs) == n {
		return refuse(404, "Not Found")
	}
	return 204, nil
}

func (c *call) postStatus() (int, any) {
	context := cmp.Or(c.str("context"), "default")
	same := 0
	for _, s := range c.statuses {
		if s["context"] == context && s["sha"] == c.r.PathValue("sha") {
			same++
		}
	}
	if utf8.RuneCountInString(c.str("description")) > describeMost || utf8.RuneCountInString(context) > contextMost || same >= 1000 {
		c.t.Errorf("a status that GitHub refuses: %v", c.in)
	}
	o := example(c.t, "status")
	o["id"], o["state"], o["context"], o["creator"] = c.id(), c.str("state"), context, c.user(c.login)
	o["description"], o["target_url"] = c.in["description"], c.in["target_url"]
	kept := object{"sha": c.r.PathValue("sha")}
	for k, v := range o {
		kept[k] = v
	}
	c.statuses = append(c.statuses, kept)
	return 201, o
}

func (c *call) combinedStatus() (int, any) {
	sha := c.r.PathValue("sha")
	seen := map[any]bool{}
	all := []any{}
	for _, s := range slices.Backward(c.statuses) {
		if s["sha"] != sha || seen[s["context"]] {
			continue
		}
		seen[s["context"]] = true
		simple := object{}
		for _, k := range []string{"url", "avatar_url", "id", "node_id", "state", "description", "target_url", "context", "created_at", "updated_at"} {
			simple[k] = s[k]
		}
		all = append(all, simple)
	}
	o := example(c.t, "combined-commit-status")
	o["sha"], o["total_count"], o["statuses"] = sha, len(all), c.paged(all)
	return 200, o
}

func (c *call) listDeployments() (int, any) {
	var all []any
	for _, d := range slices.Backward(c.deploys) {
		if (c.query("sha") == "" || d["sha"] == c.query("sha")) && (c.query("environment") == "" || d["environment"] == c.query("environment")) {
			all = append(all, d)
		}
	}
	return 200, c.paged(all)
}

func (c *call) postDeployment() (int, any) {
	if required, ok := c.in["required_contexts"].([]any); !ok || len(required) > 0 {
		return refuse(409, "Conflict: Commit status checks failed for "+c.str("ref")+".")
	}
	o := example(c.t, "deployment-items")
	o["id"], o["sha"], o["ref"], o["environment"], o["creator"] = c.id(), c.str("ref"), c.str("ref"), c.str("environment"), c.user(c.login)
	o["description"] = c.in["description"]
	c.deploys = append(c.deploys, o)
	return 201, o
}

func (c *call) listDeploymentStatuses() (int, any) {
	var all []any
	for _, s := range slices.Backward(c.said[c.pathID("id")]) {
		all = append(all, s)
	}
	return 200, c.paged(all)
}

func (c *call) deploymentStatus(id int64, state, description, log string) object {
	o := example(c.t, "deployment-status-items")
	o["id"], o["state"], o["description"], o["log_url"], o["target_url"], o["creator"] = c.id(), state, description, log, log, c.user(c.login)
	c.said[id] = append(c.said[id], o)
	return o
}

func (c *call) postDeploymentStatus() (int, any) {
	id := c.pathID("id")
	i := slices.IndexFunc(c.deploys, func(d object) bool { return d["id"] == id })
	if i < 0 {
		return refuse(404, "Not Found")
	}
	if utf8.RuneCountInString(c.str("description")) > describeMost {
		return invalid("DeploymentStatus", "description", "description is too long (maximum is 140 characters)")
	}
	if c.str("state") == "success" {
		for _, d := range c.deploys {
			other := d["id"].(int64)
			was := c.said[other]
			if other != id && d["environment"] == c.deploys[i]["environment"] && len(was) > 0 && was[len(was)-1]["state"] == "success" {
				c.deploymentStatus(other, "inactive", "", "")
			}
		}
	}
	return 201, c.deploymentStatus(id, c.str("state"), c.str("description"), c.str("log_url"))
}

func (c *call) check(o object) (int, any) {
	output, _ := c.in["output"].(map[string]any)
	annotations, _ := output["annotations"].([]any)
	if len(annotations) > annotateAtOne {
		return invalid("CheckRun", "annotations", "only 50 annotations at once")
	}
	id := o["id"].(int64)
	c.notes[id] += len(annotations)
	for _, k := range []string{"name", "head_sha", "details_url", "external_id", "status", "conclusion"} {
		if v, ok := c.in[k]; ok {
			o[k] = v
		}
	}
	if c.str("status") == "completed" && c.str("conclusion") == "" {
		return invalid("CheckRun", "conclusion", "missing")
	}
	o["output"] = object{
		"title": output["title"], "summary": output["summary"], "text": nil, "annotations_count": c.notes[id], "annotations_url": "https://api.github.com/a",
	}
	return 0, nil
}

func (c *call) appObject() object {
	_, v := c.getApp()
	return v.(object)
}

func (c *call) postCheck() (int, any) {
	if c.app == nil || !strings.HasSuffix(c.login, "[bot]") {
		return refuse(403, "You must authenticate via a GitHub App.")
	}
	o := example(c.t, "check-run")
	o["id"], o["app"], o["external_id"], o["conclusion"], o["details_url"], o["completed_at"], o["status"] = c.id(), c.appObject(), "", nil, nil, nil, "queued"
	o["pull_requests"] = []any{}
	if status, refusal := c.check(o); status != 0 {
		return status, refusal
	}
	c.checks = append(c.checks, o)
	return 201, o
}

func (c *call) patchCheck() (int, any) {
	id := c.pathID("id")
	for _, o := range c.checks {
		if o["id"] == id {
			if status, refusal := c.check(o); status != 0 {
				return status, refusal
			}
			return 200, o
		}
	}
	return refuse(404, "Not Found")
}

func (c *call) listChecks() (int, any) {
	var all []any
	seen := map[any]bool{}
	for _, o := range slices.Backward(c.checks) {
		if o["head_sha"] != c.r.PathValue("sha") || c.query("check_name") != "" && o["name"] != c.query("check_name") || seen[o["name"]] {
			continue
		}
		seen[o["name"]] = c.query("filter") != "all"
		all = append(all, o)
	}
	return 200, object{"total_count": len(all), "check_runs": c.paged(all)}
}

// What follows is what people do.

func (h *hub) locked(do func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do()
}

func (h *hub) get(id string) *thing {
	n, err := strconv.Atoi(id)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.things[n-1]
}

func (h *hub) push(branch, login string) string {
	sha := h.sha()
	before := cmp.Or(h.branches[branch], strings.Repeat("0", 40))
	h.branches[branch] = sha
	h.pushes = slices.Insert(h.pushes, 0, object{
		"id": h.id(), "node_id": "x", "before": before, "after": sha, "ref": "refs/heads/" + branch, "timestamp": stamp(h.tick()),
		"activity_type": "push", "actor": h.user(login),
	})
	return sha
}

func (h *hub) OpenMR(_ *testing.T, name, target, title string) (id string) {
	h.locked(func() {
		sha := h.push("feature/"+name, dev)
		id = strconv.Itoa(h.add(&thing{pull: true, login: dev, title: title, head: "feature/" + name, base: target, sha: sha}).number)
	})
	return id
}

func (h *hub) Push(_ *testing.T, id string) (sha string) {
	h.locked(func() {
		p := h.get(id)
		sha = h.push(p.head, dev)
		p.sha, p.updated = sha, h.tick()
	})
	return sha
}

func (h *hub) Merge(_ *testing.T, id string) (sha string) {
	h.locked(func() {
		p := h.get(id)
		sha = h.push(p.base, dev)
		p.merged, p.state, p.updated = sha, "closed", h.tick()
	})
	return sha
}

func (h *hub) Close(_ *testing.T, id string) {
	h.locked(func() { p := h.get(id); p.state, p.updated = "closed", h.tick() })
}

func (h *hub) Comment(_ *testing.T, id, body string) {
	h.locked(func() { h.comment(h.get(id), dev, body) })
}

func (h *hub) Head(_ *testing.T, id string) (sha string) {
	h.locked(func() { sha = h.get(id).sha })
	return sha
}

func (h *hub) Refs(*testing.T) map[string]string {
	refs := map[string]string{}
	h.locked(func() {
		for b, sha := range h.branches {
			refs["refs/heads/"+b] = sha
		}
		for _, p := range h.things {
			if p.pull {
				refs[fmt.Sprintf("refs/pull/%d/head", p.number)] = p.sha
			}
			if p.pull && p.state == "open" && !p.conflicts {
				refs[fmt.Sprintf("refs/pull/%d/merge", p.number)] = strings.Repeat("7", 40)
			}
		}
	})
	return refs
}

func (h *hub) written(id string, ours bool) (out []string) {
	h.locked(func() {
		for _, n := range h.comments {
			if strconv.Itoa(n.number) == id && (n.login == bot || n.login == bot+"[bot]") == ours {
				out = append(out, n.body)
			}
		}
	})
	return out
}

func (h *hub) Notes(_ *testing.T, id string) []string    { return h.written(id, true) }
func (h *hub) Comments(_ *testing.T, id string) []string { return h.written(id, false) }

func (h *hub) Statuses(_ *testing.T, commit string) (out []plumbline.CommitStatus) {
	str := func(v any) string { s, _ := v.(string); return s }
	h.locked(func() {
		for _, s := range h.statuses {
			if s["sha"] == commit {
				out = append(out, plumbline.CommitStatus{
					Context: str(s["context"]), State: plumbline.Told(str(s["state"])), Description: str(s["description"]), URL: str(s["target_url"]),
				})
			}
		}
	})
	return out
}

func (h *hub) Edit(_ *testing.T, _, comment, body string) {
	id, err := strconv.ParseInt(comment, 10, 64)
	if err != nil {
		h.t.Fatal(err)
	}
	h.locked(func() { n := h.commentByID(id); n.body, n.updated = body, h.tick() })
}

var signs = map[string]plumbline.Reaction{"eyes": plumbline.ReactionSeen, "+1": plumbline.ReactionDone, "-1": plumbline.ReactionRefused}

func (h *hub) Reactions(_ *testing.T, _, comment string) (out []plumbline.Reaction) {
	h.locked(func() {
		for _, s := range h.signs {
			if strconv.FormatInt(s.comment, 10) == comment && strings.HasPrefix(s.login, bot) {
				out = append(out, signs[s.content])
			}
		}
	})
	return out
}

func (h *hub) Branch(_ *testing.T, name, _ string) { h.locked(func() { h.push(name, dev) }) }

func (h *hub) OpenIssue(_ *testing.T, title, body string) (number int64) {
	h.locked(func() { number = int64(h.add(&thing{login: dev, title: title, body: body}).number) })
	return number
}

func (h *hub) Issue(_ *testing.T, number int64) (out forgetest.Issue) {
	h.locked(func() { out = h.things[number-1].seen() })
	return out
}

func (h *hub) CloseIssue(_ *testing.T, number int64) {
	h.locked(func() { h.things[number-1].state = "closed" })
}

func (h *hub) LockIssue(_ *testing.T, number int64) {
	h.locked(func() { h.things[number-1].locked = true })
}

// deleted is a state that no list is asked for.
const deleted = "deleted"

func (h *hub) DeleteIssue(_ *testing.T, number int64) {
	h.locked(func() { h.things[number-1].state = deleted })
}

func (x *thing) seen() forgetest.Issue {
	return forgetest.Issue{Number: int64(x.number), Title: x.title, Body: x.body, Labels: x.labels, Open: x.state == "open", Locked: x.locked}
}

var states = map[string]forge.DeploymentState{
	"in_progress": forge.DeploymentRunning, "success": forge.DeploymentSuccess, "failure": forge.DeploymentFailed, "inactive": forge.DeploymentCanceled,
}

func (h *hub) Deployments(_ *testing.T, environment string) (out []forge.Deployment) {
	h.locked(func() {
		for _, d := range h.deploys {
			said := h.said[d["id"].(int64)]
			one := forge.Deployment{Environment: d["environment"].(string), Commit: d["sha"].(string)}
			if len(said) > 0 {
				one.State = states[said[len(said)-1]["state"].(string)]
			}
			if one.Environment == environment {
				out = append(out, one)
			}
		}
	})
	return out
}

func (h *hub) Issues(*testing.T) (out []forgetest.Issue) {
	h.locked(func() {
		for _, i := range h.things {
			if !i.pull && i.state != deleted && strings.HasPrefix(i.login, bot) {
				out = append(out, i.seen())
			}
		}
	})
	return out
}
