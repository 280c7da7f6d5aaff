// Package codecommit speaks for a repository on AWS CodeCommit.
//
// CodeCommit has neither commit statuses nor webhooks. What other forges show beside a commit stands in a line at the end of the note, and, where
// the operator wants it, in an approval (Config.Approve). A Queue tells which repositories to look at before the next poll is due.
//
// # What a poll costs
//
// ListPullRequests returns numbers and nothing else, and nothing there tells whether a pull request moved. A poll is therefore one request for each
// page of numbers with one GetPullRequest for each open pull request, four at a time. Who pushed a head is asked for once, when the head is new
// (DescribePullRequestEvents). Whoever has hundreds of open pull requests does well to poll seldom, with a Queue.
//
// # Who is who
//
// People are named by the ARN of who asked: an IAM user by its name, a session of a role as Role/Session, which is how approval rules of
// CodeCommit write it as well. Whoever assumes a role picks the name of the session unless the role's trust policy says otherwise
// (sts:RoleSessionName). Without the role in it, anybody with any role could write under anybody's name; with it, whoever has the same role still
// can, and can be two people at once. Rules of four eyes are as good as those policies.
//
// Comments of ours are those of our IAM user or of any session of our role. Nobody else should have it. Give the role's sessions one fixed name:
// what a session wrote, another one of the same role may not be able to edit, which the documentation leaves open. A note that cannot be edited
// any more is left as it is, and another one is written.
//
// # What was checked against what
//
// There is no emulator of CodeCommit, and nothing here was run against the real one; live_test.go does that for whoever has an account. The tests'
// double is ours. Each request to it and each of its answers are checked against AWS's model of the API (names, types, required fields, limits,
// values) and against the requests and answers that AWS publishes with its SDK for Go; signatures of requests and of Git are computed again from
// their description, and those of Git agree with the examples of git-remote-codecommit. How the double behaves is our reading of the user guide
// and the API reference: that a revision ends with a push and approvals with it, what an outdated revision, a repeated clientRequestToken or a
// deleted comment are answered, that comments and reactions move lastActivityDate.
package codecommit

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/codecommit"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Config says which repository in which region.
//
// The credentials need codecommit:GitPull, codecommit:ListPullRequests, codecommit:GetPullRequest, codecommit:DescribePullRequestEvents,
// codecommit:GetCommentsForPullRequest, codecommit:PostCommentForPullRequest, codecommit:UpdateComment, codecommit:DeleteCommentContent,
// codecommit:PutCommentReaction, codecommit:GetPullRequestApprovalStates, codecommit:GetMergeConflicts; to open pull requests
// codecommit:GitPush, codecommit:CreatePullRequest, codecommit:UpdatePullRequestTitle, codecommit:UpdatePullRequestDescription; with
// Approve codecommit:UpdatePullRequestApprovalState. sts:GetCallerIdentity needs no permission.
type Config struct {
	Region      string
	Project     string // name of the repository
	Credentials aws.CredentialsProvider
	FIPS        bool   // the endpoints that AWS runs for FIPS 140
	Endpoint    string // of the API, for interface VPC endpoints with a name of their own; default the region's
	GitEndpoint string // likewise for Git; default the region's
	STSEndpoint string // likewise for STS; default the region's
	Console     string // where people read pull requests; default the region's console
	// Identity is the ARN that the credentials belong to, as STS tells it: arn:aws:sts::123456789012:assumed-role/Plumbline/daemon. Default: STS is
	// asked, once.
	Identity string
	// Approve makes the status "plumbline" an approval of ours: given when it is a success, revoked when it is anything else. CodeCommit counts it like
	// that of a person, in each rule whose pool Plumbline is in and in each that has no pool, and so a pull request whose plan succeeds is short of one
	// reader. Hence it is off by default. Turn it on together with a rule whose pool is Plumbline's role alone, when all other rules have pools
	// without it.
	Approve bool
	forge.Dial
}

const (
	// 10,240 characters according to "Quotas in AWS CodeCommit" in the user guide. Bytes are never fewer than characters.
	noteLimit = 10_240
	// The API's model allows a title of 150 characters, a description of 10,240.
	titleLimit, descriptionLimit = 150, 10_240

	maxPages = 100
	atOnce   = 4 // requests of one poll
)

// Client is a repository on CodeCommit. It is a forge.Client.
type Client struct {
	api     *api.Client
	sts     *sts.Client
	toAPI   *side
	toSTS   *side
	creds   *wallet
	region  string
	project string
	git     *url.URL // of the repository
	console string
	approve bool
	now     func() time.Time

	mu       sync.Mutex
	me       *principal       // nil: not asked yet
	known    map[string]known // open pull requests by number
	disowned map[string]bool  // comments of our role that we may not edit
}

// known is what is remembered of a pull request: its branches never change, and a head's pusher neither.
type known struct {
	source, target string // full names of refs
	head           string
	pusher         string
	pushed         bool // the pusher was asked for
}

var (
	_ forge.Client    = (*Client)(nil)
	_ forge.Commenter = (*Client)(nil)
	_ forge.Reactor   = (*Client)(nil)
	_ forge.Proposer  = (*Client)(nil)
	_ forge.Plainer   = (*Client)(nil)
)

var (
	repositoryName = regexp.MustCompile(`^[\w.-]{1,100}$`) // RepositoryName in the API's model
	regionName     = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)
)

