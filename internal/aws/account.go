// Package aws asks Amazon Web Services for what Plumbline needs of them.
//
// Nobody else of ours imports the SDK, but the S3 store of internal/artifact, which is a store of artifacts first, the adapter of CodeCommit, which is
// a forge first, and the tests of both.
//
// # What was checked against what
//
// Nothing here was run against the real AWS. Publishing goes through goaws, an SNS with SQS by somebody else. For the other services the doubles of the
// tests are ours: their requests and answers are held against those that AWS publishes with its SDK for Go (request_snapshot, response_snapshot), and
// what they do is our reading of AWS's documentation.
package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Config says how an Account is reached. The zero Config will do on a machine that is set up for AWS.
type Config struct {
	Region      string                  // default: AWS_REGION, or the profile's
	Credentials sdk.CredentialsProvider // default: the SDK's chain: environment, profile, web identity (IRSA), ECS, EKS, EC2
	Timeout     time.Duration           // for one question, its repetitions included, and for credentials; default 15 s
	Endpoint    string                  // where all services are asked; default: where AWS has them, or AWS_ENDPOINT_URL_…
	Transport   http.RoundTripper       // default: the SDK's
	Now         func() time.Time        // default time.Now
}

const (
	defaultTimeout = 15 * time.Second
	maxAttempts    = 3
	maxBackoff     = 4 * time.Second
)

// Account is who Plumbline itself is on AWS. Its methods are safe for concurrent use.
type Account struct {
	conf  Config
	base  sdk.Config // what this machine says besides: endpoints of its own, FIPS
	creds *purse
	http  *http.Client

	mu       sync.Mutex
	identity string
}

var regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)

// Load finds out what this machine knows of AWS. It asks nobody for credentials yet: those are fetched with the first question, and again before
// they expire.
func Load(ctx context.Context, c Config) (*Account, error) {
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	if c.Now == nil {
		c.Now = time.Now
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var opts []func(*config.LoadOptions) error
	if c.Region != "" {
		opts = append(opts, config.WithRegion(c.Region))
	}
	if c.Credentials != nil {
		opts = append(opts, config.WithCredentialsProvider(c.Credentials))
	}
	if c.Transport != nil {
		opts = append(opts, config.WithHTTPClient(&http.Client{Transport: c.Transport}))
	}
	found, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return nil, noCredentials(err)
	}
	if c.Region = found.Region; c.Region != "" && !regionName.MatchString(c.Region) {
		return nil, fmt.Errorf("%q is no region of AWS: %w", c.Region, plumbline.ErrInvalid)
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
		// With the CA bundle that AWS_CA_BUNDLE names, if any.
		if b, ok := found.HTTPClient.(*awshttp.BuildableClient); ok {
			c.Transport = b.GetTransport()
		}
	}
	a := &Account{conf: c, base: found, creds: newPurse(found.Credentials, c.Timeout)}
	a.http = &http.Client{
		Transport:     wire{c.Transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return a, nil
}

// Region is where services are asked for which nothing else names a region; "": this machine does not say.
func (a *Account) Region() string { return a.conf.Region }

// Credentials are Plumbline's own. They are remembered until they expire; fetching them takes no longer than Config.Timeout.
func (a *Account) Credentials() sdk.CredentialsProvider { return a.creds }

// Identity is the ARN of who Plumbline is, asked for once. It needs no permission.
func (a *Account) Identity(ctx context.Context) (string, error) {
	a.mu.Lock()
	known := a.identity
	a.mu.Unlock()
	if known != "" {
		return known, nil
	}
	region, err := a.in("")
	if err != nil {
		return "", err
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	out, err := sts.NewFromConfig(a.config(region)).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", a.refused("sts:GetCallerIdentity", err)
	}
	if sdk.ToString(out.Arn) == "" {
		return "", errors.New("sts:GetCallerIdentity: unexpected answer: no ARN")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.identity = *out.Arn
	return a.identity, nil
}

// in is the region to ask: the one that is named, or this machine's.
func (a *Account) in(region string) (string, error) {
	switch region = cmp.Or(region, a.conf.Region); {
	case region == "":
		return "", fmt.Errorf("nothing says which region of AWS to ask; set AWS_REGION where Plumbline is started, or region in the aws block of the environment: %w",
			plumbline.ErrInvalid)
	case !regionName.MatchString(region):
		return "", fmt.Errorf("%q is no region of AWS: %w", region, plumbline.ErrInvalid)
	}
	return region, nil
}

func (a *Account) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.conf.Timeout)
}

// config is for the client of one service.
func (a *Account) config(region string) sdk.Config {
	c := a.base.Copy()
	c.Region, c.Credentials, c.HTTPClient = region, a.creds, a.http
	// What may go away by itself is asked for again.
	c.Retryer = func() sdk.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = maxAttempts, maxBackoff })
	}
	if a.conf.Endpoint != "" {
		c.BaseEndpoint = &a.conf.Endpoint
	}
	return c
}

