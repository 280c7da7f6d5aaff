package aws

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// record is an event as CloudTrail tells it, as far as we look at it: "CloudTrail record contents" and "CloudTrail userIdentity element" in its user
// guide.
type record struct {
	EventID                      string          `json:"eventID"`
	EventTime                    time.Time       `json:"eventTime"`
	EventName                    string          `json:"eventName"`
	EventType                    string          `json:"eventType"`
	SourceIPAddress              string          `json:"sourceIPAddress"`
	UserAgent                    string          `json:"userAgent"`
	ErrorCode                    string          `json:"errorCode"`
	ReadOnly                     *bool           `json:"readOnly"`
	SessionCredentialFromConsole any             `json:"sessionCredentialFromConsole"`
	RequestParameters            json.RawMessage `json:"requestParameters"`
	UserIdentity                 identity        `json:"userIdentity"`
}

type identity struct {
	Type           string `json:"type"`
	PrincipalID    string `json:"principalId"`
	ARN            string `json:"arn"`
	AccountID      string `json:"accountId"`
	UserName       string `json:"userName"`
	InvokedBy      string `json:"invokedBy"`
	SessionContext struct {
		SessionIssuer struct {
			ARN string `json:"arn"`
		} `json:"sessionIssuer"`
		SourceIdentity string `json:"sourceIdentity"`
	} `json:"sessionContext"`
	OnBehalfOf struct {
		UserID string `json:"userId"`
	} `json:"onBehalfOf"`
}

// actor says who, how and from where; Unknown when it does not tell who.
func (r record) actor() plumbline.Actor {
	a := plumbline.Actor{Who: r.UserIdentity.who(), How: r.how(), At: r.EventTime, Event: text(r.EventName), Source: "CloudTrail"}
	if a.Who == "" {
		a.Unknown = "CloudTrail does not say who called " + a.Event
	}
	if ip, err := netip.ParseAddr(r.SourceIPAddress); err == nil {
		a.From = ip.String()
	} else if from := text(r.SourceIPAddress); from != a.How {
		a.From = from // a service, or "AWS Internal"
	}
	return a
}

// who is a name for people: the ARN wherever there is one, since it tells the account and cannot be mistaken for another's.
func (u identity) who() string {
	arn := text(u.ARN)
	switch u.Type {
	case "Root":
		return "the root user of account " + text(u.AccountID)
	case "AWSService":
		return "the service " + text(firstOf(u.InvokedBy, u.PrincipalID))
	case "AWSAccount":
		return "somebody of account " + text(u.AccountID)
	case "IdentityCenterUser":
		if id := text(u.OnBehalfOf.UserID); id != "" {
			return "user " + id + " of IAM Identity Center"
		}
	case "AssumedRole":
		// Whoever assumes a role picks the session's name; a source identity is set by a policy, and stays.
		if source := text(u.SessionContext.SourceIdentity); source != "" && arn != "" {
			return source + " as " + arn
		}
	}
	if arn != "" {
		return arn
	}
	return text(firstOf(u.UserName, u.PrincipalID))
}

// how is what was used. Programs say themselves what they are.
func (r record) how() string {
	agent := r.UserAgent
	low := strings.ToLower(agent)
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(low, p) {
				return true
			}
		}
		return false
	}
	switch {
	case r.UserIdentity.InvokedBy != "" && r.UserIdentity.Type != "AWSService":
		return "the service " + text(r.UserIdentity.InvokedBy)
	case r.UserIdentity.Type == "AWSService", r.EventType == "AwsServiceEvent":
		return ""
	case has("terraform", "opentofu"):
		return "Terraform"
	case has("pulumi"):
		return "Pulumi"
	case fmt.Sprint(r.SessionCredentialFromConsole) == "true", r.EventType == "AwsConsoleAction",
		has("signin.amazonaws.com", "console.amazonaws.com", "console.ec2.amazonaws.com", "s3console", "aws-console", "mozilla/"):
		return "the console"
	case has("cloudshell"):
		return "CloudShell"
	case has("aws-cli/"):
		return "the command line"
	case has("ansible"):
		return "Ansible"
	case strings.HasSuffix(low, ".amazonaws.com"):
		return "the service " + text(agent)
	case has("boto3/", "botocore/", "aws-sdk", "amazon-ssm-agent"):
		name, _, _ := strings.Cut(strings.Trim(agent, "[]"), " ")
		return "a program (" + text(name) + ")"
	case agent != "":
		return "a program (" + shorten(text(agent), 60) + ")"
	}
	return ""
}

// person tells people apart, whatever they used: a role's sessions of one name are one.
func (u identity) person() string {
	return strings.Join([]string{u.Type, u.AccountID, firstOf(u.ARN, u.PrincipalID, u.UserName, u.InvokedBy), u.SessionContext.SourceIdentity, u.OnBehalfOf.UserID}, "|")
}

// text makes what anybody may have put into a request fit to be shown.
func text(s string) string { return shorten(oneLine(s), maxMessage) }

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// readRecord reads the event inside of an answer.
func readRecord(s string) (record, error) {
	var r record
	if err := json.Unmarshal([]byte(s), &r); err != nil {
		return r, fmt.Errorf("CloudTrail tells of an event that cannot be read (%s): %w", oneLine(err.Error()), plumbline.ErrInvalid)
	}
	return r, nil
}

// session splits the ARN of a role's session into its account, its role's name and its own.
func session(arn string) (account, role, name string, ok bool) {
	part := strings.SplitN(arn, ":", 6)
	if len(part) != 6 || part[2] != "sts" {
		return "", "", "", false
	}
	rest, ok := strings.CutPrefix(part[5], "assumed-role/")
	if !ok {
		return "", "", "", false
	}
	role, name, ok = strings.Cut(rest, "/")
	return part[4], role, name, ok
}

// roleOf splits the ARN of a role into its account and its name without the path.
func roleOf(arn string) (account, name string, ok bool) {
	part := strings.SplitN(arn, ":", 6)
	if len(part) != 6 || part[2] != "iam" || !strings.HasPrefix(part[5], "role/") {
		return "", "", false
	}
	return part[4], part[5][strings.LastIndexByte(part[5], '/')+1:], true
}
