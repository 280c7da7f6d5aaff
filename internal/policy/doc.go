// Package policy holds plans against rules that people wrote in Rego.
//
// [Load] compiles directories of rules once; [Set.Evaluate] asks all of them about one plan. Whatever goes wrong is an error, and a plan about
// which there is an error is not applied: a rule that cannot be evaluated has not agreed.
//
// # Rules
//
// The rules that are asked are those named deny, violation, warn or require_approval, or one of these with a suffix (deny_public_bucket), in any
// package. Each is a set; what is in it is a finding. [Load] refuses what looks like such a rule and could never say anything: a function, a
// boolean, `deny[msg] if …`, which in Rego v1 makes an object.
//
// # What rules see
//
// input is the plan JSON as it is, sensitive values among it, and input.run the facts of the run; a "run" that the plan JSON itself has, which no
// release of Terraform writes, is dropped. So messages may contain secrets: whoever shows them masks them first, and errors as well.
// data is what the .json and .yaml files hold.
//
// Rules see nothing else. The functions that reach outside, or answer differently when asked twice, are not there (capabilities.go),
// and time.now_ns is the time in the facts. The same plan, facts and rules give the same findings on every machine.
package policy
