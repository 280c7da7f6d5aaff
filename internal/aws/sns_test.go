package aws_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

const topic = "arn:aws:sns:us-east-2:444455556666:plumbline"

func published(call) reply {
	return reply{body: `<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>94f20ce6</MessageId></PublishResult>` +
		`<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></PublishResponse>`}
}

// TestPublishRequest holds what is sent against the request that AWS publishes with its SDK.
func TestPublishRequest(t *testing.T) {
	f := newFake(t)
	f.on("sns:Publish", published)
	p := aws.NewPublisher(f.load(t))
	err := p.Publish(t.Context(), topic, " 1 drift · “production”\nsince 14:20 … ", "déjà vu\n", map[string]string{"environment": "production", "event": "drift", "stack": ""})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), topic+".fifo", strings.Repeat("x", 200), "text", map[string]string{aws.AttributeGroup: "live/net in production"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(t.Context(), "arn:aws-cn:sns:cn-north-1:444455556666:plumbline", "", "text", nil); err != nil {
		t.Fatal(err)
	}
	got := f.asked("sns:Publish")
	want := []map[string]string{
		{
			"Action": "Publish", "Version": "2010-03-31", "TopicArn": topic, "Subject": `1 drift - "production" since 14:20 ...`, "Message": "déjà vu\n",
			"MessageAttributes.entry.1.Value.DataType": "String", "MessageAttributes.entry.2.Value.DataType": "String",
		},
		{"Subject": strings.Repeat("x", 96) + "..."},
		{"Message": "text"},
	}
	for i, one := range want {
		for k, v := range one {
			if got[i].Form[k] != v {
				t.Errorf("message %d: %s is %q, want %q", i, k, got[i].Form[k], v)
			}
		}
	}
	var attributes []string
	for _, n := range []string{"1", "2"} {
		attributes = append(attributes, got[0].Form["MessageAttributes.entry."+n+".Name"]+"="+got[0].Form["MessageAttributes.entry."+n+".Value.StringValue"])
	}
	if a := strings.Join(attributes, " "); a != "environment=production event=drift" && a != "event=drift environment=production" || got[0].Form["MessageAttributes.entry.3.Name"] != "" {
		t.Errorf("attributes %s", a)
	}
	if got[0].Host != "sns.us-east-2.amazonaws.com" || got[0].Region != "us-east-2" || got[2].Host != "sns.cn-north-1.amazonaws.com.cn" {
		t.Errorf("sent to %s in %s and to %s, want the regions of the ARNs", got[0].Host, got[0].Region, got[2].Host)
	}
	if _, ok := got[2].Form["Subject"]; ok {
		t.Error("an empty subject was sent, for which SNS refuses the message")
	}
	if g := got[1].Form["MessageGroupId"]; !strings.HasPrefix(g, "live/net_in_production-") || len(got[1].Form["MessageDeduplicationId"]) != 64 || got[0].Form["MessageGroupId"] != "" {
		t.Errorf("group %q, ID %q, want both for a FIFO topic alone", g, got[1].Form["MessageDeduplicationId"])
	}
}

// TestPublishOnce: the same message has the same ID, and another message another.
func TestPublishOnce(t *testing.T) {
	f := newFake(t)
	f.on("sns:Publish", published)
	p := aws.NewPublisher(f.load(t))
	id := func(subject, message string, attributes map[string]string) string {
		t.Helper()
		if err := p.Publish(t.Context(), topic+".fifo", subject, message, attributes); err != nil {
			t.Fatal(err)
		}
		return f.asked("sns:Publish")[0].Form["MessageDeduplicationId"]
	}
	one := id("a", "b", map[string]string{"x": "1", "y": "2"})
	if one != id("a", "b", map[string]string{"y": "2", "x": "1"}) {
		t.Error("the same message has two IDs")
	}
	for _, other := range []string{id("a", "c", map[string]string{"x": "1", "y": "2"}), id("a", "b", map[string]string{"x": "1"}), id("", "ab", map[string]string{"x": "1", "y": "2"})} {
		if other == one {
			t.Error("two messages have one ID: the second would be lost")
		}
	}
	long := strings.Repeat("a", 200)
	if a, b := id("a", "b", map[string]string{aws.AttributeID: long}), id("a", "b", map[string]string{aws.AttributeID: long + "b"}); a == b || len(a) > 128 {
		t.Errorf("IDs %q and %q", a, b)
	}
}

