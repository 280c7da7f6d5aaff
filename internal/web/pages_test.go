package web_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
	"github.com/plumbline/plumbline/internal/web/preview"
)

// send posts a form as a page here does.
func (c *client) send(path string, form url.Values) (status int, body string) {
	c.t.Helper()
	w := c.do("POST", path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	return w.Code, w.Body.String()
}

// netDigest is that of the plan of run 9815.
const netDigest = "b41f9c0e6a7d5c3b2a190807f6e5d4c3b2a1f0e9d8c7b6a5948372615f4e3d2c"

var (
	forms  = regexp.MustCompile(`(?s)<form method="post" action="([^"]+)".*?</form>`)
	reason = regexp.MustCompile(`<p class="note not">(.*?)</p>`)
	card   = regexp.MustCompile(`<li class="card [a-z]+"><a href="/runs/(\d+)">`)
)

// offered lists what the forms of a page are for.
func offered(page string) []string {
	var out []string
	for _, m := range forms.FindAllStringSubmatch(page, -1) {
		out = append(out, m[1][strings.LastIndex(m[1], "/")+1:])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestOffers pins what each person is offered on a page, and what they are told when their yes is not asked for.
func TestOffers(t *testing.T) {
	people := []struct {
		name   string
		groups []string
	}{{"vera", nil}, {"ops-c", nil}, {"dev-a", []string{"sre"}}, {"ops-b", nil}, {"root@example.com", nil}, {"root@example.com", []string{"sre"}}, {"local", nil}}
	var b bytes.Buffer
	for _, page := range []string{"/runs/9815", "/runs/9808", "/runs/9814", "/runs/9816", "/environments/infra/production", "/environments/infra/staging"} {
		fmt.Fprintln(&b, page)
		for _, p := range people {
			s, _ := preview.NewGatedServer()
			w := as(t, s, p.name, p.groups...).do("GET", page, "")
			fmt.Fprintf(&b, "  %s %s: %d %s\n", p.name, p.groups, w.Code, strings.Join(offered(w.Body.String()), ", "))
			if m := reason.FindStringSubmatch(w.Body.String()); m != nil {
				fmt.Fprintf(&b, "    %s\n", m[1])
			}
		}
	}
	golden(t, "offers.txt", b.Bytes())
}

// TestOffersAreTaken sends what a page offers, as it offers it.
func TestOffersAreTaken(t *testing.T) {
	s, store := preview.NewGatedServer()
	c := as(t, s, "ops-b")
	digest := url.Values{"digest": {netDigest}}
	status, _ := c.send("/runs/9815/approve", digest)
	r, _ := store.Run(t.Context(), 9815)
	if n := len(r.Approvals); status != http.StatusSeeOther || r.Approvals[n-1].By != "ops-b" || r.Approvals[n-1].Digest != netDigest || r.State != plumbline.StateAwaiting {
		t.Errorf("%d, %s, %+v", status, r.State, r.Approvals)
	}
	page := c.do("GET", "/runs/9815", "").Body.String()
	if slices.Contains(offered(page), "approve") || !strings.Contains(page, "You have agreed to this plan; somebody else has to agree as well.") {
		t.Error("who has agreed is asked again")
	}
	if !strings.Contains(page, `1 of 2</span> <b>group:sre</b>`) {
		t.Error("the page does not count the yes")
	}
	// The plan of a merge request.
	if status, body := c.send("/runs/9808/approve", digest); status != http.StatusSeeOther {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := c.send("/runs/9808/reject", url.Values{"reason": {"not like this"}}); status != http.StatusSeeOther {
		t.Errorf("%d", status)
	}
	if r, _ := store.Run(t.Context(), 9808); r.State != plumbline.StateRejected || r.Reason != "not like this" || len(r.Approvals) != 1 {
		t.Errorf("%s %q %+v", r.State, r.Reason, r.Approvals)
	}
}

func TestBreakGlassForm(t *testing.T) {
	form := func(digest, reason, sure string) url.Values {
		return url.Values{"digest": {digest}, "reason": {reason}, "sure": {sure}}
	}
	for _, tt := range []struct {
		name, who string
		form      url.Values
		want      int
	}{
		{"the box is not ticked", "root@example.com", form(netDigest, "the site is down", ""), http.StatusBadRequest},
		{"there is no reason", "root@example.com", form(netDigest, " ", "yes"), http.StatusBadRequest},
		{"another plan was read", "root@example.com", form(strings.Repeat("0", 64), "the site is down", "yes"), http.StatusConflict},
		{"an approver may not", "ops-b", form(netDigest, "the site is down", "yes"), http.StatusForbidden},
		{"an admin may", "root@example.com", form(netDigest, "the site\nis down <b>", "yes"), http.StatusSeeOther},
	} {
		s, store := preview.NewGatedServer()
		c := as(t, s, tt.who)
		status, body := c.send("/runs/9815/break-glass", tt.form)
		r, _ := store.Run(t.Context(), 9815)
		if done := tt.want == http.StatusSeeOther; status != tt.want || (r.Glass != nil) != done || (r.State == plumbline.StateApproved) != done {
			t.Errorf("%s: %d, %s, %+v: %s", tt.name, status, r.State, r.Glass, body)
		}
		if r.Glass == nil {
			continue
		}
		for _, page := range []string{"/runs/9815", "/"} {
			if body := c.do("GET", page, "").Body.String(); !strings.Contains(body, `class="alarm"`) || !strings.Contains(body, "<q>the site is down &lt;b&gt;</q>") {
				t.Errorf("%s does not say that the glass is broken", page)
			}
		}
	}
}

func TestEnvironmentForms(t *testing.T) {
	s, store := preview.NewGatedServer()
	c := as(t, s, "ops-c")
	frozen := func() []plumbline.Frozen {
		list, err := store.Freezes(t.Context(), "infra", "production", preview.Now)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	const at = "/environments/infra/production"
	before := len(frozen())
	for until, want := range map[string]time.Time{
		"": {}, "2026-11-23T08:00": time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), "2026-11-23 08:00": time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC),
		"2026-12-24": time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC), "2026-11-23T08:00:00+01:00": time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC),
	} {
		status, body := c.send(at+"/freeze", url.Values{"until": {until}, "reason": {"auditors"}})
		list := frozen()
		f := list[len(list)-1]
		if status != http.StatusSeeOther || !f.Until.Equal(want) || f.By != "ops-c" || f.Reason != "auditors" {
			t.Errorf("until %q: %d, %+v: %s", until, status, f, body)
		}
	}
	for _, form := range []url.Values{{"reason": {""}}, {"reason": {"x"}, "until": {"tomorrow"}}, {"reason": {"x"}, "until": {"2026-11-19T08:00"}}} {
		if status, _ := c.send(at+"/freeze", form); status != http.StatusBadRequest {
			t.Errorf("%v: %d", form, status)
		}
	}
	page := c.do("GET", at, "").Body.String()
	if !strings.Contains(page, "No changes are applied now:") || !strings.Contains(page, "in force") {
		t.Error("the page does not say that it is frozen")
	}
	if body := c.do("GET", "/", "").Body.String(); !strings.Contains(body, `id="frozen"`) {
		t.Error("the overview does not say that something is frozen")
	}
	list := frozen()
	if status, _ := c.send(at+"/thaw", url.Values{"id": {fmt.Sprint(list[len(list)-1].ID)}, "reason": {"they left"}}); status != http.StatusSeeOther || len(frozen()) != len(list)-1 {
		t.Errorf("%d, %d freezes", status, len(frozen()))
	}
	if status, _ := c.send(at+"/thaw", url.Values{"id": {"x"}, "reason": {"they left"}}); status != http.StatusBadRequest || len(frozen()) != len(list)-1 {
		t.Errorf("%d, %d freezes, %d before", status, len(frozen()), before)
	}

	if status, body := c.send("/environments/infra/staging/promote", nil); status != http.StatusSeeOther {
		t.Errorf("%d %s", status, body)
	}
	if status, body := c.send(at+"/rollback", url.Values{"to": {"3a9be015e6f7a8b9c0d1e2f3a4b5c6d7e8f90a1b"}}); status != http.StatusSeeOther {
		t.Errorf("%d %s", status, body)
	}
	var got []string
	for _, q := range store.Filed() {
		got = append(got, fmt.Sprintf("%s %s to %q by %s", q.Kind, q.Environment, q.To, q.By))
	}
	if want := []string{`promote staging to "" by ops-c`, `rollback production to "3a9be015e6f7a8b9c0d1e2f3a4b5c6d7e8f90a1b" by ops-c`}; !slices.Equal(got, want) {
		t.Errorf("filed %q", got)
	}
	for _, tt := range []struct{ page, want string }{{at, "rollback to <code>3a9be01</code>"}, {"/environments/infra/staging", "merge request that promotes it"}} {
		if !strings.Contains(c.do("GET", tt.page, "").Body.String(), tt.want) {
			t.Errorf("%s does not say that %s was asked for", tt.page, tt.want)
		}
	}
}

// TestEveryFormCarriesItsToken: a form without it would be refused, in browsers alone.
func TestEveryFormCarriesItsToken(t *testing.T) {
	s, _ := preview.NewWholeServer()
	cookie, token := signIn(t, s)
	c := &client{t, s.Handler(), http.Header{}}
	seen := 0
	for _, p := range preview.Pages {
		body := c.do("GET", p.Path, "", "Cookie", cookie).Body.String()
		for _, f := range forms.FindAllStringSubmatch(body, -1) {
			seen++
			if f[1] != "/sign-in" && !strings.Contains(f[0], `name="form_token" value="`+token+`"`) {
				t.Errorf("%s: the form to %s has no token", p.Name, f[1])
			}
		}
		if strings.Contains(body, "onclick") || strings.Contains(body, `href="javascript:`) {
			t.Errorf("%s needs JavaScript", p.Name)
		}
	}
	if seen < 30 {
		t.Errorf("only %d forms were seen", seen)
	}
}

// TestNothingDeceives: what people, forges, programs and policies write neither becomes markup nor turns what stands around it.
func TestNothingDeceives(t *testing.T) {
	h := preview.Handler()
	c := &client{t, h, http.Header{}}
	shown := 0
	for _, p := range preview.Pages {
		body := c.do("GET", p.Path, "").Body.String()
		for _, bad := range []string{"<script>alert", "\u202e", "\x1b"} {
			if strings.Contains(body, bad) {
				t.Errorf("%s shows %q as it is", p.Name, bad)
			}
		}
		if strings.Contains(body, `&lt;script&gt;alert(1)&lt;/script&gt; \u202e`) {
			shown++
		}
	}
	if shown < 8 {
		t.Errorf("only %d pages show what is hostile", shown)
	}
}

// TestWaitsForYou: the first page tells everybody what their yes would bring on.
func TestWaitsForYou(t *testing.T) {
	for _, tt := range []struct {
		name   string
		groups []string
		want   string
	}{
		{"vera", nil, ""}, {"ops-c", nil, ""}, {"dev-a", []string{"sre"}, ""}, {"ops-b", nil, "9815 9808"},
		{"root@example.com", nil, "9815"}, // whom a policy asks for
		{"root@example.com", []string{"sre"}, "9815 9808"},
	} {
		s, _ := preview.NewGatedServer()
		body := as(t, s, tt.name, tt.groups...).do("GET", "/", "").Body.String()
		_, mine, _ := strings.Cut(body, "<h2>Waits for you")
		mine, _, _ = strings.Cut(mine, "</section>")
		var got []string
		for _, m := range card.FindAllStringSubmatch(mine, -1) {
			got = append(got, m[1])
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.name, tt.groups, got, tt.want)
		}
	}
}

