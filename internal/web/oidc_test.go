package web_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
	"github.com/plumbline/plumbline/internal/web/preview"
)

const (
	ssoIssuer = "https://sso.example.com"
	ssoClient = "plumbline"
	ssoSecret = "a-client-secret-of-some-length-32"
)

var ssoKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// sso is a provider that can be made to lie. It answers in the process, under a name of its own.
type sso struct {
	t      *testing.T
	now    *time.Time
	down   bool
	issuer string                     // what it calls itself
	claims map[string]any             // changes to those of an ID token; nil takes one away
	info   map[string]any             // what userinfo says; nil: there is no such endpoint
	sign   func(jwt.MapClaims) string // nil: as it should
	answer func(map[string]any)       // changes the token endpoint's answer
	refuse string                     // error of the token endpoint
	codes  map[string]url.Values      // given out, by code: the request that it is for
	asked  int                        // requests
}

// RoundTrip answers instead of the network.
func (p *sso) RoundTrip(r *http.Request) (*http.Response, error) {
	p.asked++
	if p.down {
		return nil, errors.New("connection refused")
	}
	w := httptest.NewRecorder()
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		d := map[string]any{
			"issuer": p.issuer, "authorization_endpoint": ssoIssuer + "/authorize", "token_endpoint": ssoIssuer + "/token", "jwks_uri": ssoIssuer + "/keys",
			// It offers what must not be taken.
			"id_token_signing_alg_values_supported": []string{"none", "HS256", "RS256"},
		}
		if p.info != nil {
			d["userinfo_endpoint"] = ssoIssuer + "/userinfo"
		}
		p.json(w, http.StatusOK, d)
	case "/keys":
		pub := ssoKey().PublicKey
		p.json(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "kid": "1", "use": "sig", "n": base64.RawURLEncoding.EncodeToString(pub.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(pub.E)).Bytes()),
		}}})
	case "/userinfo":
		if r.Header.Get("Authorization") != "Bearer access" {
			p.json(w, http.StatusUnauthorized, nil)
			break
		}
		p.json(w, http.StatusOK, p.info)
	case "/token":
		p.token(w, r)
	default:
		p.json(w, http.StatusNotFound, nil)
	}
	return w.Result(), nil
}

func (p *sso) json(w *httptest.ResponseRecorder, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.t.Error(err)
	}
}

