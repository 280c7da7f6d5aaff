package plumbline

import (
	"strings"
	"time"
	"unicode"
)

// Verb is what a command asks for.
type Verb string

// The verbs of commands in comments.
const (
	VerbPlan    Verb = "plan"
	VerbApprove Verb = "approve"
	VerbReject  Verb = "reject"
	VerbApply   Verb = "apply"
	VerbRetry   Verb = "retry"
	VerbCancel  Verb = "cancel"
	VerbWhy     Verb = "why"
	VerbUnlock  Verb = "unlock"
	VerbHelp    Verb = "help"
)

// CommandHelp is what "plumbline help" is answered with.
const CommandHelp = "Write one of these as the first line of a new comment; STACK is the name of a stack, all of them when it is left out: " +
	"`plumbline plan [STACK]`, `plumbline approve [STACK] [DIGEST]`, `plumbline reject [STACK] REASON`, `plumbline retry [STACK]`, `plumbline cancel [STACK]`, `plumbline why [STACK]`, `plumbline help`."

// Command is what somebody asked for in a comment on a merge request, and what came of it.
type Command struct {
	ID         int64
	Repository string
	MR         string
	Comment    string    // the forge's ID of it: a comment gives one command, once
	By         string    // ForgeUser
	Login      string    // the forge's name of who wrote it
	At         time.Time // when it was written, by the forge's clock
	Verb       Verb
	Args       []string
	Edited     bool // it was changed after it was written: it is answered, not carried out

	Outcome Reaction // "": not carried out yet
	Answer  string   // one sentence, or a paragraph; may be empty where it was done
}

// Bounds of what is taken for a command.
const (
	maxCommand = 500 // bytes of its line
	maxArgs    = 50
)

// ParseCommand reads the command in a comment: its first line, which begins with "plumbline" in small letters, at the margin. So neither a quoted
// command fires, nor one in a block of code, nor one in the middle of a text. The verb may be one that there is not, if nothing else is
// in the comment: then somebody has mistyped. false: the comment holds none.
func ParseCommand(body string) (c Command, ok bool) {
	line, rest, more := strings.Cut(strings.ReplaceAll(body, "\r\n", "\n"), "\n")
	after, ok := strings.CutPrefix(line, "plumbline")
	if !ok || len(line) > maxCommand || !strings.HasPrefix(after, " ") && after != "" {
		return c, false
	}
	args := strings.FieldsFunc(after, unicode.IsSpace)
	if len(args) > maxArgs {
		return c, false
	}
	if len(args) == 0 {
		c.Verb = VerbHelp
		return c, strings.TrimSpace(rest) == ""
	}
	c.Verb, c.Args = Verb(args[0]), args[1:]
	if c.known() {
		return c, true
	}
	prose := more && strings.TrimSpace(rest) != "" || len(args) > 3
	return c, !prose
}

func (c Command) known() bool {
	switch c.Verb {
	case VerbPlan, VerbApprove, VerbReject, VerbApply, VerbRetry, VerbCancel, VerbWhy, VerbUnlock, VerbHelp:
		return true
	}
	return false
}

// Permission is what the command needs; "" for one that changes nothing and tells nothing that is not on the merge request.
func (c Command) Permission() Permission {
	switch c.Verb {
	case VerbPlan:
		return MayPlan
	case VerbApprove, VerbApply:
		return MayApprove
	case VerbReject:
		return MayReject
	case VerbRetry:
		return MayRetry
	case VerbCancel:
		return MayCancel
	case VerbUnlock:
		return MayUnlock
	}
	return ""
}

// Impossible says in one sentence why the command cannot be carried out whatever the state of the merge request; "" if it can.
func (c Command) Impossible() string {
	switch {
	case c.Edited:
		return "A comment that was edited gives no command; write a new one."
	case !c.known():
		return "There is no command `" + quotable(string(c.Verb)) + "`; `plumbline help` lists those that there are."
	case c.Verb == VerbUnlock:
		return "This version of Plumbline does not release state locks; run `terraform force-unlock` in the stack's directory when nothing uses the state."
	case c.Verb == VerbReject && len(c.Args) == 0:
		return "A rejection needs a reason: `plumbline reject REASON`."
	case c.agrees() && len(c.Args) > 1 && !isDigest(c.Args[1]):
		return "What follows the stack's name must be the plan's digest, of which at least 6 characters."
	case c.agrees() && len(c.Args) > 2, !c.agrees() && c.Verb != VerbReject && len(c.Args) > 1:
		return "`plumbline " + string(c.Verb) + "` takes the name of one stack at most."
	}
	return ""
}

