package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Role is a role that is taken for one piece of work.
type Role struct {
	ARN        string
	ExternalID string            // that the role's trust policy asks for; "": none
	Region     string            // whose STS is asked; default: the account's
	Session    string            // its name: what AWS calls whoever has the role
	Tags       map[string]string // of the session; made to fit
	Lifetime   time.Duration     // of the credentials, 15 min to 12 h; shorter when the role allows less
	// TokenFile proves who asks in place of Plumbline's own credentials: a web identity, which has neither tags nor an external ID.
	TokenFile string
}

// Limits of AssumeRole in the API reference of STS.
const (
	shortest     = 15 * time.Minute
	longest      = 12 * time.Hour
	chained      = time.Hour // the most of a role that is taken with the credentials of another one; each role allows as much
	maxSession   = 64
	maxTagKey    = 128
	maxTagValue  = 256
	maxTokenFile = 64 << 10
)

var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// assume takes a role. A *plumbline.Refusal says in words for people why it does not get it; *plumbline.Retry is around it when it is worth asking again.
func (a *Account) assume(ctx context.Context, r Role) (sdk.Credentials, error) {
	region, err := a.in(r.Region)
	if err != nil {
		return sdk.Credentials{}, &plumbline.Refusal{Kind: plumbline.ErrInvalid, What: upper(err.Error()) + "."}
	}
	if !sessionName.MatchString(r.Session) {
		return sdk.Credentials{}, fmt.Errorf("the name of a session of %s is %q: %w", r.ARN, r.Session, plumbline.ErrInvalid)
	}
	client := sts.NewFromConfig(a.config(region))
	lifetime := min(max(cmp.Or(r.Lifetime, shortest), shortest), longest)
	for {
		c, err := a.ask(ctx, client, r, lifetime)
		var told *Error
		switch {
		case err == nil:
			return c, nil
		case errors.As(err, &told) && strings.Contains(told.Message, "DurationSeconds exceeds") && lifetime > chained:
			lifetime = chained // what every role allows
			continue
		}
		return sdk.Credentials{}, a.refuseRole(ctx, r, err)
	}
}

func (a *Account) ask(ctx context.Context, client *sts.Client, r Role, lifetime time.Duration) (sdk.Credentials, error) {
	ctx, cancel := a.within(ctx)
	defer cancel()
	seconds := int32(lifetime / time.Second)
	var got *types.Credentials
	if r.TokenFile != "" {
		token, err := readToken(r.TokenFile)
		if err != nil {
			return sdk.Credentials{}, err
		}
		out, err := client.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
			RoleArn: &r.ARN, RoleSessionName: &r.Session, DurationSeconds: &seconds, WebIdentityToken: &token,
		})
		if err != nil {
			return sdk.Credentials{}, refusal("sts:AssumeRoleWithWebIdentity", err, append(a.creds.secrets(), token))
		}
		got = out.Credentials
	} else {
		in := &sts.AssumeRoleInput{RoleArn: &r.ARN, RoleSessionName: &r.Session, DurationSeconds: &seconds, Tags: sessionTags(r.Tags)}
		if r.ExternalID != "" {
			in.ExternalId = &r.ExternalID
		}
		out, err := client.AssumeRole(ctx, in)
		if err != nil {
			return sdk.Credentials{}, a.refused("sts:AssumeRole", err)
		}
		got = out.Credentials
	}
	if got == nil || sdk.ToString(got.AccessKeyId) == "" || sdk.ToString(got.SecretAccessKey) == "" || sdk.ToString(got.SessionToken) == "" || got.Expiration == nil {
		return sdk.Credentials{}, errors.New("unexpected answer: no credentials in it")
	}
	return sdk.Credentials{
		AccessKeyID: *got.AccessKeyId, SecretAccessKey: *got.SecretAccessKey, SessionToken: *got.SessionToken, CanExpire: true, Expires: *got.Expiration,
	}, nil
}

func readToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	switch {
	case err != nil:
		return "", &CredentialsError{What: fmt.Sprintf("no credentials for AWS: the web identity token %s cannot be read by Plumbline's user", path), Err: err}
	case len(b) > maxTokenFile || strings.TrimSpace(string(b)) == "":
		return "", &CredentialsError{What: fmt.Sprintf("no credentials for AWS: %s holds no web identity token", path), Err: plumbline.ErrInvalid}
	}
	return strings.TrimSpace(string(b)), nil
}