func (p *sso) token(w *httptest.ResponseRecorder, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Error(err)
	}
	form, err := url.ParseQuery(string(b))
	if err != nil {
		p.t.Error(err)
	}
	asked, known := p.codes[form.Get("code")]
	delete(p.codes, form.Get("code"))
	challenge := sha256.Sum256([]byte(form.Get("code_verifier")))
	switch {
	case p.refuse != "":
		p.json(w, http.StatusBadRequest, map[string]any{"error": p.refuse, "error_description": "as the\ntest wants it"})
		return
	case id != ssoClient || secret != ssoSecret:
		p.json(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	case !known, form.Get("redirect_uri") != asked.Get("redirect_uri"), form.Get("grant_type") != "authorization_code",
		asked.Get("code_challenge_method") != "S256", base64.RawURLEncoding.EncodeToString(challenge[:]) != asked.Get("code_challenge"):
		p.json(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	c := jwt.MapClaims{
		"iss": ssoIssuer, "aud": ssoClient, "sub": "u1", "nonce": asked.Get("nonce"), "iat": p.now.Unix(), "exp": p.now.Add(5 * time.Minute).Unix(),
		"email": "alice@example.com", "email_verified": true, "groups": []string{"sre", "dev"},
	}
	for k, v := range p.claims {
		if v == nil {
			delete(c, k)
			continue
		}
		c[k] = v
	}
	sign := p.sign
	if sign == nil {
		sign = func(c jwt.MapClaims) string { return signed(p.t, jwt.SigningMethodRS256, ssoKey(), c) }
	}
	out := map[string]any{"access_token": "access", "token_type": "Bearer", "id_token": sign(c)}
	if p.answer != nil {
		p.answer(out)
	}
	p.json(w, http.StatusOK, out)
}

func signed(t *testing.T, method jwt.SigningMethod, key any, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	token.Header["kid"] = "1"
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// authorize is what the provider does with a person who has said who they are: it hands out a code, and sends them back.
func (p *sso) authorize(location string) url.Values {
	p.t.Helper()
	u, err := url.Parse(location)
	if err != nil || !strings.HasPrefix(location, ssoIssuer+"/authorize?") {
		p.t.Fatalf("the sign-in leads to %q", location)
	}
	q := u.Query()
	if q.Get("response_type") != "code" || q.Get("client_id") != ssoClient || q.Get("redirect_uri") != ownURL+"/auth/callback" || q.Get("scope") != "openid profile email" ||
		len(q.Get("state")) < 40 || len(q.Get("nonce")) < 40 || len(q.Get("code_challenge")) < 40 || q.Get("code_challenge_method") != "S256" {
		p.t.Errorf("the sign-in asks for %v", q)
	}
	code := fmt.Sprintf("code%d", len(p.codes)+p.asked*1000)
	p.codes[code] = q
	return url.Values{"code": {code}, "state": {q.Get("state")}}
}

// visitor is a browser with cookies.
type visitor struct {
	t   *testing.T
	h   http.Handler
	jar map[string]string
}

func (v *visitor) get(path string) *httptest.ResponseRecorder { return v.do("GET", path, "") }

func (v *visitor) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	v.t.Helper()
	r := httptest.NewRequest(method, ownURL+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	for name, value := range v.jar {
		if name != web.JourneyCookie || strings.HasPrefix(path, "/auth/") {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
	}
	w := httptest.NewRecorder()
	v.h.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if !c.HttpOnly || !c.Secure {
			v.t.Errorf("%s sets a cookie that others can read: %v", path, c)
		}
		switch {
		case c.MaxAge < 0:
			delete(v.jar, c.Name)
		case c.Name == web.JourneyCookie && (c.SameSite != http.SameSiteLaxMode || c.Path != "/auth/" || c.MaxAge != int(web.JourneyLife.Seconds())),
			c.Name == web.CookieName && (c.SameSite != http.SameSiteStrictMode || c.MaxAge != int(web.PersonLife.Seconds())):
			v.t.Errorf("%s sets %v", path, c)
			fallthrough
		default:
			v.jar[c.Name] = c.Value
		}
	}
	return w
}

// journey is a server that people sign in to by a provider.
type journey struct {
	*sso
	server *web.Server
	store  *preview.Store
}

func newJourney(t *testing.T, now *time.Time, more func(*web.Config)) *journey {
	t.Helper()
	p := &sso{t: t, now: now, issuer: ssoIssuer, codes: map[string]url.Values{}}
	store := preview.NewStore()
	c := web.Config{
		Store: store, Logs: store, Plans: store, Repositories: store.Repositories(), Token: plumbline.NewSecret(preview.Token), PublicURL: ownURL,
		Now: func() time.Time { return *now }, Tokens: store,
		Access: plumbline.Access{Roles: []plumbline.Role{{Name: plumbline.RoleViewer, Groups: []string{"sre"}}}},
		OIDC:   &web.OIDC{Issuer: ssoIssuer, ClientID: ssoClient, ClientSecret: plumbline.NewSecret(ssoSecret), HTTP: &http.Client{Transport: p}},
	}
	if more != nil {
		more(&c)
	}
	return &journey{sso: p, server: web.New(c), store: store}
}

func (j *journey) visitor() *visitor { return &visitor{j.t, j.server.Handler(), map[string]string{}} }

// begin brings a browser to the provider, and says what it is sent back with.
func (j *journey) begin(v *visitor, next string) url.Values {
	j.t.Helper()
	w := v.get("/auth/start?" + url.Values{"next": {next}}.Encode())
	if w.Code != http.StatusSeeOther {
		j.t.Fatalf("start: %d %s", w.Code, w.Body)
	}
	return j.authorize(w.Header().Get("Location"))
}

func TestSignInOIDC(t *testing.T) {
	now := preview.Now
	j := newJourney(t, &now, nil)
	v := j.visitor()
	if link := j.server.SignInLink(ownURL + "/"); link != ownURL+"/sign-in" {
		t.Errorf("there is a link beside the sign-in system: %s", link)
	}

	w := v.do("GET", "/runs?stack=live%2Fnet", "", "Sec-Fetch-Site", "none")
	if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), `href="/sign-in?next=%2Fruns%3Fstack%3Dlive%252Fnet"`) {
		t.Errorf("a stranger is not led to sign in and back: %d %s", w.Code, w.Body)
	}
	w = v.get("/sign-in?next=%2Fruns%3Fstack%3Dlive%252Fnet")
	golden(t, "sign-in-oidc.html", version.ReplaceAll(w.Body.Bytes(), nil))

	back := j.begin(v, "/runs?stack=live%2Fnet")
	if w := v.do("HEAD", "/auth/callback?"+back.Encode(), ""); w.Code != http.StatusOK || v.jar[web.JourneyCookie] == "" {
		t.Errorf("HEAD: %d, and the journey is over", w.Code)
	}
	w = v.get("/auth/callback?" + back.Encode())
	if w.Code != http.StatusOK || v.jar[web.CookieName] == "" || v.jar[web.JourneyCookie] != "" {
		t.Fatalf("back: %d, cookies %v, %s", w.Code, v.jar, w.Body)
	}
	golden(t, "welcome.html", version.ReplaceAll(w.Body.Bytes(), nil))
	if w := v.get("/"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), ">alice@example.com</a>") {
		t.Errorf("the overview: %d", w.Code)
	}
	log := told(t, j.store)
	if len(log) != 1 || log[0].Action != plumbline.AuditSignIn || log[0].Who != "alice@example.com" || log[0].Door != plumbline.DoorWeb ||
		log[0].Detail != "as alice@example.com of sre, dev" || !log[0].At.Equal(now) {
		t.Errorf("the audit log has %+v", log)
	}

	// A second sign-in ends the first session of the browser.
	old := v.jar[web.CookieName]
	v.get("/auth/callback?" + j.begin(v, "").Encode())
	fresh := v.jar[web.CookieName]
	v.jar[web.CookieName] = old
	if w := v.get("/"); w.Code != http.StatusUnauthorized || old == fresh {
		t.Errorf("the session before: %d", w.Code)
	}
	v.jar[web.CookieName] = fresh
	form := regexp.MustCompile(`name="` + web.FormField + `" value="([^"]+)"`).FindStringSubmatch(v.get("/tokens").Body.String())
	if w := v.do("POST", "/sign-out", ""); w.Code != http.StatusForbidden {
		t.Errorf("signed out without the form's token: %d", w.Code)
	}
	if w := v.do("POST", "/sign-out", web.FormField+"="+form[1]); w.Code != http.StatusSeeOther || v.jar[web.CookieName] != "" {
		t.Errorf("sign out: %d", w.Code)
	}
	v.jar[web.CookieName] = fresh
	if w := v.get("/"); w.Code != http.StatusUnauthorized {
		t.Errorf("after signing out: %d", w.Code)
	}
}

