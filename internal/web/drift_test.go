package web_test

import (
	"bytes"
	"encoding/json"
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

func whole(t *testing.T) (*client, *preview.Store) {
	t.Helper()
	s, store := preview.NewWholeServer()
	return &client{t, s.Handler(), http.Header{"Authorization": {"Bearer " + preview.Token}}}, store
}

// into decodes a good answer.
func (c *client) into(out any, method, path, body string) {
	c.t.Helper()
	w := c.do(method, path, body)
	if w.Code != http.StatusOK {
		c.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
		c.t.Fatal(err)
	}
}

func TestDriftAPI(t *testing.T) {
	c, _ := whole(t)
	for _, tt := range []struct{ name, path string }{
		{"drift-all", "/api/v1/drift?state=all&environment=main"},
		{"drift-item", "/api/v1/drift/3"},
		{"drift-rules", "/api/v1/environments/lake/main/drift-rules"},
		{"drift-report", "/api/v1/drift/report?repository=infra&since=7d"},
	} {
		w := c.do("GET", tt.path, "")
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d", tt.path, w.Code)
		}
		golden(t, "api-"+tt.name+".json", w.Body.Bytes())
	}
}

// TestDriftIsNarrowed: which items a query leaves, and that the numbers are of all states.
func TestDriftIsNarrowed(t *testing.T) {
	c, _ := whole(t)
	const inProduction = "2 open, 1 ignored until 2027-03-01, 3 resolved this week (mean time to repair 5 h)"
	for _, tt := range []struct{ query, want, text string }{
		{"repository=infra", "3 2", inProduction},
		{"repository=infra&state=ignored", "4", inProduction},
		{"repository=infra&state=resolved", "6 5 1", inProduction},
		{"repository=infra&state=resolved&since=3d", "1", inProduction},
		{"repository=infra&state=all", "6 5 4 3 2 1", inProduction},
		{"repository=infra&since=2026-11-20", "3", inProduction},
		{"repository=infra&stack=live/app", "2", "1 open, 1 ignored until 2027-03-01, 1 resolved this week (mean time to repair 5 h)"},
		{"environment=main&state=acknowledged", "20", "7 open (1 acknowledged), 1 ignored until 2026-11-29, 1 noise"},
		{"environment=main&state=noise,open", "32 31 30 24 23 22 21", "7 open (1 acknowledged), 1 ignored until 2026-11-29, 1 noise"},
		{"cause=tags", "37 36 35", "3 open"},
		{"environment=staging", "", "Nothing is changed outside Git, as far as was last seen"},
	} {
		var list web.DriftListJSON
		c.into(&list, "GET", "/api/v1/drift?"+tt.query, "")
		var ids []string
		for _, it := range list.Items {
			ids = append(ids, fmt.Sprint(it.ID))
		}
		if got := strings.Join(ids, " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.query, got, tt.want)
		}
		if list.Text != tt.text {
			t.Errorf("%s: %q, want %q", tt.query, list.Text, tt.text)
		}
	}
}

func TestDriftRefusals(t *testing.T) {
	c, _ := whole(t)
	var b bytes.Buffer
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/api/v1/drift?environment=prod", ""},
		{"GET", "/api/v1/drift?repository=infra&environment=prod", ""},
		{"GET", "/api/v1/drift?repository=infa", ""},
		{"GET", "/api/v1/drift?state=closed", ""},
		{"GET", "/api/v1/drift?since=yesterday", ""},
		{"GET", "/api/v1/drift?since=2031-01-01", ""},
		{"GET", "/api/v1/drift?stat=open", ""},
		{"GET", "/api/v1/drift/99", ""},
		{"GET", "/api/v1/drift/x", ""},
		{"GET", "/api/v1/drift/report?since=800d", ""},
		{"GET", "/api/v1/drift/report?environment=prod", ""},
		{"POST", "/api/v1/drift/1/acknowledge", ""},
		{"POST", "/api/v1/drift/3/acknowledge", `{"note":"` + strings.Repeat("x", 2001) + `"}`},
		{"POST", "/api/v1/drift/3/acknowledge", `{"nota":"x"}`},
		{"POST", "/api/v1/environments/infra/prod/drift-rules", `{}`},
		{"POST", "/api/v1/environments/infra/production/drift-rules", `{}`},
		{"POST", "/api/v1/environments/infra/production/drift-rules", `{"address":"*","owner":"a","reason":"b"}`},
		{"POST", "/api/v1/environments/infra/production/drift-rules", `{"address":"a.b","owner":"a"}`},
		{"POST", "/api/v1/environments/infra/production/drift-rules", `{"address":"a.b","reason":"  "}`},
		{"POST", "/api/v1/environments/infra/production/drift-rules", `{"address":"a.b","reason":"x"}`},
		{"POST", "/api/v1/environments/infra/production/drift-rules", `{"address":"a.b","owner":"a","reason":"b","until":"2026-11-19T00:00:00Z"}`},
		{"POST", "/api/v1/environments/infra/production/drift-rules/7/lift", ""},
		{"POST", "/api/v1/environments/infra/production/drift-rules/x/lift", ""},
	} {
		w := c.do(tt.method, tt.path, tt.body)
		body := tt.body
		if len(body) > 100 {
			body = body[:20] + "…"
		}
		fmt.Fprintf(&b, "%s\n%d %s\n", strings.TrimSpace(tt.method+" "+tt.path+" "+body), w.Code, w.Body)
	}
	golden(t, "drift-refusals.txt", b.Bytes())
}

