package codecommit_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/codecommit"
	"github.com/plumbline/plumbline/internal/plumbline"
)

const (
	region  = "eu-west-1"
	project = "infra"

	ourRole = "arn:aws:sts::123456789012:assumed-role/Plumbline/"
	dev     = "arn:aws:iam::123456789012:user/team/dev"
	other   = "arn:aws:sts::123456789012:assumed-role/Developer/ann@example.com"
)

var (
	daemon  = key{"ASIADAEMON", "c0ffee/secret+of=daemon", "session+token/of=daemon", ourRole + "daemon"}
	renamed = key{"ASIARENAMED", "c0ffee/secret+of=renamed", "session+token/of=renamed", ourRole + "i-0123456789"}
	someone = key{"AKIADEV", "c0ffee/secret+of=dev", "", dev}
	wrong   = key{"ASIADAEMON", "not/the+secret=", daemon.token, ""}

	keys = map[string]key{daemon.id: daemon, renamed.id: renamed, someone.id: someone}
)

// fake is CodeCommit with one repository, and another in the same account, as we read its documentation. Times are in milliseconds, each later than
// the one before.
type fake struct {
	t       *testing.T
	url     string // of the API
	sts     string
	handler http.Handler
	anybody bool // a comment may be edited by all sessions of its author's role
	page    int  // things on a page

	mu       sync.Mutex
	clock    int64
	refs     map[string]string
	pulls    []*pull
	comments []*comment
	done     map[string]done // by operation and clientRequestToken
	asked    map[string]int
	// fault decides about each request before it is carried out, lose about its answer after that.
	fault, lose func(operation string) error
	emojis      []string
}

type done struct {
	request string
	answer  json.RawMessage // of that time
}

type pull struct {
	id                         int
	repository                 string
	title, description, author string
	open, merged               bool
	source, target             string // full names
	head, base, merge          string // commits
	option, mergedBy, revision string
	created, active            int64
	events                     []map[string]any
	approvals                  map[string]map[string]bool // by revision and ARN
	token                      string
	conflicts                  bool
}

type comment struct {
	id, author, content, reply, token string
	pull                              *pull
	before, after, file               string
	created, modified                 int64
	deleted                           bool
	reactions                         map[string]string
}

func commit() string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func newFake(t *testing.T) *fake {
	f := &fake{
		t: t, page: 2, clock: time.Now().UnixMilli(), done: map[string]done{}, asked: map[string]int{},
		refs:   map[string]string{"refs/heads/main": commit(), "refs/heads/env/production": commit()},
		emojis: []string{":thumbsup:", ":thumbsdown:", ":smile:", ":confused:", ":clap:", ":eyes:"},
	}
	m := load(t, "codecommit-2015-04-13.json", "github.com/aws/aws-sdk-go-v2/service/codecommit")
	f.handler = m.serve(t, "codecommit", keys, f.handle)
	srv := httptest.NewServer(f.handler)
	t.Cleanup(srv.Close)
	identity := httptest.NewServer(whoami(t))
	t.Cleanup(identity.Close)
	f.url, f.sts = srv.URL, identity.URL
	// Numbers are the account's: somebody opened one in another repository before.
	f.pulls = append(f.pulls, &pull{id: 40, repository: "secrets", title: "another repository's", author: dev, open: true, source: "refs/heads/x", target: "refs/heads/main", head: commit(), base: commit()})
	return f
}

