package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
	"github.com/plumbline/plumbline/internal/web/preview"
)

// keeper is a server with API tokens, whose clock is now.
type keeper struct {
	t      *testing.T
	server *web.Server
	store  *preview.Store
}

func newKeeper(t *testing.T, now *time.Time, access plumbline.Access) *keeper {
	t.Helper()
	store := preview.NewStore()
	return &keeper{t, web.New(web.Config{
		Store: store, Logs: store, Plans: store, Repositories: store.Repositories(), Token: plumbline.NewSecret(preview.Token), Now: func() time.Time { return *now },
		Tokens: store, Access: access,
	}), store}
}

// as is a browser in which somebody is signed in.
func (k *keeper) as(name string, groups ...string) *client {
	cookie, form := k.server.Enter(name, groups...)
	return &client{k.t, k.server.Handler(), http.Header{"Cookie": {cookie}, web.FormHeader: {form}}}
}

// with is a program with a token.
func (k *keeper) with(token string) *client {
	return &client{k.t, k.server.Handler(), http.Header{"Authorization": {"Bearer " + token}}}
}

// make makes a token, and returns its text.
func (c *client) make(wish string) string {
	c.t.Helper()
	w := c.do("POST", "/api/v1/tokens", wish)
	var made web.TokenMadeJSON
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated {
		c.t.Fatalf("make a token of %s: %d %s", wish, w.Code, w.Body)
	}
	return made.Secret
}

func roles(name plumbline.RoleName, environments ...string) plumbline.Access {
	return plumbline.Access{
		Roles: []plumbline.Role{
			{Name: plumbline.RoleViewer, Users: []string{"*"}},
			{Name: name, Users: []string{"alice@example.com"}, Environments: environments},
			{Name: plumbline.RoleAdmin, Users: []string{"root@example.com"}},
		},
		People: []plumbline.Known{{Name: "alice@example.com", Also: []string{"corp/alice"}}},
	}
}

