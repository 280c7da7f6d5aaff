package discover

import "sync"

// Cache keeps what trees hold by their hash, so that a commit that changes one directory costs reading that one. It may be
// shared by repositories, and used by any number of goroutines.
//
// There are two generations: when the young one is full it becomes the old one, and what is used again moves to the young
// one with all that is below it. So it forgets what no recent commit had, and needs no clock.
type Cache struct {
	mu         sync.Mutex
	max        int
	young, old map[cacheKey]*node // a node is never in a generation without all that is below it
}

type cacheKey struct {
	maxFile int64 // the limit decides whether a file was read
	hash    string
}

// NewCache makes a cache of two generations of maxEntries directories each; 0 or less means 100,000. A single commit with
// more directories is kept whole all the same.
func NewCache(maxEntries int) *Cache {
	if maxEntries <= 0 {
		maxEntries = 100_000
	}
	return &Cache{max: maxEntries, young: map[cacheKey]*node{}}
}

func (c *Cache) get(maxFile int64, hash string) *node {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := cacheKey{maxFile, hash}
	if n := c.young[k]; n != nil {
		return n
	}
	n := c.old[k]
	if n != nil {
		c.keep(maxFile, n)
	}
	return n
}

// add takes in a tree whose every directory is read.
func (c *Cache) add(maxFile int64, root *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.max {
		c.old, c.young = c.young, map[cacheKey]*node{}
	}
	c.keep(maxFile, root)
}

func (c *Cache) keep(maxFile int64, n *node) {
	k := cacheKey{maxFile, n.hash}
	if c.young[k] != nil {
		return
	}
	c.young[k] = n
	for _, ch := range n.children {
		c.keep(maxFile, ch.node)
	}
}
