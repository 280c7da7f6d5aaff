package testenv

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A MinioServer is a real S3 on loopback, with conditional writes.
type MinioServer struct {
	Endpoint string // "127.0.0.1:40123"; HTTP
	Region   string
	User     string
	Password string
	S3       *s3.Client // of the user, who may do everything
}

// Minio returns the MinIO server of this test process, which its first call starts. Without PLUMBLINE_E2E=1 the test is skipped, and without MinIO in the
// cache too: it takes its time to build, so only "make e2e" does.
func Minio(t testing.TB) *MinioServer {
	t.Helper()
	if os.Getenv("PLUMBLINE_E2E") != "1" {
		t.Skip("set PLUMBLINE_E2E=1 (make e2e)")
	}
	bin, err := cached("minio")
	if err != nil {
		unavailable(t, "no MinIO to test with (run make e2e): %v", err)
	}
	minioOnce.Do(func() { minioOnce.server, minioOnce.err = startMinio(bin) })
	if minioOnce.err != nil {
		t.Fatalf("start %s: %v", bin, minioOnce.err)
	}
	return minioOnce.server
}

// MinioProvider returns a filesystem mirror that holds the genuine aminueza/minio provider, for Terraform and for OpenTofu. Without it the test is
// skipped. Treat it as read-only.
func MinioProvider(t testing.TB) (mirror string) {
	t.Helper()
	dir, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "providers")
	if _, err := os.Stat(filepath.Join(dir, "registry.terraform.io", "aminueza", "minio")); err != nil {
		unavailable(t, "no provider for MinIO to test with (run make e2e): %v", err)
	}
	return dir
}

var minioOnce struct {
	sync.Once
	server *MinioServer
	err    error
}

func startMinio(bin string) (_ *MinioServer, err error) {
	dir, err := os.MkdirTemp("", "plumbline-minio-")
	if err != nil {
		return nil, err
	}
	kept := false
	defer func() {
		if !kept {
			_ = os.RemoveAll(dir) // the error that is being returned matters more
		}
	}()
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	m := &MinioServer{Endpoint: fmt.Sprintf("127.0.0.1:%d", port), Region: "us-east-1", User: "plumbline", Password: "plumbline-minio"}
	m.S3 = s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + m.Endpoint), Region: m.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(m.User, m.Password, ""),
	})
	s := server{
		Dir: dir, Stop: syscall.SIGKILL,
		Args: []string{bin, "server", "--quiet", "--address", m.Endpoint, filepath.Join(dir, "data")},
		Env: []string{
			"HOME=" + dir, "PATH=/usr/bin:/bin", "MINIO_ROOT_USER=" + m.User, "MINIO_ROOT_PASSWORD=" + m.Password,
			"MINIO_BROWSER=off", "MINIO_UPDATE=off", // no second port, no look for a newer one
		},
	}
	ended, err := s.start()
	if err != nil {
		return nil, err
	}
	kept = true // by the keeper
	return m, s.await(ended, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Endpoint+"/minio/health/ready", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = res.Body.Close() // nothing is read of it
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", res.Status)
		}
		_, err = m.S3.ListBuckets(ctx, &s3.ListBucketsInput{})
		return err
	})
}
