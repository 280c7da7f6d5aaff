package config

import (
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/go-version"
)

func (r *reader) server(b *body) Server {
	s := Server{
		Listen:    r.listen(b.text("listen")),
		PublicURL: r.publicURL(b),
		DataDir:   defaultDataDir,
		Workers:   b.number("workers", max(r.sys.CPUs, 1), 1, maxWorkers),
	}
	s.DriftWorkers = b.number("drift_workers", max(s.Workers/2, 1), 1, maxWorkers)
	if b.has("drift_workers") && s.DriftWorkers > s.Workers {
		r.problem(b.place("drift_workers"), "drift_workers is %d, more than the %d workers that there are; they are of those, so write less, so that one is left for proposals", s.DriftWorkers, s.Workers)
	}
	if s.PublicURL == "" && !strings.HasSuffix(s.Listen, ":0") {
		s.PublicURL = "http://" + s.Listen
	}
	if dir := b.text("data_dir"); dir.ok && dir.value == "" {
		r.problem(dir.at, "data_dir is empty; leave it out for %q", defaultDataDir)
	} else if dir.ok {
		s.DataDir = r.path(dir.at.Filename, dir.value)
	}
	s.Database = r.database(b.text("database"), s.DataDir)
	s.EncryptionKeyFile, s.EncryptionKey = r.encryption(b.text("encryption"), s.DataDir)
	s.Artifacts = r.artifacts(b.text("artifacts"))
	node := b.text("node")
	s.Node = node.or(nodeName(r.sys.Hostname))
	if node.ok && !ValidName(node.value) {
		r.problem(node.at, "node %s is not a valid name; %s", node, nameRule)
	}
	b.done()
	return s
}

// maxWorkers guards against a slip of the finger: each worker is a Terraform process of 0.3 to 1 GiB.
const maxWorkers = 256

// nodeName makes a valid name of a host's name.
func nodeName(host string) string {
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	name := strings.TrimLeft(strings.Map(func(c rune) rune {
		if !ValidName("x" + string(c)) {
			return '-'
		}
		return c
	}, host), "-._")
	if len(name) > 63 {
		name = name[:63]
	}
	if name == "" {
		return "node"
	}
	return name
}

const defaultListen = "127.0.0.1:8080"

func (r *reader) listen(t text) string {
	if !t.ok {
		return defaultListen
	}
	host, port, err := net.SplitHostPort(t.value)
	if err != nil {
		r.problem(t.at, "listen %s is not host:port; write listen = %q", t, defaultListen)
		return defaultListen
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		r.problem(t.at, "listen %s has no valid port; ports go from 1 to 65535, and 0 is any free one", t)
		return defaultListen
	}
	if !loopback(host) {
		r.open = t
	}
	return t.value
}

// loopback reports whether only this machine can be at that host.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func (r *reader) publicURL(b *body) string {
	t := b.text("public_url")
	r.public = t
	if !t.ok {
		return ""
	}
	u, err := url.Parse(t.value)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		r.problem(t.at, "public_url %s is not an absolute address; write public_url = \"https://plumbline.example.com\"", t)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		r.problem(t.at, "public_url can have a host and a path, nothing else; write public_url = \"https://plumbline.example.com\"")
	}
	return strings.TrimRight(t.value, "/")
}

func (r *reader) database(t text, dataDir string) string {
	if !t.ok {
		return "sqlite:" + filepath.Join(dataDir, "plumbline.db")
	}
	if path, ok := strings.CutPrefix(t.value, "sqlite:"); ok {
		if path == "" || (strings.HasPrefix(path, "//") && !strings.HasPrefix(path, "///")) {
			r.problem(t.at, "database %s names no file; write database = \"sqlite:/var/lib/plumbline/plumbline.db\"", t)
		}
		return "sqlite:" + r.path(t.at.Filename, path)
	}
	for _, s := range addressSecrets(t.value) {
		r.secret(s)
	}
	u, err := url.Parse(t.value)
	switch {
	case err != nil:
		r.problem(t.at, "database cannot be read as an address; special characters of a password are written as %%XX")
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		r.problem(t.at, "database must begin with \"postgres://\" or \"sqlite:\"")
	case u.Host == "" && u.Query().Get("host") == "":
		r.problem(t.at, "database names no host; write database = \"postgres://plumbline@db.example.com/plumbline\"")
	}
	return t.value
}

