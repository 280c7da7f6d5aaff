package plumbline

// Secret is a value that prints as "(sensitive)" wherever it is formatted or encoded; only Reveal gives it away.
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(v string) Secret { return Secret{v} }

// Reveal returns the value, for the one place that must hand it on.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s.value == "" }

func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return Masked
}

// GoString keeps %#v from printing the value.
func (s Secret) GoString() string { return s.String() }

// MarshalText keeps encoders from writing the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Masked is what stands in the place of a value that must not be shown.
const Masked = "(sensitive)"

// Variable is an input variable of a stack or a key of its backend configuration, as an operator's configuration sets it.
type Variable struct {
	Name      string
	JSON      Secret   // the value in Terraform's JSON syntax
	Sensitive []string `json:"-"` // the secret strings inside the value, to be masked wherever they turn up
}

// EnvVar is an environment variable for Terraform.
type EnvVar struct {
	Name      string
	Value     Secret
	Sensitive bool // the value came from env(), a secret store or the like
}
