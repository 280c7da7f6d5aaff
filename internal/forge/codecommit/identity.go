package codecommit

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/plumbline/plumbline/internal/forge"
)

// principal is who an ARN stands for.
type principal struct {
	account string
	who     string // user/path/Name, assumed-role/Role, federated-user/Name, root
	session string // of a role
}

// parseARN reads the ARN of somebody who can write a comment. See "IAM identifiers" in the IAM user guide.
func parseARN(arn string) (principal, bool) {
	part := strings.SplitN(arn, ":", 6)
	if len(part) != 6 || part[0] != "arn" || (part[2] != "iam" && part[2] != "sts") || part[4] == "" || part[5] == "" {
		return principal{}, false
	}
	p := principal{account: part[4], who: part[5]}
	if rest, ok := strings.CutPrefix(part[5], "assumed-role/"); ok {
		role, session, ok := strings.Cut(rest, "/")
		if !ok || role == "" || session == "" {
			return principal{}, false
		}
		p.who, p.session = "assumed-role/"+role, session
	}
	return p, true
}

// same reports whether an ARN is the principal's, whatever its session.
func (p principal) same(arn *string) bool {
	other, ok := parseARN(aws.ToString(arn))
	return ok && other.account == p.account && other.who == p.who
}

// person is how an author is called: see the package's documentation. What is no ARN of a person is left as it is.
func person(arn *string) string {
	p, ok := parseARN(aws.ToString(arn))
	switch {
	case !ok:
		return forge.OneLine(aws.ToString(arn))
	case p.session != "":
		return strings.TrimPrefix(p.who, "assumed-role/") + "/" + p.session
	case strings.HasPrefix(p.who, "user/"):
		return p.who[strings.LastIndex(p.who, "/")+1:] // a name is unique in the account, whatever the path
	}
	return p.who
}

// whoami returns whom the credentials belong to, asked for once.
func (c *Client) whoami(ctx context.Context) (principal, error) {
	c.mu.Lock()
	me := c.me
	c.mu.Unlock()
	if me != nil {
		return *me, nil
	}
	out, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return principal{}, c.toSTS.refused("GetCallerIdentity", err)
	}
	p, ok := parseARN(aws.ToString(out.Arn))
	if !ok {
		return principal{}, unexpected("GetCallerIdentity", "an identity without an ARN")
	}
	c.mu.Lock()
	c.me = &p
	c.mu.Unlock()
	return p, nil
}