// refuseRole says why a role could not be taken: what happened, and what to do.
func (a *Account) refuseRole(ctx context.Context, r Role, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	says := func(kind error, next, format string, args ...any) error {
		return &plumbline.Refusal{Kind: kind, What: fmt.Sprintf(format, args...), Next: next}
	}
	var told *Error
	var creds *CredentialsError
	var again *plumbline.Retry
	if errors.As(err, &creds) {
		return says(err, "Look at where the daemon gets its credentials (docs/aws.md), then retry the run.", "The role %s could not be taken: %s.", r.ARN, creds.What)
	}
	if !errors.As(err, &told) {
		return says(err, "Look whether this machine reaches STS, then retry the run.", "The role %s could not be taken: %v.", r.ARN, err)
	}
	switch code := told.Code; {
	case errors.As(err, &again):
		return &plumbline.Retry{At: again.At, Err: says(told, "Retry the run in a minute.", "AWS had too many requests and did not give the role %s.", r.ARN)}
	case skewed(code, told.Message), told.Message == "the clock of this machine is wrong":
		return says(told, "Set the clock (NTP), then retry the run.", "AWS did not give the role %s, because the clock of this machine is wrong.", r.ARN)
	case slices.Contains(expired, code):
		return says(told, "Look at where the daemon gets its credentials (docs/aws.md), then retry the run.", "AWS did not give the role %s, because Plumbline's own credentials have expired.", r.ARN)
	case code == "IDPCommunicationError", code == "InvalidIdentityToken", code == "IDPRejectedClaim":
		return says(told, "Look at the identity provider in IAM and at the token's audience, then retry the run.", "AWS did not take the web identity for the role %s: %s.", r.ARN, strings.TrimSuffix(told.Message, "."))
	case strings.Contains(code, "AccessDenied"):
		who, err := a.Identity(ctx)
		if err != nil || r.TokenFile != "" {
			who = "Plumbline"
		}
		next := fmt.Sprintf("Let the role's trust policy allow sts:AssumeRole and sts:TagSession to %s", trusted(who))
		if r.ExternalID != "" {
			next += fmt.Sprintf(", with the external ID %q", r.ExternalID)
		}
		if r.TokenFile != "" {
			next = "Let the role's trust policy allow sts:AssumeRoleWithWebIdentity to the token's provider, audience and subject"
		}
		return says(told, next+", and Plumbline's own policy the same on the role; then retry the run.", "AWS does not give the role %s to %s.", r.ARN, who)
	case code == "RegionDisabledException":
		return says(told, "Activate STS for the region in the account's settings, or name another region in the aws block.", "STS is not active in the region that was asked for the role %s.", r.ARN)
	case code == "PackedPolicyTooLarge":
		return says(told, "Give the repository, the environment and the stack shorter names.", "The tags of the session are too long for the role %s.", r.ARN)
	case told.Temporary:
		return says(told, "Retry the run.", "AWS could not give the role %s just now (%s).", r.ARN, told.what())
	}
	return says(told, "Look at the aws block of the environment, then retry the run.", "AWS did not give the role %s: %s.", r.ARN, strings.TrimSuffix(told.what(), "."))
}

// trusted is how a trust policy names who asks: the role, not its session.
func trusted(who string) string {
	account, role, _, ok := session(who)
	if !ok {
		return who
	}
	part := strings.SplitN(who, ":", 3)
	return fmt.Sprintf("%s:%s:iam::%s:role/%s", part[0], part[1], account, role)
}

// sessionTags makes tags fit what STS takes: letters, digits, spaces and _.:/=+-@, keys that differ in more than case.
func sessionTags(tags map[string]string) []types.Tag {
	fit := func(s string, most int) string {
		s = strings.Map(func(c rune) rune {
			if unicode.IsLetter(c) || unicode.IsDigit(c) || unicode.Is(unicode.Z, c) || strings.ContainsRune("_.:/=+-@", c) {
				return c
			}
			return '_'
		}, strings.ToValidUTF8(s, "_"))
		if r := []rune(s); len(r) > most {
			s = string(r[:most])
		}
		return s
	}
	var out []types.Tag
	seen := map[string]bool{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		key := fit(k, maxTagKey)
		if low := strings.ToLower(key); tags[k] == "" || key == "" || seen[low] || strings.HasPrefix(low, "aws:") {
			continue
		}
		seen[strings.ToLower(key)] = true
		out = append(out, types.Tag{Key: sdk.String(key), Value: sdk.String(fit(tags[k], maxTagValue))})
	}
	return out
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// As is the account with a role of it in place of Plumbline's own identity: what is asked of it is asked by the role. The role is taken with the first
// question, and again before its credentials expire.
func (a *Account) As(r Role) *Account {
	conf := a.conf
	conf.Region = cmp.Or(r.Region, conf.Region)
	return &Account{conf: conf, base: a.base, http: a.http, creds: newPurse(sdk.CredentialsProviderFunc(func(ctx context.Context) (sdk.Credentials, error) {
		c, err := a.assume(ctx, r)
		if err != nil {
			return c, &CredentialsError{What: err.Error(), Err: err}
		}
		return c, nil
	}), conf.Timeout)}
}
