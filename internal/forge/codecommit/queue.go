package codecommit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// QueueConfig says which queue of Amazon SQS. An EventBridge rule for the source aws.codecommit fills it. The credentials need sqs:ReceiveMessage and
// sqs:DeleteMessage.
type QueueConfig struct {
	Region      string
	URL         string // of the queue; its host is asked and no other
	Credentials aws.CredentialsProvider
	Wait        time.Duration // how long a call waits for a message; default and most 20 s, always shorter than Dial.Timeout
	forge.Dial
}

const (
	longestPoll = 20 * time.Second // WaitTimeSeconds in the API reference of SQS
	batch       = 10               // messages, the most that SQS hands out at once
	maxBody     = 256 << 10        // bytes; an event of EventBridge has no more
)

// Queue tells which repositories something happened in. It makes no decision and is believed in nothing: a message that was forged makes a repository
// be looked at, one that was lost leaves it to the next poll. Its methods are safe for concurrent use.
type Queue struct {
	api    *sqs.Client
	side   *side
	url    string
	region string
	wait   int32 // seconds
}

// NewQueue returns a Queue. It does not connect.
func NewQueue(c QueueConfig) (*Queue, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || len(u.Path) < 2:
		return nil, fmt.Errorf("the URL of a queue is https://sqs.REGION.amazonaws.com/ACCOUNT/NAME: %w", plumbline.ErrInvalid)
	case !regionName.MatchString(c.Region):
		return nil, fmt.Errorf("queue %s: %q is no region of AWS: %w", u.Path, c.Region, plumbline.ErrInvalid)
	case c.Credentials == nil:
		return nil, fmt.Errorf("queue %s: no credentials: %w", u.Path, plumbline.ErrInvalid)
	}
	if c.Wait <= 0 || c.Wait > longestPoll {
		c.Wait = longestPoll
	}
	if c.Timeout > 0 && c.Wait >= c.Timeout {
		c.Wait = c.Timeout / 2
	}
	c.Budget = nil // a call that waits would take the turn of one that asks CodeCommit
	endpoint, creds := u.Scheme+"://"+u.Host, newWallet(c.Credentials)
	s, err := newSide(endpoint, speaksJSON, creds, c.Dial)
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w", u.Path, err)
	}
	return &Queue{
		api:  sqs.New(sqs.Options{Region: c.Region, Credentials: creds, BaseEndpoint: &endpoint, HTTPClient: s.http.HTTP(), Retryer: aws.NopRetryer{}}),
		side: s, url: c.URL, region: c.Region, wait: int32(c.Wait / time.Second),
	}, nil
}

// Receive waits for up to ten messages and returns the repositories of the region that they name, sorted, each once; none is no error. The messages
// are deleted, those that mean nothing as well. When that fails, the repositories are returned with the error, and will be named again.
func (q *Queue) Receive(ctx context.Context) (repositories []string, err error) {
	out, err := q.api.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &q.url, MaxNumberOfMessages: batch, WaitTimeSeconds: q.wait})
	if err != nil {
		return nil, q.side.refused("ReceiveMessage", err)
	}
	var read []types.DeleteMessageBatchRequestEntry
	for i, m := range out.Messages {
		repositories = append(repositories, named(aws.ToString(m.Body), q.region)...)
		if aws.ToString(m.ReceiptHandle) != "" && i < batch {
			id := strconv.Itoa(i)
			read = append(read, types.DeleteMessageBatchRequestEntry{Id: &id, ReceiptHandle: m.ReceiptHandle})
		}
	}
	slices.Sort(repositories)
	return slices.Compact(repositories), q.drop(ctx, read)
}

func (q *Queue) drop(ctx context.Context, read []types.DeleteMessageBatchRequestEntry) error {
	if len(read) == 0 {
		return nil
	}
	out, err := q.api.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &q.url, Entries: read})
	if err != nil {
		return q.side.refused("DeleteMessageBatch", err)
	}
	var errs []error
	for _, f := range out.Failed {
		code := q.side.creds.clean(cmp.Or(aws.ToString(f.Code), "no code"))
		message := q.side.creds.clean(aws.ToString(f.Message))
		errs = append(errs, &Error{Operation: "DeleteMessageBatch", Code: code, Status: http.StatusOK, Message: message, kind: kinds[code]})
	}
	return errors.Join(errs...)
}

// named returns the repositories of an event as EventBridge sends it: see "Monitoring CodeCommit events" in the user guide. Events about comments and
// branches have one repository, those about pull requests a list.
func named(body, region string) []string {
	if len(body) > maxBody {
		return nil
	}
	var event struct {
		Source string `json:"source"`
		Region string `json:"region"`
		Kind   string `json:"detail-type"`
		Detail struct {
			Name  string   `json:"repositoryName"`
			Names []string `json:"repositoryNames"`
		} `json:"detail"`
	}
	if json.Unmarshal([]byte(body), &event) != nil || event.Source != "aws.codecommit" || event.Region != region {
		return nil
	}
	switch event.Kind {
	case "CodeCommit Pull Request State Change", "CodeCommit Comment on Pull Request", "CodeCommit Repository State Change":
	default:
		return nil
	}
	var out []string
	for _, name := range append(event.Detail.Names, event.Detail.Name) {
		if repositoryName.MatchString(name) && len(out) < batch {
			out = append(out, name)
		}
	}
	return out
}
