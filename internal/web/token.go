package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Tokens keeps API tokens, by their hash, and tells the audit log of each that is made or revoked.
type Tokens interface {
	CreateToken(ctx context.Context, t plumbline.Token) (int64, error)
	// TokenByHash returns a token, good or not, or ErrNotFound.
	TokenByHash(ctx context.Context, hash string) (plumbline.Token, error)
	// TouchToken notes that a token was used.
	TouchToken(ctx context.Context, id int64, now time.Time) error
	// RevokeToken ends a token for good, once.
	RevokeToken(ctx context.Context, id int64, by plumbline.Person, now time.Time) error
	// Tokens lists those that act in somebody's name, "" those of all, newest first.
	Tokens(ctx context.Context, by string) ([]plumbline.Token, error)
}

const (
	// tokenPrefix is what programs that look for secrets in repositories know a token by.
	tokenPrefix    = "plb_"
	tokenDays      = 90
	maxTokenDays   = 365
	maxTokenName   = 100 // characters
	maxTokensOfOne = 50  // good ones
)

// tokenHash is all that is kept of a token. It is 256 random bits, which nobody finds by trying, so that one round of SHA-256 is enough.
func tokenHash(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

// byToken tells in whose name a program with an API token asks.
func (s *Server) byToken(ctx context.Context, text string) (Identity, error) {
	if s.c.Tokens == nil || !strings.HasPrefix(text, tokenPrefix) {
		return Identity{}, errNobody
	}
	t, err := s.c.Tokens.TokenByHash(ctx, tokenHash(text))
	if errors.Is(err, plumbline.ErrNotFound) {
		s.turnedDown(ctx, Identity{}, plumbline.AuditEntry{Door: plumbline.DoorAPI, Detail: "an API token that there is not"})
		return Identity{}, errNobody
	}
	if err != nil {
		return Identity{}, fmt.Errorf("look up an API token: %w", err)
	}
	who := Identity{Name: t.By, Groups: t.Groups, Limit: &t.Limit, token: t.ID}
	now := s.c.Now()
	if !t.Good(now) {
		what := fmt.Sprintf("The token %d (%s) was good until %s.", t.ID, t.Name, t.Expires.UTC().Format(time.RFC3339))
		if !t.Revoked.IsZero() {
			what = fmt.Sprintf("The token %d (%s) was revoked at %s.", t.ID, t.Name, t.Revoked.UTC().Format(time.RFC3339))
		}
		s.turnedDown(ctx, who, plumbline.AuditEntry{Detail: what})
		return Identity{}, &answer{http.StatusUnauthorized, Problem{"expired", what, "Its owner can make another on the page /tokens."}}
	}
	if err := s.c.Tokens.TouchToken(ctx, t.ID, now); err != nil {
		s.c.Log.Warn("cannot note that a token was used", zap.Int64("token", t.ID), zap.Error(err)) // nobody is kept out for that
	}
	return who, nil
}

// TokenWishJSON asks for an API token in the name of whoever asks.
type TokenWishJSON struct {
	Name         string             `json:"name"` // what it is for
	Role         plumbline.RoleName `json:"role"` // it may do what the role may, as far as its owner may
	Environments []string           `json:"environments,omitempty"`
	Days         int                `json:"days,omitempty"` // it is good for so long; default 90, at most 365
}

// TokenJSON is an API token without itself.
type TokenJSON struct {
	ID           int64              `json:"id"`
	Name         string             `json:"name"`
	By           string             `json:"by"` // in whose name it acts
	Role         plumbline.RoleName `json:"role"`
	Environments []string           `json:"environments,omitempty"` // none: wherever its owner may
	State        string             `json:"state"`                  // "good", "expired" or "revoked"
	Created      time.Time          `json:"created"`
	Expires      time.Time          `json:"expires,omitzero"`
	LastUsed     time.Time          `json:"last_used,omitzero"` // to the minute or so
	Revoked      time.Time          `json:"revoked,omitzero"`
	Revoker      string             `json:"revoked_by,omitempty"`
}

// TokensJSON is a listing of API tokens.
type TokensJSON struct {
	Tokens []TokenJSON `json:"tokens"`
}

// TokenMadeJSON is an API token with itself, which is told this once.
type TokenMadeJSON struct {
	Token  TokenJSON `json:"token"`
	Secret string    `json:"secret"`
}

func tokenState(t plumbline.Token, now time.Time) string {
	switch {
	case !t.Revoked.IsZero():
		return "revoked"
	case !t.Good(now):
		return "expired"
	}
	return "good"
}

func (s *Server) tokenJSON(t plumbline.Token) TokenJSON {
	return TokenJSON{
		ID: t.ID, Name: t.Name, By: t.By, Role: t.Limit.Role, Environments: t.Limit.Environments, State: tokenState(t, s.c.Now()), Created: t.Created,
		Expires: t.Expires, LastUsed: t.LastUsed, Revoked: t.Revoked, Revoker: t.Revoker,
	}
}

var errNoTokens = refuse(plumbline.ErrNotFound, "", "This daemon keeps no API tokens.")

// makeToken makes a token for somebody, and returns its text.
func (s *Server) makeToken(ctx context.Context, who Identity, wish TokenWishJSON) (plumbline.Token, string, error) {
	none := plumbline.Token{}
	if s.c.Tokens == nil {
		return none, "", errNoTokens
	}
	// Else one that was lost could live on in others that nobody knows of.
	if who.Limit != nil {
		return none, "", refuse(plumbline.ErrDenied, "Sign in and make it on the page /tokens.", "A token cannot make tokens.")
	}
	name := strings.TrimSpace(wish.Name)
	switch {
	case name == "":
		return none, "", refuse(plumbline.ErrInvalid, "Say what it is for, so that somebody can tell later whether it is still needed.", "A token needs a name.")
	case utf8.RuneCountInString(name) > maxTokenName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }):
		return none, "", refuse(plumbline.ErrInvalid, "", "A token's name is one line of at most %d characters.", maxTokenName)
	case wish.Days == 0:
		wish.Days = tokenDays
	case wish.Days < 0 || wish.Days > maxTokenDays:
		return none, "", refuse(plumbline.ErrInvalid, "", "A token is good for 1 to %d days, not %d.", maxTokenDays, wish.Days)
	}
	slices.Sort(wish.Environments)
	limit := plumbline.Limit{Role: wish.Role, Environments: slices.Compact(wish.Environments)}
	p := who.person(s.c.Access)
	if err := s.within(p, limit); err != nil {
		return none, "", err
	}
	now := s.c.Now()
	mine, err := s.tokens(ctx, who, false)
	if err != nil {
		return none, "", err
	}
	if mine = slices.DeleteFunc(mine, func(t plumbline.Token) bool { return !t.Good(now) }); len(mine) >= maxTokensOfOne {
		return none, "", refuse(plumbline.ErrConflict, "Revoke one that is not needed any more.", "%s has %d tokens already.", p.Name, len(mine))
	}
	text := tokenPrefix + random()
	t := plumbline.Token{
		Name: name, By: p.Name, Groups: who.Groups, Limit: limit, Hash: tokenHash(text), Created: now, Expires: now.Add(time.Duration(wish.Days) * 24 * time.Hour),
	}
	if t.ID, err = s.c.Tokens.CreateToken(ctx, t); err != nil {
		return none, "", err
	}
	return t, text, nil
}

