package codecommit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Remote returns where Git finds the repository. GitPassword has the user with the password.
func (c *Client) Remote() (url string) { return c.git.String() }

// GitPassword computes user name and password for one Git operation, to be asked for right before it: the password holds the time, and CodeCommit
// takes it for some minutes. The user name has the session token in it, where there is one, and is then as secret as the password.
//
// It is a Signature Version 4 over the method GIT and the path, as AWS's own git-remote-codecommit makes it.
func (c *Client) GitPassword(ctx context.Context) (username string, password plumbline.Secret, err error) {
	creds, err := c.creds.Retrieve(ctx)
	if err != nil {
		return "", plumbline.Secret{}, &failure{what: "credentials for Git: " + c.creds.clean(err.Error()), err: err}
	}
	username = creds.AccessKeyID
	if creds.SessionToken != "" {
		username += "%" + creds.SessionToken
	}
	at := c.now().UTC().Format("20060102T150405")
	return username, plumbline.NewSecret(at + "Z" + gitSignature(creds.SecretAccessKey, c.region, c.git.Host, c.git.Path, at)), nil
}

func gitSignature(secret, region, host, path, at string) string {
	scope := []string{at[:8], region, "codecommit", "aws4_request"}
	asked := fmt.Sprintf("GIT\n%s\n\nhost:%s\n\nhost\n", path, host)
	sum := sha256.Sum256([]byte(asked))
	key := []byte("AWS4" + secret)
	for _, part := range append(scope, strings.Join([]string{"AWS4-HMAC-SHA256", at, strings.Join(scope, "/"), hex.EncodeToString(sum[:])}, "\n")) {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	return hex.EncodeToString(key)
}
