package gitlab_test

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// fake is a GitLab with one project that behaves as GitLab's documentation and source say. What it answers is checked in contract_test.go,
// at each answer.
type fake struct {
	t      *testing.T
	url    string
	secret map[string]account // by token

	mu          sync.Mutex
	last        int64 // number given out
	clock       time.Time
	commits     map[string]int64  // sha to the number of its newest pipeline; 0: none
	branches    map[string]string // to head
	history     map[string][]string
	mrs         []*fakeMR
	issues      []*fakeIssue
	statuses    []*fakeStatus
	pipelines   []fakePipeline
	deployments []*fakeDeployment
	events      []fakeEvent
	asked       []string // method and path with query of each request
	// What a test wants to be different.
	hide  func(r *http.Request) int // status of a refusal; 0: none
	lose  func(r *http.Request) bool
	after func(r *http.Request) // called with the lock held when a request was done
	old   bool                  // GraphQL knows no notes
}

type account struct {
	id   int64
	name string
}

var (
	bot     = account{7, "project_42_bot_a1b2"}
	dev     = account{8, "dev"}
	manager = account{9, "manager"}
)

const (
	projectPath = "group/sub/name"
	projectID   = 42
)

type fakeMR struct {
	id, iid                     int64
	title, body, source, target string
	from                        int64 // project
	author                      account
	state                       string
	labels                      []string
	head, merge, squash         string
	conflict                    bool
	created, updated            time.Time
	approved                    []account
	notes                       []*fakeNote
}

type fakeNote struct {
	id               int64
	body             string
	author           account
	system           bool
	created, updated time.Time
	edited           time.Time // zero: never
	awards           []fakeAward
}

type fakeAward struct {
	id   int64
	name string
	by   account
	at   time.Time
}

type fakeIssue struct {
	id, iid          int64
	title, body      string
	author           account
	labels           []string
	closed, locked   bool
	deleted          bool
	created, updated time.Time
}

type fakePipeline struct {
	id       int64
	sha, ref string
}

type fakeStatus struct {
	id, pipeline          int64
	sha, ref, state, name string
	description, url      string
	author                account
	retried               bool
	created               time.Time
	started, finished     time.Time
}

type fakeDeployment struct {
	id               int64
	env, ref, sha    string
	state            string
	by               account
	created, updated time.Time
}

type fakeEvent struct {
	id          int64
	by          account
	action      string
	ref, commit string
	at          time.Time
}

const token, otherToken = "glpat-c0ffee0123456789c0ff", "glpat-0000000000000000dev0"

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{
		t: t, secret: map[string]account{token: bot, otherToken: dev}, last: 100, clock: time.Now().UTC().Truncate(time.Millisecond),
		commits: map[string]int64{}, branches: map[string]string{}, history: map[string][]string{},
	}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.url = srv.URL
	f.push("main", "", dev)
	f.push("env/production", "main", dev)
	return f
}

// next gives out a number.
func (f *fake) next() int64 { f.last++; return f.last }

// now never stands still, so that what was later is later.
func (f *fake) now() time.Time {
	if n := time.Now().UTC().Truncate(time.Millisecond); n.After(f.clock) {
		f.clock = n
	} else {
		f.clock = f.clock.Add(time.Millisecond)
	}
	return f.clock
}

// push adds a commit to a branch, which begins where another is.
func (f *fake) push(branch, from string, by account) string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails
	sha := hex.EncodeToString(b)
	action := "pushed to"
	if f.branches[branch] == "" {
		action = "pushed new"
		f.history[branch] = slices.Clone(f.history[from])
	}
	f.commits[sha] = 0
	f.branches[branch] = sha
	f.history[branch] = append(f.history[branch], sha)
	f.events = append(f.events, fakeEvent{f.next(), by, action, branch, sha, f.now()})
	return sha
}

func (f *fake) mr(iid int64) *fakeMR {
	for _, mr := range f.mrs {
		if mr.iid == iid {
			return mr
		}
	}
	return nil
}

// touch moves updated_at, at most once a minute (app/models/concerns/throttled_touch.rb).
func (mr *fakeMR) touch(at time.Time) {
	if at.Sub(mr.updated) > time.Minute {
		mr.updated = at
	}
}

func (f *fake) open(source, target, title, body string, labels []string, by account) *fakeMR {
	at := f.now()
	mr := &fakeMR{
		id: f.next(), iid: int64(len(f.mrs) + 1), title: strings.TrimSpace(title), body: body, source: source, target: target, from: projectID,
		author: by, state: "opened", labels: labels, head: f.branches[source], created: at, updated: at,
	}
	f.mrs = append(f.mrs, mr)
	return mr
}

