package github_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/forge/github"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func (h *hub) client(t testing.TB, token string) *github.Client {
	t.Helper()
	return h.dial(t, github.Config{Token: plumbline.NewSecret(token)})
}

func (h *hub) dial(t testing.TB, c github.Config) *github.Client {
	t.Helper()
	c.API, c.Project = h.url, "acme/infra"
	out, err := github.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// key is the App's, otherKey nobody's.
var key, otherKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

func pemOf(k *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}))
}

// install makes the hub know an App.
func (h *hub) install(now func() time.Time) {
	h.app = &hubApp{id: 4242, installation: 77, slug: bot, key: &key().PublicKey, now: now, life: time.Hour}
	h.users[bot+"[bot]"] = 104
}

func (h *hub) appClient(t testing.TB, now func() time.Time) *github.Client {
	t.Helper()
	return h.dial(t, github.Config{App: &github.App{ID: 4242, Key: plumbline.NewSecret(pemOf(key()))}, Dial: forge.Dial{Now: now}})
}

func TestSuite(t *testing.T) {
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		h := newHub(t)
		return forgetest.Fixture{Client: h.client(t, token), Second: h.client(t, token), Denied: h.client(t, strings.Repeat("0", 40)), People: h}
	})
}

// TestSuiteAsApp is the suite as an App, whose name ends in [bot].
func TestSuiteAsApp(t *testing.T) {
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		h := newHub(t)
		h.install(time.Now)
		denied := h.dial(t, github.Config{App: &github.App{ID: 4242, Key: plumbline.NewSecret(pemOf(otherKey()))}})
		return forgetest.Fixture{Client: h.appClient(t, nil), Second: h.appClient(t, nil), Denied: denied, People: h}
	})
}
