package gitea

// SetPageSize makes pages small enough for a test to have several.
func (c *Client) SetPageSize(n int) { c.limit = n }
