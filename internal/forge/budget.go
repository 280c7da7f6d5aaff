package forge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Budget is what one token may ask of a forge: what the forge said about it, and who may ask next. All repositories that
// use the token share one. The zero Budget is ready. Its methods are safe for concurrent use.
//
// While the forge wants to be left alone, nobody asks it. When less than a quarter of what a window allows is left,
// reading is slowed; the last tenth is kept for writing. Nothing a forge says holds longer than an hour.
type Budget struct {
	Concurrent int              // requests under way at once; default 4
	Now        func() time.Time // default time.Now

	mu      sync.Mutex
	turns   chan struct{}      // holds one for each request under way
	quiet   time.Time          // until then nobody asks
	why     string             // of quiet
	windows map[string]*window // by the forge's name of what is counted; "" where it has none
	areas   map[string]string  // which of them a part of the API is counted in
	count   BudgetState        // its numbers of requests
}

// BudgetState is what a dashboard shows of a Budget.
type BudgetState struct {
	Limit, Left int       // requests in the window that is nearest to its end; -1: the forge does not tell
	Resets      time.Time // when it begins anew; zero: the forge does not tell
	Asked       int64     // requests that were sent
	Saved       int64     // of them, those which the forge answered with "as before"
	Refused     int64     // requests that were not sent, to spare the forge
	Waited      int64     // requests that waited for others to end
	Quiet       time.Time // nobody asks until then; zero: the forge can be asked
	Reason      string    // why nobody asks, or why reading is slowed
}

const (
	// GitHub allows 100 at once for all that use an account, and asks integrations to make one after the other
	// (docs.github.com, "Rate limits for the REST API" and "Best practices for using the REST API").
	defaultConcurrent = 4

	slowBelow   = 4                // reading is slowed when less than 1/slowBelow is left
	reserve     = 10               // 1/reserve is kept for writing
	readOn      = 10 * time.Second // how long a list that was begun may be read on
	maxBegun    = 256
	maxPromised = 4096
	maxWindows  = 16
	maxAreas    = 64
	maxName     = 64
	maxCount    = 1e9 // a header that says more is a mistake
)

// State tells how the token is doing.
func (b *Budget) State() BudgetState {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	s := b.count
	s.Limit, s.Left = -1, -1
	var worst *window
	for _, w := range b.windows {
		if !now.After(w.resets) && (worst == nil || w.share() < worst.share()) {
			worst = w
		}
	}
	if worst != nil {
		s.Limit, s.Left, s.Resets = worst.limit, worst.left, worst.resets
		if worst.slow() {
			s.Reason = worst.String()
		}
		if worst.left == 0 {
			s.Quiet = worst.resets
		}
	}
	if now.Before(b.quiet) {
		s.Quiet, s.Reason = b.quiet, b.why
	}
	return s
}

type urgentKey struct{}

// Urgent marks what somebody waits for: looking for a note before it is written is reading, but it is not slowed.
func Urgent(ctx context.Context) context.Context { return context.WithValue(ctx, urgentKey{}, true) }

func urgent(ctx context.Context) bool {
	u, _ := ctx.Value(urgentKey{}).(bool)
	return u
}

func (b *Budget) now() time.Time {
	if b.Now == nil {
		return time.Now()
	}
	return b.Now()
}

// admit decides about a request. Its error is a *plumbline.Retry.
func (b *Budget) admit(req *http.Request) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	refuse := func(at time.Time, why string) error {
		b.count.Refused++
		return &plumbline.Retry{At: at, Err: errors.New(why)}
	}
	if now.Before(b.quiet) {
		return refuse(b.quiet, "the forge wants to be left alone: "+b.why)
	}
	name := b.areas[area(req.URL.Path)]
	w := b.windows[name]
	switch {
	case w == nil:
		return nil
	case !now.Before(w.resets):
		delete(b.windows, name)
		return nil
	case w.left == 0:
		return refuse(w.resets, w.String())
	case req.Method != http.MethodGet && req.Method != http.MethodHead, urgent(req.Context()):
		return nil
	}
	if at, ok := w.pace(req.URL.Path, now); !ok {
		return refuse(at, w.String())
	}
	return nil
}

// turn waits until less than Concurrent requests are under way, and returns what ends this one.
func (b *Budget) turn(ctx context.Context) (func(), error) {
	b.mu.Lock()
	if b.turns == nil {
		b.turns = make(chan struct{}, cmp.Or(max(b.Concurrent, 0), defaultConcurrent))
	}
	turns := b.turns
	b.mu.Unlock()
	select {
	case turns <- struct{}{}:
	default:
		b.mu.Lock()
		b.count.Waited++
		b.mu.Unlock()
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("%d requests to the forge are under way, and none ended: %w", cap(turns), ctx.Err())
		}
	}
	return sync.OnceFunc(func() { <-turns }), nil
}