func (f *fake) note(mr *fakeMR, by account, body string, system bool) *fakeNote {
	at := f.now()
	n := &fakeNote{id: f.next(), body: body, author: by, system: system, created: at, updated: at}
	mr.notes = append(mr.notes, n)
	mr.touch(at)
	return n
}

// quick does a few quick actions as GitLab's extractor finds them outside of blocks of code, and returns what is left.
func (f *fake) quick(mr *fakeMR, body string) string {
	body = strings.ReplaceAll(body, "\r", "")
	body = regexp.MustCompile(`(?mi)^/(close|approve|merge|label)( [^\n]*)?(\s*\n|$)`).ReplaceAllStringFunc(body, func(s string) string {
		if mr != nil && strings.HasPrefix(s, "/close") {
			mr.state = "closed"
		}
		return ""
	})
	return strings.TrimRightFunc(body, unicode.IsSpace)
}

// refusal is an answer that is no success.
type refusal struct {
	status int
	body   any
}

func refuse(status int, message any) refusal {
	return refusal{status, map[string]any{"message": message}}
}

func notFound(what string) refusal { return refuse(404, strings.TrimSpace("404 "+what+" Not Found")) }

// call is a request that is being answered.
type call struct {
	f      *fake
	r      *http.Request
	by     account
	body   []byte
	header http.Header
}

// endpoint is one of the API.
type endpoint struct {
	route   string // method and path below /api/v4/projects/{project}, or below / when it begins with it
	params  string // those of the query that are documented and used
	success int
	answer  func(c call) any
}

func endpoints() []endpoint {
	return []endpoint{
		{"GET /api/v4/user", "", 200, func(c call) any { return userOf(c.f, c.by, true) }},
		{"POST /api/graphql", "", 200, graphql},
		{"GET ", "", 200, func(c call) any {
			return map[string]any{"id": projectID, "path": "name", "path_with_namespace": projectPath, "http_url_to_repo": "http://gitlab.invalid/" + projectPath + ".git"}
		}},
		{"GET /merge_requests", "state scope order_by sort source_branch target_branch page per_page", 200, listMRs},
		{"POST /merge_requests", "", 201, createMR},
		{"GET /merge_requests/{iid}", "", 200, withMR(func(c call, mr *fakeMR) any { return c.f.showMR(mr, true) })},
		{"PUT /merge_requests/{iid}", "", 200, withMR(updateMR)},
		{"GET /merge_requests/{iid}/approvals", "", 200, withMR(showApprovals)},
		{"GET /merge_requests/{iid}/notes", "order_by sort page per_page", 200, withMR(listNotes)},
		{"POST /merge_requests/{iid}/notes", "", 201, withMR(createNote)},
		{"PUT /merge_requests/{iid}/notes/{note}", "", 200, withNote(updateNote)},
		{"DELETE /merge_requests/{iid}/notes/{note}", "", 204, withNote(deleteNote)},
		{"GET /merge_requests/{iid}/notes/{note}/award_emoji", "page per_page", 200, withNote(listAwards)},
		{"POST /merge_requests/{iid}/notes/{note}/award_emoji", "", 201, withNote(createAward)},
		{"DELETE /merge_requests/{iid}/notes/{note}/award_emoji/{award}", "", 204, withNote(deleteAward)},
		{"GET /events", "action sort per_page", 200, listEvents},
		{"GET /repository/commits/{sha}", "stats", 200, withCommit(showCommit)},
		{"GET /repository/commits/{sha}/merge_requests", "", 200, withCommit(commitMRs)},
		{"GET /repository/commits/{sha}/statuses", "name page per_page", 200, withCommit(listStatuses)},
		{"POST /statuses/{sha}", "", 201, withCommit(createStatus)},
		{"GET /issues", "state scope author_id order_by sort page per_page", 200, listIssues},
		{"POST /issues", "", 201, createIssue},
		{"PUT /issues/{iid}", "", 200, updateIssue},
		{"GET /deployments", "environment order_by sort page per_page", 200, listDeployments},
		{"POST /deployments", "", 201, createDeployment},
		{"PUT /deployments/{id}", "", 200, updateDeployment},
	}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	for _, e := range endpoints() {
		method, path, _ := strings.Cut(e.route, " ")
		if !strings.HasPrefix(path, "/api/") {
			path = "/api/v4/projects/{project}" + path
		}
		mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, e) })
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.Method+" "+r.URL.RequestURI())
	if _, pattern := mux.Handler(r); pattern == "" {
		f.t.Errorf("the documentation knows no %s %s", r.Method, r.URL.EscapedPath())
		http.Error(w, `{"error":"404 Not Found"}`, http.StatusNotFound)
		return
	}
	mux.ServeHTTP(w, r)
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request, e endpoint) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Error(err)
	}
	for name := range r.URL.Query() {
		if !slices.Contains(strings.Fields(e.params), name) {
			f.t.Errorf("%s: the parameter %q", e.route, name)
		}
	}
	c := call{f: f, r: r, body: body, header: http.Header{}}
	answer := func() any {
		who, ok := f.secret[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		if !ok || r.Header.Get("Private-Token") != "" {
			return refuse(401, "401 Unauthorized")
		}
		c.by = who
		if p := r.PathValue("project"); p != "" && p != projectPath && p != strconv.Itoa(projectID) {
			return notFound("Project")
		}
		if f.hide != nil {
			if status := f.hide(r); status == 429 {
				c.header.Set("Retry-After", "30")
				return refusal{429, "Retry later\n"}
			} else if status != 0 {
				return refuse(status, fmt.Sprintf("%d %s", status, http.StatusText(status)))
			}
		}
		return e.answer(c)
	}()
	if f.after != nil {
		f.after(r)
	}
	status := e.success
	if no, ok := answer.(refusal); ok {
		status, answer = no.status, no.body
	}
	maps.Copy(w.Header(), c.header)
	if f.lose != nil && f.lose(r) {
		panic(http.ErrAbortHandler) // done, and nobody is told
	}
	var out []byte
	switch text, plain := answer.(string); {
	case plain:
		w.Header().Set("Content-Type", "text/plain")
		out = []byte(text)
	case answer != nil:
		w.Header().Set("Content-Type", "application/json")
		if out, err = json.Marshal(answer); err != nil {
			f.t.Error(err)
		}
	}
	conform(f.t, e.route, status, out)
	w.WriteHeader(status)
	if _, err := w.Write(out); err != nil {
		f.t.Log(err) // who asked has gone
	}
}

