package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// SNSServer is SNS with SQS by somebody else (goaws). Each topic hands what it gets to a queue; any credentials will do.
type SNSServer struct {
	URL     string // of SNS and SQS
	Region  string
	Topic   string // ARN
	FIFO    string // ARN
	Queue   string // URL of the queue of Topic
	Ordered string // URL of the queue of FIFO
}

// SNS returns the server, which is started on its first use. It skips the test where .ci/tools has not built goaws.
func SNS(t testing.TB) *SNSServer {
	t.Helper()
	bin, err := cached("goaws")
	if err != nil {
		unavailable(t, "no SNS to test with (run .ci/tools goaws): %v", err)
	}
	snsOnce.Do(func() { snsOnce.server, snsOnce.err = startSNS(bin) })
	if snsOnce.err != nil {
		t.Fatalf("start %s: %v", bin, snsOnce.err)
	}
	return snsOnce.server
}

var snsOnce struct {
	sync.Once
	server *SNSServer
	err    error
}

func startSNS(bin string) (_ *SNSServer, err error) {
	dir, err := os.MkdirTemp("", "plumbline-sns-")
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
	const account, region = "111122223333", "eu-west-1"
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	arn := "arn:aws:sns:" + region + ":" + account + ":"
	s := &SNSServer{
		URL: url, Region: region, Topic: arn + "plumbline", FIFO: arn + "plumbline.fifo",
		Queue: url + "/" + account + "/audit", Ordered: url + "/" + account + "/audit.fifo",
	}
	config := fmt.Sprintf(`Local:
  Host: 127.0.0.1
  Port: %d
  Region: %s
  AccountId: %q
  LogToFile: false
  Queues:
    - Name: audit
    - Name: audit.fifo
  Topics:
    - Name: plumbline
      Subscriptions:
        - QueueName: audit
          Raw: false
    - Name: plumbline.fifo
      Subscriptions:
        - QueueName: audit.fifo
          Raw: true
`, port, region, account)
	file := filepath.Join(dir, "goaws.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	p := server{Dir: dir, Args: []string{bin, "-config", file, "Local"}, Stop: syscall.SIGKILL, Env: []string{}}
	ended, err := p.start()
	if err != nil {
		return nil, err
	}
	kept = true // by the keeper
	if err := p.await(ended, func() error { return healthy(url + "/health") }); err != nil {
		return nil, err
	}
	return s, nil
}
