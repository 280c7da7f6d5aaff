package plumbline

// Frozen is a freeze that a person has set on an environment.
type Frozen struct {
	ID          int64
	Repository  string
	Environment string
	Freeze
}