func TestPublishRefuses(t *testing.T) {
	f := newFake(t)
	p := aws.NewPublisher(f.load(t))
	eleven := map[string]string{}
	for _, c := range "abcdefghijk" {
		eleven[string(c)] = "x"
	}
	for _, c := range []struct {
		name, topic, message, want string
		attributes                 map[string]string
	}{
		{name: "a queue", topic: "arn:aws:sqs:us-east-2:444455556666:plumbline", message: "x", want: "it is not the ARN of a topic"},
		{name: "a name", topic: "plumbline", message: "x", want: "it is not the ARN of a topic"},
		{name: "nothing", topic: topic, message: " \n", want: "the message is empty"},
		{name: "one byte too many", topic: topic, message: strings.Repeat("x", aws.MaxMessage-2-len("k")-len("String")+1), attributes: map[string]string{"k": "vv"}, want: "262145 bytes"},
		{name: "AWS's own attribute", topic: topic, message: "x", attributes: map[string]string{"AWS.SNS.x": "y"}, want: `no attribute called "AWS.SNS.x"`},
		{name: "an attribute with a space", topic: topic, message: "x", attributes: map[string]string{"a b": "y"}, want: `no attribute called "a b"`},
		{name: "eleven attributes", topic: topic, message: "x", attributes: eleven, want: "11 attributes"},
	} {
		err := p.Publish(t.Context(), c.topic, "s", c.message, c.attributes)
		if !errors.Is(err, plumbline.ErrInvalid) || !strings.Contains(err.Error(), c.want) || aws.Temporary(err) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	f.on("sns:Publish", published)
	if err := p.Publish(t.Context(), topic, "", strings.Repeat("x", aws.MaxMessage-2-len("k")-len("String")), map[string]string{"k": "vv"}); err != nil {
		t.Errorf("the longest message: %v", err)
	}
}

// TestPublishFailures: what may go away is tried again by itself, and told apart from what does not.
func TestPublishFailures(t *testing.T) {
	for _, c := range []struct {
		code      string
		status    int
		err       error
		kind      error
		temporary bool
		again     bool // it names a time
		tries     int
	}{
		{code: "NotFound", status: 404, kind: plumbline.ErrNotFound, tries: 1},
		{code: "AuthorizationError", status: 403, kind: plumbline.ErrDenied, tries: 1},
		{code: "InvalidParameter", status: 400, kind: plumbline.ErrInvalid, tries: 1},
		{code: "KMSAccessDenied", status: 400, kind: plumbline.ErrDenied, tries: 1},
		{code: "KMSDisabled", status: 400, kind: plumbline.ErrInvalid, tries: 1},
		{code: "Throttled", status: 429, temporary: true, again: true, tries: 1},
		{code: "Throttling", status: 400, temporary: true, again: true, tries: 3},
		{code: "InternalError", status: 500, temporary: true, tries: 3},
		{err: io.ErrUnexpectedEOF, temporary: true, tries: 3},
	} {
		t.Run(c.code, func(t *testing.T) {
			f := newFake(t)
			f.on("sns:Publish", func(call) reply { return reply{status: c.status, code: c.code, message: "because", err: c.err} })
			conf := f.config()
			conf.Timeout = time.Minute
			p := aws.NewPublisher(load(t, conf))
			var err error
			synctest.Test(t, func(t *testing.T) { err = p.Publish(t.Context(), topic, "s", "m", nil) })
			var again *plumbline.Retry
			if err == nil || c.kind != nil && !errors.Is(err, c.kind) || aws.Temporary(err) != c.temporary || errors.As(err, &again) != c.again {
				t.Errorf("%v (temporary: %t), want %v", err, aws.Temporary(err), c.kind)
			}
			if n := len(f.asked("sns:Publish")); n != c.tries {
				t.Errorf("asked %d times, want %d", n, c.tries)
			}
		})
	}
}

// TestPublishDelivers goes through an SNS that nobody here wrote, to the queue that hangs on it.
func TestPublishDelivers(t *testing.T) {
	s := testenv.SNS(t)
	c := aws.Config{Region: "us-east-1", Endpoint: s.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, session)}
	p := aws.NewPublisher(load(t, c))
	queue := sqs.New(sqs.Options{Region: s.Region, BaseEndpoint: &s.URL, Credentials: c.Credentials})
	// receive takes all that is there, one by one: a FIFO queue holds the others back until then.
	receive := func(url string, n int) (bodies []string) {
		t.Helper()
		for range n {
			out, err := queue.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 1, WaitTimeSeconds: 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range out.Messages {
				bodies = append(bodies, sdk.ToString(m.Body))
				if _, err := queue.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); err != nil {
					t.Fatal(err)
				}
			}
		}
		return bodies
	}

	if err := p.Publish(t.Context(), s.Topic, "Drift in production", `{"open":2,"note":"déjà vu"}`, map[string]string{"environment": "production"}); err != nil {
		t.Fatal(err)
	}
	got := receive(s.Queue, 1)
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	var envelope struct {
		TopicArn, Subject, Message string
		MessageAttributes          map[string]struct{ StringValue string } // goaws calls it so; with AWS it is Value
	}
	if err := json.Unmarshal([]byte(got[0]), &envelope); err != nil {
		t.Fatal(err)
	}
	if envelope.TopicArn != s.Topic || envelope.Subject != "Drift in production" || envelope.Message != `{"open":2,"note":"déjà vu"}` ||
		envelope.MessageAttributes["environment"].StringValue != "production" {
		t.Errorf("delivered %+v", envelope)
	}

	// goaws keeps the order of a FIFO topic; that AWS drops what has the same ID it does not know.
	for _, text := range []string{"one", "two", "three"} {
		if err := p.Publish(t.Context(), s.FIFO, "", text, nil); err != nil {
			t.Fatal(err)
		}
	}
	if texts := receive(s.Ordered, 3); strings.Join(texts, " ") != "one two three" {
		t.Errorf("delivered %q", texts)
	}

	err := p.Publish(t.Context(), strings.Replace(s.Topic, ":plumbline", ":gone", 1), "", "m", nil)
	if !errors.Is(err, plumbline.ErrNotFound) || aws.Temporary(err) {
		t.Errorf("%v, want that there is no such topic, for good", err)
	}
}
