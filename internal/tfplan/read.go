package tfplan

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/hashicorp/go-version"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// What a Plan keeps when Options do not say.
const (
	DefaultMaxAttributes = 2000
	DefaultMaxBytes      = 8 << 20
)

// Options say how to read a plan.
type Options struct {
	// Key keys the hashes of sensitive values in the digest, and of values that are too long to be kept. Digests can be compared
	// when they were made with one key. Default: a random one for this Read alone, so that nobody can check guesses of a sensitive
	// value. The digest of a plan that is Keyed then compares with no other.
	Key []byte

	// Secrets, if not nil, is told every sensitive string and number of at least four bytes, in changes, unchanged
	// resources, data sources, outputs, actions and the root module's variables. The same value may come many times.
	Secrets func(string)

	// SecretName, if not nil, reports whether a name is that of a secret. Secrets is then told the strings under it, though nothing marks
	// them as sensitive: of a variable, of an output, of an attribute of any resource, changed or not, of the "value" beside a "name" or "key", and of what is inside a string that
	// holds JSON. Lines of a text that set such a name are not looked at: whoever masks texts finds them.
	SecretName func(name string) bool

	// SecretValue, if not nil, reports whether a string under such a name is worth telling: "true" is no secret.
	SecretValue func(value string) bool

	// MaxAttributes is how many attributes are kept for Changes, as many again for Drift, and as many again for Deferred; those
	// of what is destroyed or replaced come first. As many outputs are kept, the first by name, but always one. Default DefaultMaxAttributes; negative: none. When some were left out, the
	// Plan is Truncated, and each Change says how many of its own were.
	MaxAttributes int

	// MaxBytes bounds in the same way the bytes in paths and values of attributes, and once more those in values of outputs
	// and in the problems of checks. Default DefaultMaxBytes; negative: none. No value is ever cut: it is kept, or left out, or, beyond
	// 64 KiB and in outputs, replaced by its size and a hash (plumbline.TooLong).
	MaxBytes int
}

func (o Options) space() room {
	or := func(n, standard int) int {
		if n == 0 {
			return standard
		}
		return max(n, 0)
	}
	return room{or(o.MaxAttributes, DefaultMaxAttributes), or(o.MaxBytes, DefaultMaxBytes)}
}

// Hosts that provider names begin with unless a configuration says otherwise.
const (
	terraformRegistry = "registry.terraform.io/"
	tofuRegistry      = "registry.opentofu.org/"
)

// Read reads the output of `terraform show -json PLANFILE`, of Terraform or OpenTofu, to its end. An error names the byte and
// the place in the input. An action that is not known is an error: a plan that cannot be counted must not be approved.
func Read(in io.Reader, o Options) (plumbline.Plan, error) {
	space := o.space()
	r := &reader{
		dec:        jsontext.NewDecoder(in),
		walker:     newWalker(o),
		finder:     newFinder(o),
		changes:    keeper{max: space},
		drift:      keeper{max: space},
		deferred:   keeper{max: space},
		maxOutputs: max(space.attributes, 1), // with none, the plan would seem to change nothing
		outputRoom: space.bytes,
		checkRoom:  space.bytes,
		checks:     map[plumbline.CheckStatus]int{},
		words:      map[string]string{},
		settings:   newSettings(o.Key),
	}
	if err := r.read(); err != nil {
		return plumbline.Plan{}, err
	}
	return r.finish(), nil
}

// reader holds what has been gathered from the input so far.
type reader struct {
	dec    *jsontext.Decoder
	walker *walker
	finder *finder

	plan                     plumbline.Plan
	changes, drift, deferred keeper
	maxOutputs               int
	outputRoom, checkRoom    int      // bytes
	records                  []record // of changes, for the digest
	outputs, invocations     []record
	variables                variables
	settings                 settings
	checks                   map[plumbline.CheckStatus]int // how many of each came

	format   string
	complete bool // the input has "complete" or "applyable", which OpenTofu does not write
	tofu     bool // a provider comes from OpenTofu's registry
	hasState bool // something in the changes shows that there was a state
	prior    int  // managed resources in prior_state
	imports  int  // of them, at most, what is only about to be imported

	at    spot
	hold  []byte // the values and masks of what has been read and not been looked at yet
	words map[string]string
}

