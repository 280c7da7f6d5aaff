package web

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// OIDC is the sign-in system: an OpenID Connect provider.
type OIDC struct {
	Issuer       string           // to the letter as its ID tokens name it
	ClientID     string           // of Plumbline there
	ClientSecret plumbline.Secret // none: a public client
	Scopes       []string         // default openid, profile, email
	RedirectURL  string           // where it sends people back to; default PublicURL + "/auth/callback"
	NameClaim    string           // claim that names somebody; default "email", which counts unless the provider says that it is not verified
	GroupsClaim  string           // claim that lists somebody's groups; default "groups"
	HTTP         *http.Client     // default: one that gives up after 10 s
}

const (
	callbackPath = "/auth/callback"
	// journeyLife is how long somebody may take at the sign-in system.
	journeyLife   = 10 * time.Minute
	journeyCookie = "plumbline_sign_in"
	providerWait  = 10 * time.Second
	// providerRest is how long a sign-in system that could not be used is left alone, however many people ask.
	providerRest = 5 * time.Second
	maxNameBytes = 254 // what an e-mail address can have
)

// signing is what an ID token may be signed with: what only the provider can make. Neither "none", nor what the client secret would be enough for.
var signing = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

// signOn signs people in at a provider that is looked up when it is first needed.
type signOn struct {
	c    OIDC
	now  func() time.Time
	log  *zap.Logger
	seal cipher.AEAD   // of journeys; its key ends with the process
	slot chan struct{} // whoever has put something in looks at what follows
	at   *signOnAt     // nil: not looked up yet
	err  error         // why it could not be, last time
	next time.Time     // it is not tried again before
}

// signOnAt is what a provider's discovery document is used for.
type signOnAt struct {
	provider *oidc.Provider
	client   oauth2.Config
	verifier *oidc.IDTokenVerifier
}

func newSignOn(c OIDC, publicURL string, now func() time.Time, log *zap.Logger) *signOn {
	if len(c.Scopes) == 0 {
		c.Scopes = []string{oidc.ScopeOpenID, "profile", "email"}
	}
	if c.RedirectURL == "" {
		c.RedirectURL = strings.TrimRight(publicURL, "/") + callbackPath
	}
	if c.NameClaim == "" {
		c.NameClaim = "email"
	}
	if c.GroupsClaim == "" {
		c.GroupsClaim = "groups"
	}
	if c.HTTP == nil {
		c.HTTP = &http.Client{Timeout: providerWait}
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // of a key with another length
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // of another block size than that of AES
	}
	return &signOn{c: c, now: now, log: log, seal: seal, slot: make(chan struct{}, 1)}
}

// name is how people know the provider.
func (o *signOn) name() string {
	if u, err := url.Parse(o.c.Issuer); err == nil && u.Host != "" {
		return u.Host
	}
	return o.c.Issuer
}

// start is the address at which a sign-in begins: below that to which it comes back, so that the browser has its cookie there.
func (o *signOn) start(next string) string {
	return strings.TrimSuffix(o.c.RedirectURL, callbackPath) + "/auth/start?" + url.Values{"next": {next}}.Encode()
}

