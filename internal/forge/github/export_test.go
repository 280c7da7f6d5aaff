package github

// SetPageSize lets a test have several pages of few things.
func (c *Client) SetPageSize(n int) { c.limit = n }
