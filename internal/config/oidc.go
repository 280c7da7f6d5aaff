package config

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// OIDC is the sign-in system: an OpenID Connect provider.
type OIDC struct {
	Issuer       string // as it is written: a provider's tokens must name exactly this
	ClientID     string
	ClientSecret plumbline.Secret
	Scopes       []string // default openid, profile, email
	GroupsClaim  string   // claim that lists somebody's groups; default "groups"
	NameClaim    string   // claim that names them; default "email"
	RedirectURL  string   // where people come back to; "" when Server.PublicURL is: then that, when it is known, and CallbackPath
}

// CallbackPath is where, below Server.PublicURL, a sign-in comes back to.
const CallbackPath = "/auth/callback"

func (r *reader) oidc(b *body) *OIDC {
	r.signIn = b.at
	o := &OIDC{
		Issuer:       r.address(b, b.required("issuer", `"https://sso.example.com"`), ""),
		ClientID:     b.required("client_id", `"plumbline"`).value,
		ClientSecret: b.confidential("client_secret"),
		Scopes:       r.scopes(b),
		GroupsClaim:  r.claimName(b, "groups_claim", "groups"),
		NameClaim:    r.claimName(b, "name_claim", "email"),
		RedirectURL:  r.address(b, b.text("redirect_url"), CallbackPath),
	}
	if !b.has("client_secret") {
		r.problem(b.at, "%s has no client_secret; add client_secret = env(\"OIDC_SECRET\")", b.what)
	}
	b.done()
	return o
}

// address is a URL of the sign-in, which ends in something. Over http passwords and codes could be read on the way.
func (r *reader) address(b *body, t text, ending string) string {
	if !t.ok {
		return ""
	}
	for _, s := range addressSecrets(t.value) {
		r.secret(s)
	}
	name, example := "issuer", "https://sso.example.com"
	if ending != "" {
		name, example = "redirect_url", "https://plumbline.example.com"+ending
	}
	u, err := url.Parse(t.value)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		r.problem(t.at, "%s %s of %s is not an absolute address; write %s = %q", name, t, b.what, name, example)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		r.problem(t.at, "%s of %s can have a host and a path, nothing else; write %s = %q", name, b.what, name, example)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		r.problem(t.at, "%s of %s is http, so sign-ins would travel in clear for anybody on the way to take over; write %s = %q", name, b.what, name, example)
	case !strings.HasSuffix(u.Path, ending):
		r.problem(t.at, "%s of %s must end in %s, where sign-ins are taken; write %s = %q", name, b.what, ending, name, example)
	}
	return t.value
}

func (r *reader) scopes(b *body) []string {
	if !b.has("scopes") {
		_ = b.texts("scopes")
		return []string{"openid", "profile", "email"}
	}
	list := b.texts("scopes")
	for i, t := range list {
		switch {
		case unnamed(t) || strings.ContainsAny(t.value, ` "\`):
			r.problem(t.at, "scopes in %s has %s, which is not one scope; write one scope in each pair of quotes", b.what, t)
		case slices.Contains(values(list[:i]), t.value):
			r.problem(t.at, "scopes in %s has %s twice; keep one", b.what, t)
		}
	}
	if list != nil && !slices.Contains(values(list), "openid") {
		r.problem(b.place("scopes"), "scopes in %s lacks \"openid\", without which nobody is told who signs in; write scopes = [\"openid\", …]", b.what)
	}
	return values(list)
}

func (r *reader) claimName(b *body, name, standard string) string {
	t := b.text(name)
	if t.ok && unnamed(t) {
		r.problem(t.at, "%s %s in %s is not the name of a claim; leave it out for %q", name, t, b.what, standard)
	}
	return t.or(standard)
}

// reached checks that people can reach Plumbline to sign in, and that nobody is let in from elsewhere where there is no sign-in.
func (r *reader) reached(cfg *Config) {
	if r.broken {
		return
	}
	if cfg.OIDC == nil {
		if r.open.ok {
			_, port, _ := net.SplitHostPort(r.open.value) // it was read before
			r.problem(r.open.at, "listen %s is open to others, and there is no sign-in; add oidc { … } to auth, or write listen = %s", r.open, text{value: "127.0.0.1:" + port, secret: r.open.secret})
		}
		return
	}
	if !r.public.set && (r.open.ok || !onLoopback(cfg.OIDC.Issuer)) {
		r.problem(r.signIn, "oidc in auth needs to know where people come back to from the sign-in; add public_url = \"https://plumbline.example.com\" to server")
	}
	if u := cfg.Server.PublicURL; r.public.ok && strings.HasPrefix(u, "http:") && !onLoopback(u) {
		r.problem(r.public.at, "public_url %s is http, so what people sign in with would travel in clear for anybody on the way to take over; write https", r.public)
	}
	if cfg.OIDC.RedirectURL == "" && cfg.Server.PublicURL != "" {
		cfg.OIDC.RedirectURL = cfg.Server.PublicURL + CallbackPath
	}
}

// onLoopback reports whether an address is on this machine.
func onLoopback(address string) bool {
	u, err := url.Parse(address)
	return err == nil && loopback(u.Hostname())
}
