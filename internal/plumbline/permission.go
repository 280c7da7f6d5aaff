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
	MayUnlock     Permission = "unlock"
	MayDebug      Permission = "debug"
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
	RoleOperator: {MayView, MayPlan, MayRetry, MayCancel, MayDriftCheck},
	RoleApprover: {MayView, MayPlan, MayApprove, MayReject},
	RoleAdmin: {
		MayView, MayPlan, MayApprove, MayReject, MayRetry, MayCancel, MayDeploy, MayDriftCheck, MayUnlock, MayDebug,
	},
}

// Role says who has it, and where.
type Role struct {
	Name         RoleName
	Users        []string // "*": everybody who has a name; "corp/alice": alice on the forge corp
	Environments []string // names of environments, "production" of all repositories, "infra/production" of one; none: all of them, and what is not about one
}

// Local is whoever holds this machine's token, or came by the sign-in link of a daemon without a sign-in system.
const Local = "local"

// Access is who may do what.
type Access struct{ Roles []Role }

// Allow returns nil if who may do something, and a Refusal of kind ErrDenied otherwise. environment is "repository/environment"; "" where
// the question is about none. What it does not know it denies.
func (a Access) Allow(who string, p Permission, environment string) error {
	if !slices.Contains(permits[RoleAdmin], p) || who == "" {
		return refuse(ErrDenied, "", "Nobody may do that.")
	}
	if who == Local {
		return nil
	}
	for _, r := range a.Roles {
		if slices.Contains(permits[r.Name], p) && r.holds(who) && r.covers(environment) {
			return nil
		}
	}
	if environment != "" {
		return refuse(ErrDenied, "", "%s may not %s in %s.", who, p, environment)
	}
	return refuse(ErrDenied, "", "%s may not %s.", who, p)
}

// holds compares names as forges do, on none of which two people have names that differ in case only.
func (r Role) holds(who string) bool {
	return slices.ContainsFunc(r.Users, func(u string) bool { return u == "*" || strings.EqualFold(u, who) })
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