// quotable keeps of a word what can stand in code on any forge.
func quotable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '`' || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if r := []rune(s); len(r) > 30 {
		s = string(r[:30]) + "…"
	}
	return s
}

// Chosen returns the newest run of each stack that the command is about, and the arguments behind the stack's name. runs are all of
// the merge request or of its deployment, newest first. An argument that names no stack chooses none, but where it can be something else.
func (c Command) Chosen(runs []Run) (chosen []Run, rest []string) {
	newest := NewestPerStack(runs)
	if len(c.Args) == 0 {
		return newest, nil
	}
	for _, r := range newest {
		if r.called(c.Args[0]) {
			chosen = append(chosen, r)
		}
	}
	switch first := c.Args[0]; {
	case len(chosen) > 0:
	case c.agrees() && isDigest(first):
		return newest, c.Args
	case c.Verb == VerbReject && len(newest) == 1: // where there are several, it may be a name, misspelt
		return newest, c.Args
	}
	return chosen, c.Args[1:]
}

// agrees reports whether the command agrees to plans.
func (c Command) agrees() bool { return c.Verb == VerbApprove || c.Verb == VerbApply }

func isDigest(s string) bool {
	return len(s) >= MinDigest && strings.Trim(s, "0123456789abcdef") == ""
}

// called reports whether people mean the run's stack by a name.
func (r *Run) called(name string) bool {
	return name == r.Stack.Name || name == r.Stack.Environment+"/"+r.Stack.Name || r.Spec.Alias != "" && name == r.Spec.Alias
}

// Agree records the yes of who wrote the command: to the plan with the digest that they wrote down, or, without one, to a plan that people had
// been told of before they wrote. Nobody has read a later one. That compares two clocks; whoever cannot rely on theirs writes the digest of a plan that is shown.
func (c Command) Agree(who Person, access Access, digest string) Rule {
	return func(r *Run, now time.Time) error {
		if digest == "" {
			if err := r.approvable(); err != nil {
				return err
			}
			if !r.Shown() || !r.Told.Before(c.At) {
				return refuse(ErrConflict, "Read it and write a new comment.", "The plan of %s was shown after the comment was written.", r.Stack.Name)
			}
			digest = r.Plan.Digest
		}
		if r.Plan != nil && !r.Shown() { // it may be another plan of the same changes, made in another way
			return refuse(ErrConflict, "Write it again when the note shows it.", "The plan of %s has not been shown yet.", r.Stack.Name)
		}
		return r.Approve(who, access, digest, now)
	}
}

// Late reports whether a command that changes something has waited so long that its author may not want it any more.
func (c Command) Late(now time.Time) bool {
	return c.Permission() != "" && now.Sub(c.At) > commandLife
}

// commandLife is how long a command is good for that could not be carried out, since a forge or Plumbline was away.
const commandLife = time.Hour

// Deed is what a command does to one run.
type Deed struct {
	Run  RunID
	Rule Rule
}

// DeployOf returns the run that brought a merged change to a stack, of that stack's runs, newest first: it may have been superseded by a later
// commit's, or failed and been tried again with one. The oldest that ended well is the one; until there is one, the newest.
func DeployOf(mr MergeRequest, runs []Run) (best Run, ok bool) {
	for _, r := range runs {
		if r.Deployment >= mr.Deployment && (best.ID == 0 || r.State.Good()) {
			best = r
		}
	}
	return best, best.ID != 0
}

// Replan queues a proposal's run again that has ended, because a person asks for it.
func (r *Run) Replan(by string, now time.Time) error {
	if r.Kind != KindProposal || r.State == StateSuperseded {
		return r.cannot("planned again")
	}
	switch r.State {
	case StatePlanned, StateClean:
		r.forget()
		r.By, r.Because, r.Queued = by, "asked for by "+by, now
		r.to(StateQueued, now)
		return nil
	}
	return r.Retry(by, now)
}
