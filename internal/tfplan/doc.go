// Package tfplan turns the plan JSON of Terraform or OpenTofu into the domain's Plan.
//
// [Read] streams the output of `terraform show -json PLANFILE`: one resource change at a time is in memory, and what
// is not about changes (variables, configuration, planned_values, checks, relevant_attributes, and all of prior_state but
// the number of its resources) is passed over without being kept. jsontext checks every byte; the second look at a
// change that has been checked (raw.go) only has to find where values end.
//
// # Secrets
//
// The plan JSON holds sensitive values in clear, beside masks that say where they are. A value that either mask of a
// change marks, at whatever depth, becomes plumbline.Masked before a Plan exists, with everything inside it. Options.Secrets
// is told each of them, so that the caller can mask them in text that Terraform or a provider prints. Errors name the
// place (byte, section, address of the resource), and never quote a value.
//
// # Attributes
//
// An attribute is listed when it differs, at its leaf: `tags["a.b"]`, `ingress[0].from_port`. JSON does not tell an
// object's attribute from a map's key, so names that look like identifiers follow a dot and others are quoted in brackets.
// Values are JSON; null is the value null, and "" means that there is nothing at that place. A container that appears or
// goes away is listed leaf by leaf, without the leaves that are null; an empty one is a leaf. A sensitive or wholly unknown
// value is one attribute, whatever is inside it.
//
// # The digest
//
// Plan.Digest names what would be done, so that two plans of the same change made on different days and machines have
// the same digest. This is version 1; a change of what follows needs another version. With
//
//	S(x) = the length of x in bytes, in decimal, then ":", then x
//	N(n) = n in decimal, then ";"
//
// it is the lower-case hexadecimal SHA-256 of
//
//	"plumbline plan 1\n" N(changes) H(change)… N(outputs) H(output)…
//
// where H is the SHA-256 (32 bytes) of a record. Changes are those of managed resources that are not no-ops, or that are
// moved or imported; imports, moves and forgets are among them. They are sorted by address, then deposed key, then H;
// outputs are those with a change other than no-op, sorted by name.
//
//	change = S(address) S(deposed key) S(previous address) S(full provider name) N(actions) S(action)…
//	         S(action reason) S(imported id) N(replace paths) S(path)…   paths sorted
//	         entry…
//	output = S(name) N(actions) S(action)… V(before) V(after)
//	entry  = S(path) V(before) V(after)
//
// The imported id is the id, or the canonical JSON of an identity, or "(known after apply)". A path is written as in an
// Attribute. Entries are in the order of a walk over both values at once that visits a container before what is in it,
// object members in the byte order of their names, and list elements by index. There is an entry for each place where the
// new value is unknown, and where the values differ, in kind (nothing, null, string, number, true, false, object, array)
// or, being scalars, in value:
//
//	V = "-"            nothing there
//	  | "=" S(json)    a null or scalar, in canonical JSON; a whole container where the other side is unknown
//	  | "{"  |  "["    a container: what is in it has entries of its own
//	  | "?"            unknown until the plan is applied
//	  | "*" hmac       marked sensitive; "#" hmac where only the other side is
//
// Where a value is marked sensitive, there is one entry if the two values or their marks differ, and none for what is
// inside. hmac = HMAC-SHA256(Options.Key, canonical JSON, then, if part of it is unknown, "?" and the canonical JSON of
// its after_unknown). A null is "=" even then. An output's values are whole: "=" S(json), followed by "?" S(mask) when part
// of it is unknown, or "*" or "#" hmac, or "?", or "-".
//
// Canonical JSON has no blanks, object members sorted by the bytes of their names, strings escaped as RFC 8785 does, and
// numbers as an integer without trailing zeros, "e" and a decimal exponent (1500 is 15e2, 0.25 is 25e-2, zero is 0),
// so that 1.0 and 1 are the same and no digit is lost. A number whose exponent does not fit in 64 bits stays as it is.
//
// Not in it: timestamps, order, unchanged attributes, data sources, drift, variables, versions.
package tfplan