func (r *reader) read() error {
	r.at = spot{section: "the plan", index: -1}
	err := r.object(func(name []byte) error {
		r.at.section = string(name)
		err := r.section()
		if err == nil {
			r.at = spot{section: "the plan", index: -1}
		}
		return err
	})
	if err != nil {
		return err
	}
	if r.format == "" {
		return r.wrong(errors.New("no format_version; expected the output of `terraform show -json PLANFILE`"))
	}
	switch _, err := r.dec.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return r.wrong(errors.New("something follows its end"))
	default:
		return r.broken(err)
	}
}

func (r *reader) section() error {
	switch r.at.section {
	case "format_version":
		if err := r.string(&r.format); err != nil {
			return err
		}
		if !strings.HasPrefix(r.format, "1.") {
			return r.wrong(fmt.Errorf("version %q; Plumbline reads 1.x", r.format))
		}
		return nil
	case "terraform_version":
		return r.string(&r.plan.Version)
	case "errored":
		v, err := r.value()
		r.plan.Errored = isTrue(v)
		return err
	case "applyable":
		r.complete = true
		return r.skip()
	case "complete":
		r.complete = true
		v, err := r.value()
		r.plan.Partial = r.plan.Partial || string(v) == "false"
		return err
	case "resource_changes":
		return r.resources(r.changed)
	case "resource_drift":
		return r.resources(r.drifted)
	case "output_changes":
		return r.object(func(name []byte) error {
			r.at.address = string(name)
			return r.output(r.at.address)
		})
	case "prior_state":
		return r.member("values", func() error { return r.member("root_module", r.module) })
	case "action_invocations":
		return r.list(r.invoked)
	case "deferred_changes":
		return r.list(r.deferredChange)
	case "deferred_action_invocations":
		return r.list(r.deferredInvocation)
	case "checks":
		return r.list(r.check)
	case "variables":
		return r.object(r.variable)
	case "configuration":
		return r.configuration()
	case "values":
		return r.wrong(errors.New("this is a state, not a plan"))
	default:
		return r.skip()
	}
}

// module counts the managed resources of a module in prior_state. Data sources are there before anything was applied, and
// so are outputs.
func (r *reader) module() error {
	return r.object(func(name []byte) error {
		switch string(name) {
		case "resources":
			return r.elements(func(int) error { return r.object(r.priorResource) })
		case "child_modules":
			return r.elements(func(int) error { return r.module() })
		default:
			return r.skip()
		}
	})
}

func (r *reader) priorResource(name []byte) error {
	if string(name) != "mode" {
		return r.pass()
	}
	v, err := r.value()
	if string(v) == `"managed"` {
		r.prior++
	}
	return err
}

// provider notes the full name of a provider.
func (r *reader) provider(name string) {
	r.tofu = r.tofu || strings.HasPrefix(name, tofuRegistry)
}

// engine tells who made the plan, from what is in it: OpenTofu counts its versions like Terraform, calls them terraform_version
// and lacks two fields that Terraform has written since 1.8.
func (r *reader) engine() string {
	if r.tofu {
		return "tofu"
	}
	v, err := version.NewVersion(r.plan.Version)
	if err == nil && !r.complete && v.Core().GreaterThanOrEqual(version.Must(version.NewVersion("1.8.0"))) {
		return "tofu"
	}
	return "terraform"
}

