package web

// How pages word things.
var (
	Span     = span
	Compared = compared
)
