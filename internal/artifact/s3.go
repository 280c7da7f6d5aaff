package artifact

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// S3Config says which bucket OpenS3 opens.
type S3Config struct {
	AWS    aws.Config // credentials, region and, for an S3 of somebody else's, the endpoint
	Bucket string     // no default
	Prefix string     // before the names of all objects, without a slash at its end; "": none
	Key    Key        // no default
	Temp   string     // a directory of this node's for sealed blobs on their way; default the system's
}

// S3 keeps blobs in a bucket of Amazon S3, or of another service with its API. A blob is sealed before it leaves this machine, as in a Dir, and as
// there it is replaced as a whole. It is safe for concurrent use, also by several nodes.
//
// What Plumbline's role needs: s3:PutObject, s3:GetObject, s3:DeleteObject on BUCKET/PREFIX/*, s3:ListBucket on BUCKET. Without the last one, a blob that is
// not there cannot be told from one that may not be read.
type S3 struct {
	client *s3.Client
	c      S3Config
}

// maxSealed is the largest object that S3 takes at once.
const maxSealed = 5 << 30

// How a request that came to nothing is repeated.
const (
	s3Tries   = 5
	s3Backoff = 5 * time.Second
)

// OpenS3 returns a store in a bucket. It looks whether the bucket is there, so that a mistake shows when the daemon starts.
func OpenS3(ctx context.Context, c S3Config) (*S3, error) {
	switch {
	case c.Bucket == "":
		return nil, errors.New("open artifacts: no bucket is given")
	case c.Key == (Key{}):
		return nil, errors.New("open artifacts: no key is given")
	}
	s := &S3{c: c, client: newS3(c.AWS)}
	if _, err := s.list(ctx, "", 1); err != nil {
		return nil, fmt.Errorf("open artifacts: %w", err)
	}
	return s, nil
}

func newS3(c aws.Config) *s3.Client {
	return s3.NewFromConfig(c, func(o *s3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil // other services seldom have a name for each bucket
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = s3Tries, s3Backoff })
	})
}

// Close does nothing: there is nothing to let go of.
func (s *S3) Close() error { return nil }

func (s *S3) object(name string) *string { return aws.String(prefixed(s.c.Prefix, name+sealedSuffix)) }

func prefixed(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "/" + name
}

// Put does what Dir.Put does. The sealed blob goes to a temporary file first: S3 wants to know its length, and a request that breaks off is sent again.
func (s *S3) Put(ctx context.Context, name string, r io.Reader) (size int64, sum string, err error) {
	if err := checkName(name); err != nil {
		return 0, "", fmt.Errorf("put artifact %w", err)
	}
	fail := func(err error) (int64, string, error) { return 0, "", fmt.Errorf("put artifact %s: %w", name, err) }
	f, err := os.CreateTemp(s.c.Temp, tempPrefix+"*") // mode 0600
	if err != nil {
		return fail(err)
	}
	// Nobody else needs its name: the file goes with the descriptor, also when this process is killed.
	if err := os.Remove(f.Name()); err != nil {
		return fail(errors.Join(err, f.Close()))
	}
	defer func() { _ = f.Close() }() // only read by then
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails: crypto/rand ends the process instead
	hash := sha256.New()
	if size, err = seal(ctx, f, io.TeeReader(r, hash), s.c.Key, salt, name); err != nil {
		return fail(err)
	}
	length, err := f.Seek(0, io.SeekEnd)
	if err == nil && length > maxSealed {
		err = fmt.Errorf("it has %d bytes when it is sealed, of which S3 takes %d at once", length, int64(maxSealed))
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fail(err)
	}
	_, err = s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.c.Bucket, Key: s.object(name), Body: f, ContentLength: &length, ContentType: aws.String("application/octet-stream"),
	})
	if err != nil {
		return fail(s.explain(ctx, "s3:PutObject", err))
	}
	return size, hex.EncodeToString(hash.Sum(nil)), nil
}

// Get does what Dir.Get does.
func (s *S3) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("get artifact %w", err)
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.c.Bucket, Key: s.object(name)})
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", name, s.explain(ctx, "s3:GetObject", err))
	}
	o, err := open(ctx, out.Body, s.c.Key, name)
	if err != nil {
		return nil, errors.Join(err, out.Body.Close())
	}
	return o, nil
}

// Delete does what Dir.Delete does. In a bucket with versions, the blob stays among them until a lifecycle rule ends it.
func (s *S3) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("delete artifact %w", err)
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.c.Bucket, Key: s.object(name)})
	if err != nil {
		err = s.explain(ctx, "s3:DeleteObject", err)
	}
	if err != nil && !errors.Is(err, ErrNotFound) { // Amazon's says nothing of one that is not there; others do
		return fmt.Errorf("delete artifact %s: %w", name, err)
	}
	return nil
}