// TestSessionEnds: what is looked at by itself keeps no session open, and nothing keeps one open for ever.
func TestSessionEnds(t *testing.T) {
	now := preview.Now
	j := newJourney(t, &now, nil)
	in := func() *visitor {
		v := j.visitor()
		v.get("/auth/callback?" + j.begin(v, "").Encode())
		return v
	}
	idle, live, used := in(), in(), in()
	for start := now; now.Before(start.Add(web.PersonLife)); now = now.Add(time.Hour) {
		if w := used.get("/drift"); w.Code != http.StatusOK {
			t.Fatalf("after %s of use: %d", now.Sub(start), w.Code)
		}
		want := http.StatusOK
		if now.Sub(start) >= web.PersonIdle {
			want = http.StatusUnauthorized
		}
		if w := live.get("/runs/9811/events"); w.Code != want {
			t.Errorf("events after %s: %d, want %d", now.Sub(start), w.Code, want)
		}
		if now.Sub(start) == web.PersonIdle {
			if w := idle.get("/drift"); w.Code != http.StatusUnauthorized {
				t.Errorf("after %s without use: %d", now.Sub(start), w.Code)
			}
		}
	}
	if w := used.get("/drift"); w.Code != http.StatusUnauthorized {
		t.Errorf("after %s: %d", web.PersonLife, w.Code)
	}
}