// TestForbiddenIsNotOffered: nobody is asked to agree to what is never applied.
func TestForbiddenIsNotOffered(t *testing.T) {
	s, _ := preview.NewWholeServer()
	c := as(t, s, plumbline.Local)
	body := c.do("GET", "/runs/9775", "").Body.String()
	if got := offered(body); !slices.Equal(got, []string{"reject"}) || !strings.Contains(body, "A policy forbids this plan; nobody can approve it.") {
		t.Errorf("%s", got)
	}
	if body := c.do("GET", "/merge-requests/lake/52", "").Body.String(); !strings.Contains(body, "is never applied: a policy forbids it") || !strings.Contains(body, "plumbline.public forbids it") {
		t.Error("the merge request's page does not say that a policy forbids it")
	}
}

// TestWaitsForNobody: a draft is not asked about on the first page, and broken glass is not told of for ever.
func TestWaitsForNobody(t *testing.T) {
	s, store := preview.NewGatedServer()
	for i, m := range store.Proposed {
		if m.ID == "43" {
			store.Proposed[i].Draft = true
		}
	}
	for _, age := range []time.Duration{23 * time.Hour, 25 * time.Hour} {
		e := plumbline.AuditEntry{At: preview.Now.Add(-age), Who: "root@example.com", Action: plumbline.AuditBreakGlass, Repository: "infra", Environment: "production", Run: 9815, Detail: fmt.Sprint("broken ", age)}
		if err := store.Audit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	body := as(t, s, "ops-b").do("GET", "/", "").Body.String()
	if strings.Contains(body, `<a href="/runs/9808"><b>`) || !strings.Contains(body, `<a href="/runs/9815"><b>`) {
		t.Error("a draft is asked about")
	}
	if !strings.Contains(body, "broken 23h") || strings.Contains(body, "broken 25h") {
		t.Error("the first page tells of other glass than that of a day")
	}
}

func TestAuditPage(t *testing.T) {
	s, store := preview.NewGatedServer()
	for i := range 250 {
		e := plumbline.AuditEntry{At: preview.Now, Who: "ops-b", Action: plumbline.AuditFreeze, Repository: "infra", Environment: "production", Outcome: "done", Detail: fmt.Sprint("no. ", i)}
		if i%5 == 0 {
			e.Who, e.Action = "ops-c", plumbline.AuditThaw
		}
		if err := store.Audit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	c := as(t, s, "root@example.com")
	row := regexp.MustCompile(`<tr id="e-(\d+)">`)
	older := regexp.MustCompile(`<a href="([^"]+)">Older entries</a>`)
	walk := func(path string) (seen []string) {
		for path != "" {
			w := c.do("GET", path, "")
			if w.Code != http.StatusOK || len(seen) > 1000 {
				t.Fatalf("%s: %d", path, w.Code)
			}
			for _, m := range row.FindAllStringSubmatch(w.Body.String(), -1) {
				seen = append(seen, m[1])
			}
			m := older.FindStringSubmatch(w.Body.String())
			path = ""
			if m != nil {
				path = strings.ReplaceAll(m[1], "&amp;", "&")
			}
		}
		return seen
	}
	total, err := store.AuditEntries(t.Context(), plumbline.AuditFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	all := walk("/audit")
	if len(all) != len(total) || all[0] != fmt.Sprint(len(total)) || all[len(all)-1] != "1" || !slices.IsSortedFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(b, a))
	}) {
		t.Errorf("the pages have %d of %d entries: %s", len(all), len(total), all)
	}
	for query, want := range map[string]int{
		"who=ops-c&action=thaw": 50, "who=ops-c&action=thaw&environment=infra%2Fproduction&run=": 50, "environment=infra%2Fstaging": 0, "run=9815&who=mallory": 1, "action=freeze": 200,
	} {
		if got := walk("/audit?" + query); len(got) != want {
			t.Errorf("%s finds %d entries, want %d", query, len(got), want)
		}
	}
	for _, query := range []string{"whom=x", "action=x", "run=x", "before=0"} {
		if w := c.do("GET", "/audit?"+query, ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
	export := regexp.MustCompile(`href="(/api/v1/audit/export\?[^"]+format=jsonl[^"]*)"`)
	m := export.FindStringSubmatch(c.do("GET", "/audit?who=ops-c&environment=infra%2Fproduction", "").Body.String())
	if w := c.do("GET", strings.ReplaceAll(m[1], "&amp;", "&"), ""); w.Code != http.StatusOK || strings.Count(w.Body.String(), "\n") != 50 {
		t.Errorf("%s: %d, %d lines", m[1], w.Code, strings.Count(w.Body.String(), "\n"))
	}

	if body := c.do("GET", "/audit?verify=1", "").Body.String(); !strings.Contains(body, "Nothing was changed, nothing is missing.") || !strings.Contains(body, "plumbline audit verify --anchor "+fmt.Sprint(len(total))+":") {
		t.Error("a sound log is not said to be sound")
	}
	store.Rewrite(7, func(r *plumbline.AuditRow) { r.Detail = "nothing happened" })
	if body := c.do("GET", "/audit?verify=1", "").Body.String(); !strings.Contains(body, "This log is not what was written.</b> Entry 7 was altered: its hash does not fit it. Nothing after it proves anything. The 6 entries before it are sound.") {
		t.Error("an altered log is not said to be altered")
	}

	if w := as(t, s, "ops-b").do("GET", "/audit", ""); w.Code != http.StatusForbidden {
		t.Errorf("an approver reads the log: %d", w.Code)
	}
	for name, want := range map[string]bool{"ops-b": false, "root@example.com": true} {
		if got := strings.Contains(as(t, s, name).do("GET", "/", "").Body.String(), `<a href="/audit"`); got != want {
			t.Errorf("%s is shown the way to the log: %t", name, got)
		}
	}
}

func TestSpan(t *testing.T) {
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	at := func(day, hour int) time.Time { return time.Date(2026, 11, day, hour, 0, 0, 0, london) }
	now := at(20, 14)
	for _, tt := range []struct {
		from, until time.Time
		want        string
	}{
		{at(23, 9), at(23, 17), "Mon 09:00–17:00 GMT"},
		{at(20, 9), at(20, 17), "now – Fri 17:00 GMT"},
		{at(27, 9), at(27, 17), "Fri 27 Nov 2026 09:00–17:00 GMT"},
		{at(24, 22), at(25, 6), "Tue 22:00 GMT – Wed 06:00 GMT"},
		{at(23, 9), time.Time{}, "from Mon 09:00 GMT on"},
		{now, time.Time{}, "from now on"},
	} {
		if got := web.Span(tt.from, tt.until, now); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestCompared(t *testing.T) {
	got := web.Compared([]string{"-/+ a.b[\"<\"]    # replaced: x", "~     c = 1 -> 2", "  \u202e", "+     d"})
	want := "<span class=\"del\">-/+ a.b[&#34;&lt;&#34;]  <em class=\"note\"># replaced: x</em></span>\n<span class=\"chg\">~     c = 1 -&gt; 2</span>\n<span class=\"ctx\">  \\u202e</span>\n<span class=\"add\">+     d</span>\n"
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
