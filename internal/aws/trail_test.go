package aws_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/plumbline"
)

var (
	cleanAt = time.Date(2026, 11, 20, 6, 0, 0, 0, time.UTC)
	foundAt = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	later   = foundAt.Add(time.Hour)
)

const (
	planRole  = "arn:aws:iam::111122223333:role/plumbline/plan"
	applyRole = "arn:aws:iam::111122223333:role/plumbline/apply"

	opsK = `{"type":"IAMUser","principalId":"AIDAJ45Q7YFFAREXAMPLE","arn":"arn:aws:iam::111122223333:user/ops-k","accountId":"111122223333","accessKeyId":"AKIAIOSFODNN7EXAMPLE","userName":"ops-k"}`
	opsL = `{"type":"IAMUser","principalId":"AIDAOTHER","arn":"arn:aws:iam::111122223333:user/ops-l","accountId":"111122223333","userName":"ops-l"}`
	ours = `{"type":"AssumedRole","principalId":"AROAAPPLY:plumbline-run-9812","arn":"arn:aws:sts::111122223333:assumed-role/apply/plumbline-run-9812","accountId":"111122223333",` +
		`"sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAAPPLY","arn":"` + applyRole + `","accountId":"111122223333","userName":"apply"}}}`
	byHand = `{"type":"AssumedRole","principalId":"AROAAPPLY:ann","arn":"arn:aws:sts::111122223333:assumed-role/apply/ann","accountId":"111122223333",` +
		`"sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAAPPLY","arn":"` + applyRole + `","accountId":"111122223333","userName":"apply"}}}`
	daemonRole = `{"type":"AssumedRole","principalId":"AROAEXAMPLE:other-node","arn":"arn:aws:sts::111122223333:assumed-role/plumbline/other-node","accountId":"111122223333"}`
)

// event is one of a CloudTrail.
type event struct {
	id, name, who string
	at            time.Time
	agent, ip     string
	more          string // members of the record besides
	readOnly      bool
	resources     []string
}

func (e event) record() string {
	return fmt.Sprintf(`{"eventVersion":"1.11","userIdentity":%s,"eventTime":%q,"eventSource":"ec2.amazonaws.com","eventName":%q,"awsRegion":"eu-west-1","sourceIPAddress":%q,`+
		`"userAgent":%q,"requestID":"1","eventID":%q,"readOnly":%t,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management"%s}`,
		e.who, e.at.UTC().Format(time.RFC3339), e.name, e.ip, e.agent, e.id, e.readOnly, e.more)
}

// trail answers LookupEvents as AWS documents it: events that name the resource, in the window, newest first, on pages.
func trail(page int, events ...event) func(call) reply {
	return func(c call) reply {
		attribute := c.JSON["LookupAttributes"].([]any)[0].(map[string]any)
		if len(c.JSON["LookupAttributes"].([]any)) != 1 || attribute["AttributeKey"] != "ResourceName" {
			return reply{code: "InvalidLookupAttributesException", message: "one attribute"}
		}
		begin, end := c.JSON["StartTime"].(float64), c.JSON["EndTime"].(float64)
		var found []any
		for i := len(events) - 1; i >= 0; i-- {
			e := events[i]
			var named []any
			hit := false
			for _, r := range e.resources {
				hit = hit || r == attribute["AttributeValue"]
				named = append(named, map[string]any{"ResourceName": r, "ResourceType": "AWS::EC2::SecurityGroup"})
			}
			if at := float64(e.at.Unix()); !hit || at < begin || at > end {
				continue
			}
			found = append(found, map[string]any{
				"EventId": e.id, "EventName": e.name, "EventTime": float64(e.at.Unix()), "ReadOnly": fmt.Sprint(e.readOnly), "Resources": named, "Username": "x",
				"EventSource": "ec2.amazonaws.com", "CloudTrailEvent": e.record(),
			})
		}
		from := 0
		if token, ok := c.JSON["NextToken"].(string); ok {
			_, _ = fmt.Sscan(token, &from) // ours
		}
		out := map[string]any{"Events": found[min(from, len(found)):min(from+page, len(found))]}
		if out["Events"] == nil || len(found) == 0 {
			out["Events"] = []any{}
		}
		if from+page < len(found) {
			out["NextToken"] = fmt.Sprint(from + page)
		}
		return reply{body: out}
	}
}

