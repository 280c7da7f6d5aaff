package plumbline

import "time"

// DriftDay is how often a stack was compared with reality on one day.
type DriftDay struct {
	Stack  StackRef
	Day    time.Time // its midnight, UTC
	Checks int       // that came to an end, Failed ones included
	Failed int       // of them
}
