package testenv

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// KMSServer is KMS by somebody else (local-kms). Any credentials will do.
type KMSServer struct {
	URL    string
	Region string
	Alias  string // of a key that encrypts
	Other  string // of another one
}

// KMS returns the server, which is started on its first use. It skips the test where .ci/tools has not built local-kms.
func KMS(t testing.TB) *KMSServer {
	t.Helper()
	bin, err := cached("local-kms")
	if err != nil {
		unavailable(t, "no KMS to test with (run .ci/tools local-kms): %v", err)
	}
	kmsOnce.Do(func() { kmsOnce.server, kmsOnce.err = startKMS(bin) })
	if kmsOnce.err != nil {
		t.Fatalf("start %s: %v", bin, kmsOnce.err)
	}
	return kmsOnce.server
}

var kmsOnce struct {
	sync.Once
	server *KMSServer
	err    error
}

func startKMS(bin string) (_ *KMSServer, err error) {
	dir, err := os.MkdirTemp("", "plumbline-kms-")
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
	k := &KMSServer{URL: fmt.Sprintf("http://127.0.0.1:%d", port), Region: "eu-west-1", Alias: "alias/plumbline", Other: "alias/other"}
	const one, two = "bc436485-5092-42b8-92a3-0aa8b93536dc", "6fa6043b-2fd4-433b-83a5-3f4193d7d1a6"
	seed := fmt.Sprintf(`Keys:
  Symmetric:
    Aes:
      - Metadata: { KeyId: %s }
        BackingKeys: [5cdaead27fe7da2de47945d73cd6d79e36494e73802f3cd3869f1d2cb0b5d7a9]
      - Metadata: { KeyId: %s }
        BackingKeys: [34743777217a25432a46294a404e635266556a586e3272357538782f413f4428]
Aliases:
  - { AliasName: %s, TargetKeyId: %s }
  - { AliasName: %s, TargetKeyId: %s }
`, one, two, k.Alias, one, k.Other, two)
	file := filepath.Join(dir, "seed.yaml")
	if err := os.WriteFile(file, []byte(seed), 0o600); err != nil {
		return nil, err
	}
	p := server{
		Dir: dir, Args: []string{bin}, Stop: syscall.SIGKILL,
		Env: []string{fmt.Sprintf("PORT=%d", port), "KMS_SEED_PATH=" + file, "KMS_DATA_PATH=" + dir, "KMS_ACCOUNT_ID=111122223333", "KMS_REGION=" + k.Region},
	}
	ended, err := p.start()
	if err != nil {
		return nil, err
	}
	kept = true // by the keeper
	return k, p.await(ended, func() error {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		return c.Close()
	})
}