func (r *reader) finish() plumbline.Plan {
	r.pruneOutputs()
	p := r.plan
	p.Engine = r.engine()
	p.Changes, p.Drift, p.Deferred = r.changes.sorted(), r.drift.sorted(), r.deferred.sorted()
	p.Truncated = p.Truncated || r.changes.truncated || r.drift.truncated || r.deferred.truncated
	p.Partial = p.Partial || len(p.Deferred) > 0
	p.Checks = r.sortedChecks()
	p.NoState = !r.hasState && r.prior <= r.imports

	h := sha256.New()
	h.Write([]byte("plumbline plan 2\n"))
	for _, list := range [][]record{r.records, r.outputs, r.invocations} {
		slices.SortFunc(list, func(a, b record) int {
			return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.deposed, b.deposed), bytes.Compare(a.sum[:], b.sum[:]))
		})
		h.Write(appendN(nil, len(list)))
		for _, rec := range list {
			h.Write(rec.sum[:])
		}
	}
	p.Digest = hex.EncodeToString(h.Sum(nil))
	p.Config = r.settings.sum(p.Engine, p.Version)
	return p
}

// spot is where the reader is, for errors.
type spot struct {
	section string
	index   int    // in a list, or -1
	address string // of a resource, or the name of an output; may be empty
}

func (s spot) String() string {
	at := s.section
	if s.index >= 0 {
		at = fmt.Sprintf("%s[%d]", at, s.index)
	}
	if s.address != "" {
		at += " (" + s.address + ")"
	}
	return at
}

// Reading JSON. Each function reads one value.

// object calls f for each member of an object, after its name; f reads the value. The name is valid until then. A null has
// no members.
func (r *reader) object(f func(name []byte) error) error {
	if ok, err := r.open(object, "an object"); !ok {
		return err
	}
	for r.dec.PeekKind() != jsontext.KindEndObject {
		name, err := r.value()
		if err != nil {
			return err
		}
		if err := f(text(name)); err != nil {
			return err
		}
	}
	return r.close()
}

// member calls f for one member of an object and passes over the others.
func (r *reader) member(want string, f func() error) error {
	return r.object(func(name []byte) error {
		if string(name) == want {
			return f()
		}
		return r.skip()
	})
}

// elements calls f for each element of an array; f reads it. A null has no elements.
func (r *reader) elements(f func(index int) error) error {
	if ok, err := r.open(array, "an array"); !ok {
		return err
	}
	for i := 0; r.dec.PeekKind() != jsontext.KindEndArray; i++ {
		if err := f(i); err != nil {
			return err
		}
	}
	return r.close()
}

// list is elements for a section of resources.
func (r *reader) list(f func() error) error {
	return r.elements(func(i int) error {
		r.hold = r.hold[:0]
		r.at.index, r.at.address = i, ""
		return f()
	})
}

// Of how many bytes of values, and of how many resources, a batch is handed on.
const (
	batchSize = 128 << 10
	batchLen  = 256
)

// batch is some of a list of resources.
type batch struct {
	resources []resource
	hold      []byte
}

// resources reads a list of resources and calls f for each, in order. While f is busy, those that follow are read: f must not touch what
// reading needs, and has returned for the last time when resources returns. Three batches are in memory at most.
func (r *reader) resources(f func(*resource)) error {
	full, empty := make(chan batch), make(chan batch, 3)
	var busy sync.WaitGroup
	var thrown any
	walk := func(b batch) {
		defer func() {
			if p := recover(); p != nil && thrown == nil {
				thrown = p
			}
		}()
		for i := range b.resources {
			if thrown == nil {
				f(&b.resources[i])
			}
		}
	}
	busy.Go(func() {
		for b := range full {
			walk(b)
			empty <- b
		}
	})
	ended := false
	end := func() {
		if !ended {
			ended = true
			close(full)
			busy.Wait()
		}
	}
	defer end() // whatever happens to who reads
	var b batch
	r.hold = nil
	hand := func() {
		b.hold = r.hold
		full <- b
		b = batch{}
		select {
		case b = <-empty:
		default:
		}
		b.resources, r.hold = b.resources[:0], b.hold[:0]
	}
	err := r.elements(func(i int) error {
		r.at.index, r.at.address = i, ""
		c, err := r.resource()
		if err != nil {
			return err
		}
		if b.resources = append(b.resources, c); len(r.hold) >= batchSize || len(b.resources) >= batchLen {
			hand()
		}
		return nil
	})
	hand()
	end()
	if thrown != nil {
		panic(thrown) // where the caller can catch it
	}
	return err
}

