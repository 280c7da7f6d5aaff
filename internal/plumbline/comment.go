package plumbline

import "time"

// Comment is what somebody wrote on a merge request.
type Comment struct {
	ID     string // the forge's, unique in the repository
	Author string // the forge's name of who wrote it, as people mention them
	Body   string
	At     time.Time // when it was written
	Edited bool      // it was changed since, as far as the forge tells
	URL    string
}

// Reaction is what Plumbline thinks of a comment, in one sign.
type Reaction string

// The reactions. A comment has one of them at most: the newest.
const (
	ReactionSeen    Reaction = "seen"    // it is being done
	ReactionDone    Reaction = "done"    // it was done
	ReactionRefused Reaction = "refused" // it cannot be done; a reply says why
)