// find looks the provider up, unless that is done or failed a moment ago. Its error is an *answer, for people.
func (o *signOn) find(ctx context.Context) (*signOnAt, error) {
	select {
	case o.slot <- struct{}{}:
		defer func() { <-o.slot }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	now := o.now()
	if o.at != nil || now.Before(o.next) {
		return o.at, o.err
	}
	// Whoever asked first may go away; the others wait for the same answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), providerWait)
	defer cancel()
	at, err := o.discover(ctx)
	if err == nil {
		o.at, o.err = at, nil
		return at, nil
	}
	o.log.Warn("the sign-in system cannot be used", zap.String("issuer", o.c.Issuer), zap.String("error", brief(err.Error())))
	o.err, o.next = o.unavailable(err), now.Add(providerRest)
	return nil, o.err
}

func (o *signOn) unavailable(err error) error {
	p := Problem{"unavailable", "The sign-in system " + o.name() + " cannot be used now.", "Try again in a moment; the log of the daemon has the details."}
	var other *oidc.IssuerMismatchError
	if errors.As(err, &other) {
		p.What = fmt.Sprintf("The sign-in system is configured as %q and calls itself %q.", o.c.Issuer, brief(other.Discovered))
		p.Next = "An operator has to write issuer in the configuration as it calls itself."
	}
	return &answer{http.StatusServiceUnavailable, p}
}

func (o *signOn) discover(ctx context.Context) (*signOnAt, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, o.c.HTTP), o.c.Issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		Auth    string   `json:"authorization_endpoint"`
		Token   string   `json:"token_endpoint"`
		Keys    string   `json:"jwks_uri"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, fmt.Errorf("read the discovery document: %w", err)
	}
	for _, address := range []string{more.Auth, more.Token, more.Keys} {
		if u, err := url.Parse(address); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return nil, fmt.Errorf("the discovery document has %q where an address should be", brief(address))
		}
	}
	at := &signOnAt{
		provider: provider,
		client: oauth2.Config{
			ClientID: o.c.ClientID, ClientSecret: o.c.ClientSecret.Reveal(), Endpoint: provider.Endpoint(), RedirectURL: o.c.RedirectURL, Scopes: o.c.Scopes,
		},
		verifier: provider.Verifier(&oidc.Config{ClientID: o.c.ClientID, SupportedSigningAlgs: signing, Now: o.now}),
	}
	// Trying one way and then the other, as oauth2 does when it is not told, shows a code twice. Basic is what a provider that says nothing takes
	// (OpenID Connect Discovery 1.0, section 3).
	at.client.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if o.c.ClientSecret.IsZero() || (len(more.Methods) > 0 && !slices.Contains(more.Methods, "client_secret_basic")) {
		at.client.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return at, nil
}

// journey is one browser's way to the provider and back. It travels in that browser's cookie, sealed, so that strangers who begin sign-ins take
// no memory.
type journey struct {
	State, Nonce, Verifier string
	Next                   string // where to go afterwards
	Until                  time.Time
}

func (o *signOn) pack(j journey) (string, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, o.seal.NonceSize())
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(o.seal.Seal(nonce, nonce, text, []byte(journeyCookie))), nil
}

func (o *signOn) unpack(r *http.Request) (j journey, ok bool) {
	c, err := r.Cookie(journeyCookie)
	if err != nil {
		return j, false
	}
	b, err := base64.RawURLEncoding.DecodeString(c.Value)
	if n := o.seal.NonceSize(); err == nil && len(b) > n {
		if text, err := o.seal.Open(nil, b[:n], b[n:], []byte(journeyCookie)); err == nil && json.Unmarshal(text, &j) == nil {
			return j, o.now().Before(j.Until)
		}
	}
	return journey{}, false
}

func (s *Server) journeyCookie(value string, age time.Duration) *http.Cookie {
	c := &http.Cookie{
		Name: journeyCookie, Value: value, Path: "/auth/", MaxAge: int(age / time.Second), HttpOnly: true, Secure: s.secure,
		SameSite: http.SameSiteLaxMode, // the way back begins on the provider's site
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// authStart sends a browser to the sign-in system. It is a link, not a form: the policy that forms lead nowhere else covers where a form's answer
// redirects to.
func (s *Server) authStart(w http.ResponseWriter, r *http.Request, who Identity) error {
	if s.oidc == nil {
		return s.nothing(w, r, who)
	}
	at, err := s.oidc.find(r.Context())
	if err != nil {
		var down *answer
		if errors.As(err, &down) {
			return s.showSignIn(w, r, down.status, down.problem)
		}
		return err
	}
	j := journey{
		State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), Next: localPath(r.URL.Query().Get("next")), Until: s.c.Now().Add(journeyLife),
	}
	sealed, err := s.oidc.pack(j)
	if err != nil {
		return fmt.Errorf("seal a sign-in: %w", err)
	}
	http.SetCookie(w, s.journeyCookie(sealed, journeyLife))
	http.Redirect(w, r, at.client.AuthCodeURL(j.State, oidc.Nonce(j.Nonce), oauth2.S256ChallengeOption(j.Verifier)), http.StatusSeeOther)
	return nil
}

// noEntry is a sign-in that does not come to its end.
type noEntry struct {
	status     int
	what, next string
	detail     string // for the audit log, where it can say more
}

func (e *noEntry) Error() string { return e.what }

func turnedAway(status int, next, format string, args ...any) *noEntry {
	return &noEntry{status: status, what: fmt.Sprintf(format, args...), next: next}
}

// because adds what the operator should know. It can come from anywhere.
func (e *noEntry) because(detail string) *noEntry {
	e.detail = brief(detail)
	return e
}

// brief is a text from elsewhere as a log takes it: one line, not long, without what a terminal would obey.
func brief(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }), " ")
	const most = 300
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}

// welcomeBody is the body of the page that leads on after a sign-in.
type welcomeBody struct{ Name, Next string }

// authCallback takes a browser back from the sign-in system.
func (s *Server) authCallback(w http.ResponseWriter, r *http.Request, who Identity) error {
	switch {
	case s.oidc == nil:
		return s.nothing(w, r, who)
	case r.Method != http.MethodGet:
		return nil // whoever checks links must not use the code up
	}
	http.SetCookie(w, s.journeyCookie("", 0))
	v, next, err := s.oidc.finish(r)
	var no *noEntry
	var down *answer
	switch {
	case errors.As(err, &no):
		detail := "sign-in: " + no.what
		if no.detail != "" {
			detail += " (" + no.detail + ")"
		}
		s.turnedDown(r.Context(), Identity{}, plumbline.AuditEntry{Door: plumbline.DoorWeb, Detail: detail})
		s.c.Log.Warn("somebody could not sign in", zap.String("what", no.what), zap.String("detail", no.detail))
		return s.showSignIn(w, r, no.status, Problem{What: no.what, Next: no.next})
	case errors.As(err, &down):
		return s.showSignIn(w, r, down.status, down.problem)
	case err != nil:
		return err
	}
	how := "as " + v.who
	if len(v.groups) > 0 {
		how += " of " + strings.Join(v.groups, ", ")
	}
	if err := s.welcome(w, r, v, brief(how)); err != nil {
		return err
	}
	// A redirect from here would still be part of a visit that began on another site, for which browsers keep a strict cookie back. A page that
	// leads on begins a new one.
	return s.render(w, http.StatusOK, "welcome", view{Title: "Signed in", Body: welcomeBody{v.who, next}})
}

// finish looks at what the sign-in system says of somebody, and returns their session. What it refuses is a *noEntry.
func (o *signOn) finish(r *http.Request) (v session, next string, err error) {
	q := r.URL.Query()
	j, ok := o.unpack(r)
	if !ok || subtle.ConstantTimeCompare([]byte(j.State), []byte(q.Get("state"))) != 1 {
		return v, "", turnedAway(http.StatusBadRequest, "Sign in once more, from here.", "This sign-in was not begun in this browser, or more than 10 minutes ago.")
	}
	if iss := q.Get("iss"); iss != "" && iss != o.c.Issuer { // RFC 9207
		return v, "", o.doubt("it comes from another").because(iss)
	}
	if code := q.Get("error"); code != "" {
		return v, "", turnedAway(http.StatusUnauthorized, "Sign in once more; if it stays like this, ask whoever runs the sign-in system.",
			"The sign-in system %s lets nobody in for now: %s.", o.name(), errorCode(code)).because(q.Get("error_description"))
	}
	if q.Get("code") == "" {
		return v, "", o.doubt("it has no code")
	}
	at, err := o.find(r.Context())
	if err != nil {
		return v, "", err
	}
	ctx := oidc.ClientContext(r.Context(), o.c.HTTP)
	token, err := at.client.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(j.Verifier))
	if err != nil {
		return v, "", o.exchangeFailed(r, err)
	}
	c, err := o.claims(ctx, at, token, j.Nonce)
	if err != nil {
		if r.Context().Err() != nil {
			return v, "", r.Context().Err()
		}
		return v, "", err
	}
	if v.who, err = o.person(c); err != nil {
		return v, "", err
	}
	if v.groups, err = o.groups(c); err != nil {
		return v, "", err
	}
	v.expires, v.idle = o.now().Add(personLife), personIdle
	return v, j.Next, nil
}

// doubt is a refusal of an answer that does not prove who somebody is.
func (o *signOn) doubt(format string, args ...any) *noEntry {
	return turnedAway(http.StatusUnauthorized, "Sign in once more; if it stays like this, an operator finds more in the audit log.",
		"The answer of the sign-in system %s does not prove who you are: %s.", o.name(), fmt.Sprintf(format, args...))
}

// errorCode is what a provider calls an error, as the standard has it; anything else was written by somebody else.
func errorCode(code string) string {
	if len(code) > 60 || strings.ContainsFunc(code, func(c rune) bool { return c != '_' && (c < 'a' || c > 'z') }) {
		return "for a reason that has no proper name"
	}
	return code
}

func (o *signOn) exchangeFailed(r *http.Request, err error) error {
	if r.Context().Err() != nil {
		return r.Context().Err()
	}
	var refused *oauth2.RetrieveError
	var network *url.Error
	switch {
	case errors.As(err, &refused) && refused.ErrorCode == "invalid_grant":
		return o.doubt("it does not stand by the code that it gave; a code is good once, for a short while").because(refused.ErrorDescription)
	case errors.As(err, &refused) && refused.ErrorCode != "":
		return turnedAway(http.StatusServiceUnavailable, "An operator has to look at client_id and client_secret in the configuration.",
			"The sign-in system %s does not take Plumbline's word: %s.", o.name(), errorCode(refused.ErrorCode)).because(refused.ErrorDescription)
	case errors.As(err, &refused), errors.As(err, &network):
		o.log.Warn("the sign-in system cannot be used", zap.String("issuer", o.c.Issuer), zap.String("error", brief(err.Error())))
		return o.unavailable(err)
	}
	return o.doubt("it is not what the standard asks for").because(err.Error())
}

// claims checks the ID token and returns what it says, with what the provider tells besides where that is needed.
func (o *signOn) claims(ctx context.Context, at *signOnAt, token *oauth2.Token, nonce string) (map[string]any, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, o.doubt("it has no ID token")
	}
	id, err := at.verifier.Verify(ctx, raw)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired) && expired.Expiry.IsZero():
		return nil, o.doubt("its ID token has no end")
	case errors.As(err, &expired):
		return nil, o.doubt("its ID token ended at %s; this machine's clock says %s", expired.Expiry.UTC().Format(time.RFC3339), o.now().UTC().Format(time.RFC3339))
	case err != nil:
		return nil, o.doubt("its ID token is not good for Plumbline (%s)", brief(strings.TrimPrefix(err.Error(), "oidc: ")))
	case nonce == "" || subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1:
		return nil, o.doubt("its ID token was made for another sign-in")
	case id.Subject == "":
		return nil, o.doubt("its ID token is about nobody")
	case id.AccessTokenHash != "":
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return nil, o.doubt("its access token belongs to another ID token").because(err.Error())
		}
	}
	c := map[string]any{}
	if err := id.Claims(&c); err != nil {
		return nil, o.doubt("its ID token cannot be read").because(err.Error())
	}
	// OpenID Connect Core 1.0, section 3.1.3.7: a token for several must say who it was given to.
	if azp, has := c["azp"]; has && azp != o.c.ClientID || !has && len(id.Audience) > 1 {
		return nil, o.doubt("its ID token was given to another program").because(fmt.Sprint("azp is ", azp))
	}
	if has(c, o.c.NameClaim) && has(c, o.c.GroupsClaim) || at.provider.UserInfoEndpoint() == "" {
		return c, nil
	}
	info, err := at.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	more := map[string]any{}
	if err == nil {
		err = info.Claims(&more)
	}
	switch {
	case err != nil && has(c, o.c.NameClaim):
		o.log.Warn("the sign-in system does not tell somebody's groups", zap.String("issuer", o.c.Issuer), zap.String("error", brief(err.Error())))
	case err != nil:
		return nil, o.doubt("it does not say more of you than that you are you").because(err.Error())
	case info.Subject != id.Subject:
		return nil, o.doubt("it talks of two people")
	}
	if !has(c, "email") {
		delete(c, "email_verified") // it would be about another address
	}
	for k, v := range more {
		if !has(c, k) {
			c[k] = v
		}
	}
	return c, nil
}

func has(claims map[string]any, name string) bool { return claims[name] != nil }

// person reads somebody's name.
func (o *signOn) person(claims map[string]any) (string, error) {
	ask := "Ask whoever runs the sign-in system for the claim, or an operator to name another in name_claim."
	name, ok := claims[o.c.NameClaim].(string)
	if !ok || name == "" {
		return "", turnedAway(http.StatusUnauthorized, ask, "The sign-in system %s does not say your name: the claim %q is missing, or is not a text.", o.name(), o.c.NameClaim).
			because("subject " + fmt.Sprint(claims["sub"]))
	}
	if v := claims["email_verified"]; o.c.NameClaim == "email" && v != nil && v != true && v != "true" {
		return "", turnedAway(http.StatusUnauthorized, "Confirm it there, then sign in once more.", "The sign-in system %s has not verified that your e-mail address is yours.", o.name()).
			because("subject " + fmt.Sprint(claims["sub"]) + ", email " + name)
	}
	if !usable(name) {
		return "", turnedAway(http.StatusUnauthorized, ask, "The sign-in system %s calls you what nobody may be called here.", o.name()).
			because("subject " + fmt.Sprint(claims["sub"]) + ", " + o.c.NameClaim + " " + name)
	}
	return name, nil
}

// usable reports whether the sign-in system may call somebody so. Somebody who can choose their name there must not become the operator of this
// machine, somebody on a forge, who always has a "/", or what the audit log calls the daemon's own doings.
func usable(name string) bool {
	for _, taken := range []string{local, plumbline.ByPoll, plumbline.BySchedule, "*"} {
		if strings.EqualFold(name, taken) {
			return false
		}
	}
	return len(name) <= maxNameBytes && strings.TrimSpace(name) == name &&
		!strings.ContainsFunc(name, func(c rune) bool { return c == '/' || !unicode.IsPrint(c) })
}

// groups reads somebody's groups; without the claim there are none.
func (o *signOn) groups(claims map[string]any) ([]string, error) {
	v := claims[o.c.GroupsClaim]
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	var out []string
	for _, g := range list {
		name, text := g.(string)
		ok = ok && text
		out = append(out, name)
	}
	if !ok {
		return nil, turnedAway(http.StatusUnauthorized, "Ask whoever runs the sign-in system for a list of texts, or an operator to name another claim in groups_claim.",
			"The sign-in system %s does not say your groups: the claim %q is not a list of names.", o.name(), o.c.GroupsClaim).because("subject " + fmt.Sprint(claims["sub"]))
	}
	return out, nil
}