// TestDriftIsDecided: what people decide about drift, through the API.
func TestDriftIsDecided(t *testing.T) {
	c, store := whole(t)
	var one web.DriftDetailJSON
	c.into(&one, "POST", "/api/v1/drift/3/acknowledge", `{"note":"ops-k is\nasked"}`)
	if a := one.Item.Acknowledged; one.Item.State != plumbline.DriftAcknowledged || a == nil || a.By != "local" || a.Note != "ops-k is asked" || len(one.History) != 3 {
		t.Errorf("%+v", one)
	}
	var set web.IgnoringJSON
	c.into(&set, "POST", "/api/v1/environments/infra/production/drift-rules", `{"address":"aws_route.*","owner":"net","reason":"the failover","until":"2026-12-01T00:00:00Z"}`)
	if set.Hides != 1 || set.Rule.ID == 0 || set.Rule.By != "local" || set.Rule.Expired {
		t.Errorf("%+v", set)
	}
	c.into(&one, "GET", "/api/v1/drift/3", "")
	if i := one.Item.Ignored; one.Item.State != plumbline.DriftIgnored || i == nil || i.Rule != set.Rule.ID || i.Owner != "net" {
		t.Errorf("%+v", one.Item)
	}
	var rules web.DriftRulesJSON
	c.into(&rules, "GET", "/api/v1/environments/infra/production/drift-rules", "")
	if len(rules.Rules) != 3 || rules.Rules[0].ID != 0 || !rules.Rules[1].Expired || rules.Rules[2].ID != set.Rule.ID {
		t.Errorf("%+v", rules)
	}
	c.into(&rules, "POST", fmt.Sprintf("/api/v1/environments/infra/production/drift-rules/%d/lift", set.Rule.ID), "")
	one = web.DriftDetailJSON{}
	c.into(&one, "GET", "/api/v1/drift/3", "")
	if len(rules.Rules) != 2 || one.Item.State != plumbline.DriftAcknowledged || one.Item.Ignored != nil {
		t.Errorf("%+v %+v", rules, one.Item)
	}
	// Another attribute of one that is hidden in part already, then of one that is not there.
	c.into(&set, "POST", "/api/v1/environments/lake/main/drift-rules", `{"address":"aws_autoscaling_group.loader","attribute":"max_size","owner":"net","reason":"x"}`)
	if set.Hides != 1 {
		t.Errorf("hides %d", set.Hides)
	}
	c.into(&set, "POST", "/api/v1/environments/lake/main/drift-rules", `{"address":"aws_nothing.*","owner":"net","reason":"x"}`)
	if set.Hides != 0 {
		t.Errorf("hides %d", set.Hides)
	}
	entries, err := store.AuditEntries(t.Context(), plumbline.AuditFilter{Action: plumbline.AuditDrift})
	if err != nil || len(entries) != 5 || entries[0].Who != "local" || !strings.Contains(entries[0].Detail, "drift item 3, aws_route.nat: acknowledged ops-k is asked") {
		t.Errorf("%v %+v", err, entries)
	}
}