// TestSignInElsewhere: who has nothing to do with the sign-in system where there is one.
func TestSignInElsewhere(t *testing.T) {
	now := preview.Now
	j := newJourney(t, &now, nil)
	c := &client{t, j.server.Handler(), http.Header{}}
	if w := c.do("GET", "/runs", "", "Authorization", "Bearer "+preview.Token); w.Code != http.StatusOK {
		t.Errorf("the machine's token: %d", w.Code)
	}
	v := j.visitor()
	w := v.do("POST", "/sign-in", "token=wrong")
	if w.Code != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d", w.Code)
	}
	h := &client{t, j.server.Handler(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
	if w := h.do("POST", "/sign-in", "token="+preview.Token); w.Code != http.StatusSeeOther {
		t.Errorf("the machine's token in the form: %d", w.Code)
	}
	if log := told(t, j.store); len(log) != 2 || log[0].Action != plumbline.AuditRefused || log[1].Who != plumbline.Local || log[1].Action != plumbline.AuditSignIn {
		t.Errorf("the audit log has %+v", log)
	}
	// Without one, its addresses lead nowhere.
	plain, _ := preview.NewServer()
	none := &client{t, plain.Handler(), http.Header{}}
	for _, path := range []string{"/auth/start", "/auth/callback?code=x&state=y"} {
		if w := none.do("GET", path, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s without a sign-in system: %d", path, w.Code)
		}
	}
}

// TestProviderDown: a sign-in system that is not there keeps nobody else out, is not asked all the time, and is found when it comes back.
func TestProviderDown(t *testing.T) {
	now := preview.Now
	j := newJourney(t, &now, nil)
	j.down = true
	v := j.visitor()
	if w := v.do("GET", "/runs", "", "Authorization", "Bearer "+preview.Token); w.Code != http.StatusOK || j.asked != 0 {
		t.Errorf("the machine's token: %d, after %d requests to the provider", w.Code, j.asked)
	}
	w := v.get("/sign-in")
	if w.Code != http.StatusOK {
		t.Errorf("the page: %d", w.Code)
	}
	golden(t, "sign-in-down.html", version.ReplaceAll(w.Body.Bytes(), nil))
	if w := v.get("/auth/start"); w.Code != http.StatusServiceUnavailable || j.asked != 1 {
		t.Errorf("start: %d after %d requests", w.Code, j.asked)
	}
	j.down = false
	if w := v.get("/auth/start"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("at once: %d", w.Code)
	}
	now = now.Add(web.ProviderRest)
	back := j.begin(v, "")
	j.down = true
	if w := v.get("/auth/callback?" + back.Encode()); w.Code != http.StatusServiceUnavailable || v.jar[web.CookieName] != "" {
		t.Errorf("down in between: %d", w.Code)
	}
	if log := told(t, j.store); len(log) != 0 {
		t.Errorf("nobody was refused, and the audit log has %+v", log)
	}
}

// TestRefusedSignIns is what people and the audit log are told of sign-ins that must not succeed. None of them may open a session.
func TestRefusedSignIns(t *testing.T) {
	now := preview.Now
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&ssoKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(method jwt.SigningMethod, key any) func(*journey) {
		return func(j *journey) { j.sign = func(c jwt.MapClaims) string { return signed(t, method, key, c) } }
	}
	claim := func(kv ...any) func(*journey) {
		return func(j *journey) {
			j.claims = map[string]any{}
			for i := 0; i < len(kv); i += 2 {
				j.claims[kv[i].(string)] = kv[i+1]
			}
		}
	}
	var out bytes.Buffer
	for _, tt := range []struct {
		name string
		lie  func(*journey)
		back func(*journey, *visitor, url.Values) // what happens on the way back
		c    func(*web.Config)
	}{
		{name: "issuer", lie: claim("iss", "https://sso.example.org")},
		{name: "issuer with a slash", lie: claim("iss", ssoIssuer+"/")},
		{name: "audience", lie: claim("aud", "another")},
		{name: "audiences without authorized party", lie: claim("aud", []string{ssoClient, "another"})},
		{name: "another authorized party", lie: claim("aud", []string{ssoClient, "another"}, "azp", "another")},
		{name: "nonce", lie: claim("nonce", "x")},
		{name: "no nonce", lie: claim("nonce", nil)},
		{name: "expired", lie: claim("exp", now.Add(-time.Second).Unix())},
		{name: "no expiry", lie: claim("exp", nil)},
		{name: "not yet good", lie: claim("nbf", now.Add(time.Hour).Unix())},
		{name: "no subject", lie: claim("sub", nil)},
		{name: "alg none", lie: sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType)},
		{name: "HS256 with the client secret", lie: sign(jwt.SigningMethodHS256, []byte(ssoSecret))},
		{name: "HS256 with the public key", lie: sign(jwt.SigningMethodHS256, public)},
		{name: "another key", lie: sign(jwt.SigningMethodRS256, other)},
		{name: "no ID token", lie: func(j *journey) { j.answer = func(a map[string]any) { delete(a, "id_token") } }},
		{name: "no ID token but a list", lie: func(j *journey) { j.answer = func(a map[string]any) { a["id_token"] = []string{"x"} } }},
		{name: "no access token", lie: func(j *journey) { j.answer = func(a map[string]any) { delete(a, "access_token") } }},
		{name: "another's access token", lie: claim("at_hash", "x")},
		{name: "replayed code", back: func(j *journey, v *visitor, q url.Values) {
			w := v.get("/auth/callback?" + q.Encode())
			if w.Code != http.StatusOK {
				t.Fatalf("the first use: %d", w.Code)
			}
			delete(v.jar, web.CookieName)
			q.Set("state", j.begin(v, "").Get("state"))
		}},
		{name: "another's code", back: func(j *journey, _ *visitor, q url.Values) { q.Set("code", j.begin(j.visitor(), "").Get("code")) }},
		{name: "state of another browser", back: func(j *journey, _ *visitor, q url.Values) { q.Set("state", j.begin(j.visitor(), "").Get("state")) }},
		{name: "in another browser", back: func(_ *journey, v *visitor, _ url.Values) { v.jar = map[string]string{} }},
		{name: "no state", back: func(_ *journey, _ *visitor, q url.Values) { q.Del("state") }},
		{name: "a cookie that was changed", back: func(_ *journey, v *visitor, _ url.Values) {
			v.jar[web.JourneyCookie] = "A" + v.jar[web.JourneyCookie][1:] + "A"
		}},
		{name: "a cookie of another daemon", back: func(_ *journey, v *visitor, q url.Values) {
			k := newJourney(t, &now, nil)
			w := k.visitor()
			k.begin(w, "")
			v.jar[web.JourneyCookie] = w.jar[web.JourneyCookie]
		}},
		{name: "too late", back: func(*journey, *visitor, url.Values) { now = now.Add(web.JourneyLife) }},
		{name: "no code", back: func(_ *journey, _ *visitor, q url.Values) { q.Del("code") }},
		{name: "from another issuer", back: func(_ *journey, _ *visitor, q url.Values) { q.Set("iss", "https://evil.example.com\n") }},
		{name: "error", back: func(_ *journey, _ *visitor, q url.Values) {
			q.Set("error", "access_denied")
			q.Set("error_description", "<b>Alice</b> is\x1b[31m not assigned")
		}},
		{name: "error that says too much", back: func(_ *journey, _ *visitor, q url.Values) { q.Set("error", "call 555-0100, <b>now</b>") }},
		{name: "client refused", lie: func(j *journey) { j.refuse = "invalid_client" }},
		{name: "wrong client secret", c: func(c *web.Config) { c.OIDC.ClientSecret = plumbline.NewSecret("wrong") }},
		{name: "token endpoint broken", lie: func(j *journey) { j.answer = func(a map[string]any) { a["expires_in"] = "never" } }},
		{name: "groups not a list", lie: claim("groups", "sre")},
		{name: "groups not names", lie: claim("groups", []any{"sre", 7})},
		{name: "groups by another claim", lie: claim("roles", map[string]any{"sre": true}), c: func(c *web.Config) { c.OIDC.GroupsClaim = "roles" }},
		{name: "no e-mail", lie: claim("email", nil)},
		{name: "e-mail not a text", lie: claim("email", []string{"alice@example.com"})},
		{name: "no such claim", c: func(c *web.Config) { c.OIDC.NameClaim = "upn" }},
		{name: "e-mail not verified", lie: claim("email_verified", false)},
		{name: "e-mail not verified, in words", lie: claim("email_verified", "false")},
		{name: "called local", lie: claim("email", "Local")},
		{name: "called as on a forge", lie: claim("login", "corp/alice"), c: func(c *web.Config) { c.OIDC.NameClaim = "login" }},
		{name: "called as the poll", lie: claim("email", "poll")},
		{name: "called with a line", lie: claim("email", "alice@example.com\nlocal")},
		{name: "called with a blank", lie: claim("email", "alice@example.com ")},
		{name: "called at length", lie: claim("email", strings.Repeat("a", 300))},
		{name: "userinfo of another", lie: func(j *journey) {
			claim("email", nil)(j)
			j.info = map[string]any{"sub": "u2", "email": "bob@example.com"}
		}},
		{name: "userinfo without a subject", lie: func(j *journey) {
			claim("email", nil)(j)
			j.info = map[string]any{"email": "bob@example.com"}
		}},
	} {
		now = preview.Now
		j := newJourney(t, &now, tt.c)
		if tt.lie != nil {
			tt.lie(j)
		}
		v := j.visitor()
		q := j.begin(v, "")
		if tt.back != nil {
			tt.back(j, v, q)
		}
		before := len(told(t, j.store))
		w := v.get("/auth/callback?" + q.Encode())
		if w.Code < 400 || v.jar[web.CookieName] != "" || v.get("/").Code != http.StatusUnauthorized {
			t.Errorf("%s: somebody is in: %d", tt.name, w.Code)
		}
		fmt.Fprintf(&out, "%s\n%d %s\n", tt.name, w.Code, boxOf(t, w))
		log := told(t, j.store)[before:]
		if len(log) != 1 || log[0].Action != plumbline.AuditRefused || log[0].Outcome != "refused" || log[0].Door != plumbline.DoorWeb || log[0].Who != "" {
			t.Errorf("%s: the audit log has %+v", tt.name, log)
			continue
		}
		fmt.Fprintf(&out, "audit: %q\n\n", log[0].Detail)
	}
	golden(t, "sign-in-refused.txt", out.Bytes())
}

