package web_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
	"github.com/plumbline/plumbline/internal/web/preview"
)

// as is a client of the gated server in somebody's name.
func as(t *testing.T, s *web.Server, name string, groups ...string) *client {
	t.Helper()
	return &client{t, s.As(web.Identity{Name: name, Groups: groups}), http.Header{}}
}

func TestGateAPI(t *testing.T) {
	for _, tt := range []struct{ name, method, path, body string }{
		{"run", "GET", "/api/v1/runs/9815", ""},
		{"run-forbidden", "GET", "/api/v1/runs/9814", ""},
		{"why", "GET", "/api/v1/runs/9816/why", ""},
		{"approve", "POST", "/api/v1/runs/9815/approve", `{"digest":"b41f9c"}`},
		{"approve-proposal", "POST", "/api/v1/runs/9808/approve", `{"digest":"b41f9c"}`},
		{"reject-proposal", "POST", "/api/v1/runs/9808/reject", `{"reason":"not like this"}`},
		{"break-glass", "POST", "/api/v1/runs/9815/break-glass", `{"digest":"B41F9C","reason":"the site\nis down"}`},
		{"freeze", "POST", "/api/v1/environments/infra/production/freeze", `{"until":"2026-11-23T08:00:00Z","reason":"the auditors are here"}`},
		{"calendar", "GET", "/api/v1/environments/infra/production/calendar", ""},
		{"calendar-always", "GET", "/api/v1/environments/infra/staging/calendar", ""},
		{"promotion", "GET", "/api/v1/environments/infra/staging/promotion", ""},
		{"promote", "POST", "/api/v1/environments/infra/staging/promote", ``},
		{"rollback", "POST", "/api/v1/environments/infra/production/rollback", `{"to":"3A9BE01"}`},
		{"rollback-good", "POST", "/api/v1/environments/infra/production/rollback", `{}`},
		{"environment", "GET", "/api/v1/environments/infra/staging", ""},
		{"audit", "GET", "/api/v1/audit?limit=2", ""},
		{"audit-narrow", "GET", "/api/v1/audit?who=ops-b&action=carry&run=9815&since=2026-11-20T13:00:00Z&order=oldest", ""},
		{"audit-verify", "GET", "/api/v1/audit/verify", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := preview.NewGatedServer()
			w := as(t, s, "root@example.com", "sre").do(tt.method, tt.path, tt.body)
			if w.Code/100 != 2 || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("status %d, %s", w.Code, w.Header().Get("Content-Type"))
			}
			golden(t, "gate-"+tt.name+".json", w.Body.Bytes())
		})
	}
}

