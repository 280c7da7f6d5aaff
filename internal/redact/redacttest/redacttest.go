// Package redacttest has the corpora by which masking is judged: planted secrets, ordinary text.
//
// No secret stands in a file: they are made by chance from fixed seeds, so that they are the same in every run, belong to nobody, and no scanner
// takes them for real ones.
package redacttest

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Secret is one planted secret.
type Secret struct {
	Kind       string // such as "github"
	Name       string // of this one; unique
	Value      string // what must not be shown; of several lines sometimes
	Text       string // how it is met: the value, with what gives it away around it where the value alone looks like nothing
	Configured bool   // known to the masker, as a configured secret or marked as sensitive; the others are found by their shape in Text
}

// Shown reports whether text shows the secret: all of it, a long part, or, for one of several lines, one of the longer lines.
func (s Secret) Shown(text string) bool {
	const part = 16
	for line := range strings.Lines(s.Value) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "-----") || line == "" {
			continue
		}
		if len(line) <= part {
			if len(line) >= 8 && strings.Contains(text, line) {
				return true
			}
			continue
		}
		for i := 0; i+part <= len(line); i++ {
			if strings.Contains(text, line[i:i+part]) {
				return true
			}
		}
	}
	return false
}

// Place is a way in which text stands in a log, a file or a page.
type Place struct {
	Name  string
	Put   func(text string) string
	Plain bool // text is in it as it is
}

