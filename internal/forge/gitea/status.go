package gitea

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	api "code.gitea.io/sdk/gitea"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// SetStatus adds a status, since Gitea only ever adds, unless the newest of its context says the same.
func (c *Client) SetStatus(ctx context.Context, commit string, s plumbline.CommitStatus) error {
	s = forge.Fit(s, contextLimit, descriptionLimit)
	now, err := c.status(ctx, commit, s.Context)
	if err != nil {
		return err
	}
	if now != nil && string(now.State) == string(s.State) && now.Description == s.Description && now.TargetURL == s.URL {
		return nil
	}
	_, err = c.api.Call(ctx, "POST", c.repo+"/statuses/"+url.PathEscape(commit), api.CreateStatusOption{
		State: api.StatusState(s.State), TargetURL: s.URL, Description: s.Description, Context: s.Context,
	}, nil)
	return err
}

// status returns the newest status of a context, or nil. The combined status lists each context's newest one.
func (c *Client) status(ctx context.Context, commit, name string) (*api.Status, error) {
	for page, n, sum := 1, 0, 0; n < maxPages; n++ {
		var all api.CombinedStatus
		h, err := c.api.Call(ctx, "GET", fmt.Sprintf("%s/commits/%s/status?limit=%d&page=%d", c.repo, url.PathEscape(commit), c.limit, page), nil, &all)
		if errors.Is(err, io.EOF) {
			return nil, nil // older versions answer nothing at all where there is no status
		}
		if err != nil {
			return nil, err
		}
		for _, s := range all.Statuses {
			if s != nil && s.Context == name {
				return s, nil
			}
		}
		sum += len(all.Statuses)
		next := forge.NextPage(h)
		if next == 0 && (len(all.Statuses) >= c.limit || c.more(h, page, len(all.Statuses), sum)) {
			next = page + 1 // Forgejo 10 has pages here and no Link header
		}
		if next <= page {
			break
		}
		page = next
	}
	return nil, nil
}
