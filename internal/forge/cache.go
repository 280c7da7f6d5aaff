package forge

import (
	"bytes"
	"compress/gzip"
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	cacheEntries = 256
	cacheBytes   = 4 << 20 // compressed; a list of 100 pull requests on GitHub has 2 MB, and less than a tenth of that here
	cacheAnswer  = 4 << 20 // a longer answer is not remembered
)

// cached remembers answers to GETs together with what the forge calls their version, and asks whether that is still the
// one (RFC 9110 §13). It never answers without asking. GitHub does not count what is as before (docs.github.com, "Best
// practices for using the REST API"), and everybody saves the bytes.
//
// An answer belongs to the address with all of the headers of its request, credentials included: whatever Vary says, and
// whoever asks, nobody gets what somebody else was told.
type cached struct {
	next   http.RoundTripper
	budget *Budget

	mu    sync.Mutex
	known map[[sha256.Size]byte]*list.Element
	order list.List // of *remembered, the one that was used last in front
	size  int
}

// remembered is a whole answer with status 200.
type remembered struct {
	key    [sha256.Size]byte
	etag   string
	since  string // Last-Modified; "" where it is too coarse to tell
	header http.Header
	packed []byte // the body, compressed
	long   int    // bytes of the body
}

func (r *remembered) bytes() int {
	n := len(r.packed)
	for name, values := range r.header {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// conditional are headers of a request that decides itself what it wants.
var conditional = []string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range", "Range"}

func (c *cached) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet || says(req.Header, "no-store") || slices.ContainsFunc(conditional, func(h string) bool { return req.Header.Get(h) != "" }) {
		return c.next.RoundTrip(req)
	}
	key := identity(req)
	was := c.find(key)
	if was != nil {
		req = req.Clone(req.Context())
		if was.etag != "" {
			req.Header.Set("If-None-Match", was.etag)
		} else {
			req.Header.Set("If-Modified-Since", was.since)
		}
	}
	resp, err := c.next.RoundTrip(req)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotModified && was != nil:
		body, err := unpack(was)
		if err != nil {
			c.forget(key)
			_ = resp.Body.Close() // it has none
			return nil, err
		}
		c.budget.saved()
		return asBefore(resp, was, body), nil
	case resp.StatusCode != http.StatusOK:
		return resp, nil
	}
	if r := worth(key, resp); r != nil {
		resp.Body = &collecting{ReadCloser: resp.Body, want: resp.ContentLength, done: func(body []byte) { c.remember(r, body) }}
	} else {
		c.forget(key)
	}
	return resp, nil
}

// identity is what makes two requests the same. What it is made of cannot be read off it.
func identity(req *http.Request) (key [sha256.Size]byte) {
	h := sha256.New()
	write := func(s string) {
		_ = binary.Write(h, binary.LittleEndian, int64(len(s))) // a hash never fails
		_, _ = io.WriteString(h, s)
	}
	write(req.URL.String())
	write(req.Host)
	for _, name := range slices.Sorted(maps.Keys(req.Header)) {
		write(name)
		for _, v := range req.Header[name] {
			write(v)
		}
		write("")
	}
	h.Sum(key[:0])
	return key
}

// worth returns what has to be kept of an answer beside its body, nil if it cannot be remembered.
func worth(key [sha256.Size]byte, resp *http.Response) *remembered {
	h := resp.Header
	r := &remembered{key: key, etag: h.Get("ETag"), header: h.Clone()}
	if r.etag == "" {
		r.since = coarse(h)
	}
	if r.etag == "" && r.since == "" || says(h, "no-store") || h.Get("Vary") == "*" || resp.ContentLength > cacheAnswer {
		return nil
	}
	return r
}