// TestDriftForms sends what the page offers, as it offers it.
func TestDriftForms(t *testing.T) {
	s, store := preview.NewGatedServer()
	if got := offered(as(t, s, "vera").do("GET", "/drift", "").Body.String()); slices.Contains(got, "acknowledge") || slices.Contains(got, "ignore") {
		t.Errorf("who may only look is offered %q", got)
	}
	c := as(t, s, "ops-c")
	page := c.do("GET", "/drift", "").Body.String()
	if got := offered(page); !slices.Contains(got, "acknowledge") || !slices.Contains(got, "ignore") || slices.Contains(got, "deploy") {
		t.Errorf("an operator is offered %q", got)
	}
	if status, body := c.send("/drift/3/acknowledge", url.Values{"note": {"ops-k is asked <b>"}}); status != http.StatusSeeOther {
		t.Fatal(status, body)
	}
	page = c.do("GET", "/drift/3", "").Body.String()
	if !strings.Contains(page, "<b>ops-c</b> acknowledged it") || !strings.Contains(page, "<q>ops-k is asked &lt;b&gt;</q>") || slices.Contains(offered(page), "acknowledge") {
		t.Error("the page does not say that it is acknowledged, or asks again")
	}
	// One attribute, in its own stack.
	key := regexp.MustCompile(`<option value="([0-9a-f]{16})">only nat_gateway_id<`).FindStringSubmatch(page)
	if key == nil {
		t.Fatal("the form does not name the attribute")
	}
	form := url.Values{"attribute": {key[1]}, "where": {"here"}, "owner": {"net"}, "reason": {"the failover"}, "until": {"2026-12-01"}}
	if status, body := c.send("/drift/3/ignore", form); status != http.StatusSeeOther {
		t.Fatal(status, body)
	}
	rules, err := store.IgnoreRules(t.Context(), "infra", "production")
	want := plumbline.IgnoreRule{
		ID: 1, Stack: "live/net", Address: "aws_route.nat", Attribute: "nat_gateway_id", Owner: "net", Reason: "the failover", By: "ops-c", From: preview.Now,
		Until: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
	}
	if err != nil || len(rules) != 1 || rules[0] != want {
		t.Errorf("%v %+v", err, rules)
	}
	page = c.do("GET", "/drift/3", "").Body.String()
	if !strings.Contains(page, `Ignored until 2026-12-01 by rule 1: <q>the failover</q>`) || slices.Contains(offered(page), "ignore") {
		t.Error("the page does not say that it is ignored, or offers it again")
	}
	if page = c.do("GET", "/drift", "").Body.String(); !strings.Contains(page, "<summary>2 ignored</summary>") || !strings.Contains(page, "1 open, 2 ignored, the first until 2026-12-01") {
		t.Error("the listing does not count it among those ignored")
	}
	if status, body := c.send("/environments/infra/production/drift-rules/1/lift", nil); status != http.StatusSeeOther {
		t.Fatal(status, body)
	}
	// All of it, everywhere.
	if status, body := c.send("/drift/2/ignore", url.Values{"where": {"everywhere"}, "owner": {"net"}, "reason": {"x"}}); status != http.StatusSeeOther {
		t.Fatal(status, body)
	}
	if rules, err = store.IgnoreRules(t.Context(), "infra", "production"); err != nil || len(rules) != 1 || rules[0].Stack != "" || rules[0].Attribute != "" || !rules[0].Until.IsZero() {
		t.Errorf("%v %+v", err, rules)
	}
	for _, tt := range []struct {
		form url.Values
		want int
	}{
		{url.Values{"owner": {"net"}}, http.StatusBadRequest}, {url.Values{"reason": {"x"}}, http.StatusBadRequest},
		{url.Values{"owner": {"net"}, "reason": {"x"}, "until": {"soon"}}, http.StatusBadRequest}, {url.Values{"owner": {"net"}, "reason": {"x"}, "until": {"2026-11-20"}}, http.StatusBadRequest},
		{url.Values{"owner": {"net"}, "reason": {"x"}, "attribute": {"0000000000000000"}}, http.StatusConflict},
	} {
		if status, _ := c.send("/drift/3/ignore", tt.form); status != tt.want {
			t.Errorf("%v: %d", tt.form, status)
		}
	}
	if status, _ := as(t, s, "vera").send("/drift/3/acknowledge", nil); status != http.StatusForbidden {
		t.Errorf("who may only look acknowledges: %d", status)
	}
}

// TestManyDriftItems: a page of thousands stays one that people can read, and says what it leaves out.
func TestManyDriftItems(t *testing.T) {
	s, store := preview.NewServer()
	for i := range 3000 {
		it := plumbline.DriftItem{
			ID: int64(1000 + i), Stack: plumbline.StackRef{Repository: "infra", Environment: "production", Name: fmt.Sprintf("team/%d", i)}, Opened: preview.Now.Add(-time.Hour), LastSeen: preview.Now, Seen: 1,
			Difference: plumbline.Difference{Address: "aws_instance.a", Type: "aws_instance", Kind: plumbline.DriftChanged},
			Cause:      plumbline.Cause{Key: fmt.Sprint("cause ", i%3), Text: fmt.Sprint("cause ", i%3)},
		}
		store.Drift = append(store.Drift, it)
	}
	c := as(t, s, plumbline.Local)
	page := c.do("GET", "/drift", "").Body.String()
	shown := strings.Count(page, `<details class="drift"`)
	if shown > 200 || shown < 100 || !strings.Contains(page, fmt.Sprintf("… %d more;", 3002-shown)) || !strings.Contains(page, "3002 open") {
		t.Errorf("%d items on a page of %d bytes", shown, len(page))
	}
	for _, want := range []string{"cause 0", "cause 1", "cause 2", "One by one"} {
		if !strings.Contains(page, "<h2>"+want) {
			t.Errorf("%s has no place on it", want)
		}
	}
}

// TestDriftReportPage: the page brings its style along, and its policy lets in nothing else.
func TestDriftReportPage(t *testing.T) {
	c, _ := whole(t)
	w := c.do("GET", "/drift/report", "")
	policy := w.Header().Get("Content-Security-Policy")
	if w.Code != http.StatusOK || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "style-src 'sha256-") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("%d, %s", w.Code, policy)
	}
	if w := c.do("GET", "/drift/report?since=never", ""); w.Code != http.StatusBadRequest {
		t.Errorf("%d", w.Code)
	}
}
