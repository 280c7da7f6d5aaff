package github

import (
	"encoding/json"
	"strings"

	api "github.com/google/go-github/v89/github"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// SetPageSize lets a test have several pages of few things.
func (c *Client) SetPageSize(n int) { c.limit = n }

// APIOf is where the API is.
func APIOf(c *Client) string { return strings.TrimRight(c.gh.BaseURL(), "/") }

// MergeRequest translates the JSON of a pull request.
func MergeRequest(b []byte) (plumbline.MergeRequest, error) {
	pr := new(api.PullRequest)
	if err := json.Unmarshal(b, pr); err != nil {
		return plumbline.MergeRequest{}, err
	}
	return mergeRequest(pr)
}
