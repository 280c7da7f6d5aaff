package terraform

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// The test program is an engine too, when it is called terraform or tofu: it tells the version in the file beside it, and
// counts how often it was asked.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); name == Terraform || name == Tofu {
		os.Exit(fakeEngine(filepath.Dir(os.Args[0])))
	}
	os.Exit(m.Run())
}

func fakeEngine(dir string) int {
	f, err := os.OpenFile(filepath.Join(dir, "asked"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString("x")
		err = errors.Join(err, f.Close())
	}
	v, readErr := os.ReadFile(filepath.Join(dir, "version"))
	if err = errors.Join(err, readErr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf(`{"terraform_version": %q}`+"\n", strings.TrimSpace(string(v)))
	return 0
}

// fake puts an engine into a new directory and returns the directory.
func fake(t *testing.T, name, version string) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "version"), version)
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	old, recent, tofu := fake(t, Terraform, "1.9.8"), fake(t, Terraform, "1.12.0"), fake(t, Tofu, "1.10.1")
	path := strings.Join([]string{"relative", t.TempDir(), old, recent, tofu}, string(os.PathListSeparator))
	for _, tc := range []struct {
		name  string
		ref   plumbline.EngineRef
		conf  EnginesConfig
		want  string // path, or the error's text with OLD, RECENT, TOFU for the directories
		error bool
	}{
		{name: "first on PATH", want: old + "/terraform"},
		{name: "constraint of the stack", ref: plumbline.EngineRef{Constraint: "~> 1.12.0"}, want: recent + "/terraform"},
		{name: "exact", ref: plumbline.EngineRef{Constraint: "1.12.0"}, want: recent + "/terraform"},
		{name: "default constraint", conf: EnginesConfig{Default: plumbline.EngineRef{Constraint: ">= 1.10"}}, want: recent + "/terraform"},
		{name: "the stack's constraint goes before the default", ref: plumbline.EngineRef{Constraint: "< 1.10"}, conf: EnginesConfig{Default: plumbline.EngineRef{Constraint: ">= 1.10"}}, want: old + "/terraform"},
		{name: "default engine", conf: EnginesConfig{Default: plumbline.EngineRef{Name: Tofu}}, want: tofu + "/tofu"},
		{name: "the default's constraint is not for the other engine", ref: plumbline.EngineRef{Name: Tofu}, conf: EnginesConfig{Default: plumbline.EngineRef{Constraint: ">= 1.12"}}, want: tofu + "/tofu"},
		{name: "unsatisfied, no download allowed", ref: plumbline.EngineRef{Constraint: ">= 1.13"}, conf: EnginesConfig{Install: InstallPath}, error: true,
			want: `wants terraform >= 1.13; found terraform 1.9.8 (OLD/terraform), terraform 1.12.0 (RECENT/terraform); install = "path" forbids a download`},
		{name: "unsatisfied, no download exists", ref: plumbline.EngineRef{Name: Tofu, Constraint: ">= 1.13"}, error: true,
			want: `wants tofu >= 1.13; found tofu 1.10.1 (TOFU/tofu); there is no download of tofu, it has to be on PATH`},
		{name: "nothing at all", conf: EnginesConfig{Install: InstallPath, Path: "/nonexistent"}, error: true,
			want: `wants terraform; found none; install = "path" forbids a download`},
		{name: "no constraint", ref: plumbline.EngineRef{Constraint: "newest"}, error: true,
			want: `wants terraform newest; found none; this is no version constraint: malformed constraint: newest`},
		{name: "no engine", ref: plumbline.EngineRef{Name: "pulumi"}, error: true,
			want: `wants pulumi; found none; the engine is "terraform" or "tofu", not "pulumi"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.conf.Path == "" {
				tc.conf.Path = path
			}
			b, err := NewEngines(tc.conf).Find(t.Context(), tc.ref)
			if !tc.error {
				if err != nil || b.Path != tc.want {
					t.Fatalf("Find = %+v, %v; want %s", b, err, tc.want)
				}
				return
			}
			var missing *MissingError
			want := strings.NewReplacer("OLD", old, "RECENT", recent, "TOFU", tofu).Replace(tc.want)
			if !errors.As(err, &missing) || err.Error() != want {
				t.Fatalf("Find = %+v, %v\nwant: %s", b, err, want)
			}
		})
	}
}

func TestFindAsksOnce(t *testing.T) {
	t.Parallel()
	dir := fake(t, Terraform, "1.9.8")
	e := NewEngines(EnginesConfig{Path: dir})
	find := func(want string, asked int) {
		t.Helper()
		b, err := e.Find(t.Context(), plumbline.EngineRef{})
		if err != nil || b.Version != want {
			t.Fatalf("Find = %+v, %v; want %s", b, err, want)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "asked")); err != nil || len(got) != asked {
			t.Fatalf("asked %d times, %v; want %d", len(got), err, asked)
		}
	}
	find("1.9.8", 1)
	find("1.9.8", 1)
	// Another program in the same place.
	bin := filepath.Join(dir, Terraform)
	self, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(bin), os.WriteFile(bin, self, 0o700)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "version"), "1.12.0")
	find("1.12.0", 2)
}

func TestFindTellsOfBrokenPrograms(t *testing.T) {
	t.Parallel()
	dir := fake(t, Terraform, "not a version")
	_, err := NewEngines(EnginesConfig{Path: dir, Install: InstallPath}).Find(t.Context(), plumbline.EngineRef{})
	if err == nil || !strings.Contains(err.Error(), dir+"/terraform version: ") {
		t.Fatalf("Find: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewEngines(EnginesConfig{Path: fake(t, Terraform, "1.9.8")}).Find(ctx, plumbline.EngineRef{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Find with a context that has ended: %v", err)
	}
}

// A release server as HashiCorp's, with a key of its own.
type releaseServer struct {
	t       *testing.T
	entity  *openpgp.Entity
	zips    map[string][]byte // by version
	tamper  bool              // serve another archive than the one that was signed
	fetched int
}

func (s *releaseServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	type build struct {
		OS       string `json:"os"`
		Arch     string `json:"arch"`
		Filename string `json:"filename"`
		URL      string `json:"url"`
	}
	type release struct {
		Name        string   `json:"name"`
		Version     string   `json:"version"`
		SHASUMS     string   `json:"shasums"`
		SHASUMSSig  string   `json:"shasums_signature"`
		SHASUMSSigs []string `json:"shasums_signatures"`
		Builds      []build  `json:"builds"`
	}
	file := func(v string) string {
		return fmt.Sprintf("terraform_%s_%s_%s.zip", v, runtime.GOOS, runtime.GOARCH)
	}
	all := map[string]release{}
	for v := range s.zips {
		sums := "terraform_" + v + "_SHA256SUMS"
		all[v] = release{Name: "terraform", Version: v, SHASUMS: sums, SHASUMSSig: sums + ".sig", SHASUMSSigs: []string{sums + ".sig"},
			Builds: []build{{runtime.GOOS, runtime.GOARCH, file(v), "https://releases.example.com/terraform/" + v + "/" + file(v)}}}
	}
	reply := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			s.t.Error(err)
		}
	}
	if r.URL.Path == "/terraform/index.json" {
		reply(map[string]any{"name": "terraform", "versions": all})
		return
	}
	v := strings.Split(strings.TrimPrefix(r.URL.Path, "/terraform/"), "/")[0]
	archive, ok := s.zips[v]
	if !ok {
		http.NotFound(w, r)
		return
	}
	sum := sha256.Sum256(archive)
	sums := hex.EncodeToString(sum[:]) + "  " + file(v) + "\n"
	var body []byte
	switch base := filepath.Base(r.URL.Path); {
	case base == "index.json":
		reply(all[v])
		return
	case strings.HasSuffix(base, "SHA256SUMS"):
		body = []byte(sums)
	case strings.HasSuffix(base, ".sig"):
		var b bytes.Buffer
		if err := openpgp.DetachSign(&b, s.entity, strings.NewReader(sums), nil); err != nil {
			s.t.Error(err)
		}
		body = b.Bytes()
	default:
		s.fetched++
		w.Header().Set("Content-Type", "application/zip")
		body = archive
		if s.tamper {
			body = archiveOf(s.t, "6.6.6")
		}
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if _, err := w.Write(body); err != nil {
		s.t.Log(err)
	}
}

// archiveOf is a release with a program that does nothing but tell its version.
func archiveOf(t *testing.T, version string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create("terraform")
	if err == nil {
		_, err = fmt.Fprintf(f, "#!/bin/sh\necho '{\"terraform_version\": \"%s\"}'\n", version)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		t.Error(err)
	}
	return b.Bytes()
}

func newReleases(t *testing.T, versions ...string) (*releaseServer, *Engines) {
	t.Helper()
	entity, err := openpgp.NewEntity("test", "", "test@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &releaseServer{t: t, entity: entity, zips: map[string][]byte{}}
	for _, v := range versions {
		s.zips[v] = archiveOf(t, v)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	var key bytes.Buffer
	w, err := armor.Encode(&key, openpgp.PublicKeyType, nil)
	if err == nil {
		err = errors.Join(entity.Serialize(w), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	e := NewEngines(EnginesConfig{Dir: t.TempDir(), Path: "/nonexistent", Timeout: 30 * time.Second})
	e.releases, e.publicKey = server.URL, key.String()
	return s, e
}

func TestInstall(t *testing.T) {
	t.Parallel()
	s, e := newReleases(t, "1.11.4", "1.12.2", "2.0.0")
	for _, tc := range []struct {
		constraint, version string
		fetched             int
	}{
		{"~> 1.11", "1.12.2", 1},
		{"~> 1.11", "1.12.2", 1}, // it is there now
		{"= 1.11.4", "1.11.4", 2},
		{">= 1.11", "1.12.2", 2}, // the newest of those that are there
		{"2.0.0", "2.0.0", 3},
	} {
		b, err := e.Find(t.Context(), plumbline.EngineRef{Constraint: tc.constraint})
		if err != nil || b.Version != tc.version || b.Path != filepath.Join(e.c.Dir, "terraform", tc.version, "terraform") || s.fetched != tc.fetched {
			t.Errorf("Find(%q) = %+v, %v after %d downloads; want %s after %d", tc.constraint, b, err, s.fetched, tc.version, tc.fetched)
		}
	}
	_, err := e.Find(t.Context(), plumbline.EngineRef{Constraint: ">= 3"})
	if err == nil || !strings.Contains(err.Error(), "wants terraform >= 3; found terraform 2.0.0 (") || !strings.Contains(err.Error(), "no matching version found") {
		t.Errorf("Find: %v", err)
	}
}

func TestInstallRefusesTamperedArchive(t *testing.T) {
	t.Parallel()
	s, e := newReleases(t, "1.11.4")
	s.tamper = true
	b, err := e.Find(t.Context(), plumbline.EngineRef{})
	var missing *MissingError
	if !errors.As(err, &missing) || s.fetched == 0 {
		t.Fatalf("Find = %+v, %v", b, err)
	}
	left, err := filepath.Glob(filepath.Join(e.c.Dir, "terraform", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