// TestGateRefusals pins what people are told who may not, or who ask for what cannot be done, and what the audit log tells of it.
func TestGateRefusals(t *testing.T) {
	type person struct {
		name   string
		groups []string
	}
	nobody, viewer, operator := person{}, person{"vera", nil}, person{"ops-c", nil}
	author, approver, admin := person{"dev-a", []string{"sre"}}, person{"ops-b", nil}, person{"root@example.com", nil}
	var b bytes.Buffer
	for _, tt := range []struct {
		who                person
		method, path, body string
	}{
		{nobody, "POST", "/api/v1/runs/9815/break-glass", `{"digest":"b41f9c","reason":"x"}`},
		{viewer, "GET", "/api/v1/audit", ""},
		{approver, "GET", "/api/v1/audit/export", ""},
		{operator, "GET", "/api/v1/audit/verify", ""},
		{viewer, "POST", "/api/v1/runs/9815/approve", `{"digest":"b41f9c"}`},
		{operator, "POST", "/api/v1/runs/9815/approve", `{"digest":"b41f9c"}`},
		{author, "POST", "/api/v1/runs/9815/approve", `{"digest":"b41f9c"}`},
		{author, "POST", "/api/v1/runs/9808/approve", `{"digest":"b41f9c"}`},
		{admin, "POST", "/api/v1/runs/9815/approve", `{"digest":"77aa01"}`},
		{approver, "POST", "/api/v1/runs/9811/approve", `{"digest":"77aa01"}`},
		{approver, "POST", "/api/v1/runs/9815/break-glass", `{"digest":"b41f9c","reason":"the site is down"}`},
		{admin, "POST", "/api/v1/runs/9815/break-glass", `{"digest":"77aa01","reason":"the site is down"}`},
		{admin, "POST", "/api/v1/runs/9815/break-glass", `{"digest":"b4","reason":"the site is down"}`},
		{admin, "POST", "/api/v1/runs/9815/break-glass", `{"digest":"b41f9c","reason":"\n"}`},
		{admin, "POST", "/api/v1/runs/9815/break-glass", `{"reason":"the site is down"}`},
		{admin, "POST", "/api/v1/runs/9814/break-glass", `{"digest":"0c5e71","reason":"the site is down"}`},
		{admin, "POST", "/api/v1/runs/9808/break-glass", `{"digest":"b41f9c","reason":"the site is down"}`},
		{admin, "POST", "/api/v1/runs/9811/reject", `{"reason":"late"}`},
		{viewer, "POST", "/api/v1/environments/infra/production/freeze", `{"reason":"x"}`},
		{approver, "POST", "/api/v1/environments/infra/production/freeze", `{"reason":"x"}`},
		{operator, "POST", "/api/v1/environments/infra/production/freeze", `{}`},
		{operator, "POST", "/api/v1/environments/infra/production/freeze", `{"reason":"` + strings.Repeat("x", 2001) + `"}`},
		{operator, "POST", "/api/v1/environments/infra/production/freeze", `{"reason":"x","until":"2026-11-20T14:42:00Z"}`},
		{operator, "POST", "/api/v1/environments/infra/production/freeze", `{"reason":"x","until":"tomorrow"}`},
		{operator, "POST", "/api/v1/environments/infra/prod/freeze", `{"reason":"x"}`},
		{operator, "POST", "/api/v1/environments/infra/production/thaw", `{"reason":"x"}`},
		{operator, "POST", "/api/v1/environments/infra/production/thaw", `{"id":-1,"reason":"x"}`},
		{operator, "POST", "/api/v1/environments/infra/production/thaw", ``},
		{viewer, "POST", "/api/v1/environments/infra/staging/promote", ""},
		{operator, "POST", "/api/v1/environments/infra/production/promote", ""},
		{operator, "POST", "/api/v1/environments/infra/staging/promote", `{"to":"edge"}`},
		{operator, "GET", "/api/v1/environments/infra/production/promotion", ""},
		{viewer, "POST", "/api/v1/environments/infra/production/rollback", ""},
		{operator, "POST", "/api/v1/environments/infra/production/rollback", `{"to":"3a9be0"}`},
		{operator, "POST", "/api/v1/environments/infra/production/rollback", `{"to":"HEAD~1"}`},
		{operator, "POST", "/api/v1/environments/infra/production/rollback", `{"to":"--output=x"}`},
		{operator, "POST", "/api/v1/environments/infra/production/rollback", `{"to":"7777777"}`},
		{operator, "POST", "/api/v1/environments/infra/production/rollback", `{"to":"5d0c1aa4"}`},
		{admin, "GET", "/api/v1/audit?action=aprove", ""},
		{admin, "GET", "/api/v1/audit?action=approve,reject", ""},
		{admin, "GET", "/api/v1/audit?since=yesterday", ""},
		{admin, "GET", "/api/v1/audit?order=random", ""},
		{admin, "GET", "/api/v1/audit?format=csv", ""},
		{admin, "GET", "/api/v1/audit/export?format=xlsx", ""},
		{admin, "GET", "/api/v1/audit/verify?anchor=3", ""},
		{viewer, "GET", "/api/v1/runs/x/why", ""},
	} {
		s, store := preview.NewGatedServer()
		before, _ := store.AuditEntries(t.Context(), plumbline.AuditFilter{})
		run, _ := store.Run(t.Context(), 9815)
		w := as(t, s, tt.who.name, tt.who.groups...).do(tt.method, tt.path, tt.body)
		fmt.Fprintf(&b, "%s: %s %s %.40s\n%d ", tt.who.name, tt.method, tt.path, tt.body, w.Code)
		if err := json.Compact(&b, w.Body.Bytes()); err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.path, err)
		}
		b.WriteString("\n")
		if w.Code < 400 {
			t.Errorf("%s may %s %s %s", tt.who.name, tt.method, tt.path, tt.body)
		}
		after, _ := store.AuditEntries(t.Context(), plumbline.AuditFilter{After: int64(len(before))})
		for _, e := range after {
			text, err := e.Canonical()
			fmt.Fprintf(&b, "  %s\n", text)
			if err != nil || e.Action != plumbline.AuditRefused {
				t.Errorf("%s %s: the log tells of %s, %v", tt.method, tt.path, e.Action, err)
			}
		}
		if (w.Code == http.StatusForbidden) != (len(after) == 1) {
			t.Errorf("%s: %s %s was answered with %d; the audit log has %d entries more", tt.who.name, tt.method, tt.path, w.Code, len(after))
		}
		if now, _ := store.Run(t.Context(), 9815); now.Version != run.Version || len(store.Filed()) > 0 {
			t.Errorf("%s: %s %s was refused, and done all the same", tt.who.name, tt.method, tt.path)
		}
		if set, _ := store.Freezes(t.Context(), "", "", preview.Now); len(set) > 0 {
			t.Errorf("%s: %s %s has frozen %v", tt.who.name, tt.method, tt.path, set)
		}
		b.WriteString("\n")
	}
	golden(t, "gate-refusals.txt", b.Bytes())
}