// roleNames are what a token may be limited to.
var roleNames = []plumbline.RoleName{plumbline.RoleViewer, plumbline.RoleOperator, plumbline.RoleApprover, plumbline.RoleAdmin}

// within refuses a limit that is wider than what somebody may. It is a help, no guard: what a token may is asked of its owner whenever it is used.
func (s *Server) within(p plumbline.Person, l plumbline.Limit) error {
	if !slices.Contains(roleNames, l.Role) {
		return refuse(plumbline.ErrInvalid, choices("There are", convert(roleNames, func(r plumbline.RoleName) string { return string(r) })), "There is no role %q.", l.Role)
	}
	places := []string{""}
	if len(l.Environments) > 0 {
		places = nil
		var names []string
		for _, r := range s.c.Repositories {
			for _, e := range r.Environments {
				names = append(names, e.Key())
			}
		}
		for _, want := range l.Environments {
			n := len(places)
			for _, key := range names {
				if _, env, _ := strings.Cut(key, "/"); want == key || want == env {
					places = append(places, key)
				}
			}
			if len(places) == n {
				return refuse(plumbline.ErrNotFound, choices("Environments", names), "There is no environment %s.", want)
			}
		}
	}
	role := plumbline.Access{Roles: []plumbline.Role{{Name: l.Role, Users: []string{"*"}}}}
	for _, may := range plumbline.Permissions {
		if role.Allow(plumbline.Person{Name: "anybody"}, may, "") != nil {
			continue // the role does not have it
		}
		for _, where := range places {
			if err := s.c.Access.Allow(p, may, where); err != nil {
				_, problem := problem(err)
				return refuse(plumbline.ErrDenied, "A token may not do more: choose another role, or name the environments where you may.", "%s", problem.What)
			}
		}
	}
	return nil
}

// tokens lists somebody's own tokens, or all.
func (s *Server) tokens(ctx context.Context, who Identity, all bool) ([]plumbline.Token, error) {
	if s.c.Tokens == nil {
		return nil, errNoTokens
	}
	if all {
		if err := authorize(s.c.Access, who, plumbline.MayTokens, ""); err != nil {
			return nil, err
		}
	}
	// One person has several names, and a name may have come with other capitals.
	list, err := s.c.Tokens.Tokens(ctx, "")
	if err != nil || all {
		return list, err
	}
	p := who.person(s.c.Access)
	return slices.DeleteFunc(list, func(t plumbline.Token) bool { return !p.Is(t.By) }), nil
}