// coarse returns Last-Modified if nothing can have changed in the same second after the answer was made (RFC 9110
// §8.8.2.2), with room for two clocks.
func coarse(h http.Header) string {
	since := h.Get("Last-Modified")
	modified, err := http.ParseTime(since)
	if err != nil {
		return ""
	}
	made, err := http.ParseTime(h.Get("Date"))
	if err != nil || made.Sub(modified) < time.Minute {
		return ""
	}
	return since
}

func says(h http.Header, directive string) bool {
	for _, v := range h.Values("Cache-Control") {
		for d := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(d), directive) {
				return true
			}
		}
	}
	return false
}

// asBefore makes the remembered answer of a 304, whose headers are newer (RFC 9111 §3.2), but say nothing of the body.
func asBefore(resp *http.Response, was *remembered, body []byte) *http.Response {
	_ = resp.Body.Close() // it has none
	h := was.header.Clone()
	for name, values := range resp.Header {
		if !strings.HasPrefix(name, "Content-") && name != "Transfer-Encoding" {
			h[name] = values
		}
	}
	out := *resp
	out.StatusCode, out.Status = http.StatusOK, "200 OK"
	out.Header = h
	out.Body, out.ContentLength, out.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	return &out
}

func (c *cached) find(key [sha256.Size]byte) *remembered {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.known[key]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*remembered)
}

func (c *cached) forget(key [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.known[key]; e != nil {
		c.drop(e)
	}
}

func (c *cached) drop(e *list.Element) {
	r := c.order.Remove(e).(*remembered)
	delete(c.known, r.key)
	c.size -= r.bytes()
}

func (c *cached) remember(r *remembered, body []byte) {
	if !json.Valid(body) {
		return // a page, or half of an answer that was framed as a whole one
	}
	r.long, r.packed = len(body), pack(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.known[r.key]; e != nil {
		c.drop(e)
	}
	if r.bytes() > cacheBytes {
		return
	}
	if c.known == nil {
		c.known = map[[sha256.Size]byte]*list.Element{}
	}
	c.known[r.key] = c.order.PushFront(r)
	c.size += r.bytes()
	for c.size > cacheBytes || c.order.Len() > cacheEntries {
		c.drop(c.order.Back())
	}
}

// collecting hands on a body and keeps it, if it is read to its end and is not too long.
type collecting struct {
	io.ReadCloser
	want int64 // bytes of it; -1: unknown
	done func(body []byte)

	mu    sync.Mutex // Close may come while somebody still reads
	buf   bytes.Buffer
	ended bool // it failed, was too long, or was handed to done
}

func (c *collecting) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(p)
}

func (c *collecting) read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.ended {
		return n, err
	}
	c.buf.Write(p[:n])
	switch {
	case c.buf.Len() > cacheAnswer, err != nil && err != io.EOF:
		c.end()
	case err == io.EOF && (c.want < 0 || c.want == int64(c.buf.Len())):
		c.done(c.buf.Bytes())
		c.end()
	case err == io.EOF:
		c.end()
	}
	return n, err
}

func (c *collecting) end() { c.ended, c.buf = true, bytes.Buffer{} }

// Close looks whether the end comes at once, where a library stopped reading at the end of the JSON.
func (c *collecting) Close() error {
	if c.mu.TryLock() {
		if rest := make([]byte, 512); !c.ended {
			_, _ = c.read(rest) // an error ends the collecting
		}
		c.end()
		c.mu.Unlock()
	}
	return c.ReadCloser.Close()
}

// packers are kept because each holds more memory than most answers.
var packers = sync.Pool{New: func() any { w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed); return w }}

func pack(body []byte) []byte {
	var out bytes.Buffer
	w := packers.Get().(*gzip.Writer)
	defer packers.Put(w)
	w.Reset(&out)
	_, _ = w.Write(body) // a buffer never fails
	_ = w.Close()
	return bytes.Clone(out.Bytes())
}

func unpack(r *remembered) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(r.packed))
	if err != nil {
		return nil, err
	}
	body := make([]byte, r.long)
	_, err = io.ReadFull(z, body)
	return body, err
}
