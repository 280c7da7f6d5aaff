package aws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Limits of SNS: "Publish" in its API reference, "Amazon SNS message attributes" in the developer guide.
const (
	MaxMessage    = 256 << 10 // bytes of a message, its attributes included
	maxSubject    = 99        // characters
	maxAttributes = 10        // that a queue with raw delivery takes; with one more it loses the message
	maxFIFO       = 128       // characters of a group or an ID
)

// Attributes that a FIFO topic goes by. They are attributes of the message, too.
const (
	// AttributeGroup names the messages that have to stay in their order; default: all of them.
	AttributeGroup = "plumbline.group"
	// AttributeID tells a message from others: one that was published with the same ID in the last five minutes is not published again. Default: a hash
	// of all that is in it.
	AttributeID = "plumbline.id"
)

// Publisher publishes to topics of Amazon SNS, in the region that the topic's ARN names. Plumbline's role needs sns:Publish on the topic, and with a
// topic that is encrypted by a key of KMS kms:GenerateDataKey and kms:Decrypt on the key.
type Publisher struct{ account *Account }

// NewPublisher returns a Publisher.
func NewPublisher(a *Account) *Publisher { return &Publisher{a} }

var (
	topicARN      = regexp.MustCompile(`^arn:(aws[a-z-]*):sns:([a-z0-9-]+):[0-9]{12}:([A-Za-z0-9_-]{1,256})(\.fifo)?$`)
	attributeName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

// Publish sends a message. The subject is made to fit what SNS takes; a message that does not fit is refused, as a part of one may be worse than none.
// Whether it is worth doing again, Temporary tells; *plumbline.Retry says when. A message that was sent although the answer got lost is sent twice, to
// a FIFO topic once.
func (p *Publisher) Publish(ctx context.Context, topic, subject, message string, attributes map[string]string) error {
	in, region, err := publication(topic, subject, message, attributes)
	if err != nil {
		return fmt.Errorf("publish to %s: %w", shorten(oneLine(topic), maxMessage), err)
	}
	ctx, cancel := p.account.within(ctx)
	defer cancel()
	out, err := sns.NewFromConfig(p.account.config(region)).Publish(ctx, in)
	if err != nil {
		return fmt.Errorf("publish to %s: %w", topic, p.account.refused("sns:Publish", err))
	}
	if sdk.ToString(out.MessageId) == "" {
		return fmt.Errorf("publish to %s: %w", topic, errors.New("unexpected answer: the message has no ID"))
	}
	return nil
}

// publication is the request for a message, and the region that it goes to.
func publication(topic, subject, message string, attributes map[string]string) (*sns.PublishInput, string, error) {
	wrong := func(format string, args ...any) (*sns.PublishInput, string, error) {
		return nil, "", fmt.Errorf(format+": %w", append(args, plumbline.ErrInvalid)...)
	}
	part := topicARN.FindStringSubmatch(topic)
	if part == nil || !regionName.MatchString(part[2]) {
		return wrong("it is not the ARN of a topic; one is arn:aws:sns:eu-west-1:111122223333:plumbline")
	}
	if len(attributes) > maxAttributes {
		return wrong("the message has %d attributes, of which SNS takes %d", len(attributes), maxAttributes)
	}
	message = strings.ToValidUTF8(message, "\uFFFD")
	in := &sns.PublishInput{TopicArn: &topic, Message: &message}
	if strings.TrimSpace(message) == "" {
		return wrong("the message is empty")
	}
	if s := asciiSubject(subject); s != "" {
		in.Subject = &s
	}
	size, all := len(message), sha256.New()
	fmt.Fprintf(all, "%q %q", sdk.ToString(in.Subject), message)
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		value := strings.ToValidUTF8(attributes[name], "\uFFFD")
		if value == "" {
			continue // SNS refuses a message for it
		}
		low := strings.ToLower(name)
		if !attributeName.MatchString(name) || len(name) > 256 || strings.HasPrefix(low, "aws.") || strings.HasPrefix(low, "amazon.") {
			return wrong("SNS takes no attribute called %q", shorten(name, 80))
		}
		if in.MessageAttributes == nil {
			in.MessageAttributes = map[string]types.MessageAttributeValue{}
		}
		in.MessageAttributes[name] = types.MessageAttributeValue{DataType: sdk.String("String"), StringValue: &value}
		size += len(name) + len("String") + len(value)
		fmt.Fprintf(all, " %q %q", name, value)
	}
	if size > MaxMessage {
		return wrong("the message has %d bytes with its attributes, of which SNS takes %d", size, MaxMessage)
	}
	if part[4] != "" {
		in.MessageGroupId = sdk.String(fifoName(cmp.Or(attributes[AttributeGroup], "plumbline")))
		in.MessageDeduplicationId = sdk.String(fifoName(cmp.Or(attributes[AttributeID], hex.EncodeToString(all.Sum(nil)))))
	}
	return in, part[2], nil
}

// asciiOf are signs of our texts in ASCII.
var asciiOf = strings.NewReplacer("…", "...", "·", "-", "–", "-", "—", "-", "−", "-", "→", "->", "±", "+-", "“", `"`, "”", `"`, "’", "'", "×", "x", "≤", "<=", "≥", ">=")

// asciiSubject makes a subject of a text: mail that is made of it is ASCII in one line, and does not begin with a space.
func asciiSubject(s string) string {
	s = strings.Map(func(c rune) rune {
		if c > '~' {
			return '?'
		}
		return c
	}, asciiOf.Replace(oneLine(s)))
	if len(s) > maxSubject {
		s = strings.TrimSpace(s[:maxSubject-3]) + "..."
	}
	return s
}

// fifoName is a text as a FIFO topic takes it for a group or an ID: alphanumeric characters or punctuation, 128 at most. One that has to be changed ends
// in a hash of the whole, so that two stay two.
func fifoName(s string) string {
	plain := strings.Map(func(c rune) rune {
		if c <= ' ' || c > '~' {
			return '_'
		}
		return c
	}, s)
	if plain == s && len(s) <= maxFIFO {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	tail := "-" + hex.EncodeToString(sum[:16])
	return plain[:min(len(plain), maxFIFO-len(tail))] + tail
}