var box = regexp.MustCompile(`<p class="box bad">(.*?)</p>`)

// boxOf is what a sign-in page complains of.
func boxOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	m := box.FindStringSubmatch(w.Body.String())
	if m == nil {
		t.Fatalf("the page complains of nothing: %s", w.Body)
	}
	return html.UnescapeString(strings.NewReplacer("<code>", "`", "</code>", "`").Replace(m[1]))
}

// TestNamesOfPeople: what a provider tells in ways that differ.
func TestNamesOfPeople(t *testing.T) {
	now := preview.Now
	for _, tt := range []struct {
		name   string
		claims map[string]any
		info   map[string]any
		c      func(*web.Config)
		want   string
	}{
		{name: "verified in words", claims: map[string]any{"email_verified": "true"}, want: "as alice@example.com of sre, dev"},
		{name: "not said whether verified", claims: map[string]any{"email_verified": nil}, want: "as alice@example.com of sre, dev"},
		{name: "no groups", claims: map[string]any{"groups": nil}, want: "as alice@example.com"},
		{name: "all from userinfo", claims: map[string]any{"email": nil, "groups": nil, "email_verified": nil},
			info: map[string]any{"sub": "u1", "email": "carol@example.com", "groups": []string{"ops"}}, want: "as carol@example.com of ops"},
		{name: "userinfo takes nothing back", claims: map[string]any{"groups": nil},
			info: map[string]any{"sub": "u1", "email": "carol@example.com", "groups": []string{"ops"}}, want: "as alice@example.com of ops"},
		{name: "another claim", claims: map[string]any{"preferred_username": "alice", "email_verified": false},
			c: func(c *web.Config) { c.OIDC.NameClaim = "preferred_username" }, want: "as alice of sre, dev"},
		{name: "an alias", claims: map[string]any{}, c: func(c *web.Config) {
			c.Access.People = []plumbline.Known{{Name: "alice", Also: []string{"ALICE@example.com", "corp/alice"}}}
		}, want: "as alice@example.com of sre, dev"},
		{name: "several audiences", claims: map[string]any{"aud": []string{"other", ssoClient}, "azp": ssoClient}, want: "as alice@example.com of sre, dev"},
	} {
		j := newJourney(t, &now, tt.c)
		j.claims, j.info = tt.claims, tt.info
		v := j.visitor()
		w := v.get("/auth/callback?" + j.begin(v, "").Encode())
		log := told(t, j.store)
		if w.Code != http.StatusOK || len(log) != 1 || log[0].Detail != tt.want {
			t.Errorf("%s: %d, %+v, want %q", tt.name, w.Code, log, tt.want)
		}
		if tt.name == "an alias" && log[0].Who != "alice" {
			t.Errorf("an alias signs in as %q", log[0].Who)
		}
	}
	j := newJourney(t, &now, nil)
	j.claims, j.info = map[string]any{"email": nil}, map[string]any{"sub": "u1", "email": "carol@example.com", "email_verified": false}
	v := j.visitor()
	if w := v.get("/auth/callback?" + j.begin(v, "").Encode()); w.Code != http.StatusUnauthorized {
		t.Errorf("not verified by userinfo: %d", w.Code)
	}
}