// Places returns all of them.
func Places() []Place {
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) } // a string always can be
	lines := func(prefix string) func(string) string {
		return func(s string) string {
			return "  # app.main will be updated\n" + prefix + strings.ReplaceAll(s, "\n", "\n"+prefix) + "\n    # (3 unchanged attributes hidden)\n"
		}
	}
	return []Place{
		{"alone", func(s string) string { return s }, true},
		{"start of a line", func(s string) string { return "first line\n" + s + " is what it said\nlast line\n" }, true},
		{"middle of a line", func(s string) string { return "2024-05-01T12:00:00Z [DEBUG] sent " + s + " to the server\n" }, true},
		{"end of a line", func(s string) string { return "Error: cannot parse: " + s + "\nnext line\n" }, true},
		{"brackets", func(s string) string { return "app.main: Refreshing state... [id=(" + s + ")]\n" }, true},
		{"JSON", func(s string) string { return `{"@level":"info","value":` + quote(s) + `,"type":"log"}` + "\n" }, false},
		{"JSON in JSON", func(s string) string { return `{"policy":` + quote(`{"value":`+quote(s)+`,"a":1}`) + `}` + "\n" }, false},
		{"Go", func(s string) string { return fmt.Sprintf("panic: unexpected value %q\n", s) }, false},
		{"Go, bytes", func(s string) string { return fmt.Sprintf("&{Value:%s Next:%s}\n", strconv.Quote(s), `""`) }, false},
		{"query", func(s string) string {
			return "GET https://example.com/?" + url.Values{"v": {s}, "z": {"1"}}.Encode() + " 403\n"
		}, false},
		{"path", func(s string) string { return "GET https://example.com/a/" + url.PathEscape(s) + "/b 404\n" }, false},
		{"base64", func(s string) string { return "data: " + base64.StdEncoding.EncodeToString([]byte(s)) + "\n" }, false},
		{"base64 of more", func(s string) string {
			return `"content": "` + base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\necho "+s+"\nexit 0\n")) + `"` + "\n"
		}, false},
		{"base64 for URLs", func(s string) string {
			return "data=" + base64.RawURLEncoding.EncodeToString([]byte("x: "+s+" y")) + "&b=1\n"
		}, false},
		{"HTML", func(s string) string { return "<td>" + html.EscapeString(s) + "</td>\n" }, false},
		{"HTML of a template", func(s string) string {
			return "<td>" + strings.ReplaceAll(html.EscapeString(s), "+", "&#43;") + "</td>\n"
		}, false},
		{"diff, added", lines("+     "), false},
		{"diff, removed", lines("      - "), false},
		{"diff, changed", func(s string) string { return `      ~ value = ` + quote(s) + ` -> ` + quote("other "+s) + "\n" }, false},
		{"quoted", func(s string) string { return "'" + s + "'\n" }, true},
		{"comma", func(s string) string { return "a," + s + ",b\n" }, true},
		{"Windows", func(s string) string { return strings.ReplaceAll("one\n"+s+"\ntwo\n", "\n", "\r\n") }, false},
	}
}

//go:embed testdata/ordinary.txt
var ordinary string

// Ordinary returns lines that hold no secret, though some speak of one: masking must leave them alone, one by one and together.
func Ordinary() []string {
	return slices.Collect(strings.SplitSeq(strings.TrimSuffix(ordinary, "\n"), "\n"))
}

// maker makes the secrets of one kind.
type maker struct {
	kind string
	rng  *rand.Rand
	out  []Secret
}

const (
	digits = "0123456789"
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	alnum  = digits + lower + upper
	word   = alnum + "_-"
	b64    = alnum + "+/"
	hexa   = "0123456789abcdef"
)

func (m *maker) chars(n int, set string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = set[m.rng.IntN(len(set))]
	}
	return string(b)
}

func (m *maker) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.rng.Uint32())
	}
	return b
}

// shape adds a secret that is found in text by its shape.
func (m *maker) shape(name, value, text string) {
	m.out = append(m.out, Secret{Kind: m.kind, Name: m.kind + " " + name, Value: value, Text: text})
}

// known adds a secret that is configured.
func (m *maker) known(name, value string) {
	m.out = append(m.out, Secret{Kind: m.kind, Name: m.kind + " " + name, Value: value, Text: value, Configured: true})
}

// pem returns a private key of n bytes, which is none.
func (m *maker) pem(label string, n int) string {
	var b bytes.Buffer
	body := base64.StdEncoding.EncodeToString(append([]byte{0x30, 0x82}, m.bytes(n)...))
	b.WriteString("-----BEGIN " + label + "-----\n")
	for len(body) > 0 {
		k := min(64, len(body))
		b.WriteString(body[:k] + "\n")
		body = body[k:]
	}
	b.WriteString("-----END " + label + "-----")
	return b.String()
}

func (m *maker) jwt(claims string) string {
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + enc.EncodeToString([]byte(claims)) + "." + enc.EncodeToString(m.bytes(64))
}

// password has characters of all sorts.
func (m *maker) password(n int) string {
	for {
		p := m.chars(n, alnum+"!#*()_.-^~")
		if strings.ContainsAny(p, "!#*^~") && strings.ContainsAny(p, digits) {
			return "x" + p
		}
	}
}

// kinds makes the i-th secret of each kind, for i from 0 to 4 or more.
var kinds = []struct {
	kind string
	n    int
	make func(m *maker, i int)
}{
	{"aws", 12, func(m *maker, i int) {
		id := []string{"AKIA", "ASIA"}[i%2] + m.chars(16, upper+"234567")
		key := m.chars(38, b64) + "z7" // never forty hexadecimal digits
		switch i % 6 {
		case 0:
			m.shape("access key id "+id[:8], id, id)
		case 1:
			m.shape("session key id "+id[:8], id, id)
		case 2:
			m.shape("secret beside its id "+id[:8], key, id+" "+key)
		case 3:
			m.shape("secret in a file "+id[:8], key, "aws_secret_access_key = "+key)
		case 4:
			m.shape("secret in the environment "+id[:8], key, "AWS_SECRET_ACCESS_KEY="+key)
		case 5:
			m.shape("session token "+id[:8], m.chars(200, b64)+"=", "")
			s := &m.out[len(m.out)-1]
			s.Text = "aws_session_token = " + s.Value
		}
	}},
	{"github", 12, func(m *maker, i int) {
		prefix := []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_" + "pat_"}[i%6]
		n := 36
		if i%6 == 5 {
			n = 82
		}
		t := prefix + m.chars(n, alnum)
		m.shape(prefix+strconv.Itoa(i), t, t)
	}},
	{"gitlab", 12, func(m *maker, i int) {
		prefix := []string{"glpat-", "gldt-", "glrt-", "glptt-", "glcbt-64_", "gloas-"}[i%6]
		set, n := word, 20
		switch i % 6 {
		case 3:
			set, n = hexa, 40
		case 5:
			n = 64
		}
		t := prefix + m.chars(n-1, set) + "7"
		m.shape(prefix+strconv.Itoa(i), t, t)
	}},
	{"bitbucket", 6, func(m *maker, i int) {
		t := "ATBB" + m.chars(32, alnum)
		if i%2 == 1 {
			t = "ATCTT3" + m.chars(180, word) + "=" + m.chars(8, digits+"ABCDEF")
		}
		m.shape(strconv.Itoa(i), t, t)
	}},
	{"slack", 8, func(m *maker, i int) {
		n := func() string { return "1" + m.chars(11, digits) }
		var t string
		switch i % 4 {
		case 0:
			t = "xoxb-" + n() + "-" + n() + "-" + m.chars(24, alnum)
		case 1:
			t = "xoxp-" + n() + "-" + n() + "-" + n() + "-" + m.chars(32, hexa)
		case 2:
			t = "xapp-1-A" + m.chars(10, upper+digits) + "-" + n() + "-" + m.chars(64, hexa)
		case 3:
			path := "T" + m.chars(10, upper+digits) + "/B" + m.chars(10, upper+digits) + "/" + m.chars(24, alnum)
			m.shape("webhook "+strconv.Itoa(i), path, "https://hooks."+"slack.com/services/"+path)
			return
		}
		m.shape(strconv.Itoa(i), t, t)
	}},
	{"stripe", 6, func(m *maker, i int) {
		t := []string{"sk_live_", "rk_live_", "whsec_"}[i%3] + m.chars(32, alnum)
		m.shape(strconv.Itoa(i), t, t)
	}},
	{"packages", 8, func(m *maker, i int) {
		t := []string{"npm_" + m.chars(36, alnum), "pypi-" + "AgEIcHlwaS5vcmc" + m.chars(120, word), "rubygems_" + m.chars(48, hexa), "dckr_pat_" + m.chars(27, word)}[i%4] + ""
		m.shape(strconv.Itoa(i), t, t)
	}},
	{"google", 8, func(m *maker, i int) {
		t := []string{"AIza" + "Sy" + m.chars(33, alnum), "ya29." + m.chars(120, word), "GOCSPX-" + m.chars(28, alnum), "1//0" + m.chars(60, word)}[i%4]
		m.shape(strconv.Itoa(i), t, t)
	}},
	{"azure", 6, func(m *maker, i int) {
		switch i % 3 {
		case 0:
			t := m.chars(3, alnum) + "8Q~" + m.chars(34, alnum)
			m.shape("client secret "+strconv.Itoa(i), t, t)
		case 1:
			key := base64.StdEncoding.EncodeToString(m.bytes(64))
			m.shape("storage "+strconv.Itoa(i), key, "DefaultEndpointsProtocol=https;AccountName=app;AccountKey="+key+";EndpointSuffix=core.windows.net")
		case 2:
			sig := url.QueryEscape(base64.StdEncoding.EncodeToString(m.bytes(32)))
			m.shape("signed URL "+strconv.Itoa(i), sig, "https://app.blob.core.windows.net/c/b?sv=2022-11-02&sr=b&sig="+sig)
		}
	}},
	{"cloud", 10, func(m *maker, i int) {
		t := []string{"hvs." + m.chars(95, alnum), m.chars(14, alnum) + ".atlasv1." + m.chars(64, alnum), "dop_v1_" + m.chars(64, hexa),
			"SG." + m.chars(22, alnum) + "." + m.chars(43, alnum), "pul-" + m.chars(40, hexa)}[i%5]
		m.shape(strconv.Itoa(i), t, t)
	}},
	{"jwt", 8, func(m *maker, i int) {
		t := m.jwt(fmt.Sprintf(`{"sub":"system:serviceaccount:ci:deploy-%d","iss":"https://example.com","exp":1893456000}`, i))
		if i%2 == 1 {
			m.shape("in a header "+strconv.Itoa(i), t, "Authorization: Bearer "+t)
			return
		}
		m.shape(strconv.Itoa(i), t, t)
	}},
	{"pem", 12, func(m *maker, i int) {
		label := []string{"RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "DSA PRIVATE KEY"}[i%6]
		t := m.pem(label, []int{1190, 119, 395, 1216, 1300, 440}[i%6])
		m.shape(label+" "+strconv.Itoa(i), t, t)
	}},
	{"database", 12, func(m *maker, i int) {
		p := m.chars(12, alnum+"!*_.-") + "7"
		switch i % 6 {
		case 0:
			m.shape("postgres "+strconv.Itoa(i), p, "postgres://app:"+p+"@db.example.com:5432/app?sslmode=require")
		case 1:
			m.shape("mysql "+strconv.Itoa(i), p, "mysql://root:"+p+"@10.0.0.1:3306/app")
		case 2:
			m.shape("mongodb "+strconv.Itoa(i), p, "mongodb+srv://app:"+p+"@cluster0.example.net/app")
		case 3:
			m.shape("redis "+strconv.Itoa(i), p, "rediss://:"+p+"@cache.example.com:6380/0")
		case 4:
			m.shape("ADO "+strconv.Itoa(i), p, "Server=tcp:db.example.com,1433;Database=app;User ID=app;Password="+p+";Encrypt=True;")
		case 5:
			m.shape("libpq "+strconv.Itoa(i), p, "host=db.example.com user=app password="+p+" dbname=app")
		}
	}},
	{"basic", 10, func(m *maker, i int) {
		p := m.password(14)
		pair := base64.StdEncoding.EncodeToString([]byte("robot:" + p))
		switch i % 5 {
		case 0:
			m.shape("header "+strconv.Itoa(i), pair, "Authorization: Basic "+pair)
		case 1:
			m.shape("registry "+strconv.Itoa(i), pair, `{"auths":{"registry.example.com":{"auth":"`+pair+`"}}}`)
		case 2:
			p = m.chars(20, alnum)
			m.shape("git "+strconv.Itoa(i), p, "fatal: unable to access 'https://oauth2:"+p+"@git.example.com/infra.git/': 403")
		case 3:
			h := "$2y$10$" + m.chars(53, alnum+"./")
			m.shape("htpasswd "+strconv.Itoa(i), h, "robot:"+h)
		case 4:
			p = m.chars(20, alnum)
			m.shape("curl "+strconv.Itoa(i), p, "curl -u robot:"+p+" https://example.com/")
		}
	}},
	{"named", 12, func(m *maker, i int) {
		p := m.chars(24, alnum)
		text := []string{"password = \"%s\"", "DB_PASSWORD=%s", "  token: %s", "\"client_secret\": \"%s\"", "--api-key %s", "X-Vault-Token: %s",
			"//npm.example.com/:_authToken=%s", "https://example.com/?access_token=%s", "secretKey: '%s'", "GITHUB_PAT=%s", "{\"dbPassword\":\"%s\"}", "export DATADOG_API_KEY=%s"}[i%12]
		m.shape(strconv.Itoa(i), p, fmt.Sprintf(text, p))
	}},
	{"configured password", 24, func(m *maker, i int) {
		special := " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
		m.known(strconv.Itoa(i), "q"+m.chars(4, alnum)+m.chars(6, special)+m.chars(4, alnum)+m.chars(3, special)+"z")
	}},
	{"configured base64", 16, func(m *maker, i int) { m.known(strconv.Itoa(i), base64.StdEncoding.EncodeToString(m.bytes(16+i))) }},
	{"configured hexadecimal", 16, func(m *maker, i int) { m.known(strconv.Itoa(i), hex.EncodeToString(m.bytes(8+i))) }},
	{"configured lines", 10, func(m *maker, i int) {
		if i%2 == 0 {
			m.known(strconv.Itoa(i), fmt.Sprintf("{\n  \"client_email\": \"ci-%d@example.com\",\n  \"refresh\": \"%s\"\n}", i, m.chars(40, alnum)))
			return
		}
		m.known(strconv.Itoa(i), m.chars(30, b64)+"\n"+m.chars(30, b64)+"\n"+m.chars(12, b64)+"+/")
	}},
	{"configured unicode", 10, func(m *maker, i int) {
		set := []rune("äöüßéèñçøåłžπδλжщяあ漢字密码🔑😀€£")
		var b strings.Builder
		for range 10 {
			b.WriteRune(set[m.rng.IntN(len(set))])
			b.WriteString(m.chars(1, alnum+"\"&+<"))
		}
		m.known(strconv.Itoa(i), b.String())
	}},
}

// Secrets returns more than 200 secrets of 20 kinds. They are the same in every run.
func Secrets() []Secret {
	var all []Secret
	for _, k := range kinds {
		h := fnv.New64a()
		_, _ = h.Write([]byte(k.kind)) // a hash takes everything
		m := &maker{kind: k.kind, rng: rand.New(rand.NewPCG(h.Sum64(), 1))}
		for i := range k.n {
			k.make(m, i)
		}
		all = append(all, m.out...)
	}
	return all
}