// List does what Dir.List does.
func (s *S3) List(ctx context.Context, prefix string) ([]string, error) {
	if _, err := prefixDir(prefix); err != nil {
		return nil, fmt.Errorf("list artifacts %w", err)
	}
	names, err := s.list(ctx, prefix, 0)
	if err != nil {
		return nil, fmt.Errorf("list artifacts %q: %w", prefix, err)
	}
	return names, nil
}

// list returns names; with most > 0 it is enough that the bucket answers.
func (s *S3) list(ctx context.Context, prefix string, most int32) ([]string, error) {
	in := &s3.ListObjectsV2Input{Bucket: &s.c.Bucket, Prefix: aws.String(prefixed(s.c.Prefix, prefix))}
	if most > 0 {
		in.MaxKeys = &most
	}
	var names []string
	for pages := s3.NewListObjectsV2Paginator(s.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, s.explain(ctx, "s3:ListBucket", err)
		}
		for _, o := range page.Contents {
			name, ok := strings.CutPrefix(aws.ToString(o.Key), prefixed(s.c.Prefix, ""))
			name, sealed := strings.CutSuffix(name, sealedSuffix)
			if ok && sealed && checkName(name) == nil {
				names = append(names, name)
			}
		}
		if most > 0 {
			break
		}
	}
	slices.Sort(names)
	return names, nil
}

// explain says what an answer means, in one line.
func (s *S3) explain(ctx context.Context, operation string, err error) error {
	return explainS3(ctx, s.c.Bucket, operation, err)
}

func explainS3(ctx context.Context, bucket, operation string, err error) error {
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	var none *types.NoSuchKey
	var told smithy.APIError
	switch {
	case errors.As(err, &none):
		return ErrNotFound
	case !errors.As(err, &told):
		return fmt.Errorf("%s on bucket %s: %s", operation, bucket, oneLine(err.Error()))
	}
	what := ""
	switch code := told.ErrorCode(); code {
	case "NotFound", "NoSuchKey":
		return ErrNotFound
	case "NoSuchBucket":
		what = "there is no such bucket; make it, or correct artifacts in the server block"
	case "AccessDenied", "AllAccessDisabled", "403":
		what = "access is denied; give Plumbline's role " + operation + " there, and, where the bucket is encrypted with a key of yours, the use of that key"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "301":
		what = "the bucket is in another region; name it: artifacts = \"s3://" + bucket + "/…?region=…\""
	case "RequestTimeTooSkewed":
		what = "the clock of this machine is wrong"
	default:
		what = strings.TrimSpace(code + " " + oneLine(told.ErrorMessage()))
	}
	return fmt.Errorf("%s on bucket %s: %s", operation, bucket, what)
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// S3File is one small object beside the blobs, which is written once.
type S3File struct {
	AWS         aws.Config
	Bucket, Key string
}

// Load returns what is in it; ErrNotFound: it was never written.
func (f S3File) Load(ctx context.Context) ([]byte, error) {
	out, err := newS3(f.AWS).GetObject(ctx, &s3.GetObjectInput{Bucket: &f.Bucket, Key: &f.Key})
	if err != nil {
		return nil, explainS3(ctx, f.Bucket, "s3:GetObject", err)
	}
	b, err := io.ReadAll(io.LimitReader(out.Body, maxKeyFile))
	return b, errors.Join(err, out.Body.Close())
}

// Create writes it unless it is there: of several nodes that do so at once one wins, and the others get ErrExists.
func (f S3File) Create(ctx context.Context, b []byte) error {
	_, err := newS3(f.AWS).PutObject(ctx, &s3.PutObjectInput{Bucket: &f.Bucket, Key: &f.Key, Body: bytes.NewReader(b), IfNoneMatch: aws.String("*")})
	var told smithy.APIError
	if errors.As(err, &told) && (told.ErrorCode() == "PreconditionFailed" || told.ErrorCode() == "ConditionalRequestConflict") {
		return ErrExists
	}
	if err != nil {
		return explainS3(ctx, f.Bucket, "s3:PutObject", err)
	}
	return nil
}

// String names it for people.
func (f S3File) String() string { return "s3://" + f.Bucket + "/" + f.Key }

// LocalFile is the same in a directory.
type LocalFile string

// Load returns what is in it; ErrNotFound: it was never written.
func (f LocalFile) Load(context.Context) ([]byte, error) {
	b, err := os.ReadFile(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotFound
	}
	return b, err
}

// Create writes it unless it is there.
func (f LocalFile) Create(_ context.Context, b []byte) (err error) {
	dir := filepath.Dir(string(f))
	t, err := os.CreateTemp(dir, filepath.Base(string(f))+".new-*") // O_EXCL, mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(t.Name())) }()
	_, err = t.Write(b)
	if err == nil {
		err = t.Sync()
	}
	if err := errors.Join(err, t.Close()); err != nil {
		return err
	}
	if err := os.Link(t.Name(), string(f)); errors.Is(err, os.ErrExist) {
		return ErrExists
	} else if err != nil {
		return err
	}
	return syncDir(os.Open, dir)
}

// String names it for people.
func (f LocalFile) String() string { return string(f) }