// TestRefusalsNeedTheirLog: a refusal stays one when it cannot be noted, and when who asked has gone away it is noted all the same.
func TestRefusalsNeedTheirLog(t *testing.T) {
	s, store := preview.NewGatedServer()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), "POST", "http://localhost/api/v1/runs/9815/break-glass", strings.NewReader(`{"digest":"b41f9c","reason":"x"}`))
	s.As(web.Identity{Name: "vera"}).ServeHTTP(w, r)
	rows, _ := store.AuditEntries(t.Context(), plumbline.AuditFilter{Who: "vera"})
	if w.Code != http.StatusForbidden || len(rows) != 1 || rows[0].Run != 9815 || rows[0].Environment != "production" || rows[0].Door != plumbline.DoorAPI {
		t.Errorf("%d, %+v", w.Code, rows)
	}
	deaf := web.New(web.Config{Store: deafStore{store}, Logs: store, Plans: store, Repositories: store.Repositories(), Access: preview.Access})
	if w := as(t, deaf, "vera").do("POST", "/api/v1/runs/9815/break-glass", `{"digest":"b41f9c","reason":"x"}`); w.Code != http.StatusForbidden {
		t.Errorf("without a log: %d", w.Code)
	}
}

type deafStore struct{ *preview.Store }

func (deafStore) Audit(_ context.Context, _ plumbline.AuditEntry) error {
	return errors.New("the disk is full")
}

// TestWhoMayInOneEnvironment: a role in production alone lets its holder decide there, and nowhere else.
func TestWhoMayInOneEnvironment(t *testing.T) {
	s, store := preview.NewGatedServer()
	c := as(t, s, "ops-b")
	if w := c.do("POST", "/api/v1/runs/9815/approve", `{"digest":"b41f9c"}`); w.Code != http.StatusOK {
		t.Errorf("in production: %d %s", w.Code, w.Body)
	}
	staging, _ := store.Run(t.Context(), 9811)
	staging.State = plumbline.StateAwaiting
	store.Put(staging)
	if w := c.do("POST", "/api/v1/runs/9811/approve", `{"digest":"77aa01"}`); w.Code != http.StatusForbidden {
		t.Errorf("in staging: %d %s", w.Code, w.Body)
	}
}

