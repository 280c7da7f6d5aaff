package plumbline

import (
	"slices"
	"strings"
)

// Permission is for something that somebody wants to do.
type Permission string

// The permissions. MayView is to look at anything; the others change something.
const (
	MayView       Permission = "view"
	MayPlan       Permission = "plan" // plan a merge request again, or for the first time where policy does not
	MayApprove    Permission = "approve"
	MayReject     Permission = "reject"
	MayRetry      Permission = "retry"
	MayCancel     Permission = "cancel"
	MayDeploy     Permission = "deploy"
	MayDriftCheck Permission = "drift-check"

	MayAcknowledgeDrift Permission = "acknowledge-drift"
	MayIgnoreDrift      Permission = "ignore-drift" // set a rule that hides drift, and lift one

	MayUnlock     Permission = "unlock"
	MayDebug      Permission = "debug"
	MayBreakGlass Permission = "break-glass" // apply a plan that nobody has agreed to, or outside the times for it
	MayFreeze     Permission = "freeze"      // and thaw
	MayPropose    Permission = "propose"     // have Plumbline open a merge request: promote, revert, roll back
	MayAudit      Permission = "audit"       // read who did what
	MayTokens     Permission = "tokens"      // list and revoke the API tokens of others
)

// RoleName is one of the roles that a configuration hands out.
type RoleName string

// The roles.
const (
	RoleViewer   RoleName = "viewer"
	RoleOperator RoleName = "operator"
	RoleApprover RoleName = "approver"
	RoleAdmin    RoleName = "admin"
)

// permits is what each role may do. Who may do anything may look.
var permits = map[RoleName][]Permission{
	RoleViewer:   {MayView},
	RoleOperator: {MayView, MayPlan, MayRetry, MayCancel, MayDriftCheck, MayAcknowledgeDrift, MayIgnoreDrift, MayPropose, MayFreeze},
	RoleApprover: {MayView, MayPlan, MayApprove, MayReject},
	RoleAdmin: {
		MayView, MayPlan, MayApprove, MayReject, MayRetry, MayCancel, MayDeploy, MayDriftCheck, MayAcknowledgeDrift, MayIgnoreDrift, MayUnlock, MayDebug,
		MayBreakGlass, MayFreeze, MayPropose, MayAudit, MayTokens,
	},
}

// Permissions lists them all, in the order in which they are declared.
var Permissions = []Permission{
	MayView, MayPlan, MayApprove, MayReject, MayRetry, MayCancel, MayDeploy, MayDriftCheck, MayAcknowledgeDrift, MayIgnoreDrift, MayUnlock, MayDebug,
	MayBreakGlass, MayFreeze, MayPropose, MayAudit, MayTokens,
}

// Role says who has it, and where.
type Role struct {
	Name         RoleName
	Users        []string // names as in Person; "*": everybody who has a name
	Groups       []string // "*": everybody who has a name
	Environments []string // names of environments, "production" of all repositories, "infra/production" of one; none: all of them, and what is not about one
}

// Local is whoever holds this machine's token, or came by the sign-in link of a daemon without a sign-in system.
const Local = "local"

// Door is where somebody came in.
type Door string

// The doors.
const (
	DoorWeb     Door = "web"
	DoorAPI     Door = "api"
	DoorComment Door = "comment" // on a merge request
	DoorForge   Door = "forge"   // approved a merge request there
)

// Known is what an operator's configuration says of somebody.
type Known struct {
	Name   string   // as the sign-in system calls them, or as "forge/login"
	Also   []string // other names of the same person: "corp/alice", an address in Git
	Groups []string // besides those that the sign-in system tells
}

// Person is who does something. One person has one Name, whatever the door.
type Person struct {
	Name   string
	Also   []string
	Groups []string // those that the sign-in system tells, and the configured ones
	Told   []string // those that the sign-in system tells
	Door   Door
	Limit  *Limit // of an API token; nil: none
}

// Limit narrows what a person may do, as an API token does: never more than the person may.
type Limit struct {
	Role         RoleName
	Environments []string // as in Role
}

// Is reports whether a name is one of the person's. Names are compared as forges do, on none of which two people have names that differ in case only.
func (p Person) Is(name string) bool {
	same := func(n string) bool { return folded(n) == folded(name) }
	return name != "" && (same(p.Name) || slices.ContainsFunc(p.Also, same))
}

// folded is a name without the case of its letters, of ASCII alone: among others there are some that only look like another.
func folded(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, name)
}

// Access is who may do what.
type Access struct {
	Roles  []Role
	People []Known
}

// Person tells who it is that a door knows under a name, with the groups that it tells of. A name that no configuration mentions is its own person.
func (a Access) Person(name string, groups []string, door Door) Person {
	p := Person{Name: name, Groups: slices.Clone(groups), Told: slices.Clone(groups), Door: door}
	if name == "" || name == Local {
		return p
	}
	for _, k := range a.People {
		if (Person{Name: k.Name, Also: k.Also}).Is(name) {
			p.Name, p.Also = k.Name, slices.Clone(k.Also)
			p.Groups = append(p.Groups, k.Groups...)
			break
		}
	}
	slices.Sort(p.Groups)
	p.Groups = slices.Compact(p.Groups)
	return p
}

// Allow returns nil if somebody may do something, and a Refusal of kind ErrDenied otherwise. environment is "repository/environment"; "" where
// the question is about none. What it does not know it denies.
func (a Access) Allow(who Person, p Permission, environment string) error {
	if !slices.Contains(permits[RoleAdmin], p) || who.Name == "" {
		return refuse(ErrDenied, "", "Nobody may do that.")
	}
	if l := who.Limit; l != nil && (!slices.Contains(permits[l.Role], p) || !(Role{Environments: l.Environments}).covers(environment)) {
		return refuse(ErrDenied, "Use another token, or sign in.", "This token of %s is not for that.", who.Name)
	}
	if who.Name == Local {
		return nil
	}
	for _, r := range a.Roles {
		if slices.Contains(permits[r.Name], p) && r.holds(who) && r.covers(environment) {
			return nil
		}
	}
	if environment != "" {
		return refuse(ErrDenied, "", "%s may not %s in %s.", who.Name, p, environment)
	}
	return refuse(ErrDenied, "", "%s may not %s.", who.Name, p)
}

// RolesOf lists the roles that somebody has in an environment, each once.
func (a Access) RolesOf(who Person, environment string) []RoleName {
	var out []RoleName
	for _, r := range a.Roles {
		if r.holds(who) && r.covers(environment) && !slices.Contains(out, r.Name) {
			out = append(out, r.Name)
		}
	}
	return out
}

func (r Role) holds(who Person) bool {
	if who.Name == "" || who.Name == Local {
		return false
	}
	return slices.ContainsFunc(r.Users, func(u string) bool { return u == "*" || who.Is(u) }) ||
		slices.ContainsFunc(r.Groups, func(g string) bool { return g == "*" || slices.Contains(who.Groups, g) })
}

func (r Role) covers(environment string) bool {
	if len(r.Environments) == 0 {
		return true
	}
	name := environment
	for i := range environment {
		if environment[i] == '/' {
			name = environment[i+1:]
			break
		}
	}
	return name != "" && (slices.Contains(r.Environments, name) || slices.Contains(r.Environments, environment))
}

// ForgeUser is how somebody on a forge is named in a configuration and wherever it is said who did something.
func ForgeUser(forge, login string) string {
	if login == "" {
		return ""
	}
	return forge + "/" + login
}
