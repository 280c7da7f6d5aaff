package plumbline

// Secret is a value that prints as "(sensitive)" wherever it is formatted or encoded; only Reveal gives it away. The value lies behind a
// pointer, because fmt prints the inside of an unexported field without asking its methods.
type Secret struct{ value *string }

// NewSecret wraps a value.
func NewSecret(v string) Secret {
	if v == "" {
		return Secret{}
	}
	return Secret{&v}
}

// Reveal returns the value, for the one place that must hand it on.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s.value == nil }

func (s Secret) String() string {
	if s.value == nil {
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
