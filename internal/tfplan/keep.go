package tfplan

import (
	"cmp"
	"slices"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// room is space for attributes.
type room struct{ attributes, bytes int }

// holds reports whether that many are not too many.
func (r room) holds(used room) bool { return used.attributes <= r.attributes && used.bytes <= r.bytes }

// plus adds what attributes take.
func (r room) plus(list []plumbline.Attribute) room {
	for _, a := range list {
		r.attributes, r.bytes = r.attributes+1, r.bytes+size(a)
	}
	return r
}

// size is what an attribute takes of the bytes of a room.
func size(a plumbline.Attribute) int { return len(a.Path) + len(a.Before) + len(a.After) }

// keeper bounds the attributes that are kept for a list of changes. What stays are the first in order of danger, then
// address, up to the first for which there is no room: which ones does not depend on the order in which the changes come.
type keeper struct {
	max       room
	changes   []plumbline.Change
	details   []int // indexes of the changes that have attributes
	used      room  // by them
	last      *plumbline.Change
	truncated bool
}

// room says how much of a change could be kept at most, so that no more need be made.
func (k *keeper) room(c plumbline.Change) room {
	if k.last != nil && compareDanger(c, *k.last) > 0 {
		return room{}
	}
	return k.max
}

// add keeps a change, and its attributes as far as there is room. Some of them may have been left out already.
func (k *keeper) add(c plumbline.Change) {
	cut := c.Omitted > 0
	k.changes = append(k.changes, c)
	k.truncated = k.truncated || cut
	if cut && (k.last == nil || compareDanger(c, *k.last) < 0) {
		k.end(c)
	}
	if len(c.Attributes) == 0 {
		return
	}
	k.details = append(k.details, len(k.changes)-1)
	k.used = k.used.plus(c.Attributes)
	if twice := (room{2*k.max.attributes - 1, 2*k.max.bytes - 1}); !twice.holds(k.used) { // so that sorting is rare
		k.prune()
	}
}

// end has nothing kept of what comes after c in order of danger.
func (k *keeper) end(c plumbline.Change) {
	c.Attributes = nil
	k.last = &c
}

func (k *keeper) prune() {
	if k.last == nil && k.max.holds(k.used) {
		return
	}
	slices.SortStableFunc(k.details, func(a, b int) int { return compareDanger(k.changes[a], k.changes[b]) })
	k.used = room{}
	kept := k.details[:0]
	for _, at := range k.details {
		c := &k.changes[at]
		n := 0
		if k.room(*c) != (room{}) {
			for n < len(c.Attributes) && k.max.holds(k.used.plus(c.Attributes[n:n+1])) {
				k.used = k.used.plus(c.Attributes[n : n+1])
				n++
			}
		}
		if n < len(c.Attributes) {
			k.truncated = true
			c.Omitted += len(c.Attributes) - n
			c.Attributes = append([]plumbline.Attribute(nil), c.Attributes[:n]...) // lets go of what is cut off
			if k.last == nil || compareDanger(*c, *k.last) < 0 {
				k.end(*c)
			}
		}
		if n > 0 {
			kept = append(kept, at)
		}
	}
	k.details = kept
}

// sorted returns the changes by address.
func (k *keeper) sorted() []plumbline.Change {
	k.prune()
	slices.SortStableFunc(k.changes, compareAddress)
	return k.changes
}

func compareAddress(a, b plumbline.Change) int {
	return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Deposed, b.Deposed), cmp.Compare(a.Reason, b.Reason))
}

func compareDanger(a, b plumbline.Change) int {
	return cmp.Or(cmp.Compare(harmless(a.Action), harmless(b.Action)), compareAddress(a, b))
}

// harmless ranks actions: what destroys first, what only adds last.
func harmless(a plumbline.Action) int {
	switch {
	case a.Destroys():
		return 0
	case a == plumbline.ActionForget, a == plumbline.ActionForgetCreate, a == plumbline.ActionInvoke: // who knows what it does
		return 1
	case a == plumbline.ActionUpdate:
		return 2
	case a == plumbline.ActionCreate:
		return 3
	default:
		return 4
	}
}
