package artifact

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/plumbline/plumbline/internal/testenv"
)

// store is what Dir and S3 have in common.
type store interface {
	Put(ctx context.Context, name string, r io.Reader) (size int64, sum string, err error)
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	Delete(ctx context.Context, name string) error
	List(ctx context.Context, prefix string) ([]string, error)
}

// bucket is S3 with one bucket, in memory: objects whole, If-None-Match kept, lists on pages of two.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
	refuse  string // code of an error for everything
	asked   int
	lost    int // answers that break off half-way
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	no := func(status int, code string) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>no, said %s</Message></Error>`, code, code)
	}
	name, in := strings.CutPrefix(r.URL.Path, "/blobs")
	name = strings.TrimPrefix(name, "/")
	body, ok := b.objects[name]
	switch {
	case b.refuse != "":
		no(http.StatusForbidden, b.refuse)
	case !in:
		no(http.StatusNotFound, "NoSuchBucket")
	case name == "" && r.Method == http.MethodGet:
		b.list(w, r.URL.Query())
	case r.Method == http.MethodPut && r.Header.Get("If-None-Match") == "*" && ok:
		no(http.StatusPreconditionFailed, "PreconditionFailed")
	case r.Method == http.MethodPut:
		got, err := io.ReadAll(r.Body)
		if err != nil || int64(len(got)) != r.ContentLength {
			no(http.StatusBadRequest, "IncompleteBody")
			return
		}
		b.objects[name] = got
	case r.Method == http.MethodDelete:
		delete(b.objects, name)
		w.WriteHeader(http.StatusNoContent)
	case !ok:
		no(http.StatusNotFound, "NoSuchKey")
	case b.lost > 0:
		b.lost--
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body[:len(body)/2])
	default:
		_, _ = w.Write(body) // the client tells
	}
}

func (b *bucket) list(w http.ResponseWriter, q url.Values) {
	type object struct{ Key string }
	var out struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Contents              []object
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
	}
	var keys []string
	for k := range b.objects {
		if strings.HasPrefix(k, q.Get("prefix")) && k > q.Get("continuation-token") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	if len(keys) > 2 {
		keys, out.IsTruncated, out.NextContinuationToken = keys[:2], true, keys[1]
	}
	for _, k := range keys {
		out.Contents = append(out.Contents, object{k})
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(out) // the client tells
}

// serve returns an S3 at hand, and its bucket.
func serve(t *testing.T) (aws.Config, *bucket) {
	t.Helper()
	b := &bucket{objects: map[string][]byte{}}
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	return at(srv.URL, "ASIATEST", "secret"), b
}

func at(endpoint, key, secret string) aws.Config {
	return aws.Config{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider(key, secret, "")}
}

// s3Variable names an S3 of somebody else's to test with in place of MinIO: http://USER:PASSWORD@127.0.0.1:9000.
const s3Variable = "PLUMBLINE_TEST_S3"

// another returns that S3, with a new bucket called "blobs-…".
func another(t *testing.T) (aws.Config, string) {
	t.Helper()
	var c aws.Config
	if address := os.Getenv(s3Variable); address != "" {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		password, _ := u.User.Password()
		c = at(u.Scheme+"://"+u.Host, u.User.Username(), password)
	} else {
		m := testenv.Minio(t)
		c = at("http://"+m.Endpoint, m.User, m.Password)
	}
	name := "blobs-" + strings.ToLower(rand.Text()[:12])
	if _, err := newS3(c).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	return c, name
}

func openS3(t *testing.T, c aws.Config, bucket, prefix string) *S3 {
	t.Helper()
	s, err := OpenS3(t.Context(), S3Config{AWS: c, Bucket: bucket, Prefix: prefix, Key: testKey(), Temp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStore is what a store of artifacts does, wherever it is.
func TestStore(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) store{
		"directory": func(t *testing.T) store { return openDir(t, t.TempDir()) },
		"S3 of ours": func(t *testing.T) store {
			c, _ := serve(t)
			return openS3(t, c, "blobs", "")
		},
		"S3 of ours, with a prefix": func(t *testing.T) store {
			c, b := serve(t)
			b.objects["team/b+sealed"], b.objects["team/a"], b.objects["team2/x+sealed"] = []byte("x"), []byte("x"), []byte("x") // not ours
			return openS3(t, c, "blobs", "team/a")
		},
		"S3 of somebody else": func(t *testing.T) store {
			c, name := another(t)
			return openS3(t, c, name, "some/prefix")
		},
	} {
		t.Run(name, func(t *testing.T) { contract(t, open(t)) })
	}
}

func contract(t *testing.T, s store) {
	ctx := t.Context()
	read := func(name string) ([]byte, error) {
		r, err := s.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(r)
		return b, errors.Join(err, r.Close())
	}
	if _, err := read("runs/1/tfplan"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a blob that was never put: %v", err)
	}
	if names, err := s.List(ctx, ""); err != nil || len(names) != 0 {
		t.Errorf("at first there are %q, %v", names, err)
	}
	blobs := map[string][]byte{
		"runs/1/tfplan": data(3), "runs/1/empty": {}, "runs/12/log": data(chunkSize), "runs/2/plan.json": data(3*chunkSize + 17), "runs/2/a_b-c.d": data(1), "top": data(7),
	}
	for name, plain := range blobs {
		size, sum, err := s.Put(ctx, name, iotest.OneByteReader(bytes.NewReader(plain)))
		if want := sha256.Sum256(plain); err != nil || size != int64(len(plain)) || sum != hex.EncodeToString(want[:]) {
			t.Errorf("%s: %d, %s, %v", name, size, sum, err)
		}
	}
	for name, plain := range blobs {
		if got, err := read(name); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	for prefix, want := range map[string]string{
		"": "runs/1/empty runs/1/tfplan runs/12/log runs/2/a_b-c.d runs/2/plan.json top", "runs/1": "runs/1/empty runs/1/tfplan runs/12/log", "runs/1/": "runs/1/empty runs/1/tfplan",
		"runs/2/p": "runs/2/plan.json", "no": "",
	} {
		if got, err := s.List(ctx, prefix); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q lists %q, %v", prefix, got, err)
		}
	}
	// Replaced as a whole, and kept when the new one comes to nothing.
	if _, _, err := s.Put(ctx, "top", strings.NewReader("new")); err != nil {
		t.Error(err)
	}
	broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("broke off")))
	if _, _, err := s.Put(ctx, "top", broken); err == nil || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("half a blob: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := s.Put(canceled, "top", strings.NewReader("late")); !errors.Is(err, context.Canceled) {
		t.Errorf("a put that was canceled: %v", err)
	}
	if got, err := read("top"); err != nil || string(got) != "new" {
		t.Errorf("%q, %v", got, err)
	}
	for range 2 { // that there is none is no error
		if err := s.Delete(ctx, "top"); err != nil {
			t.Error(err)
		}
	}
	if _, err := read("top"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a blob that was deleted: %v", err)
	}
	for _, name := range []string{"", "../x", "a//b", "a+sealed", "/a", "a b"} {
		_, _, put := s.Put(ctx, name, strings.NewReader("x"))
		_, get := s.Get(ctx, name)
		for _, err := range []error{put, get, s.Delete(ctx, name)} {
			if !errors.Is(err, ErrName) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	if _, err := s.List(ctx, "../"); !errors.Is(err, ErrName) {
		t.Errorf("%v", err)
	}
	var busy sync.WaitGroup
	for i := range 8 {
		busy.Go(func() {
			plain := data(1000 + i)
			if _, _, err := s.Put(ctx, "shared", bytes.NewReader(plain)); err != nil {
				t.Error(err)
			}
			if got, err := read("shared"); err != nil || len(got) < 1000 || len(got) > 1007 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	busy.Wait()
}

// TestS3Seals: what leaves this machine is sealed, under the name that it has, and nothing is left on the disk.
func TestS3Seals(t *testing.T) {
	c, b := serve(t)
	temp := t.TempDir()
	s, err := OpenS3(t.Context(), S3Config{AWS: c, Bucket: "blobs", Prefix: "p", Key: testKey(), Temp: temp})
	if err != nil {
		t.Fatal(err)
	}
	const plain = "the plan in clear"
	for _, name := range []string{"a", "b"} {
		if _, _, err := s.Put(t.Context(), name, strings.NewReader(plain+name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, object := range b.objects {
		if bytes.Contains(object, []byte(plain)) || !bytes.HasPrefix(object, []byte(magic)) {
			t.Errorf("%s: %q", name, object)
		}
	}
	expectFiles(t, temp)
	// A bucket whose objects somebody exchanges or changes gives nothing.
	b.objects["p/a+sealed"], b.objects["p/c+sealed"] = b.objects["p/b+sealed"], bytes.Replace(b.objects["p/b+sealed"], []byte{0}, []byte{1}, 1)
	for _, name := range []string{"a", "c"} {
		if _, err := s.Get(t.Context(), name); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// An answer that breaks off is no short blob.
	if _, _, err := s.Put(t.Context(), "long", bytes.NewReader(data(3*chunkSize))); err != nil {
		t.Fatal(err)
	}
	b.lost = 1
	r, err := s.Get(t.Context(), "long")
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if err == nil || errors.Is(err, ErrTampered) {
		t.Errorf("an answer that breaks off: %v", err)
	}
}

// TestS3Refusals: whoever sets a bucket up reads what is missing.
func TestS3Refusals(t *testing.T) {
	c, b := serve(t)
	open := func(bucket string) error {
		_, err := OpenS3(t.Context(), S3Config{AWS: c, Bucket: bucket, Key: testKey()})
		return err
	}
	if err := open("other"); err == nil || !strings.Contains(err.Error(), "there is no such bucket") {
		t.Errorf("%v", err)
	}
	for code, want := range map[string]string{
		"AccessDenied": "give Plumbline's role s3:ListBucket", "PermanentRedirect": "the bucket is in another region", "RequestTimeTooSkewed": "the clock of this machine is wrong", "Odd": "Odd no, said Odd",
	} {
		b.refuse = code
		if err := open("blobs"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", code, err)
		}
	}
	for _, conf := range []S3Config{{Key: testKey()}, {Bucket: "blobs"}} {
		if _, err := OpenS3(t.Context(), conf); err == nil {
			t.Errorf("%+v is taken", conf)
		}
	}
}

// keyring wraps keys in a way of its own.
type keyring struct {
	mu     sync.Mutex
	made   int
	short  bool
	refuse error
}

func (k *keyring) Generate(_ context.Context, place map[string]string) (plain, wrapped []byte, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.made++
	plain = bytes.Repeat([]byte{byte(k.made)}, 32)
	if k.short {
		plain = plain[:16]
	}
	return plain, fmt.Appendf(nil, "%v %d", place, k.made), k.refuse
}

func (k *keyring) Unwrap(_ context.Context, wrapped []byte, place map[string]string) ([]byte, error) {
	rest, ok := bytes.CutPrefix(wrapped, fmt.Appendf(nil, "%v ", place))
	if !ok {
		return nil, errors.New("another place")
	}
	return bytes.Repeat([]byte{rest[0] - '0'}, 32), nil
}

// TestLoadWrapped: all nodes get the same key, whoever made it, and a wrapped key opens where it belongs alone.
func TestLoadWrapped(t *testing.T) {
	for name, file := range map[string]func(t *testing.T) File{
		"directory": func(t *testing.T) File { return LocalFile(filepath.Join(t.TempDir(), "key.kms")) },
		"S3 of ours": func(t *testing.T) File {
			c, _ := serve(t)
			return S3File{AWS: c, Bucket: "blobs", Key: "p/key.kms"}
		},
		"S3 of somebody else": func(t *testing.T) File {
			c, bucket := another(t)
			return S3File{AWS: c, Bucket: bucket, Key: "p/key.kms"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, k := file(t), &keyring{}
			place := map[string]string{"store": "here"}
			keys := make([]Key, 8)
			var busy sync.WaitGroup
			for i := range keys {
				busy.Go(func() {
					var err error
					if keys[i], err = LoadWrapped(t.Context(), k, f, place); err != nil {
						t.Error(err)
					}
				})
			}
			busy.Wait()
			for _, key := range keys {
				if key != keys[0] || key == (Key{}) {
					t.Fatal("nodes have different keys")
				}
			}
			made := k.made
			if again, err := LoadWrapped(t.Context(), k, f, place); err != nil || again != keys[0] || k.made != made {
				t.Errorf("another key after a restart: %v", err)
			}
			if _, err := LoadWrapped(t.Context(), k, f, map[string]string{"store": "elsewhere"}); err == nil || !strings.Contains(err.Error(), "another place") {
				t.Errorf("%v", err)
			}
			b, err := f.Load(t.Context())
			if err != nil || bytes.Contains(b, keys[0][:]) {
				t.Errorf("%s, %v", b, err)
			}
		})
	}
	for _, k := range []*keyring{{short: true}, {refuse: errors.New("denied")}} {
		f := LocalFile(filepath.Join(t.TempDir(), "key.kms"))
		if _, err := LoadWrapped(t.Context(), k, f, nil); err == nil {
			t.Error("no error")
		}
		if _, err := f.Load(t.Context()); !errors.Is(err, ErrNotFound) {
			t.Errorf("a key was written: %v", err)
		}
	}
	f := LocalFile(filepath.Join(t.TempDir(), "key.kms"))
	if err := f.Create(t.Context(), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadWrapped(t.Context(), &keyring{}, f, nil); err == nil || !strings.Contains(err.Error(), "does not hold a wrapped key") {
		t.Errorf("%v", err)
	}
}