// TestFrozenUntilThawed: a freeze closes what is approved, for everybody who looks; thawing opens it.
func TestFrozenUntilThawed(t *testing.T) {
	s, store := preview.NewGatedServer()
	c := as(t, s, "ops-c")
	closed := func() *web.ClosedJSON {
		t.Helper()
		var d web.RunDetailJSON
		if err := json.Unmarshal(c.do("GET", "/api/v1/runs/9815", "").Body.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		return d.Run.Closed
	}
	if got := closed(); got != nil {
		t.Fatalf("it is closed already: %+v", got)
	}
	if w := c.do("POST", "/api/v1/environments/infra/production/freeze", `{"reason":"the auditors are here"}`); w.Code != http.StatusOK {
		t.Fatalf("freeze: %d %s", w.Code, w.Body)
	}
	if got := closed(); got == nil || got.Why != "frozen by ops-c until it is lifted: the auditors are here" || !got.Until.IsZero() {
		t.Errorf("frozen: %+v", got)
	}
	if r, _ := store.Run(t.Context(), 9815); len(r.Policy.Calendar.Freezes) != 2 {
		t.Errorf("the run itself was changed: %+v", r.Policy.Calendar.Freezes)
	}
	for _, path := range []string{"/api/v1/runs?stack=live/net", "/api/v1/environments/infra/production", "/api/v1/runs/9815/why", "/api/v1/why?run=9816"} {
		if body := c.do("GET", path, "").Body.String(); !strings.Contains(body, "frozen by ops-c") {
			t.Errorf("%s does not tell of the freeze: %s", path, body)
		}
	}
	if body := c.do("GET", "/api/v1/environments/infra/staging/calendar", "").Body.String(); strings.Contains(body, "ops-c") {
		t.Errorf("another environment is frozen too: %s", body)
	}
	w := c.do("POST", "/api/v1/environments/infra/production/thaw", `{"reason":"they left"}`)
	var got web.ThawedJSON
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Lifted != 1 || got.Calendar.Closed != nil {
		t.Errorf("thaw: %d %s %v", w.Code, w.Body, err)
	}
	if got := closed(); got != nil {
		t.Errorf("thawed: %+v", got)
	}
}

// TestSinceApproval: what is compared is the newest yes to another plan, or it is said why nothing can be.
func TestSinceApproval(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*preview.Store, *plumbline.Run)
		check  func(*web.SinceJSON) bool
	}{
		{"another plan", func(*preview.Store, *plumbline.Run) {}, func(j *web.SinceJSON) bool {
			return len(j.More) == 1 && j.More[0] == "aws_route.nat" && len(j.Lines) > 0 && !j.Way && !j.Missing && strings.Contains(j.Text, "1 more change (aws_route.nat)")
		}},
		{"another way", func(_ *preview.Store, r *plumbline.Run) {
			r.Approvals[0].Digest, r.Approvals[0].Config = r.Plan.Digest, "another"
		}, func(j *web.SinceJSON) bool {
			return j.Way && len(j.Lines) == 0 && strings.Contains(j.Text, "provisioner")
		}},
		{"not kept", func(s *preview.Store, _ *plumbline.Run) { clear(s.Documents) }, func(j *web.SinceJSON) bool { return j.Missing && strings.Contains(j.Text, "not kept") }},
		{"this one not kept", func(s *preview.Store, r *plumbline.Run) { delete(s.PlanOf, r.ID) }, func(j *web.SinceJSON) bool { return j.Missing && strings.Contains(j.Text, "this run") }},
		{"the same", func(_ *preview.Store, r *plumbline.Run) { r.Approvals[0].Digest = r.Plan.Digest }, func(j *web.SinceJSON) bool { return j == nil }},
		{"nobody", func(_ *preview.Store, r *plumbline.Run) { r.Approvals = nil }, func(j *web.SinceJSON) bool { return j == nil }},
	} {
		s, store := preview.NewGatedServer()
		r, _ := store.Run(t.Context(), 9815)
		tt.change(store, &r)
		store.Put(r)
		var d web.RunDetailJSON
		w := as(t, s, "vera").do("GET", "/api/v1/runs/9815", "")
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || !tt.check(d.Since) {
			t.Errorf("%s: %v, %+v", tt.name, err, d.Since)
		}
	}
}

func TestNothingToPromote(t *testing.T) {
	s, store := preview.NewGatedServer()
	store.Heads["infra env/staging"] = store.Heads["infra env/production"]
	if w := as(t, s, "ops-c").do("POST", "/api/v1/environments/infra/staging/promote", ""); w.Code != http.StatusConflict || len(store.Filed()) != 0 {
		t.Errorf("%d %s, filed %v", w.Code, w.Body, store.Filed())
	}
}

func TestRollbackIsFiledWhole(t *testing.T) {
	s, store := preview.NewGatedServer()
	whole := strings.Repeat("c0ffee00", 5) // no deployment's: the watcher knows whether it is an earlier commit
	for _, to := range []string{"3a9be01", whole, ""} {
		if w := as(t, s, "ops-c").do("POST", "/api/v1/environments/infra/production/rollback", `{"to":"`+to+`"}`); w.Code != http.StatusAccepted {
			t.Errorf("%q: %d %s", to, w.Code, w.Body)
		}
	}
	want := []string{"3a9be015e6f7a8b9c0d1e2f3a4b5c6d7e8f90a1b", whole, ""}
	for i, q := range store.Filed() {
		if q.To != want[i] || q.Kind != plumbline.RequestRollback || q.By != "ops-c" {
			t.Errorf("filed %+v, want %q", q, want[i])
		}
	}
}

