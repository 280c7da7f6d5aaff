package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/web"
)

// options are what all verbs share.
type options struct {
	URL   string // the daemon's address
	Token string // "": what PLUMBLINE_TOKEN_FILE names, or the user's own token file
	JSON  bool
	In    io.Reader
	Out   io.Writer
	Err   io.Writer
	Now   func() time.Time
	Color bool
	Poll  time.Duration // between two looks at what is being waited for
}

const defaultURL = "http://127.0.0.1:8080"

// newOptions reads the environment. The token's file is read when a verb needs it.
func newOptions(in io.Reader, out, errOut io.Writer) *options {
	o := &options{URL: os.Getenv("PLUMBLINE_URL"), Token: os.Getenv("PLUMBLINE_TOKEN"), In: in, Out: out, Err: errOut, Now: time.Now, Poll: 500 * time.Millisecond}
	if o.URL == "" {
		o.URL = defaultURL
	}
	// https://no-color.org: any value but the empty one.
	o.Color = isTerminal(out) && os.Getenv("NO_COLOR") == ""
	return o
}

// token finds the API token; "" when there is none.
func (o *options) token() (string, error) {
	if o.Token != "" {
		return o.Token, nil
	}
	file, named := os.Getenv("PLUMBLINE_TOKEN_FILE"), true
	if file == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return "", nil
		}
		file, named = filepath.Join(dir, "plumbline", "token"), false
	}
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist) && !named:
		return "", nil
	case err != nil:
		return "", usageError(fmt.Errorf("the token cannot be read: %w\nPLUMBLINE_TOKEN_FILE names the file that holds it", err))
	}
	return strings.TrimSpace(string(b)), nil
}

// client talks to a daemon's API.
type client struct {
	base  *url.URL
	token string
	http  *http.Client
}

func (o *options) client() (*client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, usageError(fmt.Errorf("the daemon's address %q is not one\nSet PLUMBLINE_URL to something like %s", o.URL, defaultURL))
	}
	token, err := o.token()
	if err != nil {
		return nil, err
	}
	if u.Scheme == "http" && token != "" && !loopback(u.Hostname()) {
		return nil, usageError(fmt.Errorf("%s would carry the token in clear over the network\nUse https, or a tunnel that ends on this machine", u.Redacted()))
	}
	return &client{base: u, token: token, http: &http.Client{
		// An answer from elsewhere is not the daemon's; the token is not for it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || (ip != nil && ip.IsLoopback())
}

// apiError is what the daemon answered instead.
type apiError struct {
	status int
	web.Problem
	page string // where to read more; "" nowhere
}

func (e *apiError) Error() string {
	text := e.What
	if e.Next != "" {
		text += "\n" + e.Next
	}
	if e.page != "" {
		text += "\n  " + e.page
	}
	return legible(text)
}

// patience is how long an answer may take, except for a log that is followed.
const patience = time.Minute

// maxAnswer is the longest JSON answer in bytes: a plan of ten thousands of changes.
const maxAnswer = 256 << 20

// get asks for JSON and decodes it into out.
func (c *client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.call(ctx, http.MethodGet, path, query, nil, out)
}

func (c *client) post(ctx context.Context, path string, body, out any) error {
	return c.call(ctx, http.MethodPost, path, nil, body, out)
}

func (c *client) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := c.open(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read as far as we want it
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c.unreachable(err)
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = b
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return c.stranger(resp)
	}
	return nil
}

// open sends a request and returns the answer when it is a good one. The caller closes its body.
func (c *client) open(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + "/api/v1" + path
	u.RawPath = ""
	u.RawQuery = query.Encode()
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		send = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), send)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return nil, context.Canceled
		}
		return nil, c.unreachable(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }() // an error's body is short, and read
	var answer struct {
		Error web.Problem `json:"error"`
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, c.unreachable(err)
	}
	if json.Unmarshal(b, &answer) != nil || answer.Error.What == "" {
		return nil, c.stranger(resp)
	}
	if answer.Error.Kind == "unauthenticated" {
		answer.Error.What = fmt.Sprintf("The daemon at %s does not know you.", c.base.Redacted())
		answer.Error.Next = "Set PLUMBLINE_TOKEN, or PLUMBLINE_TOKEN_FILE to the file `token` in its data directory."
	}
	e := &apiError{status: resp.StatusCode, Problem: answer.Error}
	if resp.StatusCode == http.StatusBadRequest {
		return nil, usageError(e)
	}
	return nil, e
}

func (c *client) unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the address is said once
	}
	return fmt.Errorf("no answer from %s: %w\nIs the daemon running there? `plumbline serve` starts it; PLUMBLINE_URL or --url says where it is", c.base.Redacted(), err)
}

func (c *client) stranger(resp *http.Response) error {
	return fmt.Errorf("%s answered %s, which is not an answer of Plumbline\nPLUMBLINE_URL or --url says where the daemon is", c.base.Redacted(), resp.Status)
}

// page is the address of a page for people.
func (c *client) page(path string) string {
	u := *c.base
	u.Path, u.User = strings.TrimSuffix(u.Path, "/")+path, nil
	return u.String()
}

// place is an environment as the command line names it, found among those that the daemon has.
type place struct{ repo, env string }

// api is the environment's path below /api/v1; the client escapes it.
func (p place) api(rest string) string { return "/environments/" + p.repo + "/" + p.env + rest }

// place finds an environment by ENV or REPO/ENV.
func (c *client) place(ctx context.Context, name, repo string) (place, error) {
	var list web.EnvironmentsJSON
	if err := c.get(ctx, "/environments", nil, &list); err != nil {
		return place{}, err
	}
	var found []place
	var names []string
	for _, e := range list.Environments {
		names = append(names, e.Repository+"/"+e.Environment)
		if (repo == "" || repo == e.Repository) && (name == e.Environment || name == e.Repository+"/"+e.Environment) {
			found = append(found, place{e.Repository, e.Environment})
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return place{}, usageError(fmt.Errorf("there is no environment %s\nEnvironments: %s", name, legible(strings.Join(names, ", "))))
	}
	return place{}, usageError(fmt.Errorf("several repositories have an environment %s\nSay which: --repo NAME, or one of %s", name, legible(strings.Join(names, ", "))))
}

// printJSON prints a value for programs.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