// purse holds credentials: it bounds how long they may take, says in words why there are none, and knows what has to be masked.
type purse struct {
	provider sdk.CredentialsProvider
	timeout  time.Duration

	mu   sync.Mutex
	last sdk.Credentials
}

func newPurse(p sdk.CredentialsProvider, timeout time.Duration) *purse {
	if _, ok := p.(*sdk.CredentialsCache); !ok {
		p = sdk.NewCredentialsCache(p)
	}
	return &purse{provider: p, timeout: timeout}
}

// Retrieve is asked by the SDK for each request.
func (p *purse) Retrieve(ctx context.Context) (sdk.Credentials, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, errSlow)
	defer cancel()
	c, err := p.provider.Retrieve(ctx)
	if err != nil {
		if errors.Is(context.Cause(ctx), errSlow) {
			err = fmt.Errorf("%w after %v: %w", errSlow, p.timeout, err)
		}
		return c, noCredentials(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = c
	return c, nil
}

// secrets are the values that no error may repeat.
func (p *purse) secrets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return []string{p.last.SecretAccessKey, p.last.SessionToken}
}

var errSlow = errors.New("no answer")

// CredentialsError says why Plumbline has no credentials for AWS. It may go away by itself.
type CredentialsError struct {
	What string // one sentence with what to do
	Err  error
}

func (e *CredentialsError) Error() string { return e.What }
func (e *CredentialsError) Unwrap() error { return e.Err }

// noCredentials translates what the SDK's chain of sources says. Its own messages name its inner parts, one inside the other.
func noCredentials(err error) error {
	var own *CredentialsError
	if errors.As(err, &own) {
		return own
	}
	what := ""
	var profile config.SharedConfigProfileNotExistError
	var told *Error
	text := err.Error()
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &profile):
		what = fmt.Sprintf("there is no profile %q in the AWS configuration files; write it there, or correct AWS_PROFILE", profile.Profile)
	case errors.As(refusal("credentials", err, nil), &told):
		what = fmt.Sprintf("AWS gives none for the role of this machine: %s", told.what())
	case has("failed to retrieve jwt", "token file path is not set", "role ARN is not set"):
		what = "the web identity of this pod cannot be used; AWS_WEB_IDENTITY_TOKEN_FILE must name a file that Plumbline's user can read, AWS_ROLE_ARN its role"
	case has("EC2 IMDS", "ec2imds", "EC2 Instance Metadata"):
		what = "there are none in the environment nor in ~/.aws, and this machine has no role of EC2; set AWS_PROFILE, or give the instance, task or pod a role"
	case errors.Is(err, errSlow):
		what = "the source of credentials does not answer; look at what AWS_PROFILE, AWS_CONTAINER_CREDENTIALS_FULL_URI or the instance metadata service lead to"
	case has("failed to load credentials", "container", "EcsContainer"):
		what = "the credentials endpoint of this container does not answer as it should; look at the task's role, or at the Pod Identity agent"
	case has("process provider", "credential_process"):
		what = "the credential_process of the profile failed; run it by hand"
	case has("SSO", "sso"):
		what = "the profile's single sign-on is not good any more; run `aws sso login`, and give a daemon a role instead"
	default:
		what = oneLine(text)
	}
	return &CredentialsError{What: "no credentials for AWS: " + what, Err: err}
}
