package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

var (
	roleARN    = regexp.MustCompile(`^arn:aws[a-z-]*:iam::([0-9]{12}):role/[\w+=,.@/-]{1,576}$`)
	awsRegion  = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)
	externalID = regexp.MustCompile(`^[\w+=,.@:/-]+$`) // 2 to 1224 of them: ExternalId in the API reference of STS
)

// aws reads who the runs of an environment are on AWS.
func (r *reader) aws(b *body, apply plumbline.ApplyMode) plumbline.AWS {
	a := plumbline.AWS{
		Region:      r.awsRegion(b),
		PlanRole:    r.awsRole(b, "plan_role", b.required("plan_role", `"arn:aws:iam::111122223333:role/plumbline-plan", a role that only reads`)),
		ExternalID:  r.externalID(b),
		WebIdentity: r.keyFile(b, "web_identity_file"),
		Trail:       b.boolean("cloudtrail", true),
	}
	switch {
	case apply != plumbline.ApplyNever:
		a.ApplyRole = r.awsRole(b, "apply_role", b.required("apply_role", `"arn:aws:iam::111122223333:role/plumbline-apply"`))
	case b.has("apply_role"):
		r.problem(b.nameAt("apply_role"), "apply_role in %s has no effect: with apply = \"never\" nothing is applied; take it out", b.what)
		_ = b.text("apply_role")
	default:
		b.attrs = append(b.attrs, "apply_role")
	}
	if a.WebIdentity != "" && b.has("external_id") {
		r.problem(b.nameAt("external_id"), "external_id in %s has no effect: a role that is taken with a web identity is asked for without one; take one of them out", b.what)
	}
	r.twoRoles(b, a)
	for _, s := range b.each("stack", "GLOB") {
		a.Stacks = append(a.Stacks, r.awsStack(s, a, apply))
	}
	b.done()
	return a
}

// awsStack reads what is different for some stacks.
func (r *reader) awsStack(b *body, whole plumbline.AWS, apply plumbline.ApplyMode) plumbline.AWSStack {
	s := plumbline.AWSStack{
		Stacks: b.labels[0], Region: r.awsRegion(b), PlanRole: r.awsRole(b, "plan_role", b.text("plan_role")), ApplyRole: r.awsRole(b, "apply_role", b.text("apply_role")),
		ExternalID: r.externalID(b),
	}
	if why := badGlob(s.Stacks); why != "" {
		r.problem(b.label, "stack %q in aws %s", s.Stacks, why)
	}
	if apply == plumbline.ApplyNever && b.has("apply_role") {
		r.problem(b.nameAt("apply_role"), "apply_role in %s has no effect: with apply = \"never\" nothing is applied; take it out", b.what)
	}
	whole.Stacks = []plumbline.AWSStack{{Stacks: "**", Region: s.Region, PlanRole: s.PlanRole, ApplyRole: s.ApplyRole, ExternalID: s.ExternalID}}
	r.twoRoles(b, whole.For("x"))
	b.done()
	return s
}

func (r *reader) awsRole(b *body, name string, t text) string {
	if t.ok && !roleARN.MatchString(t.value) {
		r.problem(t.at, "%s in %s is %s, which is not the ARN of a role; one is \"arn:aws:iam::111122223333:role/plumbline-plan\"", name, b.what, t)
		return ""
	}
	return t.value
}

// twoRoles refuses roles that do not keep plans from changing anything, or that are not of one account.
func (r *reader) twoRoles(b *body, a plumbline.AWS) {
	if a.PlanRole == "" || a.ApplyRole == "" || !b.has("plan_role") && !b.has("apply_role") {
		return
	}
	at := "apply_role"
	if !b.has(at) {
		at = "plan_role"
	}
	plan, apply := roleARN.FindStringSubmatch(a.PlanRole), roleARN.FindStringSubmatch(a.ApplyRole)
	switch {
	case a.PlanRole == a.ApplyRole:
		r.problem(b.place(at), "%s has one role for plans and for applies; a plan runs what its author wrote before anybody has read it: give plan_role one that only reads", b.what)
	case plan != nil && apply != nil && plan[1] != apply[1]:
		r.problem(b.place(at), "%s plans in account %s and applies in account %s; both roles must be of one account", b.what, plan[1], apply[1])
	}
}

func (r *reader) awsRegion(b *body) string {
	t := b.text("region")
	if t.ok && !awsRegion.MatchString(t.value) {
		r.problem(t.at, "region in %s is %s, which is no region of AWS; one is \"eu-west-1\"", b.what, t)
		return ""
	}
	return t.value
}

func (r *reader) externalID(b *body) string {
	t := b.text("external_id")
	if t.ok && (!externalID.MatchString(t.value) || len(t.value) < 2 || len(t.value) > 1224) {
		r.problem(t.at, "external_id in %s must have 2 to 1224 letters, digits and \"+=,.@:/-_\"", b.what)
		return ""
	}
	return t.value
}

// wouldWin are variables that the SDKs of AWS go by before they look for the credentials of an aws block.
var wouldWin = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
	"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED", "AWS_SDK_LOAD_CONFIG",
}

// ownCredentials refuses variables that would take the place of what the aws block says.
func (r *reader) ownCredentials(b *body, a plumbline.AWS) {
	region := a.Region != "" || slices.ContainsFunc(a.Stacks, func(s plumbline.AWSStack) bool { return s.Region != "" })
	for _, e := range b.entries("env") {
		switch {
		case slices.Contains(wouldWin, e.name), strings.HasPrefix(e.name, "AWS_CONTAINER_"):
			r.problem(e.at, "%s in env of %s would be used in place of the roles in aws; take one of them out", e, b.what)
		case region && (e.name == "AWS_REGION" || e.name == "AWS_DEFAULT_REGION"):
			r.problem(e.at, "%s in env of %s stands beside region in aws; keep one", e, b.what)
		}
	}
}