// learn reads what an answer says about the budget.
func (b *Budget) learn(req *http.Request, resp *http.Response) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	name, w := limits(resp.Header, now)
	if w != nil {
		b.remember(area(req.URL.Path), name, w)
	}
	at, ok := retryAt(resp.StatusCode, resp.Header, now)
	if !ok {
		return
	}
	if w != nil && name != "" && w.left == 0 && resp.Header.Get("Retry-After") == "" {
		w.resets = at // it is this window only that is used up
		return
	}
	b.leave(at, fmt.Sprintf("%s %s: %d %s", req.Method, req.URL.Path, resp.StatusCode, http.StatusText(resp.StatusCode)))
}

func (b *Budget) remember(area, name string, w *window) {
	if b.windows == nil {
		b.windows, b.areas = map[string]*window{}, map[string]string{}
	}
	was, known := b.windows[name]
	if !known && len(b.windows) >= maxWindows {
		return // no forge counts so many things
	}
	if known {
		w.pacing = was.pacing
	}
	b.windows[name] = w
	if _, known := b.areas[area]; known || len(b.areas) < maxAreas {
		b.areas[area] = name
	}
}

// leave lets nobody ask until at. The caller holds b.mu.
func (b *Budget) leave(at time.Time, why string) {
	if at.After(b.quiet) {
		b.quiet, b.why = at, why
	}
}

// refused is told of refusals that only the text of an answer gives away.
func (b *Budget) refused(at time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leave(at, err.Error())
}

func (b *Budget) saved() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count.Saved++
}

func (b *Budget) asked() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count.Asked++
}

// area is the part of an API that a path is in. GitHub counts /search and /graphql apart from the rest.
func area(path string) string {
	for s := range strings.SplitSeq(path, "/") {
		version := strings.TrimPrefix(s, "v")
		if s != "" && s != "api" && (version == "" || version[0] < '0' || version[0] > '9') {
			return s[:min(len(s), maxName)]
		}
	}
	return ""
}

// window is what the forge allows until a time.
type window struct {
	limit, left int // -1: unknown
	near        bool
	resets      time.Time
	pacing
}

// pacing is who may read while reading is slowed.
type pacing struct {
	slot     time.Time            // the next that is given away
	promised map[string]time.Time // paths that may be read from then on
	begun    map[string]time.Time // paths that may be read on until then
}

func (w *window) share() float64 {
	switch {
	case w.left == 0:
		return 0
	case w.near:
		return 1. / slowBelow
	case w.limit <= 0 || w.left < 0:
		return 1
	}
	return float64(w.left) / float64(w.limit)
}

func (w *window) slow() bool { return w.share() <= 1./slowBelow }

func (w *window) String() string {
	if w.left < 0 {
		return fmt.Sprintf("most of the %d requests are used up, reading is slowed", w.limit)
	}
	s := fmt.Sprintf("%d of %d requests are left", w.left, w.limit)
	if w.limit < 0 {
		s = fmt.Sprintf("%d requests are left", w.left)
	}
	if w.left > 0 {
		s += ", reading is slowed"
	}
	return s
}

// pace lets as many read as there are requests beside the reserve, evenly until the window ends. Who may not is promised a
// later turn, and who has one comes before those who have none. A list that was begun is read to its end, with what is
// below its path.
func (w *window) pace(path string, now time.Time) (time.Time, bool) {
	if !w.slow() || w.hasBegun(path, now) {
		return time.Time{}, true
	}
	end, every := w.resets, time.Duration(0)
	switch spare := w.left - w.limit/reserve; {
	case w.left < 0: // the forge says only that it is close: half of what it allows
		end, every = now.Add(farthest), 2*time.Hour/time.Duration(w.limit)
	case spare <= 0:
		return latest(w.resets, now.Add(soonest)), false
	default:
		every = w.resets.Sub(now) / time.Duration(spare)
	}
	turn, ok := w.promised[path]
	if !ok {
		turn = latest(w.slot, now)
		w.slot = turn.Add(every)
	}
	if !turn.After(now) {
		delete(w.promised, path)
		w.begin(path, now)
		return time.Time{}, true
	}
	if len(w.promised) >= maxPromised { // some never came
		maps.DeleteFunc(w.promised, func(_ string, at time.Time) bool { return at.Before(now) })
	}
	if turn.After(end) || len(w.promised) >= maxPromised {
		w.slot = latest(end, now) // the queue is as long as the window
		return latest(end, now.Add(soonest)), false
	}
	if w.promised == nil {
		w.promised = map[string]time.Time{}
	}
	w.promised[path] = turn
	return turn, false
}

func (w *window) hasBegun(path string, now time.Time) bool {
	for p, until := range w.begun {
		if now.Before(until) && (path == p || strings.HasPrefix(path, p+"/")) {
			return true
		}
	}
	return false
}