func TestAuditExport(t *testing.T) {
	s, store := preview.NewGatedServer()
	c := as(t, s, "root@example.com")
	w := c.do("GET", "/api/v1/audit/export", "")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/jsonl" || !strings.Contains(w.Header().Get("Content-Disposition"), "plumbline-audit.jsonl") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	golden(t, "gate-audit.jsonl", w.Body.Bytes())
	dec := json.NewDecoder(w.Body)
	report, err := plumbline.VerifyChain(func(yield func(plumbline.AuditRow, error) bool) {
		for dec.More() {
			var row plumbline.AuditRow
			if err := dec.Decode(&row); !yield(row, err) {
				return
			}
		}
	})
	if err != nil || report.Fault != nil || report.Checked != 3 {
		t.Errorf("an export does not verify: %+v %v", report, err)
	}

	w = c.do("GET", "/api/v1/audit/export?format=csv", "")
	golden(t, "gate-audit.csv", w.Body.Bytes())
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) != 4 || rows[3][14] != `'=cmd|' /C calc'!A0` {
		t.Errorf("%v %v", rows, err)
	}

	if w := c.do("GET", "/api/v1/audit/export?run=1", ""); w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("nothing is %d %q", w.Code, w.Body)
	}
	if w := c.do("GET", "/api/v1/audit/export?after=1&limit=1", ""); strings.Count(w.Body.String(), "\n") != 1 || !strings.Contains(w.Body.String(), `"seq":2`) {
		t.Errorf("one is %q", w.Body)
	}
	store.Rewrite(2, func(r *plumbline.AuditRow) { r.Who = "nobody" })
	if w := c.do("GET", "/api/v1/audit/verify", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"kind": "altered"`) || !strings.Contains(w.Body.String(), `"seq": 2`) {
		t.Errorf("a rewritten log: %d %s", w.Code, w.Body)
	}
	if w := c.do("GET", "/api/v1/audit/verify?anchor=9:"+strings.Repeat("0", 64), ""); !strings.Contains(w.Body.String(), `"fault"`) {
		t.Errorf("an anchor of another log: %s", w.Body)
	}
}

// TestBrokenExport: an export that breaks off in the middle is not taken for whole; one that never began is an error.
func TestBrokenExport(t *testing.T) {
	_, store := preview.NewGatedServer()
	for _, tt := range []struct {
		rows int
		big  string
	}{{0, ""}, {3, strings.Repeat("x", 100<<10)}} {
		s := web.New(web.Config{Store: breaking{store, tt.rows, tt.big}, Access: preview.Access})
		srv := httptest.NewServer(s.As(web.Identity{Name: "root@example.com"}))
		resp, err := srv.Client().Get(srv.URL + "/api/v1/audit/export")
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(resp.Body)
		_ = resp.Body.Close()
		srv.Close()
		if whole := resp.StatusCode == http.StatusOK && err == nil; whole {
			t.Errorf("after %d entries: %s, %d bytes, and no error", tt.rows, resp.Status, b.Len())
		}
	}
}

type breaking struct {
	*preview.Store
	rows int
	big  string
}

func (b breaking) AuditEach(_ context.Context, _ plumbline.AuditFilter, do func(plumbline.AuditRow) error) error {
	for range b.rows {
		if err := do(plumbline.AuditRow{AuditEntry: plumbline.AuditEntry{Detail: b.big}}); err != nil {
			return err
		}
	}
	return errors.New("the database went away")
}

// TestManyAtOnce: people freeze, thaw, approve, read at once.
func TestManyAtOnce(t *testing.T) {
	s, store := preview.NewGatedServer()
	h := s.As(web.Identity{Name: "root@example.com", Groups: []string{"sre"}})
	var all sync.WaitGroup
	for range 8 {
		for _, line := range [][3]string{
			{"POST", "/api/v1/environments/infra/production/freeze", `{"reason":"x"}`},
			{"POST", "/api/v1/environments/infra/production/thaw", `{"reason":"x"}`},
			{"POST", "/api/v1/runs/9815/approve", `{"digest":"b41f9c"}`},
			{"POST", "/api/v1/runs/9815/break-glass", `{"digest":"b41f9c","reason":"x"}`},
			{"POST", "/api/v1/environments/infra/staging/promote", ``},
			{"GET", "/api/v1/runs/9815", ""},
			{"GET", "/api/v1/runs/9816/why", ""},
			{"GET", "/api/v1/environments/infra/staging", ""},
			{"GET", "/api/v1/audit/export?format=csv", ""},
		} {
			all.Go(func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(line[0], "http://localhost"+line[1], strings.NewReader(line[2])))
				if w.Code >= 500 {
					t.Errorf("%s: %d %s", line[1], w.Code, w.Body)
				}
			})
		}
	}
	all.Wait()
	if r, _ := store.Run(t.Context(), 9815); r.State != plumbline.StateApproved {
		t.Errorf("the run is %s", r.State)
	}
	report, err := store.VerifyAudit(t.Context())
	if err != nil || report.Fault != nil {
		t.Errorf("%+v %v", report, err)
	}
}