// New returns a Client. It does not connect.
func New(c Config) (*Client, error) {
	switch {
	case !repositoryName.MatchString(c.Project):
		return nil, fmt.Errorf("codecommit project %q: write the name of the repository: %w", c.Project, plumbline.ErrInvalid)
	case !regionName.MatchString(c.Region):
		return nil, fmt.Errorf("codecommit project %s: %q is no region of AWS: %w", c.Project, c.Region, plumbline.ErrInvalid)
	case c.Credentials == nil:
		return nil, fmt.Errorf("codecommit project %s: no credentials: %w", c.Project, plumbline.ErrInvalid)
	}
	out := &Client{
		creds: newWallet(c.Credentials), region: c.Region, project: c.Project, approve: c.Approve, now: c.Now,
		known: map[string]known{}, disowned: map[string]bool{},
	}
	if out.now == nil {
		out.now = time.Now
	}
	if err := out.dial(c); err != nil {
		return nil, fmt.Errorf("codecommit project %s: %w", c.Project, err)
	}
	if c.Identity != "" {
		me, ok := parseARN(c.Identity)
		if !ok {
			return nil, fmt.Errorf("codecommit project %s: identity %q is no ARN of a user or of a session of a role: %w",
				c.Project, c.Identity, plumbline.ErrInvalid)
		}
		out.me = &me
	}
	return out, nil
}

// dial makes the clients for the three services that are asked.
func (c *Client) dial(conf Config) error {
	ctx := context.Background() // the rules for endpoints are a table
	home, err := api.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, api.EndpointParameters{Region: &conf.Region, UseFIPS: &conf.FIPS})
	if err != nil {
		return fmt.Errorf("region %s: %w", conf.Region, err)
	}
	identity, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, sts.EndpointParameters{Region: &conf.Region, UseFIPS: &conf.FIPS})
	if err != nil {
		return fmt.Errorf("region %s: %w", conf.Region, err)
	}
	endpoint, tokens := cmp.Or(conf.Endpoint, home.URI.String()), cmp.Or(conf.STSEndpoint, identity.URI.String())
	if c.toAPI, err = newSide(endpoint, speaksJSON, c.creds, conf.Dial); err != nil {
		return err
	}
	if c.toSTS, err = newSide(tokens, speaksXML, c.creds, conf.Dial); err != nil {
		return err
	}
	c.api = api.New(api.Options{
		Region: conf.Region, Credentials: c.creds, BaseEndpoint: &endpoint, HTTPClient: c.toAPI.http.HTTP(), Retryer: aws.NopRetryer{},
	})
	c.sts = sts.New(sts.Options{
		Region: conf.Region, Credentials: c.creds, BaseEndpoint: &tokens, HTTPClient: c.toSTS.http.HTTP(), Retryer: aws.NopRetryer{},
	})
	// "Regions and Git connection endpoints" in the user guide: the API's name with git- before it, in each region and with FIPS.
	c.git, err = url.Parse(strings.TrimRight(cmp.Or(conf.GitEndpoint, "https://git-"+home.URI.Host), "/"))
	if err != nil || c.git.Host == "" || (c.git.Scheme != "https" && c.git.Scheme != "http") || c.git.User != nil ||
		c.git.RawQuery != "" || c.git.Fragment != "" {
		return fmt.Errorf("the endpoint for Git must be https:// or http:// with a host, and no user in it: %w", plumbline.ErrInvalid)
	}
	c.git.Path += "/v1/repos/" + conf.Project // whose name needs no escaping
	c.console = strings.TrimRight(cmp.Or(conf.Console, consoleOf(conf.Region)), "/")
	return nil
}

// wallet keeps what a provider said last: it is masked wherever somebody repeats it.
type wallet struct {
	provider aws.CredentialsProvider
	last     atomic.Pointer[aws.Credentials]
}

// newWallet returns one that asks the provider again only when what it said expires.
func newWallet(p aws.CredentialsProvider) *wallet {
	if _, ok := p.(*aws.CredentialsCache); !ok {
		p = aws.NewCredentialsCache(p)
	}
	return &wallet{provider: p}
}

// Retrieve is asked for each request.
func (w *wallet) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := w.provider.Retrieve(ctx)
	if err == nil {
		w.last.Store(&c)
	}
	return c, err
}

// clean makes text fit to be shown: one line, shortened, without the credentials.
func (w *wallet) clean(text string) string {
	if c := w.last.Load(); c != nil {
		for _, secret := range []string{c.SecretAccessKey, c.SessionToken} {
			if secret != "" {
				text = strings.NewReplacer(secret, plumbline.Masked, url.QueryEscape(secret), plumbline.Masked).Replace(text)
			}
		}
	}
	return forge.Shorten(forge.OneLine(text), maxMessage)
}

func consoleOf(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "https://" + region + ".console.amazonaws.cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "https://" + region + ".console.amazonaws-us-gov.com"
	}
	return "https://" + region + ".console.aws.amazon.com"
}

// page is where people read a pull request.
func (c *Client) page(id string) string {
	return fmt.Sprintf("%s/codesuite/codecommit/repositories/%s/pull-requests/%s", c.console, url.PathEscape(c.project), url.PathEscape(id))
}

// NoteLimit is the longest note in bytes.
func (c *Client) NoteLimit() int { return noteLimit }

// Plain reports that notes are to be without HTML: the user guide promises Markdown in comments and says nothing of HTML in it.
func (c *Client) Plain() bool { return true }

// pages calls next with the token of each page, nil for the first. A list that does not end is an error: half of one is not to be taken for all.
func pages(what string, next func(token *string) (*string, error)) error {
	var token *string
	seen := map[string]bool{}
	for range maxPages {
		after, err := next(token)
		if err != nil {
			return err
		}
		if aws.ToString(after) == "" {
			return nil
		}
		if seen[*after] {
			return fmt.Errorf("%s: unexpected answer: the pages go in circles", what)
		}
		seen[*after], token = true, after
	}
	return fmt.Errorf("%s: unexpected answer: more than %d pages", what, maxPages)
}
