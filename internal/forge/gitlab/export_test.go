package gitlab

import (
	api "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// SetPageSize makes pages small enough for a test to have several.
func (c *Client) SetPageSize(n int64) { c.limit = n }

// MaxPages is after how many a list is given up.
const MaxPages = maxPages

// MergeRequestOf translates.
func MergeRequestOf(one *api.BasicMergeRequest) (plumbline.MergeRequest, error) {
	return mergeRequest(one)
}

// Text is a body as GitLab keeps it.
func Text(body string) string { return text(body) }