// open reads the beginning of an object or array. It returns false and nil at a null.
func (r *reader) open(want jsontext.Kind, name string) (bool, error) {
	switch kind := r.dec.PeekKind(); kind {
	case want, absent:
		if _, err := r.dec.ReadToken(); err != nil {
			return false, r.broken(err)
		}
		return true, nil
	case null:
		return false, r.skip()
	default:
		return false, r.wrong(fmt.Errorf("expected %s", name))
	}
}

func (r *reader) close() error {
	_, err := r.dec.ReadToken()
	return r.broken(err)
}

// value returns the next value. It is valid until something else is read.
func (r *reader) value() ([]byte, error) {
	v, err := r.dec.ReadValue()
	return v, r.broken(err)
}

// copy reads the next value into the hold. A change is read as a whole before it is looked at.
func (r *reader) copy(v *[]byte) error {
	in, err := r.value()
	if err != nil {
		return err
	}
	if tooDeep(in) {
		return r.wrong(fmt.Errorf("a value is nested deeper than %d levels", maxDeep))
	}
	start := len(r.hold)
	r.hold = append(r.hold, in...) // where it grows, what was there stays valid where it is
	*v = r.hold[start:]
	return nil
}

// string reads a string; a null is an empty one.
func (r *reader) string(s *string) error {
	v, err := r.text()
	*s = string(v)
	return err
}

// word reads a string that repeats in many changes, such as a type, and returns one string for equal ones.
func (r *reader) word(s *string) error {
	v, err := r.text()
	w, ok := r.words[string(v)]
	if !ok {
		w = string(v)
		if r.words[w] = w; len(r.words) > 10_000 { // not words at all
			clear(r.words)
		}
	}
	*s = w
	return err
}

func (r *reader) text() ([]byte, error) {
	v, err := r.value()
	switch {
	case err != nil || kindOf(v) == null:
		return nil, err
	case kindOf(v) == str:
		return text(v), nil
	default:
		return nil, r.wrong(errors.New("expected a string"))
	}
}

// pass passes over a value of moderate size; it is faster than skip.
func (r *reader) pass() error {
	_, err := r.value()
	return err
}

// skip passes over a value of any size without holding it.
func (r *reader) skip() error { return r.broken(r.dec.SkipValue()) }

// broken makes an error of what the decoder says. Its own words may quote the input or name a key of a sensitive map, so
// only what kind of mistake it is, and where, goes on.
func (r *reader) broken(err error) error {
	if err == nil {
		return nil
	}
	offset := r.dec.InputOffset()
	syntax, isSyntax := errors.AsType[*jsontext.SyntacticError](err)
	if isSyntax {
		offset = syntax.ByteOffset
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		err = fmt.Errorf("the input ends too early: %w", io.ErrUnexpectedEOF)
	case errors.Is(err, jsontext.ErrDuplicateName):
		err = errors.New("an object has the same name twice")
	case isSyntax:
		err = errors.New("not valid JSON")
	default: // what the input's reader says, and that it was read
		err = cmp.Or(errors.Unwrap(err), err)
	}
	return r.wrongAt(offset, err)
}

// wrong says where err was found. It is nil if err is.
func (r *reader) wrong(err error) error { return r.wrongAt(r.dec.InputOffset(), err) }

func (r *reader) wrongAt(offset int64, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("plan JSON, byte %d, in %s: %w", offset, r.at, err)
}