// TestTokenLife: from being made to being revoked.
func TestTokenLife(t *testing.T) {
	now := preview.Now
	k := newKeeper(t, &now, roles(plumbline.RoleApprover))
	text := k.as("Alice@example.com", "sre").make(`{"name":" ci ","role":"approver","environments":["production","infra/staging","production"]}`)
	if !regexp.MustCompile(`^plb_[A-Za-z0-9_-]{43}$`).MatchString(text) {
		t.Errorf("the token is %q", text)
	}
	kept, err := k.store.Tokens(t.Context(), "")
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept: %v, %v", kept, err)
	}
	want := plumbline.Token{
		ID: 1, Name: "ci", By: "alice@example.com", Groups: []string{"sre"}, Limit: plumbline.Limit{Role: plumbline.RoleApprover, Environments: []string{"infra/staging", "production"}},
		Hash: web.TokenHash(text), Created: now, Expires: now.Add(90 * 24 * time.Hour),
	}
	if got := kept[0]; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || strings.Contains(fmt.Sprintf("%+v", got), text[4:]) {
		t.Errorf("kept is\n%+v, want\n%+v", got, want)
	}

	p := k.with(text)
	if w := p.do("GET", "/api/v1/runs/9815", ""); w.Code != http.StatusOK {
		t.Errorf("a run where it is good: %d %s", w.Code, w.Body)
	}
	if w := p.do("GET", "/api/v1/runs", ""); w.Code != http.StatusForbidden {
		t.Errorf("all runs: %d", w.Code)
	}
	if w := p.do("POST", "/api/v1/runs/9815/approve", `{"digest":"b41f9c"}`); w.Code != http.StatusOK {
		t.Errorf("approve: %d %s", w.Code, w.Body)
	}
	r, err := k.store.Run(t.Context(), 9815)
	if err != nil {
		t.Fatal(err)
	}
	if a := r.Approvals[len(r.Approvals)-1]; a.By != "alice@example.com" || a.Door != plumbline.DoorAPI || !slices.Equal(a.Groups, []string{"sre"}) {
		t.Errorf("it approves as %+v", a)
	}
	kept, _ = k.store.Tokens(t.Context(), "") // cannot fail
	if !kept[0].LastUsed.Equal(now) {
		t.Errorf("it was last used at %s", kept[0].LastUsed)
	}

	now = kept[0].Expires
	w := p.do("GET", "/api/v1/runs/9815", "")
	if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "was good until 2027-02-18T14:42:00Z") {
		t.Errorf("after its end: %d %s", w.Code, w.Body)
	}
	now = preview.Now
	if w := k.as("corp/alice").do("POST", "/api/v1/tokens/1/revoke", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"state": "revoked"`) {
		t.Errorf("revoke: %d %s", w.Code, w.Body)
	}
	if w := k.as("alice@example.com").do("POST", "/api/v1/tokens/1/revoke", ""); w.Code != http.StatusOK {
		t.Errorf("revoke twice: %d", w.Code)
	}
	w = p.do("GET", "/api/v1/runs/9815", "")
	if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), `"kind": "expired"`) || !strings.Contains(w.Body.String(), "was revoked at") {
		t.Errorf("after being revoked: %d %s", w.Code, w.Body)
	}
	var lines []string
	for _, e := range told(t, k.store) {
		lines = append(lines, fmt.Sprintf("%s %s %s %s: %s", e.Who, e.Door, e.Action, e.Outcome, e.Detail))
	}
	golden(t, "token-audit.txt", []byte(strings.Join(lines, "\n")+"\n"))
	if strings.Contains(strings.Join(lines, "\n"), text[4:]) {
		t.Error("the audit log has the token")
	}
}

// TestTokenIsNoMoreThanItsOwner: who loses a right loses it for their tokens, at once.
func TestTokenIsNoMoreThanItsOwner(t *testing.T) {
	now := preview.Now
	k := newKeeper(t, &now, roles(plumbline.RoleAdmin))
	text := k.as("alice@example.com").make(`{"name":"ci","role":"admin"}`)
	if w := k.with(text).do("GET", "/api/v1/debug", ""); w.Code != http.StatusOK {
		t.Fatalf("as an admin: %d", w.Code)
	}
	// The daemon again, with another configuration.
	for _, tt := range []struct {
		access plumbline.Access
		path   string
		want   int
	}{
		{roles(plumbline.RoleViewer), "/api/v1/debug", http.StatusForbidden},
		{roles(plumbline.RoleViewer), "/api/v1/runs", http.StatusOK},
		{plumbline.Access{}, "/api/v1/runs", http.StatusForbidden},
		{plumbline.Access{Roles: []plumbline.Role{{Name: plumbline.RoleAdmin, Groups: []string{"sre"}}}}, "/api/v1/runs", http.StatusForbidden},
		{plumbline.Access{Roles: []plumbline.Role{{Name: plumbline.RoleAdmin, Users: []string{"corp/alice"}}}, People: roles("").People}, "/api/v1/debug", http.StatusOK},
	} {
		s := web.New(web.Config{Store: k.store, Logs: k.store, Plans: k.store, Repositories: k.store.Repositories(), Tokens: k.store, Access: tt.access, Now: func() time.Time { return now }})
		c := &client{t, s.Handler(), http.Header{"Authorization": {"Bearer " + text}}}
		if w := c.do("GET", tt.path, ""); w.Code != tt.want {
			t.Errorf("%+v: %s is %d, want %d", tt.access.Roles, tt.path, w.Code, tt.want)
		}
	}
}

// TestWhoseTokens: everybody sees and ends their own; with the permission, those of others.
func TestWhoseTokens(t *testing.T) {
	now := preview.Now
	k := newKeeper(t, &now, roles(plumbline.RoleOperator))
	alice, bob, root := k.as("alice@example.com"), k.as("bob@example.com"), k.as("root@example.com")
	first, second := alice.make(`{"name":"one","role":"viewer"}`), alice.make(`{"name":"two","role":"operator"}`)
	admin := root.make(`{"name":"three","role":"admin"}`)
	seen := func(c *client, path string) string {
		w := c.do("GET", path, "")
		if w.Code != http.StatusOK {
			return fmt.Sprint(w.Code)
		}
		var list web.TokensJSON
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, tok := range list.Tokens {
			ids = append(ids, fmt.Sprint(tok.ID))
		}
		return strings.Join(ids, " ")
	}
	for _, tt := range []struct {
		name string
		c    *client
		own  string
		all  string
	}{
		{"alice", alice, "2 1", "403"}, {"alice by another name", k.as("Corp/Alice"), "2 1", "403"}, {"her token", k.with(first), "2 1", "403"},
		{"bob", bob, "", "403"}, {"an admin", root, "3", "3 2 1"}, {"an admin's token", k.with(admin), "3", "3 2 1"}, {"the machine's token", k.with(preview.Token), "", "3 2 1"},
	} {
		if got := seen(tt.c, "/api/v1/tokens"); got != tt.own {
			t.Errorf("%s: own are %q, want %q", tt.name, got, tt.own)
		}
		if got := seen(tt.c, "/api/v1/tokens?all=true"); got != tt.all {
			t.Errorf("%s: all are %q, want %q", tt.name, got, tt.all)
		}
	}
	for _, tt := range []struct {
		name string
		c    *client
		id   string
		want int
	}{
		{"bob, another's", bob, "1", 403}, {"bob, none", bob, "9", 403}, {"an admin, none", root, "9", 404}, {"an admin, no number", root, "x", 400},
		{"a token, its sister", k.with(first), "2", 403}, {"a token, itself", k.with(first), "1", 200}, {"a token that is gone", k.with(first), "1", 401},
		{"an admin's token, another's", k.with(admin), "2", 200}, {"that one", k.with(second), "2", 401}, {"the machine's token", k.with(preview.Token), "3", 200},
	} {
		if w := tt.c.do("POST", "/api/v1/tokens/"+tt.id+"/revoke", ""); w.Code != tt.want {
			t.Errorf("%s: %d, want %d: %s", tt.name, w.Code, tt.want, w.Body)
		}
	}
	kept, _ := k.store.Tokens(t.Context(), "") // cannot fail
	if kept[0].Revoker != plumbline.Local || kept[1].Revoker != "root@example.com" || kept[2].Revoker != "alice@example.com" {
		t.Errorf("revoked by %q, %q, %q", kept[0].Revoker, kept[1].Revoker, kept[2].Revoker)
	}
}

// TestTokenRefusals is what people are told when they ask for a token that they cannot have.
func TestTokenRefusals(t *testing.T) {
	now := preview.Now
	k := newKeeper(t, &now, roles(plumbline.RoleApprover, "staging"))
	alice := k.as("alice@example.com")
	token := alice.make(`{"name":"one","role":"approver","environments":["staging"]}`)
	var b bytes.Buffer
	tell := func(c *client, body string) {
		w := c.do("POST", "/api/v1/tokens", body)
		fmt.Fprintf(&b, "%.120s\n%d ", body, w.Code)
		if err := json.Compact(&b, w.Body.Bytes()); err != nil {
			t.Error(err)
		}
		b.WriteString("\n\n")
		if w.Code < 400 {
			t.Errorf("%s: %d", body, w.Code)
		}
	}
	for _, body := range []string{
		`{}`, `{"name":"x"}`, `{"name":"x","role":"root"}`, `{"name":"x","role":"approver"}`, `{"name":"x","role":"approver","environments":["production"]}`,
		`{"name":"x","role":"approver","environments":["staging","infra/production"]}`, `{"name":"x","role":"operator","environments":["staging"]}`, `{"name":"x","role":"admin"}`,
		`{"name":"x","role":"viewer","environments":["stagin"]}`, `{"name":"x","role":"viewer","days":366}`, `{"name":"x","role":"viewer","days":-1}`,
		`{"name":"x\ny","role":"viewer"}`, `{"name":"` + strings.Repeat("x", 101) + `","role":"viewer"}`, `{"name":"x","role":"viewer","by":"root@example.com"}`,
	} {
		tell(alice, body)
	}
	b.WriteString("with a token: ")
	tell(k.with(token), `{"name":"x","role":"viewer","environments":["staging"]}`)
	b.WriteString("with a token that may do anything: ")
	tell(k.with(k.with(preview.Token).make(`{"name":"all","role":"admin"}`)), `{"name":"x","role":"viewer"}`)
	for range 49 {
		alice.make(`{"name":"more","role":"viewer"}`)
	}
	b.WriteString("with 50: ")
	tell(alice, `{"name":"x","role":"viewer"}`)
	if w := alice.do("POST", "/api/v1/tokens/1/revoke", ""); w.Code != http.StatusOK {
		t.Errorf("revoke: %d", w.Code)
	}
	alice.make(`{"name":"x","role":"viewer","days":365}`)
	golden(t, "token-refusals.txt", b.Bytes())
}

// TestTokenPage: a person makes a token, sees it once, revokes it, without JavaScript.
func TestTokenPage(t *testing.T) {
	now := preview.Now
	k := newKeeper(t, &now, roles(plumbline.RoleOperator, "infra/production", "sandbox"))
	c := k.as("alice@example.com")
	c.header.Set("Content-Type", "application/x-www-form-urlencoded")
	form := c.header.Get(web.FormHeader)
	c.header.Del(web.FormHeader)
	if w := c.do("POST", "/tokens", "name=ci&role=viewer"); w.Code != http.StatusForbidden {
		t.Errorf("without the form's token: %d", w.Code)
	}
	w := c.do("POST", "/tokens", web.FormField+"="+form+"&name=%3Cb%3Eci&role=operator&environment=infra%2Fproduction&days=7")
	text := regexp.MustCompile(`plb_[A-Za-z0-9_-]{43}`).FindString(w.Body.String())
	if w.Code != http.StatusOK || text == "" || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("make: %d, %s", w.Code, w.Body)
	}
	page := strings.ReplaceAll(strings.ReplaceAll(w.Body.String(), text, "plb_TOKEN"), form, "FORM")
	golden(t, "token-made.html", version.ReplaceAll([]byte(page), nil))
	if w := c.do("GET", "/tokens", ""); w.Code != http.StatusOK || strings.Contains(w.Body.String(), text) {
		t.Errorf("the page afterwards: %d", w.Code)
	}
	if w := k.with(text).do("GET", "/api/v1/environments/infra/production", ""); w.Code != http.StatusOK {
		t.Errorf("its use: %d", w.Code)
	}
	if w := c.do("POST", "/tokens/1/revoke", web.FormField+"="+form); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/tokens" {
		t.Errorf("revoke: %d", w.Code)
	}
	if w := k.with(text).do("GET", "/api/v1/environments/infra/production", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("afterwards: %d", w.Code)
	}
}

// TestTokensThatAreNone: what looks like a token, and a store that does not answer.
func TestTokensThatAreNone(t *testing.T) {
	now := preview.Now
	k := newKeeper(t, &now, roles(plumbline.RoleOperator))
	text := k.as("alice@example.com").make(`{"name":"ci","role":"viewer"}`)
	for _, given := range []string{"plb_", text[:len(text)-1], text + "A", text[4:], strings.ToUpper(text), web.TokenHash(text), "plb_" + web.TokenHash(text)} {
		if w := k.with(given).do("GET", "/api/v1/runs", ""); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", given, w.Code)
		}
	}
	if w := k.with(text).do("GET", "/api/v1/runs", "", "Authorization", "Basic "+text); w.Code != http.StatusUnauthorized {
		t.Errorf("by another scheme: %d", w.Code)
	}
	if w := k.with(text).do("POST", "/sign-in", "token="+text, "Content-Type", "application/x-www-form-urlencoded"); w.Code != http.StatusUnauthorized {
		t.Errorf("signed in with it: %d", w.Code)
	}
	s := web.New(web.Config{Store: k.store, Tokens: deafTokens{k.store}})
	c := &client{t, s.Handler(), http.Header{"Authorization": {"Bearer " + text}}}
	if w := c.do("GET", "/api/v1/runs", ""); w.Code != http.StatusInternalServerError {
		t.Errorf("a store that does not answer: %d", w.Code)
	}
	none := web.New(web.Config{Store: k.store, Token: plumbline.NewSecret(preview.Token)})
	c = &client{t, none.Handler(), http.Header{"Authorization": {"Bearer " + text}}}
	if w := c.do("GET", "/api/v1/runs", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("a daemon without tokens: %d", w.Code)
	}
	c = &client{t, none.Handler(), http.Header{"Authorization": {"Bearer " + preview.Token}}}
	for _, path := range []string{"/tokens", "/api/v1/tokens"} {
		if w := c.do("GET", path, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s of a daemon without tokens: %d", path, w.Code)
		}
	}
}

type deafTokens struct{ *preview.Store }

func (deafTokens) TokenByHash(context.Context, string) (plumbline.Token, error) {
	return plumbline.Token{}, errors.New("database is locked")
}