// group is a security group that drifted.
var group = aws.Resource{Type: "aws_security_group", Address: "aws_security_group.web", Attributes: map[string]string{
	"id": "sg-0123456789abcdef0", "arn": "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-0123456789abcdef0", "name": "web",
}}

func (f *fake) trail(t *testing.T, now time.Time) *aws.Trail {
	f.on("sts:GetCallerIdentity", whoami)
	c := f.config()
	c.Now = func() time.Time { return now }
	c.Timeout = time.Minute
	return aws.NewTrail(aws.TrailConfig{Account: load(t, c), Own: []string{planRole, applyRole}, Spacing: time.Nanosecond})
}

func allow(who string, at time.Time) event {
	return event{
		id: who + at.String(), name: "AuthorizeSecurityGroupIngress", who: who, at: at, agent: "aws-cli/2.15.0", ip: "203.0.113.7", resources: []string{"sg-0123456789abcdef0"},
		more: `,"requestParameters":{"groupId":"sg-0123456789abcdef0","ipPermissions":{"items":[{"groups":{"items":[{"groupId":"sg-0fffffffffffffff0"}]}}]}}`,
	}
}

// TestAttribute: one person who changed it is named, and nobody is guessed.
func TestAttribute(t *testing.T) {
	at := foundAt.Add(-time.Hour)
	change := func(e event, f func(*event)) event { f(&e); return e }
	for _, c := range []struct {
		name    string
		events  []event
		deleted bool
		who     string
		unknown string
	}{
		{name: "one", events: []event{allow(opsK, at)}, who: "arn:aws:iam::111122223333:user/ops-k"},
		{name: "the same one twice", events: []event{allow(opsK, at.Add(-time.Minute)), allow(opsK, at)}, who: "arn:aws:iam::111122223333:user/ops-k"},
		{name: "two", events: []event{allow(opsL, at.Add(-time.Minute)), allow(opsK, at)}, unknown: "2 people or services changed it between 2026-11-20 06:00 UTC and 2026-11-20 12:00 UTC: " +
			"arn:aws:iam::111122223333:user/ops-k (AuthorizeSecurityGroupIngress, 2026-11-20 11:00 UTC), arn:aws:iam::111122223333:user/ops-l (AuthorizeSecurityGroupIngress, 2026-11-20 10:59 UTC)"},
		{name: "two, and one of them before", events: []event{allow(opsL, cleanAt.Add(-time.Minute)), allow(opsK, at)}, who: "arn:aws:iam::111122223333:user/ops-k"},
		{name: "two, and one of them after", events: []event{allow(opsK, at), allow(opsL, foundAt.Add(time.Minute))}, who: "arn:aws:iam::111122223333:user/ops-k"},
		{name: "Plumbline itself besides", events: []event{allow(opsK, at), allow(ours, at.Add(time.Minute)), allow(daemonRole, at.Add(time.Minute))}, who: "arn:aws:iam::111122223333:user/ops-k"},
		{name: "nobody but Plumbline", events: []event{allow(ours, at)}, unknown: "CloudTrail has no change of it"},
		{name: "by hand with Plumbline's role", events: []event{allow(byHand, at)}, who: "arn:aws:sts::111122223333:assumed-role/apply/ann"},
		{name: "one was refused", events: []event{change(allow(opsL, at), func(e *event) { e.more += `,"errorCode":"Client.UnauthorizedOperation","errorMessage":"no"` }), allow(opsK, at)},
			who: "arn:aws:iam::111122223333:user/ops-k"},
		{name: "one only looked", events: []event{change(allow(opsL, at), func(e *event) { e.name, e.readOnly = "DescribeSecurityGroups", true }), allow(opsK, at)}, who: "arn:aws:iam::111122223333:user/ops-k"},
		{name: "one only used it", events: []event{change(allow(opsL, at), func(e *event) { e.name, e.more = "RunInstances", "" }), allow(opsK, at)}, who: "arn:aws:iam::111122223333:user/ops-k"},
		{name: "it was only used", events: []event{change(allow(opsL, at), func(e *event) { e.name, e.more = "RunInstances", "" })},
			unknown: "nobody changed it as far as CloudTrail tells; it was only named in arn:aws:iam::111122223333:user/ops-l (RunInstances, 2026-11-20 11:00 UTC)"},
		{name: "another group let it in", events: []event{change(allow(opsL, at), func(e *event) {
			e.more = `,"requestParameters":{"groupId":"sg-0fffffffffffffff0","ipPermissions":{"items":[{"groups":{"items":[{"groupId":"sg-0123456789abcdef0"}]}}]}}`
		})}, unknown: "nobody changed it"},
		{name: "tags", events: []event{change(allow(opsK, at), func(e *event) { e.name, e.more = "CreateTags", "" })}, who: "arn:aws:iam::111122223333:user/ops-k"},
		{name: "deleted", deleted: true, events: []event{allow(opsL, at.Add(-time.Minute)), change(allow(opsK, at), func(e *event) { e.name = "DeleteSecurityGroup" })}, who: "arn:aws:iam::111122223333:user/ops-k"},
		{name: "nothing", unknown: "CloudTrail has no change of it between"},
		{name: "nobody", events: []event{change(allow(`{"type":"Unknown"}`, at), func(*event) {})}, unknown: "CloudTrail does not say who called AuthorizeSecurityGroupIngress"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			f.on("cloudtrail:LookupEvents", trail(2, c.events...))
			r := group
			r.Deleted = c.deleted
			got, err := f.trail(t, later).Check().Attribute(t.Context(), "", r, cleanAt, foundAt)
			if err != nil {
				t.Fatal(err)
			}
			if got.Source != "CloudTrail" || got.Unknown == "" && got.Who != c.who || !strings.Contains(got.Unknown, c.unknown) || c.who == "" && got.Unknown == "" {
				t.Errorf("%+v, want %q, %q", got, c.who, c.unknown)
			}
			if c.unknown == "" && (got.How != "the command line" || got.From != "203.0.113.7" || !got.At.Equal(at)) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestWindow: what CloudTrail cannot tell, because it is too early or too long ago, is not told.
func TestWindow(t *testing.T) {
	f := newFake(t)
	f.on("cloudtrail:LookupEvents", trail(50, allow(opsK, foundAt.Add(-time.Hour))))
	for _, c := range []struct {
		name    string
		now     time.Time
		since   time.Time
		r       aws.Resource
		unknown string
		again   time.Time
	}{
		{name: "a minute after", now: foundAt.Add(time.Minute), since: cleanAt, r: group, unknown: "CloudTrail lists events up to 15m0s late", again: foundAt.Add(15 * time.Minute)},
		{name: "never seen clean", now: later, r: group, unknown: "it may have changed before 2026-08-22 13:00 UTC, which is as far back as CloudTrail goes; since then: arn:aws:iam::111122223333:user/ops-k (Auth"},
		{name: "a hundred days ago", now: foundAt.Add(100 * 24 * time.Hour), since: cleanAt, r: group, unknown: "it changed before"},
		{name: "no time between", now: later, since: foundAt, r: group, unknown: "there is no time between"},
		{name: "nothing known", now: later, since: cleanAt, r: aws.Resource{Type: "aws_vpc", Address: "aws_vpc.main"}, unknown: "neither ID nor ARN of aws_vpc.main are known"},
		{name: "of somebody else", now: later, since: cleanAt, r: aws.Resource{Type: "google_project", Address: "google_project.x"}, unknown: "nothing tells who changes objects of google_project"},
	} {
		got, err := f.trail(t, c.now).Check().Attribute(t.Context(), "", c.r, c.since, foundAt)
		var again *plumbline.Retry
		if errors.As(err, &again) != !c.again.IsZero() || again != nil && !again.At.Equal(c.again) || err != nil && again == nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got.Who != "" || !strings.Contains(got.Unknown, c.unknown) {
			t.Errorf("%s: %+v, want %q", c.name, got, c.unknown)
		}
	}
}

// TestLookups: each name is asked for once, in the region of the object, as slowly as AWS wants it.
func TestLookups(t *testing.T) {
	f := newFake(t)
	f.on("cloudtrail:LookupEvents", trail(1, allow(opsK, foundAt.Add(-3*time.Hour)), allow(opsK, foundAt.Add(-2*time.Hour)), allow(opsK, foundAt.Add(-time.Hour))))
	f.on("sts:GetCallerIdentity", whoami)
	conf := f.config()
	conf.Now = func() time.Time { return later }
	a := load(t, conf)
	synctest.Test(t, func(t *testing.T) {
		tr := aws.NewTrail(aws.TrailConfig{Account: a})
		began := time.Now()
		for range 2 { // the second from memory
			if got, err := tr.Check().Attribute(t.Context(), "us-east-1", group, cleanAt, foundAt); err != nil || got.Who == "" {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		got := f.asked("cloudtrail:LookupEvents")
		var names []string
		for _, c := range got {
			names = append(names, c.JSON["LookupAttributes"].([]any)[0].(map[string]any)["AttributeValue"].(string))
			if c.Host != "cloudtrail.eu-west-1.amazonaws.com" {
				t.Errorf("asked %s, want the region of the ARN", c.Host)
			}
		}
		id := group.Attributes["id"]
		if want := fmt.Sprint([]string{id, id, id, "web", group.Attributes["arn"]}); fmt.Sprint(names) != want {
			t.Errorf("asked for %v, want %v", names, want)
		}
		if took := time.Since(began); took != 4*500*time.Millisecond {
			t.Errorf("five requests took %v, want half a second between them", took)
		}
	})
}

// TestThrottled: whoever else asks, the check waits its turn, and gives up for now in the end.
func TestThrottled(t *testing.T) {
	f := newFake(t)
	refuse := 2
	answer := trail(50, allow(opsK, foundAt.Add(-time.Hour)))
	f.on("cloudtrail:LookupEvents", func(c call) reply {
		if refuse--; refuse >= 0 {
			return reply{code: "ThrottlingException", message: "Rate exceeded"}
		}
		return answer(c)
	})
	f.on("sts:GetCallerIdentity", whoami)
	conf := f.config()
	conf.Now = func() time.Time { return later }
	a := load(t, conf)
	synctest.Test(t, func(t *testing.T) {
		tr := aws.NewTrail(aws.TrailConfig{Account: a})
		began := time.Now()
		if got, err := tr.Check().Attribute(t.Context(), "", group, cleanAt, foundAt); err != nil || got.Who == "" {
			t.Fatalf("%+v, %v", got, err)
		}
		if took := time.Since(began); took != 2*time.Second+4*time.Second+2*500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		refuse = 100
		got, err := tr.Check().Attribute(t.Context(), "", group, cleanAt.Add(time.Second), foundAt)
		var again *plumbline.Retry
		if !errors.As(err, &again) || !strings.Contains(got.Unknown, "Rate exceeded") {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestTrailRefusals(t *testing.T) {
	f := newFake(t)
	f.on("cloudtrail:LookupEvents", func(call) reply {
		return reply{status: http.StatusBadRequest, code: "AccessDeniedException", message: "User: x is not authorized to perform: cloudtrail:LookupEvents"}
	})
	tr := f.trail(t, later)
	got, err := tr.Check().Attribute(t.Context(), "", group, cleanAt, foundAt)
	if !errors.Is(err, plumbline.ErrDenied) || aws.Temporary(err) || !strings.Contains(got.Unknown, "give its role cloudtrail:LookupEvents") {
		t.Errorf("%+v, %v", got, err)
	}
	var many []event
	for i := range 201 {
		many = append(many, allow(opsK, cleanAt.Add(time.Duration(i+1)*time.Minute)))
	}
	f.on("cloudtrail:LookupEvents", trail(50, many...))
	if got, err = tr.Check().Attribute(t.Context(), "", group, cleanAt, foundAt); !errors.Is(err, plumbline.ErrInvalid) || !strings.Contains(got.Unknown, "more than 200 events") {
		t.Errorf("%+v, %v", got, err)
	}
	broken := allow(opsK, foundAt.Add(-time.Hour))
	broken.more = "]"
	f.on("cloudtrail:LookupEvents", trail(50, broken))
	if got, err = tr.Check().Attribute(t.Context(), "", group, cleanAt, foundAt); !errors.Is(err, plumbline.ErrInvalid) || !strings.Contains(got.Unknown, "cannot be read") {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestBudget: a check of a thousand objects stops asking, and says so.
func TestBudget(t *testing.T) {
	f := newFake(t)
	f.on("cloudtrail:LookupEvents", trail(50))
	f.on("sts:GetCallerIdentity", whoami)
	conf := f.config()
	conf.Now = func() time.Time { return later }
	tr := aws.NewTrail(aws.TrailConfig{Account: load(t, conf), Spacing: time.Nanosecond, Budget: 3})
	one := tr.Check()
	if _, err := one.Attribute(t.Context(), "", group, cleanAt, foundAt); err != nil {
		t.Fatal(err)
	}
	other := group
	other.Attributes = map[string]string{"id": "sg-0fffffffffffffff0"}
	got, err := one.Attribute(t.Context(), "", other, cleanAt, foundAt)
	var again *plumbline.Retry
	if !errors.As(err, &again) || !strings.Contains(got.Unknown, "budget") {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := tr.Check().Attribute(t.Context(), "", other, cleanAt, foundAt); err != nil {
		t.Errorf("the next check: %v", err)
	}
	if n := len(f.asked("cloudtrail:LookupEvents")); n != 4 {
		t.Errorf("asked %d times", n)
	}
}

// TestIdentities goes through the kinds of userIdentity of AWS's documentation, and what programs call themselves.
func TestIdentities(t *testing.T) {
	role := func(more string) string {
		return `{"type":"AssumedRole","principalId":"AROAIDPPEZS35WEXAMPLE:ann","arn":"arn:aws:sts::111122223333:assumed-role/Admin/ann","accountId":"111122223333",` +
			`"sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAIDPPEZS35WEXAMPLE","arn":"arn:aws:iam::111122223333:role/Admin","accountId":"111122223333","userName":"Admin"},` +
			`"attributes":{"mfaAuthenticated":"false","creationDate":"20261120T010628Z"}` + more + `}}`
	}
	const ann = "arn:aws:sts::111122223333:assumed-role/Admin/ann"
	for _, c := range []struct{ identity, agent, ip, more, who, how, from string }{
		{opsK, "signin.amazonaws.com", "203.0.113.7", "", "arn:aws:iam::111122223333:user/ops-k", "the console", "203.0.113.7"},
		{role(""), "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15", "2001:db8::0007", "", ann, "the console", "2001:db8::7"},
		{role(""), "aws-internal/3 aws-sdk-java/1.12", "203.0.113.7", `,"sessionCredentialFromConsole":"true"`, ann, "the console", "203.0.113.7"},
		{role(`,"sourceIdentity":"ann@example.com"`), "aws-cli/2.15.0 Python/3.11.6", "203.0.113.7", "", "ann@example.com as " + ann, "the command line", "203.0.113.7"},
		{role(""), "aws-cli/2.15.0 exec-env/CloudShell", "203.0.113.7", "", ann, "CloudShell", "203.0.113.7"},
		{role(""), "APN/1.0 HashiCorp/1.0 Terraform/1.11.4 (+https://www.terraform.io) terraform-provider-aws/6.20.0 aws-sdk-go-v2/1.39.6", "203.0.113.7", "", ann, "Terraform", "203.0.113.7"},
		{role(""), "[Boto3/1.34.0 md/Botocore#1.34.0 ua/2.0]", "203.0.113.7", "", ann, "a program (Boto3/1.34.0)", "203.0.113.7"},
		{role(""), "curl/8.5\n\x1b[31m", "203.0.113.7", "", ann, "a program (curl/8.5 [31m)", "203.0.113.7"},
		{`{"type":"Root","principalId":"111122223333","arn":"arn:aws:iam::111122223333:root","accountId":"111122223333"}`, "console.amazonaws.com", "203.0.113.7", "",
			"the root user of account 111122223333", "the console", "203.0.113.7"},
		{`{"type":"AWSService","invokedBy":"autoscaling.amazonaws.com"}`, "autoscaling.amazonaws.com", "autoscaling.amazonaws.com", "", "the service autoscaling.amazonaws.com", "", "autoscaling.amazonaws.com"},
		{strings.Replace(opsK, "{", `{"invokedBy":"cloudformation.amazonaws.com",`, 1), "cloudformation.amazonaws.com", "cloudformation.amazonaws.com", "",
			"arn:aws:iam::111122223333:user/ops-k", "the service cloudformation.amazonaws.com", "cloudformation.amazonaws.com"},
		{`{"type":"AWSAccount","principalId":"AIDAXX","accountId":"444455556666"}`, "aws-cli/2", "203.0.113.7", "", "somebody of account 444455556666", "the command line", "203.0.113.7"},
		{`{"type":"FederatedUser","principalId":"111122223333:bob","arn":"arn:aws:sts::111122223333:federated-user/bob","accountId":"111122223333"}`, "aws-cli/2", "203.0.113.7", "",
			"arn:aws:sts::111122223333:federated-user/bob", "the command line", "203.0.113.7"},
		{`{"type":"IdentityCenterUser","accountId":"111122223333","onBehalfOf":{"userId":"544894e8-80c1-707f-60e3-3ba6510dfac1","identityStoreArn":"arn:aws:identitystore::111122223333:identitystore/d-9067642ac7"},"credentialId":"x"}`,
			"Mozilla/5.0", "203.0.113.7", "", "user 544894e8-80c1-707f-60e3-3ba6510dfac1 of IAM Identity Center", "the console", "203.0.113.7"},
		{`{"type":"SAMLUser","principalId":"x:bob","userName":"bob","identityProvider":"x"}`, "", "AWS Internal", "", "bob", "", "AWS Internal"},
	} {
		f := newFake(t)
		e := allow(c.identity, foundAt.Add(-time.Hour))
		b, err := json.Marshal(c.agent) // %q is not JSON
		if err != nil {
			t.Fatal(err)
		}
		e.agent, e.ip, e.more = "AGENT", c.ip, e.more+c.more
		record := strings.Replace(e.record(), `"AGENT"`, string(b), 1)
		f.on("cloudtrail:LookupEvents", func(q call) reply {
			out := trail(50, e)(q)
			for _, one := range out.body.(map[string]any)["Events"].([]any) {
				one.(map[string]any)["CloudTrailEvent"] = record
			}
			return out
		})
		got, err := f.trail(t, later).Check().Attribute(t.Context(), "", group, cleanAt, foundAt)
		if err != nil || got.Who != c.who || got.How != c.how || got.From != c.from || got.Event != "AuthorizeSecurityGroupIngress" || got.Unknown != "" {
			t.Errorf("%s\n%+v, %v\nwant %q %q %q", c.identity, got, err, c.who, c.how, c.from)
		}
	}
}

func TestIdentifiers(t *testing.T) {
	for _, c := range []struct {
		kind, id, arn, name, want string
	}{
		{"aws_security_group", "sg-0123456789abcdef0", "arn:aws:ec2:eu-west-1:1:security-group/sg-0123456789abcdef0", "web", "sg-0123456789abcdef0 web arn:aws:ec2:eu-west-1:1:security-group/sg-0123456789abcdef0"},
		{"aws_s3_bucket", "logs-7f3a", "arn:aws:s3:::logs-7f3a", "", "logs-7f3a arn:aws:s3:::logs-7f3a"},
		{"aws_sns_topic", "arn:aws:sns:eu-west-1:1:alerts", "arn:aws:sns:eu-west-1:1:alerts", "alerts", "alerts arn:aws:sns:eu-west-1:1:alerts"},
		{"aws_lb", "arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/app/web/50dc6c495c0c9188", "", "web", "web arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/app/web/50dc6c495c0c9188"},
		{"aws_sqs_queue", "https://sqs.eu-west-1.amazonaws.com/1/jobs", "arn:aws:sqs:eu-west-1:1:jobs", "jobs", "https://sqs.eu-west-1.amazonaws.com/1/jobs jobs arn:aws:sqs:eu-west-1:1:jobs"},
		{"aws_route", "r-rtb-0a11b2c3d4e5f60711080289494", "", "", "rtb-0a11b2c3d4e5f6071"},
		{"aws_ecs_service", "arn:aws:ecs:eu-west-1:1:service/prod/web", "arn:aws:ecs:eu-west-1:1:service/prod/web", "web", "web arn:aws:ecs:eu-west-1:1:service/prod/web"},
		{"aws_route53_record", "Z123_www.example.com_A", "", "www.example.com", "www.example.com Z123_www.example.com_A"},
		{"aws_iam_role_policy_attachment", "deploy/arn:aws:iam::aws:policy/ReadOnlyAccess", "", "", "deploy arn:aws:iam::aws:policy ReadOnlyAccess"},
		{"google_project", "abc", "", "", ""},
		{"aws_vpc", "", "", "", ""},
	} {
		got := aws.Identifiers(c.kind, map[string]string{"id": c.id, "arn": c.arn, "name": c.name})
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s %s: %q, want %q", c.kind, c.id, got, c.want)
		}
	}
}

// TestRegionOf: services that are nowhere log in one place of their partition.
func TestRegionOf(t *testing.T) {
	for _, c := range []struct{ kind, arn, region, in, want string }{
		{"aws_iam_role", "arn:aws:iam::1:role/x", "", "eu-west-1", "us-east-1"},
		{"aws_iam_role", "arn:aws-cn:iam::1:role/x", "", "cn-northwest-1", "cn-north-1"},
		{"aws_iam_user", "", "", "us-gov-east-1", "us-gov-west-1"},
		{"aws_route53_record", "", "", "eu-west-1", "us-east-1"},
		{"aws_route53_resolver_rule", "", "", "eu-west-1", "eu-west-1"},
		{"aws_vpc", "arn:aws:ec2:ap-south-1:1:vpc/x", "", "eu-west-1", "ap-south-1"},
		{"aws_s3_bucket", "arn:aws:s3:::x", "eu-north-1", "eu-west-1", "eu-north-1"},
	} {
		f := newFake(t)
		f.on("cloudtrail:LookupEvents", trail(50))
		r := aws.Resource{Type: c.kind, Attributes: map[string]string{"id": "something", "arn": c.arn, "region": c.region}}
		if _, err := f.trail(t, later).Check().Attribute(t.Context(), c.in, r, cleanAt, foundAt); err != nil {
			t.Fatal(err)
		}
		if got := f.asked("cloudtrail:LookupEvents")[0].Region; got != c.want {
			t.Errorf("%s %s in %s: asked in %s, want %s", c.kind, c.arn, c.in, got, c.want)
		}
	}
}

// FuzzEvent: whatever stands in an event, somebody is named or it is said why not, in texts that a terminal can be given.
func FuzzEvent(f *testing.F) {
	for _, who := range []string{opsK, ours, byHand, `{"type":"Root"}`, `{"type":"AssumedRole","arn":"arn:aws:sts::1:assumed-role/x"}`, `null`, `{"type":"AWSService"}`} {
		f.Add(allow(who, foundAt.Add(-time.Hour)).record())
	}
	f.Add(`{}`)
	f.Add(`[]`)
	f.Add(`{"eventName":"Author\u001b[31mizeSecurityGroupIngress","userIdentity":{"arn":"a\nb"},"readOnly":null,"requestParameters":{"groupId":7}}`)
	f.Fuzz(func(t *testing.T, record string) {
		if !utf8.ValidString(record) {
			return // it would not come through JSON
		}
		d := newFake(t)
		d.on("cloudtrail:LookupEvents", func(c call) reply {
			return reply{body: map[string]any{"Events": []any{map[string]any{"EventId": "1", "CloudTrailEvent": record, "EventTime": float64(foundAt.Unix() - 60)}}}}
		})
		got, err := d.trail(t, later).Check().Attribute(t.Context(), "", group, cleanAt, foundAt)
		if err == nil && (got.Unknown == "") == (got.Who == "") || err != nil && got.Unknown == "" {
			t.Errorf("%+v, %v", got, err)
		}
		for _, s := range []string{got.Who, got.How, got.From, got.Event, got.Unknown} {
			if strings.ContainsFunc(s, unicode.IsControl) || !utf8.ValidString(s) || utf8.RuneCountInString(s) > 4000 {
				t.Errorf("%q", s)
			}
		}
	})
}