func (w *window) begin(path string, now time.Time) {
	if w.begun == nil {
		w.begun = map[string]time.Time{}
	}
	for p, until := range w.begun {
		if !now.Before(until) {
			delete(w.begun, p)
		}
	}
	if len(w.begun) < maxBegun {
		w.begun[path] = now.Add(readOn)
	}
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// limits reads the window from the headers of an answer, nil where there is none:
//
//   - GitHub: X-RateLimit-Limit, -Remaining, -Reset (seconds since 1970), -Resource (docs.github.com, "Rate limits for the
//     REST API");
//   - GitLab: RateLimit-Limit, -Remaining, -Reset (the same), -Name (docs.gitlab.com, "User and IP rate limits");
//   - Bitbucket: X-RateLimit-Limit, -Resource, and -NearLimit in place of a number ("Introducing Scaled Rate Limits for
//     Bitbucket Cloud API");
//   - draft-ietf-httpapi-ratelimit-headers: RateLimit-* with seconds from now, since its version 7 in one header RateLimit.
func limits(h http.Header, now time.Time) (name string, w *window) {
	w = &window{limit: -1, left: -1}
	var reset string
	for _, prefix := range []string{"X-RateLimit-", "RateLimit-"} {
		if l := count(h.Get(prefix + "Limit")); l > 0 && w.limit < 0 {
			w.limit = l
		}
		if l := count(h.Get(prefix + "Remaining")); l >= 0 && w.left < 0 {
			w.left, reset = l, h.Get(prefix+"Reset")
		}
	}
	if w.left < 0 {
		limit, left, r := draft(h)
		if left >= 0 {
			w.limit, w.left, reset = max(w.limit, limit), left, r
		}
	}
	w.near = strings.EqualFold(h.Get("X-RateLimit-NearLimit"), "true") && w.limit > 0
	if w.left < 0 && h.Get("X-RateLimit-NearLimit") == "" {
		return "", nil
	}
	w.resets = within(now.Add(unnamed), now)
	if at, ok := resetAt(reset, now); ok {
		w.resets = within(at, now)
	}
	name = cmp.Or(h.Get("X-RateLimit-Resource"), h.Get("RateLimit-Name"))
	return name[:min(len(name), maxName)], w
}

// draft reads `RateLimit: "name";r=50;t=30` with its policy, or `RateLimit: limit=100, remaining=50, reset=30`.
func draft(h http.Header) (limit, left int, reset string) {
	limit, left = -1, -1
	for _, header := range h.Values("RateLimit") {
		item := map[string]string{}
		for part := range strings.FieldsFuncSeq(header, func(r rune) bool { return r == ',' || r == ';' }) {
			k, v, ok := strings.Cut(strings.TrimSpace(part), "=")
			if !ok {
				clear(item) // the next policy
				continue
			}
			item[k] = v
			if l := count(item["limit"]); l > 0 {
				limit = l
			}
			if l := count(cmp.Or(item["r"], item["remaining"])); l >= 0 && (left < 0 || l <= left) {
				left, reset = l, cmp.Or(item["t"], item["reset"])
			}
		}
	}
	for _, header := range h.Values("RateLimit-Policy") {
		for part := range strings.FieldsFuncSeq(header, func(r rune) bool { return r == ',' || r == ';' }) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(part), "q="); ok && limit < 0 && count(v) > 0 {
				limit = count(v)
			}
		}
	}
	return limit, left, reset
}

// count reads a number of requests, -1 if it is none.
func count(s string) int {
	s, _, _ = strings.Cut(s, ",") // older drafts list further windows behind the one that counts
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 || n > maxCount {
		return -1
	}
	return int(n)
}

// resetAt reads a time in seconds: since 1970, or from now when that would be before 1980.
func resetAt(s string, now time.Time) (time.Time, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil || n < 0:
		return time.Time{}, false
	case n > int64(maxCount)*10:
		return now.Add(farthest), true // milliseconds, or malice
	case n < 10*365*24*3600:
		return now.Add(time.Duration(n) * time.Second), true
	}
	return time.Unix(n, 0), true
}

// within keeps a time that a forge named between soonest and farthest from now.
func within(at, now time.Time) time.Time {
	if at.Before(now.Add(soonest)) {
		return now.Add(soonest)
	}
	if at.After(now.Add(farthest)) {
		return now.Add(farthest)
	}
	return at
}

// budgeted asks when the budget lets it. A request is under way until its answer was read, was closed, or nobody waits
// for it any more.
type budgeted struct {
	budget *Budget
	next   http.RoundTripper
}

func (t *budgeted) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	err := t.budget.admit(req)
	var done func()
	if err == nil {
		done, err = t.budget.turn(ctx)
	}
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as a RoundTripper has to; nothing was read
		}
		return nil, err
	}
	t.budget.asked()
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		done()
		return nil, err
	}
	t.budget.learn(req, resp)
	if resp.Body == nil || resp.Body == http.NoBody {
		done()
		return resp, nil
	}
	resp.Body = &underWay{ReadCloser: resp.Body, done: done, stop: context.AfterFunc(ctx, done)}
	return resp, nil
}

// underWay is the body of an answer that somebody still reads.
type underWay struct {
	io.ReadCloser
	done func()
	stop func() bool
}

func (u *underWay) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err != nil {
		u.end()
	}
	return n, err
}

func (u *underWay) Close() error {
	u.end()
	return u.ReadCloser.Close()
}

func (u *underWay) end() {
	u.stop()
	u.done()
}