// addressSecrets are the passwords in an address, as they are written there and as they are meant. It takes the address apart by hand,
// because it must also find them in one that url.Parse refuses.
func addressSecrets(address string) []string {
	var out []string
	add := func(written string) {
		if written == "" {
			return
		}
		out = append(out, written)
		if meant, err := url.PathUnescape(written); err == nil && meant != written {
			out = append(out, meant)
		}
	}
	_, rest, found := strings.Cut(address, "://")
	if !found {
		rest = address
	}
	rest, query, _ := strings.Cut(rest, "?")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		_, password, _ := strings.Cut(rest[:i], ":")
		add(password)
	}
	for _, p := range strings.Split(query, "&") {
		if name, v, _ := strings.Cut(p, "="); name == "password" || name == "sslpassword" {
			add(v)
		}
	}
	return out
}

// encryption reads where the key of the artifacts is: a file, or a key of AWS KMS.
func (r *reader) encryption(t text, dataDir string) (file, key string) {
	if !t.ok {
		return filepath.Join(dataDir, "key"), ""
	}
	if key, ok := strings.CutPrefix(t.value, "aws-kms://"); ok {
		if !kmsKey.MatchString(key) {
			r.problem(t.at, "encryption %s names no key of AWS KMS; write encryption = \"aws-kms://alias/plumbline\", or a key's ARN after aws-kms://", t)
		}
		return "", key
	}
	path, ok := strings.CutPrefix(t.value, "file://")
	switch {
	case filepath.IsAbs(t.value):
		r.problem(t.at, "encryption is a path; write encryption = %s", text{value: "file://" + t.value, secret: t.secret})
	case !ok || path == "":
		r.problem(t.at, "encryption %s names no key; write encryption = \"file://PATH\", or \"aws-kms://alias/NAME\"", t)
	}
	return r.path(t.at.Filename, path), ""
}

var (
	kmsKey = regexp.MustCompile(`^(alias/[A-Za-z0-9/_-]{1,250}|[A-Za-z0-9-]{1,64}|arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key/[A-Za-z0-9-]{1,64}|alias/[A-Za-z0-9/_-]{1,250}))$`)
	// bucket is a name as "Bucket naming rules" in the user guide of S3 has it, without dots, which no certificate fits.
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)
	objectName = regexp.MustCompile(`^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$`)
)

// Bucket is where artifacts are kept in S3.
type Bucket struct {
	Name   string
	Prefix string // without a slash at its ends
	Region string // "": where the daemon is
}

// String is its address.
func (b Bucket) String() string { return "s3://" + strings.TrimSuffix(b.Name+"/"+b.Prefix, "/") }

// artifacts reads the bucket for artifacts; nil: they are kept in data_dir.
func (r *reader) artifacts(t text) *Bucket {
	if !t.ok {
		return nil
	}
	const example = `artifacts = "s3://acme-plumbline/artifacts"`
	u, err := url.Parse(t.value)
	if err != nil || u.Scheme != "s3" || u.User != nil || u.Fragment != "" {
		r.problem(t.at, "artifacts %s is no bucket of S3; write %s, or leave it out to keep them in data_dir", t, example)
		return nil
	}
	b := &Bucket{Name: u.Host, Prefix: strings.Trim(u.Path, "/"), Region: u.Query().Get("region")}
	for name := range u.Query() {
		if name != "region" {
			r.problem(t.at, "artifacts can have ?region=…, and nothing else of the kind; another service's address is AWS_ENDPOINT_URL_S3 where Plumbline is started")
		}
	}
	switch {
	case !bucketName.MatchString(b.Name):
		r.problem(t.at, "artifacts %s names no bucket that can be: names are 3 to 63 of a-z, 0-9 and \"-\"; write %s", t, example)
	case b.Prefix != "" && !objectName.MatchString(b.Prefix):
		r.problem(t.at, "artifacts %s has a prefix with other characters than letters, digits, \".\", \"_\", \"-\" and \"/\"; write %s", t, example)
	case b.Region != "" && !awsRegion.MatchString(b.Region):
		r.problem(t.at, "artifacts %s names no region of AWS; one is \"eu-west-1\"", t)
	}
	return b
}

func (r *reader) terraform(b *body) Terraform {
	t := Terraform{
		Engine:  b.oneOf("engine", b.text("engine"), "terraform", "tofu"),
		Install: b.oneOf("install", b.text("install"), "auto", "path"),
	}
	if v := b.text("version"); v.ok {
		if _, err := version.NewConstraint(v.value); err != nil {
			r.problem(v.at, "version %s is not a version constraint; write for example version = \"~> 1.11\"", v)
		}
		t.Version = v.value
	}
	if p := b.one("providers"); p != nil {
		if mirror := p.required("mirror", `"/srv/providers"`); mirror.ok {
			t.ProviderMirror = r.path(mirror.at.Filename, mirror.value)
		}
		p.done()
	}
	b.done()
	return t
}
