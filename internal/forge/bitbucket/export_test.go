package bitbucket

import (
	"encoding/json"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// SetPageSize makes pages small enough for a test to have several.
func (c *Client) SetPageSize(n int) { c.perPage = n }

// Translate is what is made of a pull request as the API tells it.
func Translate(answer []byte) (plumbline.MergeRequest, error) {
	var pr *pullRequest
	if err := json.Unmarshal(answer, &pr); err != nil {
		return plumbline.MergeRequest{}, err
	}
	return mergeRequest(pr)
}