// TestProviderOfAnotherName: a provider whose name is not the configured one is not asked for anybody.
func TestProviderOfAnotherName(t *testing.T) {
	now := preview.Now
	j := newJourney(t, &now, nil)
	j.issuer = ssoIssuer + "/"
	w := j.visitor().get("/auth/start")
	if got := boxOf(t, w); w.Code != http.StatusServiceUnavailable || !strings.Contains(got, `configured as "https://sso.example.com" and calls itself "https://sso.example.com/"`) {
		t.Errorf("%d %s", w.Code, got)
	}
}

// TestStrangersInAuditLog: they cannot make it grow for ever, nor hide what people are refused.
func TestStrangersInAuditLog(t *testing.T) {
	now := preview.Now
	j := newJourney(t, &now, nil)
	v := j.visitor()
	for range 500 {
		v.get("/auth/callback?code=x&state=y")
	}
	if n := len(told(t, j.store)); n != 100 {
		t.Errorf("500 refusals are %d entries", n)
	}
	cookie, form := j.server.Enter("bob@example.com")
	c := &client{t, j.server.Handler(), http.Header{"Cookie": {cookie}, web.FormHeader: {form}}}
	if w := c.do("POST", "/api/v1/runs/9815/approve", `{"digest":"b41f9c"}`); w.Code != http.StatusForbidden {
		t.Errorf("bob: %d", w.Code)
	}
	log := told(t, j.store)
	e := log[len(log)-1]
	if len(log) != 101 || e.Who != "bob@example.com" || e.Door != plumbline.DoorWeb || e.Action != plumbline.AuditRefused || e.Run != 9815 || e.Repository != "infra" ||
		e.Environment != "production" || e.Detail != "approve: bob@example.com may not approve in infra/production." {
		t.Errorf("the audit log ends with %+v", e)
	}
	now = now.Add(10 * time.Second)
	v.get("/auth/callback?code=x&state=y")
	log = told(t, j.store)
	if e := log[len(log)-1]; len(log) != 102 || !strings.HasSuffix(e.Detail, "(400 more were refused before this and are not listed)") {
		t.Errorf("%d entries; the last is %q", len(log), e.Detail)
	}
}

// TestAuditFirst: nobody comes in whom the audit log cannot be told of.
func TestAuditFirst(t *testing.T) {
	now := preview.Now
	j := newJourney(t, &now, func(c *web.Config) { c.Store = brokenLog{c.Store} })
	v := j.visitor()
	if w := v.get("/auth/callback?" + j.begin(v, "").Encode()); w.Code != http.StatusInternalServerError || v.jar[web.CookieName] != "" {
		t.Errorf("in, unseen: %d", w.Code)
	}
	if w := v.do("POST", "/sign-in", "token="+preview.Token); w.Code != http.StatusInternalServerError || v.jar[web.CookieName] != "" {
		t.Errorf("in with the machine's token, unseen: %d", w.Code)
	}
}

type brokenLog struct{ web.Store }

func (brokenLog) Audit(_ context.Context, _ plumbline.AuditEntry) error {
	return errors.New("disk full")
}
