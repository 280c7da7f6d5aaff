package tfplan

import (
	"cmp"
	"slices"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// keeper bounds the attributes that are kept for a list of changes. What stays are the first in order of danger, then
// address: which ones does not depend on the order in which the changes come.
type keeper struct {
	max       int
	changes   []plumbline.Change
	details   []int // indexes of the changes that have attributes
	count     int   // attributes in them
	last      *plumbline.Change
	truncated bool
}

// room says how many attributes of a change could be kept at most, so that no more need be made.
func (k *keeper) room(c plumbline.Change) int {
	if k.last != nil && compareDanger(c, *k.last) > 0 {
		return 0
	}
	return k.max
}

// add keeps a change, and its attributes as far as there is room.
func (k *keeper) add(c plumbline.Change) {
	k.changes = append(k.changes, c)
	if len(c.Attributes) == 0 {
		return
	}
	k.details = append(k.details, len(k.changes)-1)
	if k.count += len(c.Attributes); k.count >= 2*k.max { // twice, so that sorting is rare
		k.prune()
	}
}

func (k *keeper) prune() {
	if k.count <= k.max {
		return
	}
	k.truncated = true
	slices.SortStableFunc(k.details, func(a, b int) int { return compareDanger(k.changes[a], k.changes[b]) })
	k.count = 0
	for i, at := range k.details {
		c := &k.changes[at]
		n := min(len(c.Attributes), k.max-k.count)
		if n == 0 {
			for _, at := range k.details[i:] {
				k.changes[at].Attributes = nil
			}
			k.details = k.details[:i]
			break
		}
		c.Attributes = slices.Clip(c.Attributes[:n:n])
		k.count += n
		last := *c
		k.last = &last
	}
}

// sorted returns the changes by address.
func (k *keeper) sorted() []plumbline.Change {
	k.prune()
	slices.SortStableFunc(k.changes, compareAddress)
	return k.changes
}

func compareAddress(a, b plumbline.Change) int {
	return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Deposed, b.Deposed))
}

func compareDanger(a, b plumbline.Change) int {
	return cmp.Or(cmp.Compare(harmless(a.Action), harmless(b.Action)), compareAddress(a, b))
}

// harmless ranks actions: what destroys first, what only adds last.
func harmless(a plumbline.Action) int {
	switch {
	case a.Destroys():
		return 0
	case a == plumbline.ActionForget:
		return 1
	case a == plumbline.ActionUpdate:
		return 2
	case a == plumbline.ActionCreate:
		return 3
	default:
		return 4
	}
}
