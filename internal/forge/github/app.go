package github

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	jwt "github.com/golang-jwt/jwt/v5"
	api "github.com/google/go-github/v89/github"
	"golang.org/x/sync/singleflight"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// App is a GitHub App to act as. It may read metadata and write contents, pull requests, issues, commit statuses, deployments and checks.
type App struct {
	ID             int64
	InstallationID int64            // 0: the one that has the repository
	Key            plumbline.Secret // private key in PEM, as GitHub hands it out
}

const (
	// A JWT may be good for ten minutes, and is to begin a minute ago in case the clocks differ
	// (https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app).
	jwtBefore, jwtAfter = time.Minute, 9 * time.Minute
	// An installation token is good for an hour. One that is about to end is not begun with: a clone may take its time.
	renewBefore = 5 * time.Minute
)

// app gets installation tokens. Its methods are safe for concurrent use.
type app struct {
	App
	key         *rsa.PrivateKey
	api         *forge.API
	gh          *api.Client // as the App itself, which may do nothing but this
	owner, name string
	now         func() time.Time
	renew       singleflight.Group

	mu    sync.Mutex
	token plumbline.Secret
	ends  time.Time
}

func newApp(c App, a *forge.API, base, owner, name string, now func() time.Time) (*app, error) {
	if c.ID < 1 || c.InstallationID < 0 {
		return nil, fmt.Errorf("an app has a number: %w", plumbline.ErrInvalid)
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(c.Key.Reveal()))
	if err != nil {
		// What is wrong with a key is said by nobody's parser without showing some of it.
		return nil, fmt.Errorf("the app's key is no RSA private key in PEM: %w", plumbline.ErrInvalid)
	}
	out := &app{App: c, key: key, api: a, owner: owner, name: name, now: now}
	if out.gh, err = library(a, base, out.jwt); err != nil {
		return nil, err
	}
	return out, nil
}

// jwt signs that this is the App.
func (a *app) jwt(context.Context) (plumbline.Secret, error) {
	now := a.now()
	s, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		IssuedAt:  jwt.NewNumericDate(now.Add(-jwtBefore)),
		ExpiresAt: jwt.NewNumericDate(now.Add(jwtAfter)),
		Issuer:    strconv.FormatInt(a.ID, 10),
	}).SignedString(a.key)
	if err != nil {
		return plumbline.Secret{}, fmt.Errorf("sign as app %d: %w", a.ID, err)
	}
	return plumbline.NewSecret(s), nil
}

// installationToken returns the token, a new one when it is about to end. Whoever asks meanwhile waits for the same one.
func (a *app) installationToken(ctx context.Context) (plumbline.Secret, error) {
	if token, ok := a.current(); ok {
		return token, nil
	}
	// Who asks first may give up; the others still want it. The request has a time limit of its own.
	done := a.renew.DoChan("", func() (any, error) {
		if token, ok := a.current(); ok {
			return token, nil
		}
		return a.fetch(forge.Urgent(context.WithoutCancel(ctx)))
	})
	select {
	case <-ctx.Done():
		return plumbline.Secret{}, ctx.Err()
	case r := <-done:
		if r.Err != nil {
			return plumbline.Secret{}, r.Err
		}
		return r.Val.(plumbline.Secret), nil
	}
}

func (a *app) current() (plumbline.Secret, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token, !a.token.IsZero() && a.now().Add(renewBefore).Before(a.ends)
}

// fetch makes a token that is good for the one repository.
func (a *app) fetch(ctx context.Context) (plumbline.Secret, error) {
	id, err := a.installation(ctx)
	if err != nil {
		return plumbline.Secret{}, err
	}
	made, _, err := a.gh.Apps.CreateInstallationToken(ctx, id, &api.InstallationTokenOptions{Repositories: []string{a.name}})
	if err = a.explain(err); err != nil {
		return plumbline.Secret{}, a.denied(err, "get a token for installation %d of app %d", id, a.ID)
	}
	ends := made.GetExpiresAt().Time
	if made.GetToken() == "" || !a.now().Before(ends) {
		return plumbline.Secret{}, fmt.Errorf("installation %d of app %d: unexpected answer: a token that is empty or has ended", id, a.ID)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token, a.ends = plumbline.NewSecret(made.GetToken()), ends
	return a.token, nil
}

func (a *app) installation(ctx context.Context) (int64, error) {
	if a.InstallationID != 0 {
		return a.InstallationID, nil
	}
	found, _, err := a.gh.Apps.GetRepositoryInstallation(ctx, a.owner, a.name)
	if err = a.explain(err); err != nil {
		return 0, a.denied(err, "app %d is not installed on %s/%s", a.ID, a.owner, a.name)
	}
	if found.GetID() < 1 {
		return 0, fmt.Errorf("app %d on %s/%s: unexpected answer: an installation without ID", a.ID, a.owner, a.name)
	}
	return found.GetID(), nil
}

// denied says of all that is refused that we may not: a caller who looks for a pull request must not take what is not found for one that is
// gone.
func (a *app) denied(err error, format string, args ...any) error {
	fact := fmt.Sprintf(format, args...)
	var refused *forge.HTTPError
	var wait *plumbline.Retry
	if errors.As(err, &refused) && !errors.As(err, &wait) && refused.Status/100 == 4 {
		return fmt.Errorf("%s (%s): %w", fact, err.Error(), plumbline.ErrDenied)
	}
	return fmt.Errorf("%s: %w", fact, err)
}

// explain also forgets a token that GitHub does not take any more, as when the App's permissions were changed.
func (a *app) explain(err error) error {
	if err == nil {
		return nil
	}
	a.mu.Lock()
	token := a.token
	a.mu.Unlock()
	err = explain(a.api, err, token)
	var refused *forge.HTTPError
	if errors.As(err, &refused) && refused.Status == http.StatusUnauthorized {
		a.mu.Lock()
		if a.token == token {
			a.token = plumbline.Secret{}
		}
		a.mu.Unlock()
	}
	return err
}

// identity is whom GitHub shows as the author of what we write.
type identity struct {
	id    int64
	login string
}

// me returns who we are, asked for once.
func (c *Client) me(ctx context.Context) (identity, error) {
	c.mu.Lock()
	self := c.self
	c.mu.Unlock()
	if self != nil {
		return *self, nil
	}
	name := "" // the token's user
	if c.app != nil {
		itself, _, err := c.app.gh.Apps.Get(ctx, "")
		if err = c.explain(err); err != nil {
			return identity{}, err
		}
		if itself.GetSlug() == "" {
			return identity{}, errors.New("github: unexpected answer: an app without slug")
		}
		name = itself.GetSlug() + "[bot]"
	}
	u, _, err := c.gh.Users.Get(ctx, name)
	if err = c.explain(err); err != nil {
		return identity{}, err
	}
	if u.GetID() < 1 || u.GetLogin() == "" {
		return identity{}, errors.New("github: unexpected answer: a user without ID or name")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.self = &identity{u.GetID(), u.GetLogin()}
	return *c.self, nil
}
