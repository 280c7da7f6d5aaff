package plumbline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// IgnoreRule says which differences are nobody's business, why, who answers for it, and until when. An expired one has no effect, and what it hid
// comes back.
type IgnoreRule struct {
	ID        int64  // of those set on a page; 0: of the configuration
	Stack     string `json:",omitempty"` // name, or glob; "": all of the environment
	Address   string // glob: "*" stands for any text, brackets for themselves
	Attribute string `json:",omitempty"` // glob over paths, what is inside of one included; "": the whole object
	Owner     string
	Reason    string
	From      time.Time `json:",omitzero"`
	Until     time.Time `json:",omitzero"`  // zero: for good
	By        string    `json:",omitempty"` // who set it on a page
}

// InForce reports whether the rule has any effect now.
func (r IgnoreRule) InForce(now time.Time) bool { return r.Until.IsZero() || now.Before(r.Until) }

// String is how people find it: "aws_autoscaling_group.* desired_capacity".
func (r IgnoreRule) String() string {
	s := r.Address
	if r.Attribute != "" {
		s += " " + r.Attribute
	}
	if r.Stack != "" {
		s += " in " + r.Stack
	}
	return s
}

// Check says in one sentence what is wrong with a rule, or nil.
func (r IgnoreRule) Check(now time.Time) error {
	switch {
	case r.Address == "":
		return refuse(ErrInvalid, "Name a resource, such as aws_autoscaling_group.web, or aws_autoscaling_group.* for all of a type.", "The rule has no address.")
	case strings.Trim(r.Address, "*.") == "" && strings.Trim(r.Attribute, "*") == "":
		return refuse(ErrInvalid, "Name a type of resource, or an attribute.", "The rule %q would ignore all drift there is.", r.Address)
	case r.Reason == "":
		return refuse(ErrInvalid, "It is shown to whoever wonders.", "A rule that ignores drift needs a reason.")
	case r.Owner == "":
		return refuse(ErrInvalid, "Name a person or a group.", "A rule that ignores drift needs an owner, who is asked when it ends.")
	case !r.Until.IsZero() && !now.Before(r.Until):
		return refuse(ErrInvalid, "Give it an end that is still to come.", "The rule would be over before it begins.")
	}
	return nil
}

// String is "until 2027-03-01: autoscaled (sre)".
func (i Ignored) String() string {
	s := "for good"
	if !i.Until.IsZero() {
		s = "until " + i.Until.UTC().Format(time.DateOnly)
	}
	if i.Reason != "" {
		s += ": " + i.Reason
	}
	if i.Owner != "" {
		s += " (" + i.Owner + ")"
	}
	return s
}

// ended says why something is not ignored any more.
func (i Ignored) ended(now time.Time) string {
	if !i.Until.IsZero() && !now.Before(i.Until) {
		return fmt.Sprintf("the rule of %s ran out on %s: %s", cmp.Or(i.Owner, "nobody"), i.Until.UTC().Format(time.DateOnly), i.Reason)
	}
	return "no rule ignores it any more"
}

// ignored tells what of a difference rules ignore: all of it, or the paths of some attributes. Of a whole difference, the rule that ends first
// says until when.
func ignored(stack StackRef, d Difference, rules []IgnoreRule, now time.Time) (*Ignored, []string) {
	var hidden []string
	var why *Ignored
	note := func(r IgnoreRule) {
		i := Ignored{Rule: r.ID, Owner: r.Owner, Reason: r.Reason, Until: r.Until}
		if why == nil || !i.Until.IsZero() && (why.Until.IsZero() || i.Until.Before(why.Until)) {
			why = &i
		}
	}
	covered := map[string]bool{}
	for _, r := range rules {
		if !r.InForce(now) || r.Stack != "" && !glob(r.Stack, stack.Name) || !r.names(d) {
			continue
		}
		if r.Attribute == "" {
			return &Ignored{Rule: r.ID, Owner: r.Owner, Reason: r.Reason, Until: r.Until}, nil
		}
		// What is gone as a whole is not explained by one of its attributes.
		if d.Kind != DriftChanged && d.Kind != DriftSelf {
			continue
		}
		for _, a := range d.Attributes {
			if !covered[a.Path] && inside(r.Attribute, a.Path) {
				covered[a.Path] = true
				hidden = append(hidden, a.Path)
				note(r)
			}
		}
	}
	slices.Sort(hidden)
	if len(d.Attributes) > 0 && len(hidden) == len(d.Attributes) {
		return why, nil
	}
	return nil, hidden
}

// names reports whether the rule's address names the object of a difference. A whole address is one object; a glob of a type means those in modules, too.
func (r IgnoreRule) names(d Difference) bool {
	return glob(r.Address, d.Address) || strings.Contains(r.Address, "*") && glob(r.Address, d.Type+"."+afterType(d))
}

// afterType is the part of an address that follows its type, so that "aws_instance.*" also means those in modules.
func afterType(d Difference) string {
	_, name, ok := strings.Cut(d.Address, d.Type+".")
	if !ok {
		return d.Address
	}
	return name
}

// glob matches a text against a pattern in which "*" stands for any text. Nothing else in it has a meaning: addresses are full of brackets.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

// inside reports whether an attribute's path is, or is inside of, what a pattern names: "tags" is tags, tags["a"] and tags.a.
func inside(pattern, p string) bool {
	if glob(pattern, p) {
		return true
	}
	for i := range p {
		if (p[i] == '.' || p[i] == '[') && glob(pattern, p[:i]) {
			return true
		}
	}
	return false
}

// RunsOut is when the next of the rules in force ends; zero: none does.
func RunsOut(rules []IgnoreRule, now time.Time) (next time.Time) {
	for _, r := range rules {
		if !r.Until.IsZero() && r.InForce(now) && (next.IsZero() || r.Until.Before(next)) {
			next = r.Until
		}
	}
	return next
}