// whoami is GetCallerIdentity of STS, which speaks the older query protocol.
func whoami(t *testing.T) http.Handler {
	m := &model{samples: moduleDir(t, "github.com/aws/aws-sdk-go-v2/service/sts")}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		text := "POST " + r.URL.Path + "\n\nContent-Type: " + r.Header.Get("Content-Type") + "\n\n" + string(body)
		if want := readSample(t, m, "request_snapshot/GetCallerIdentity.request.snap"); text != want {
			t.Errorf("request %q, and %q in the sample", text, want)
		}
		who, err := verify(r, body, "sts", keys)
		w.Header().Set("Content-Type", "text/xml")
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code>`+
				`<Message>The request signature we calculated does not match. x-amz-security-token:%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, r.Header.Get("X-Amz-Security-Token"))
			return
		}
		fmt.Fprintf(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>%s</Arn>`+
			`<UserId>AROAEXAMPLE:x</UserId><Account>123456789012</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`, who.arn)
	})
}

func (f *fake) config(k key) codecommit.Config {
	return codecommit.Config{
		Region: region, Project: project, Endpoint: f.url, STSEndpoint: f.sts,
		Credentials: credentials.NewStaticCredentialsProvider(k.id, k.secret, k.token),
	}
}

func (f *fake) client(t *testing.T, k key) *codecommit.Client {
	t.Helper()
	return newClient(t, f.config(k))
}

func newClient(t *testing.T, c codecommit.Config) *codecommit.Client {
	t.Helper()
	out, err := codecommit.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// count returns how often each operation was asked for, and begins anew.
func (f *fake) count() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.asked
	f.asked = map[string]int{}
	return was
}

type input struct {
	RepositoryName, PullRequestID, PullRequestStatus, NextToken, PullRequestEventType string
	BeforeCommitID, AfterCommitID, Content, ClientRequestToken, CommentID             string
	ReactionValue, RevisionID, ApprovalState, Title, Description                      string
	DestinationCommitSpecifier, SourceCommitSpecifier, MergeOption                    string
	Targets                                                                           []struct{ RepositoryName, SourceReference, DestinationReference string }
}

func refuse(code string) error { return &refusal{code, "no"} }

func (f *fake) handle(who key, operation string, raw json.RawMessage) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[operation]++
	var in input
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	if f.fault != nil {
		if err := f.fault(operation); err != nil {
			return nil, err
		}
	}
	out, err := f.once(operation, in.ClientRequestToken, raw, func() (any, error) { return f.do(who, operation, in) })
	if err == nil && f.lose != nil {
		err = f.lose(operation)
	}
	return out, err
}

// once answers a clientRequestToken that was there before as it did then.
func (f *fake) once(operation, token string, raw json.RawMessage, do func() (any, error)) (any, error) {
	if token == "" {
		return do()
	}
	if d, ok := f.done[operation+token]; ok {
		if d.request != string(raw) {
			return nil, refuse("IdempotencyParameterMismatchException")
		}
		return d.answer, nil
	}
	out, err := do()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(out)
	f.done[operation+token] = done{string(raw), b}
	return json.RawMessage(b), err
}

func (f *fake) do(who key, operation string, in input) (any, error) {
	if in.RepositoryName != "" && in.RepositoryName != project {
		return nil, refuse("RepositoryDoesNotExistException")
	}
	var p *pull
	if n, err := strconv.Atoi(in.PullRequestID); err == nil {
		for _, one := range f.pulls {
			if one.id == n {
				p = one
			}
		}
	}
	if p == nil && in.PullRequestID != "" {
		return nil, refuse("PullRequestDoesNotExistException")
	}
	switch operation {
	case "ListPullRequests":
		ids := []string{}
		for _, p := range f.pulls {
			if p.repository == project && p.status() == in.PullRequestStatus {
				ids = append([]string{strconv.Itoa(p.id)}, ids...)
			}
		}
		page, next, err := f.paged(len(ids), in.NextToken)
		return object("pullRequestIds", ids[page[0]:page[1]], "nextToken", next), err
	case "GetPullRequest":
		return object("pullRequest", f.pullRequest(p)), nil
	case "DescribePullRequestEvents":
		events := []any{}
		for _, e := range p.events {
			if in.PullRequestEventType == "" || e["pullRequestEventType"] == in.PullRequestEventType {
				events = append(events, e)
			}
		}
		page, next, err := f.paged(len(events), in.NextToken)
		return object("pullRequestEvents", events[page[0]:page[1]], "nextToken", next), err
	case "GetMergeConflicts":
		if f.refs[in.DestinationCommitSpecifier] == "" {
			return nil, refuse("CommitDoesNotExistException")
		}
		return object("mergeable", !p0(f.pulls, in.SourceCommitSpecifier).conflicts, "destinationCommitId", f.refs[in.DestinationCommitSpecifier],
			"sourceCommitId", in.SourceCommitSpecifier, "conflictMetadataList", []any{}), nil
	case "GetPullRequestApprovalStates":
		all := []any{}
		for arn := range p.approvals[in.RevisionID] {
			all = append(all, object("userArn", arn, "approvalState", "APPROVE")) // "REVOKE states are not stored", says the model
		}
		return object("approvals", all), nil
	case "UpdatePullRequestApprovalState":
		return f.approve(who, p, in)
	case "GetCommentsForPullRequest":
		return f.listComments(who, p, in)
	case "PostCommentForPullRequest":
		return f.post(who, p, in)
	case "UpdateComment", "DeleteCommentContent", "PutCommentReaction":
		return f.change(who, operation, in)
	}
	return f.propose(who, operation, p, in)
}

// p0 finds the pull request at a commit.
func p0(all []*pull, head string) *pull {
	for _, p := range all {
		if p.head == head {
			return p
		}
	}
	return &pull{}
}

// object leaves out what is empty, as AWS does.
func object(pairs ...any) map[string]any {
	out := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out[pairs[i].(string)] = pairs[i+1]
		}
	}
	return out
}

// paged cuts a list: where the page begins and ends, and the token of the next.
func (f *fake) paged(n int, token string) (page [2]int, next string, err error) {
	from := 0
	if token != "" {
		if _, err := fmt.Sscanf(token, "after-%d", &from); err != nil || from > n {
			return page, "", refuse("InvalidContinuationTokenException")
		}
	}
	to := min(from+f.page, n)
	if to < n {
		next = fmt.Sprintf("after-%d", to)
	}
	return [2]int{from, to}, next, nil
}

func (f *fake) tick() int64 {
	f.clock = max(f.clock+1, time.Now().UnixMilli())
	return f.clock
}

func seconds(ms int64) json.Number { return json.Number(fmt.Sprintf("%d.%03d", ms/1000, ms%1000)) }

func (p *pull) status() string {
	if p.open {
		return "OPEN"
	}
	return "CLOSED"
}

func (f *fake) pullRequest(p *pull) any {
	return object("pullRequestId", strconv.Itoa(p.id), "title", p.title, "description", p.description, "authorArn", p.author, "pullRequestStatus", p.status(),
		"creationDate", seconds(p.created), "lastActivityDate", seconds(p.active), "revisionId", p.revision, "clientRequestToken", p.token, "approvalRules", []any{},
		"pullRequestTargets", []any{object("repositoryName", p.repository, "sourceReference", p.source, "destinationReference", p.target,
			"sourceCommit", p.head, "destinationCommit", p.base, "mergeBase", p.base,
			"mergeMetadata", object("isMerged", p.merged, "mergedBy", p.mergedBy, "mergeCommitId", p.merge, "mergeOption", p.option))})
}

func (f *fake) approve(who key, p *pull, in input) (any, error) {
	switch {
	case in.RevisionID != p.revision:
		return nil, refuse("RevisionNotCurrentException")
	case !p.open:
		return nil, refuse("PullRequestAlreadyClosedException")
	case p.author == who.arn:
		return nil, refuse("PullRequestCannotBeApprovedByAuthorException")
	}
	if p.approvals[p.revision] == nil {
		p.approvals[p.revision] = map[string]bool{}
	}
	p.approvals[p.revision][who.arn] = true
	if in.ApprovalState == "REVOKE" {
		delete(p.approvals[p.revision], who.arn)
	}
	p.active = f.tick()
	return nil, nil
}

func (f *fake) show(who key, c *comment) map[string]any {
	mine, counts := []string{}, map[string]int{}
	for arn, value := range c.reactions {
		name := strings.ToUpper(strings.Trim(value, ":"))
		counts[name]++
		if arn == who.arn {
			mine = append(mine, name)
		}
	}
	return object("commentId", c.id, "content", c.content, "authorArn", c.author, "creationDate", seconds(c.created), "lastModifiedDate", seconds(c.modified),
		"deleted", c.deleted, "inReplyTo", c.reply, "clientRequestToken", c.token, "callerReactions", mine, "reactionCounts", counts)
}

// listComments groups comments by what they are about, as the documentation's samples have them.
func (f *fake) listComments(who key, p *pull, in input) (any, error) {
	groups, order := map[string]map[string]any{}, []string{}
	for _, c := range f.comments {
		if c.pull != p {
			continue
		}
		name := c.before + c.after + c.file
		if groups[name] == nil {
			g := object("pullRequestId", strconv.Itoa(p.id), "repositoryName", p.repository, "beforeCommitId", c.before, "afterCommitId", c.after, "comments", []any{})
			if c.file != "" {
				g["location"] = object("filePath", c.file, "filePosition", 1, "relativeFileVersion", "AFTER")
			}
			groups[name], order = g, append([]string{name}, order...)
		}
		groups[name]["comments"] = append([]any{f.show(who, c)}, groups[name]["comments"].([]any)...)
	}
	data := []any{}
	for _, name := range order {
		data = append(data, groups[name])
	}
	page, next, err := f.paged(len(data), in.NextToken)
	return object("commentsForPullRequestData", data[page[0]:page[1]], "nextToken", next), err
}

func (f *fake) post(who key, p *pull, in input) (any, error) {
	switch {
	case p.repository != in.RepositoryName:
		return nil, refuse("RepositoryNotAssociatedWithPullRequestException")
	case in.BeforeCommitID == in.AfterCommitID:
		return nil, refuse("BeforeCommitIdAndAfterCommitIdAreSameException")
	case in.AfterCommitID != p.head || in.BeforeCommitID != p.base:
		return nil, refuse("CommitDoesNotExistException")
	case utf8.RuneCountInString(in.Content) > 10240:
		return nil, refuse("CommentContentSizeLimitExceededException")
	}
	c := f.write(p, who.arn, in.Content)
	c.token = in.ClientRequestToken
	return object("repositoryName", project, "pullRequestId", in.PullRequestID, "beforeCommitId", c.before, "afterCommitId", c.after, "comment", f.show(who, c)), nil
}

func (f *fake) write(p *pull, author, content string) *comment {
	at := f.tick()
	c := &comment{id: fmt.Sprintf("%s:%d", commit()[:8], len(f.comments)+1), author: author, content: content, pull: p, before: p.base, after: p.head, created: at, modified: at, reactions: map[string]string{}}
	f.comments = append(f.comments, c)
	p.active = at
	return c
}

func role(arn string) string { return arn[:strings.LastIndex(arn, "/")] }

func (f *fake) change(who key, operation string, in input) (any, error) {
	i := slices.IndexFunc(f.comments, func(c *comment) bool { return c.id == in.CommentID })
	if i < 0 {
		return nil, refuse("CommentDoesNotExistException")
	}
	c := f.comments[i]
	switch {
	case c.deleted:
		return nil, refuse("CommentDeletedException")
	case operation == "PutCommentReaction" && !slices.Contains(f.emojis, in.ReactionValue):
		return nil, refuse("InvalidReactionValueException")
	case operation == "PutCommentReaction":
		c.reactions[who.arn] = in.ReactionValue
		return nil, nil
	case operation == "UpdateComment" && c.author != who.arn && (!f.anybody || role(c.author) != role(who.arn)):
		return nil, refuse("CommentNotCreatedByCallerException")
	case operation == "UpdateComment" && utf8.RuneCountInString(in.Content) > 10240:
		return nil, refuse("CommentContentSizeLimitExceededException")
	case operation == "UpdateComment":
		c.content = in.Content
	default:
		c.content, c.deleted = "", true
	}
	c.modified = f.tick()
	c.pull.active = c.modified
	return object("comment", f.show(who, c)), nil
}

func (f *fake) propose(who key, operation string, p *pull, in input) (any, error) {
	switch operation {
	case "CreatePullRequest":
		t := in.Targets[0]
		switch {
		case t.RepositoryName != project:
			return nil, refuse("RepositoryDoesNotExistException")
		case t.SourceReference == t.DestinationReference:
			return nil, refuse("SourceAndDestinationAreSameException")
		case f.refs[t.SourceReference] == "" || f.refs[t.DestinationReference] == "":
			return nil, refuse("ReferenceDoesNotExistException")
		}
		p = f.openPull(who.arn, t.SourceReference, t.DestinationReference, in.Title)
		p.description, p.token = in.Description, in.ClientRequestToken
	case "UpdatePullRequestTitle", "UpdatePullRequestDescription":
		if !p.open {
			return nil, refuse("PullRequestAlreadyClosedException")
		}
		if operation == "UpdatePullRequestTitle" {
			p.title = in.Title
		} else {
			p.description = in.Description
		}
		p.active = f.tick()
	default:
		return nil, fmt.Errorf("operation %s is not done", operation)
	}
	return object("pullRequest", f.pullRequest(p)), nil
}

func (f *fake) openPull(author, source, target, title string) *pull {
	at := f.tick()
	p := &pull{
		id: len(f.pulls) + 40, repository: project, title: title, author: author, open: true, source: source, target: target,
		head: f.refs[source], base: f.refs[target], revision: commit(), created: at, active: at, approvals: map[string]map[string]bool{},
	}
	p.events = append(p.events, object("pullRequestId", strconv.Itoa(p.id), "eventDate", seconds(at), "pullRequestEventType", "PULL_REQUEST_CREATED", "actorArn", author))
	f.pulls = append(f.pulls, p)
	return p
}

// The fake as People, who do not go through its API.

func (f *fake) find(t *testing.T, id string) *pull {
	t.Helper()
	for _, p := range f.pulls {
		if strconv.Itoa(p.id) == id {
			return p
		}
	}
	t.Fatalf("no pull request %s", id)
	return nil
}

func (f *fake) OpenMR(t *testing.T, name, target, title string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refs["refs/heads/feature/"+name] = commit()
	return strconv.Itoa(f.openPull(dev, "refs/heads/feature/"+name, "refs/heads/"+target, title).id)
}

func (f *fake) Push(t *testing.T, id string) string { return f.pushAs(t, id, dev) }

// pushAs moves a branch. The pull request gets a new revision, which nobody has approved.
func (f *fake) pushAs(t *testing.T, id, who string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.find(t, id)
	was := p.head
	p.head, p.revision, p.active = commit(), commit(), f.tick()
	f.refs[p.source] = p.head
	p.events = append([]map[string]any{object("pullRequestId", id, "eventDate", seconds(p.active), "pullRequestEventType", "PULL_REQUEST_SOURCE_REFERENCE_UPDATED", "actorArn", who,
		"pullRequestSourceReferenceUpdatedEventMetadata", object("repositoryName", project, "beforeCommitId", was, "afterCommitId", p.head, "mergeBase", p.base))}, p.events...)
	return p.head
}

func (f *fake) Merge(t *testing.T, id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.find(t, id)
	p.open, p.merged, p.merge, p.option, p.mergedBy, p.active = false, true, commit(), "THREE_WAY_MERGE", dev, f.tick()
	f.refs[p.target] = p.merge
	delete(f.refs, p.source)
	return p.merge
}

func (f *fake) Close(t *testing.T, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.find(t, id)
	p.open, p.active = false, f.tick()
}

func (f *fake) Comment(t *testing.T, id, body string) { f.commentAs(t, id, dev, body) }

func (f *fake) commentAs(t *testing.T, id, who, body string) *comment {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.write(f.find(t, id), who, body)
}

func (f *fake) Edit(t *testing.T, _, comment, body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.comments {
		if c.id == comment {
			c.content, c.modified = body, f.tick()
			c.pull.active = c.modified
		}
	}
}

func (f *fake) Head(t *testing.T, id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.find(t, id).head
}

func (f *fake) Refs(*testing.T) map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]string{}
	for k, v := range f.refs {
		out[k] = v
	}
	return out
}

func (f *fake) Notes(t *testing.T, id string) []string {
	return f.by(t, id, func(arn string) bool { return strings.HasPrefix(arn, ourRole) })
}

func (f *fake) Comments(t *testing.T, id string) []string {
	return f.by(t, id, func(arn string) bool { return !strings.HasPrefix(arn, ourRole) })
}

func (f *fake) by(t *testing.T, id string, want func(arn string) bool) (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.find(t, id)
	for _, c := range f.comments {
		if c.pull == p && want(c.author) && !c.deleted {
			out = append(out, c.content)
		}
	}
	return out
}

func (f *fake) Statuses(*testing.T, string) []plumbline.CommitStatus { return nil }

func (f *fake) Reactions(_ *testing.T, _, comment string) (out []plumbline.Reaction) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.comments {
		if c.id == comment && c.reactions[daemon.arn] != "" {
			out = append(out, map[string]plumbline.Reaction{
				":eyes:": plumbline.ReactionSeen, ":smile:": plumbline.ReactionSeen, ":thumbsup:": plumbline.ReactionDone, ":thumbsdown:": plumbline.ReactionRefused,
			}[c.reactions[daemon.arn]])
		}
	}
	return out
}

func (f *fake) Branch(_ *testing.T, name, _ string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refs["refs/heads/"+name] = commit()
}

var _ forge.Client = (*codecommit.Client)(nil)