// in decodes a body into what the documentation allows.
func in[T any](c call) T {
	var v T
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		c.f.t.Errorf("%s %s: %v in %.200s", c.r.Method, c.r.URL.Path, err, c.body)
	}
	return v
}

// paged cuts a page out and says which is next, with a host that is not to be asked, as behind a proxy.
func paged[T any](c call, all []T) []T {
	q := c.r.URL.Query()
	page, _ := strconv.Atoi(cmp.Or(q.Get("page"), "1"))
	size, _ := strconv.Atoi(cmp.Or(q.Get("per_page"), "20"))
	if page < 1 || size < 1 || size > 100 {
		c.f.t.Errorf("page %q of %q", q.Get("page"), q.Get("per_page"))
		return nil
	}
	c.header.Set("X-Page", strconv.Itoa(page))
	c.header.Set("X-Per-Page", strconv.Itoa(size))
	c.header.Set("X-Total", strconv.Itoa(len(all)))
	c.header.Set("X-Next-Page", "")
	start, end := min((page-1)*size, len(all)), min(page*size, len(all))
	if end < len(all) {
		c.header.Set("X-Next-Page", strconv.Itoa(page+1))
		c.header.Set("Link", fmt.Sprintf(`<http://gitlab.invalid%s?page=%d&per_page=%d>; rel="next"`, c.r.URL.EscapedPath(), page+1, size))
	}
	return append([]T{}, all[start:end]...)
}