// revokeToken ends a token: one's own, or with the permission another's. A token that is shown ends no other of its owner's, so that one that was
// lost does not take them along.
func (s *Server) revokeToken(ctx context.Context, who Identity, text string) (plumbline.Token, error) {
	none := plumbline.Token{}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return none, refuse(plumbline.ErrInvalid, "Tokens are numbered from 1.", "%q is not a token's number.", text)
	}
	if s.c.Tokens == nil {
		return none, errNoTokens
	}
	list, err := s.c.Tokens.Tokens(ctx, "")
	if err != nil {
		return none, err
	}
	p := who.person(s.c.Access)
	i := slices.IndexFunc(list, func(t plumbline.Token) bool { return t.ID == id })
	own := i >= 0 && p.Is(list[i].By) && (who.token == 0 || who.token == id)
	if !own {
		if err := authorize(s.c.Access, who, plumbline.MayTokens, ""); err != nil {
			return none, err
		}
	}
	if i < 0 {
		return none, refuse(plumbline.ErrNotFound, "`plumbline token list` shows those there are.", "There is no token %d.", id)
	}
	now := s.c.Now()
	if err := s.c.Tokens.RevokeToken(ctx, id, p, now); err != nil {
		return none, err
	}
	t := list[i]
	if t.Revoked.IsZero() {
		t.Revoked, t.Revoker = now, p.Name
	}
	return t, nil
}

func (s *Server) apiTokens(w http.ResponseWriter, r *http.Request, who Identity) error {
	all, err := wantsAll(r)
	if err != nil {
		return err
	}
	list, err := s.tokens(r.Context(), who, all)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, TokensJSON{convert(list, s.tokenJSON)})
}

func wantsAll(r *http.Request) (bool, error) {
	q := r.URL.Query()
	if err := known(q, "all"); err != nil {
		return false, err
	}
	all, err := strconv.ParseBool(q.Get("all"))
	return all && err == nil, nil
}

func (s *Server) apiMakeToken(w http.ResponseWriter, r *http.Request, who Identity) error {
	var wish TokenWishJSON
	if err := readJSON(r, &wish); err != nil {
		return err
	}
	t, text, err := s.makeToken(r.Context(), who, wish)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, TokenMadeJSON{s.tokenJSON(t), text})
}

func (s *Server) apiRevokeToken(w http.ResponseWriter, r *http.Request, who Identity) error {
	t, err := s.revokeToken(r.Context(), who, r.PathValue("token"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, s.tokenJSON(t))
}

// tokensBody is the body of the page of API tokens.
type tokensBody struct {
	Tokens []TokenJSON
	All    bool
	May    bool // see and revoke those of others
	Roles  []plumbline.RoleName
	Places []string
	Days   int
	Most   int
	Made   *TokenMadeJSON // shown once
}

func (s *Server) tokensPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	all, err := wantsAll(r)
	if err != nil {
		return err
	}
	return s.showTokens(w, r, who, all, nil)
}

func (s *Server) showTokens(w http.ResponseWriter, r *http.Request, who Identity, all bool, made *TokenMadeJSON) error {
	list, err := s.tokens(r.Context(), who, all)
	if err != nil {
		return err
	}
	b := tokensBody{
		Tokens: convert(list, s.tokenJSON), All: all, May: authorize(s.c.Access, who, plumbline.MayTokens, "") == nil, Days: tokenDays, Most: maxTokenDays, Made: made,
	}
	p := who.person(s.c.Access)
	for _, repo := range s.c.Repositories {
		for _, e := range repo.Environments {
			if s.within(p, plumbline.Limit{Role: plumbline.RoleViewer, Environments: []string{e.Key()}}) == nil {
				b.Places = append(b.Places, e.Key())
			}
		}
	}
	for _, role := range roleNames {
		if who.Limit != nil {
			break // a token makes none
		}
		may := func(where ...string) bool {
			return s.within(p, plumbline.Limit{Role: role, Environments: where}) == nil
		}
		if may() || slices.ContainsFunc(b.Places, func(key string) bool { return may(key) }) {
			b.Roles = append(b.Roles, role)
		}
	}
	return s.show(w, who, "tokens", view{Title: "API tokens", Section: "/tokens", Body: b})
}

func (s *Server) tokenForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := parseForm(r); err != nil {
		return err
	}
	wish := TokenWishJSON{Name: r.PostForm.Get("name"), Role: plumbline.RoleName(r.PostForm.Get("role")), Environments: r.PostForm["environment"]}
	if days := strings.TrimSpace(r.PostForm.Get("days")); days != "" {
		n, err := strconv.Atoi(days)
		if err != nil || n == 0 {
			return refuse(plumbline.ErrInvalid, "", "A token is good for 1 to %d days, not %q.", maxTokenDays, days)
		}
		wish.Days = n
	}
	t, text, err := s.makeToken(r.Context(), who, wish)
	if err != nil {
		return err
	}
	return s.showTokens(w, r, who, false, &TokenMadeJSON{s.tokenJSON(t), text})
}

func (s *Server) revokeTokenForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	t, err := s.revokeToken(r.Context(), who, r.PathValue("token"))
	if err != nil {
		return err
	}
	back := "/tokens"
	if !who.person(s.c.Access).Is(t.By) {
		back = "/tokens?all=true"
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
	return nil
}