// sorted is in the order that was asked for; the oldest is first in all.
func sorted[T any](c call, all []T) []T {
	if by := c.r.URL.Query().Get("order_by"); by != "created_at" && by != "id" {
		c.f.t.Errorf("ordered by %q", by)
	}
	all = slices.Clone(all)
	if cmp.Or(c.r.URL.Query().Get("sort"), "desc") == "desc" {
		slices.Reverse(all)
	}
	return all
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func userOf(f *fake, a account, whole bool) map[string]any {
	u := map[string]any{
		"id": a.id, "username": a.name, "name": strings.ToUpper(a.name), "state": "active", "avatar_url": f.url + "/uploads/" + a.name, "web_url": f.url + "/" + a.name,
	}
	if whole {
		u["created_at"], u["bio"], u["bot"] = "2026-01-01T00:00:00.000Z", "", a == bot
	}
	return u
}

func withMR(do func(call, *fakeMR) any) func(call) any {
	return func(c call) any {
		iid, err := strconv.ParseInt(c.r.PathValue("iid"), 10, 32)
		if err != nil {
			return refusal{400, map[string]any{"error": "merge_request_iid is invalid"}}
		}
		if mr := c.f.mr(iid); mr != nil {
			return do(c, mr)
		}
		return notFound("")
	}
}

func (f *fake) showMR(mr *fakeMR, single bool) map[string]any {
	notes := 0
	for _, n := range mr.notes {
		if !n.system {
			notes++
		}
	}
	isDraft := regexp.MustCompile(`(?i)^(draft:|\[draft\]|\(draft\))`).MatchString(mr.title)
	status, from := "mergeable", any(mr.from)
	if mr.conflict {
		status = "conflict"
	}
	if mr.from == 0 {
		from = nil
	}
	closed := any(nil)
	if mr.state == "closed" {
		closed = stamp(mr.updated)
	}
	out := map[string]any{
		"id": mr.id, "iid": mr.iid, "project_id": projectID, "title": mr.title, "description": mr.body, "state": mr.state,
		"created_at": stamp(mr.created), "updated_at": stamp(mr.updated), "merged_by": nil, "merged_at": nil, "closed_by": nil, "closed_at": closed,
		"target_branch": mr.target, "source_branch": mr.source, "user_notes_count": notes, "upvotes": 0, "downvotes": 0,
		"author": userOf(f, mr.author, false), "assignee": nil, "assignees": []any{}, "reviewers": []any{},
		"source_project_id": from, "target_project_id": projectID, "labels": append([]string{}, mr.labels...), "draft": isDraft, "work_in_progress": isDraft,
		"milestone": nil, "merge_when_pipeline_succeeds": false, "merge_status": "can_be_merged", "detailed_merge_status": status, "sha": mr.head,
		"merge_commit_sha": orNull(mr.merge), "squash_commit_sha": orNull(mr.squash), "discussion_locked": nil, "should_remove_source_branch": nil,
		"force_remove_source_branch": false, "web_url": fmt.Sprintf("%s/%s/-/merge_requests/%d", f.url, projectPath, mr.iid), "squash": mr.squash != "",
		"has_conflicts": mr.conflict,
	}
	if single {
		out["subscribed"], out["changes_count"], out["merge_error"] = false, "1", nil
		out["diff_refs"] = map[string]any{"base_sha": mr.head, "head_sha": mr.head, "start_sha": mr.head}
	}
	return out
}

func listMRs(c call) any {
	q := c.r.URL.Query()
	if q.Get("scope") != "all" {
		c.f.t.Error("without a scope GitLab lists the token's own")
	}
	out := []any{}
	for _, mr := range sorted(c, c.f.mrs) {
		if (q.Get("state") == mr.state || q.Get("state") == "") && cmp.Or(q.Get("source_branch"), mr.source) == mr.source &&
			cmp.Or(q.Get("target_branch"), mr.target) == mr.target {
			out = append(out, c.f.showMR(mr, false))
		}
	}
	return paged(c, out)
}

func createMR(c call) any {
	p := in[struct {
		Title        string  `json:"title"`
		Description  string  `json:"description"`
		SourceBranch string  `json:"source_branch"`
		TargetBranch string  `json:"target_branch"`
		Labels       *string `json:"labels"`
	}](c)
	switch {
	case p.Title == "" || p.SourceBranch == "" || p.TargetBranch == "":
		return refusal{400, map[string]any{"error": "title is missing, source_branch is missing, target_branch is missing"}}
	case utf8.RuneCountInString(p.Title) > 255:
		return refuse(400, map[string]any{"title": []string{"is too long (maximum is 255 characters)"}})
	case c.f.branches[p.SourceBranch] == "" || c.f.branches[p.TargetBranch] == "":
		return refuse(400, []string{"Source branch or target branch does not exist"})
	}
	for _, mr := range c.f.mrs {
		if mr.state == "opened" && mr.source == p.SourceBranch && mr.target == p.TargetBranch && mr.from == projectID {
			return refuse(409, []string{fmt.Sprintf("Another open merge request already exists for this source branch: !%d", mr.iid)})
		}
	}
	mr := c.f.open(p.SourceBranch, p.TargetBranch, p.Title, c.f.quick(nil, p.Description), labelsIn(p.Labels), c.by)
	return c.f.showMR(mr, true)
}

func labelsIn(s *string) []string {
	if s == nil || *s == "" {
		return nil
	}
	return strings.Split(*s, ",")
}

func updateMR(c call, mr *fakeMR) any {
	p := in[struct {
		Title       *string `json:"title"`
		Description *string `json:"description"`
		AddLabels   *string `json:"add_labels"`
	}](c)
	if p.Title != nil {
		mr.title = strings.TrimSpace(*p.Title)
	}
	if p.Description != nil {
		mr.body = c.f.quick(mr, *p.Description)
	}
	mr.labels = append(mr.labels, labelsIn(p.AddLabels)...)
	mr.updated = c.f.now()
	return c.f.showMR(mr, true)
}

func showApprovals(c call, mr *fakeMR) any {
	by := []any{}
	for _, a := range mr.approved {
		by = append(by, map[string]any{"user": userOf(c.f, a, false), "approved_at": stamp(mr.updated)})
	}
	return map[string]any{
		"id": mr.id, "iid": mr.iid, "project_id": projectID, "title": mr.title, "description": mr.body, "state": mr.state,
		"approvals_required": 0, "approvals_left": 0, "approved": true, "approved_by": by,
	}
}

func withNote(do func(call, *fakeMR, *fakeNote) any) func(call) any {
	return withMR(func(c call, mr *fakeMR) any {
		for _, n := range mr.notes {
			if strconv.FormatInt(n.id, 10) == c.r.PathValue("note") {
				return do(c, mr, n)
			}
		}
		return notFound("")
	})
}

func (f *fake) showNote(mr *fakeMR, n *fakeNote) map[string]any {
	return map[string]any{
		"id": n.id, "type": nil, "body": n.body, "attachment": nil, "author": userOf(f, n.author, false), "created_at": stamp(n.created),
		"updated_at": stamp(n.updated), "system": n.system, "noteable_id": mr.id, "noteable_type": "MergeRequest", "noteable_iid": mr.iid, //nolint:misspell // GitLab's word
		"resolvable": false, "confidential": false, "internal": false,
	}
}

func listNotes(c call, mr *fakeMR) any {
	out := []any{}
	for _, n := range sorted(c, mr.notes) {
		out = append(out, c.f.showNote(mr, n))
	}
	return paged(c, out)
}

func (c call) noteBody() (string, *refusal) {
	p := in[struct {
		Body string `json:"body"`
	}](c)
	switch {
	case p.Body == "":
		return "", &refusal{400, map[string]any{"error": "body is missing, body is empty"}}
	case strings.Contains(p.Body, "\x00"):
		return "", &refusal{400, map[string]any{"error": "string contains null byte"}}
	case utf8.RuneCountInString(p.Body) > 1_000_000:
		no := refuse(400, `400 Bad request - Note {:note=>["is too long (maximum is 1000000 characters)"]}`)
		return "", &no
	}
	return p.Body, nil
}

func createNote(c call, mr *fakeMR) any {
	body, no := c.noteBody()
	if no != nil {
		return *no
	}
	return c.f.showNote(mr, c.f.note(mr, c.by, c.f.quick(mr, body), false))
}

// updateNote lets anybody do it: a maintainer's token may.
func updateNote(c call, mr *fakeMR, n *fakeNote) any {
	body, no := c.noteBody()
	switch {
	case no != nil:
		return *no
	case n.system:
		return refuse(403, "403 Forbidden")
	}
	if body = c.f.quick(mr, body); body != n.body {
		n.body, n.edited = body, c.f.now()
		n.updated = n.edited
	}
	mr.touch(c.f.now())
	return c.f.showNote(mr, n)
}

func deleteNote(c call, mr *fakeMR, n *fakeNote) any {
	if n.system {
		return refuse(403, "403 Forbidden")
	}
	mr.notes = slices.DeleteFunc(mr.notes, func(o *fakeNote) bool { return o == n })
	return nil
}

func (f *fake) showAward(n *fakeNote, a fakeAward) map[string]any {
	return map[string]any{"id": a.id, "name": a.name, "user": userOf(f, a.by, false), "created_at": stamp(a.at), "updated_at": stamp(a.at), "awardable_id": n.id, "awardable_type": "Note"}
}

func listAwards(c call, _ *fakeMR, n *fakeNote) any {
	out := []any{}
	for _, a := range n.awards {
		out = append(out, c.f.showAward(n, a))
	}
	return paged(c, out)
}

func createAward(c call, _ *fakeMR, n *fakeNote) any {
	p := in[struct {
		Name string `json:"name"`
	}](c)
	if slices.ContainsFunc(n.awards, func(a fakeAward) bool { return a.name == p.Name && a.by == c.by }) {
		return notFound("Award Emoji Name has already been taken")
	}
	a := fakeAward{c.f.next(), p.Name, c.by, c.f.now()}
	n.awards = append(n.awards, a)
	n.updated = c.f.now()
	return c.f.showAward(n, a)
}

func deleteAward(c call, _ *fakeMR, n *fakeNote) any {
	for i, a := range n.awards {
		if strconv.FormatInt(a.id, 10) == c.r.PathValue("award") {
			if a.by != c.by {
				return refuse(401, "401 Unauthorized")
			}
			n.awards = slices.Delete(n.awards, i, i+1)
			n.updated = c.f.now()
			return nil
		}
	}
	return notFound("")
}

var askedNote = regexp.MustCompile(` n(\d+): note\(id: "gid://gitlab/Note/(\d+)"\) \{ lastEditedAt lastEditedBy \{ id \} updatedAt \}`)

// graphql tells when notes were edited.
func graphql(c call) any {
	p := in[struct {
		Query string `json:"query"`
	}](c)
	if rest := askedNote.ReplaceAllString(p.Query, ""); rest != "query { }" {
		c.f.t.Errorf("a question of %q", rest)
	}
	if c.f.old {
		return map[string]any{"errors": []any{map[string]any{"message": "Field 'note' doesn't exist on type 'Query'"}}}
	}
	data := map[string]any{}
	for _, m := range askedNote.FindAllStringSubmatch(p.Query, -1) {
		data["n"+m[1]] = nil
		for _, mr := range c.f.mrs {
			for _, n := range mr.notes {
				if strconv.FormatInt(n.id, 10) != m[2] {
					continue
				}
				at, by := n.edited, any(map[string]any{"id": "gid://gitlab/User/8"})
				if at.IsZero() {
					at, by = n.updated, nil
				}
				data["n"+m[1]] = map[string]any{
					"lastEditedAt": at.Format(time.RFC3339), "lastEditedBy": by, "updatedAt": n.updated.Format(time.RFC3339),
				}
			}
		}
	}
	return map[string]any{"data": data}
}

func listEvents(c call) any {
	if q := c.r.URL.Query(); q.Get("action") != "pushed" || q.Get("sort") != "desc" {
		c.f.t.Errorf("events: %s", c.r.URL.RawQuery)
	}
	out := []any{}
	for _, e := range slices.Backward(c.f.events) {
		out = append(out, map[string]any{
			"id": e.id, "title": nil, "project_id": projectID, "action_name": e.action, "target_id": nil, "target_type": nil, "target_title": nil,
			"author_id": e.by.id, "author": userOf(c.f, e.by, false), "author_username": e.by.name, "created_at": stamp(e.at),
			"push_data": map[string]any{"commit_count": 1, "action": "pushed", "ref_type": "branch", "commit_from": nil, "commit_to": e.commit, "ref": e.ref, "commit_title": "x"},
		})
	}
	return paged(c, out)
}

func withCommit(do func(call, string) any) func(call) any {
	return func(c call) any {
		sha := c.r.PathValue("sha")
		if _, ok := c.f.commits[sha]; !ok {
			return notFound("Commit")
		}
		return do(c, sha)
	}
}

func showCommit(c call, sha string) any {
	at := "2026-01-01T00:00:00.000+00:00"
	out := map[string]any{
		"id": sha, "short_id": sha[:8], "title": "x", "message": "x", "parent_ids": []any{}, "author_name": "Dev", "author_email": "d@example.com",
		"authored_date": at, "committer_name": "Dev", "committer_email": "d@example.com", "committed_date": at, "created_at": at,
		"web_url": c.f.url + "/" + projectPath + "/-/commit/" + sha, "project_id": projectID, "status": nil, "last_pipeline": nil,
	}
	for _, p := range c.f.pipelines {
		if p.sha == sha {
			out["status"] = "running"
			out["last_pipeline"] = map[string]any{
				"id": p.id, "ref": p.ref, "sha": sha, "status": "running", "web_url": c.f.url, "created_at": at, "updated_at": at,
			}
		}
	}
	return out
}

func commitMRs(c call, sha string) any {
	out := []any{}
	for _, mr := range c.f.mrs {
		if mr.head == sha || slices.Contains(c.f.history[mr.source], sha) {
			out = append(out, c.f.showMR(mr, false))
		}
	}
	return paged(c, out)
}

func (f *fake) showStatus(s *fakeStatus) map[string]any {
	return map[string]any{
		"id": s.id, "sha": s.sha, "ref": s.ref, "status": s.state, "name": s.name, "target_url": orNull(s.url), "description": orNull(s.description),
		"created_at": stamp(s.created), "started_at": stamp(s.started), "finished_at": stamp(s.finished), "allow_failure": false, "coverage": nil,
		"pipeline_id": s.pipeline, "author": userOf(f, s.author, false),
	}
}

func listStatuses(c call, sha string) any {
	out := []any{}
	for _, s := range c.f.statuses {
		if name := c.r.URL.Query().Get("name"); s.sha == sha && !s.retried && cmp.Or(name, s.name) == s.name {
			out = append(out, c.f.showStatus(s))
		}
	}
	return paged(c, out)
}

// createStatus is app/services/ci/create_commit_status_service.rb.
func createStatus(c call, sha string) any {
	p := in[struct {
		State       string `json:"state"`
		Ref         string `json:"ref"`
		Name        string `json:"name"`
		TargetURL   string `json:"target_url"`
		Description string `json:"description"`
		PipelineID  int64  `json:"pipeline_id"`
	}](c)
	if !slices.Contains([]string{"pending", "running", "success", "failed", "canceled", "skipped"}, p.State) {
		return refusal{400, map[string]any{"error": "state does not have a valid value"}}
	}
	ref, pipeline, no := c.f.pipelineFor(sha, p.Ref, p.PipelineID)
	if no != nil {
		return *no
	}
	var s *fakeStatus
	for _, old := range c.f.statuses {
		if old.pipeline == pipeline && old.ref == ref && old.name == p.Name && old.author == c.by && (old.state == "pending" || old.state == "running") {
			s = old
		}
	}
	made := s == nil
	if made {
		s = &fakeStatus{pipeline: pipeline, sha: sha, ref: ref, name: p.Name, author: c.by, state: "created", created: c.f.now()}
	}
	changed := *s
	changed.url, changed.description = cmp.Or(p.TargetURL, changed.url), cmp.Or(p.Description, changed.description) // empty ones are overlooked
	for field, long := range map[string]string{"name": changed.name, "target_url": changed.url, "description": changed.description} {
		if utf8.RuneCountInString(long) > 255 {
			return refuse(400, map[string]any{field: []string{"is too long (maximum is 255 characters)"}})
		}
	}
	if changed.url != "" && !strings.Contains(changed.url, "://") {
		return refuse(400, map[string]any{"target_url": []string{"is blocked: Only allowed schemes are http, https"}})
	}
	if event := changed.become(p.State, c.f.now()); event != "" {
		return refuse(400, fmt.Sprintf(`Cannot transition status via :%s from :%s (Reason(s): Status cannot transition via "%[1]s")`, event, changed.state))
	}
	*s = changed
	if made {
		s.id = c.f.next()
		for _, old := range c.f.statuses {
			if old.pipeline == pipeline && old.name == p.Name {
				old.retried = true
			}
		}
		c.f.statuses = append(c.f.statuses, s)
	}
	return c.f.showStatus(s)
}

// become is the state machine of app/models/commit_status.rb. It returns the event that cannot be.
func (s *fakeStatus) become(state string, at time.Time) string {
	active := s.state == "created" || s.state == "pending" || s.state == "running"
	switch state {
	case "pending":
		if s.state != "created" {
			return "enqueue"
		}
	case "running":
		if s.state != "created" && s.state != "pending" {
			return "run"
		}
		s.started = at
	case "success":
		if !active {
			return "success"
		}
		s.finished = at
	case "failed":
		if !active {
			return "drop"
		}
		s.finished = at
	case "canceled":
		if !active {
			return "cancel"
		}
		s.finished = at
	}
	s.state = state
	return ""
}

// pipelineFor finds a commit's newest pipeline, or makes one.
func (f *fake) pipelineFor(sha, ref string, id int64) (string, int64, *refusal) {
	for _, p := range slices.Backward(f.pipelines) {
		if p.sha == sha && (ref == "" || p.ref == ref) && (id == 0 || p.id == id) {
			return p.ref, p.id, nil
		}
	}
	if id != 0 {
		no := notFound("Pipeline for pipeline_id, sha and ref")
		return "", 0, &no
	}
	if ref == "" {
		for _, name := range slices.Sorted(maps.Keys(f.branches)) {
			if slices.Contains(f.history[name], sha) {
				ref = name
				break
			}
		}
	}
	if ref == "" {
		no := notFound("References for commit")
		return "", 0, &no
	}
	p := fakePipeline{f.next(), sha, ref}
	f.pipelines = append(f.pipelines, p)
	return ref, p.id, nil
}

func (f *fake) showIssue(i *fakeIssue) map[string]any {
	state, closed, locked := "opened", any(nil), any(nil)
	if i.closed {
		state, closed = "closed", stamp(i.updated)
	}
	if i.locked {
		locked = true
	}
	return map[string]any{
		"id": i.id, "iid": i.iid, "project_id": projectID, "title": i.title, "description": i.body, "state": state, "created_at": stamp(i.created),
		"updated_at": stamp(i.updated), "closed_at": closed, "labels": append([]string{}, i.labels...), "milestone": nil, "assignees": []any{},
		"author": userOf(f, i.author, false), "assignee": nil, "user_notes_count": 0, "upvotes": 0, "downvotes": 0, "due_date": nil, "confidential": false,
		"discussion_locked": locked, "web_url": fmt.Sprintf("%s/%s/-/issues/%d", f.url, projectPath, i.iid),
	}
}

func listIssues(c call) any {
	q := c.r.URL.Query()
	closed := q.Get("state") == "closed"
	if q.Get("scope") != "all" || !closed && q.Get("state") != "opened" {
		c.f.t.Errorf("issues: %s", c.r.URL.RawQuery)
	}
	out := []any{}
	for _, i := range sorted(c, c.f.issues) {
		if !i.deleted && i.closed == closed && strconv.FormatInt(i.author.id, 10) == q.Get("author_id") {
			out = append(out, c.f.showIssue(i))
		}
	}
	return paged(c, out)
}

func createIssue(c call) any {
	p := in[struct {
		Title       string  `json:"title"`
		Description string  `json:"description"`
		Labels      *string `json:"labels"`
	}](c)
	if p.Title == "" || utf8.RuneCountInString(p.Title) > 255 {
		return refuse(400, map[string]any{"title": []string{"is too long (maximum is 255 characters)"}})
	}
	return c.f.showIssue(c.f.openIssue(p.Title, c.f.quick(nil, p.Description), labelsIn(p.Labels), c.by))
}

func (f *fake) openIssue(title, body string, labels []string, by account) *fakeIssue {
	at := f.now()
	i := &fakeIssue{id: f.next(), iid: int64(len(f.issues) + 1), title: title, body: body, author: by, labels: labels, created: at, updated: at}
	f.issues = append(f.issues, i)
	return i
}

func updateIssue(c call) any {
	p := in[struct {
		Title       *string `json:"title"`
		Description *string `json:"description"`
		StateEvent  string  `json:"state_event"`
		AddLabels   *string `json:"add_labels"`
	}](c)
	iid, _ := strconv.Atoi(c.r.PathValue("iid"))
	if iid < 1 || iid > len(c.f.issues) || c.f.issues[iid-1].deleted {
		return notFound("")
	}
	i := c.f.issues[iid-1]
	if p.Title != nil {
		i.title = *p.Title
	}
	if p.Description != nil {
		i.body = c.f.quick(nil, *p.Description)
	}
	i.labels = append(i.labels, labelsIn(p.AddLabels)...)
	switch {
	case p.StateEvent == "close":
		i.closed = true
	case p.StateEvent == "reopen" && !i.locked: // app/policies/issue_policy.rb; the others of a request are done all the same
		i.closed = false
	}
	i.updated = c.f.now()
	return c.f.showIssue(i)
}

func (f *fake) showDeployment(d *fakeDeployment) map[string]any {
	return map[string]any{
		"id": d.id, "iid": d.id, "ref": d.ref, "sha": d.sha, "created_at": stamp(d.created), "updated_at": stamp(d.updated), "status": d.state,
		"user": userOf(f, d.by, false), "deployable": nil, "environment": map[string]any{"id": 1, "name": d.env, "external_url": nil},
	}
}

func listDeployments(c call) any {
	out := []any{}
	for _, d := range sorted(c, c.f.deployments) {
		if d.env == c.r.URL.Query().Get("environment") {
			out = append(out, c.f.showDeployment(d))
		}
	}
	return paged(c, out)
}

func createDeployment(c call) any {
	p := in[struct {
		Environment string `json:"environment"`
		Ref         string `json:"ref"`
		SHA         string `json:"sha"`
		Tag         *bool  `json:"tag"`
		Status      string `json:"status"`
	}](c)
	switch {
	case p.Environment == "" || p.Ref == "" || p.SHA == "" || p.Tag == nil || *p.Tag:
		return refusal{400, map[string]any{"error": "environment is missing, sha is missing, ref is missing, tag is missing"}}
	case !slices.Contains([]string{"running", "success", "failed", "canceled"}, p.Status):
		return refusal{400, map[string]any{"error": "status does not have a valid value"}}
	case c.f.branches[p.Ref] == "":
		return refuse(400, map[string]any{"ref": []string{"The branch or tag does not exist"}})
	}
	if _, ok := c.f.commits[p.SHA]; !ok {
		return refuse(400, map[string]any{"sha": []string{"The commit does not exist"}})
	}
	for _, d := range slices.Backward(c.f.deployments) { // the last successful one, if it is the same
		if d.env == p.Environment && d.state == "success" {
			if d.ref == p.Ref && d.sha == p.SHA && d.state == p.Status {
				return c.f.showDeployment(d)
			}
			break
		}
	}
	at := c.f.now()
	d := &fakeDeployment{id: c.f.next(), env: p.Environment, ref: p.Ref, sha: p.SHA, state: p.Status, by: c.by, created: at, updated: at}
	c.f.deployments = append(c.f.deployments, d)
	return c.f.showDeployment(d)
}

func updateDeployment(c call) any {
	p := in[struct {
		Status string `json:"status"`
	}](c)
	for _, d := range c.f.deployments {
		if strconv.FormatInt(d.id, 10) != c.r.PathValue("id") {
			continue
		}
		switch {
		case d.state == p.Status || (p.Status == "running" && d.state != "created"):
			return refuse(400, map[string]any{"status": []string{"cannot transition via \"run\""}})
		}
		d.state, d.updated = p.Status, c.f.now()
		return c.f.showDeployment(d)
	}
	return notFound("")
}
