// Package tfplan turns the plan JSON of Terraform or OpenTofu into the domain's Plan.
//
// [Read] streams the output of `terraform show -json PLANFILE`: one resource change at a time is in memory, and what
// is not about changes (planned_values, relevant_attributes, all of configuration but which variables are sensitive, and all of
// prior_state but the number of its resources) is passed over without being kept. jsontext checks every byte; the second
// look at a change that has been checked (raw.go) only has to find where values end.
//
// Managed resources are changes, and so are the actions of action_invocations (Terraform 1.14). What deferred_changes and
// deferred_action_invocations leave to a later plan stands apart: it does not count and is not in the digest. Data sources and
// ephemeral resources are never changes, drift or deferred. Identities and generated configuration are not read. Of
// checks, those that did not pass are kept: each instance that failed with its messages, and once each object with an
// instance that is not known yet. Of very many, the number of the others is kept as the address of one more.
//
// # Secrets
//
// The plan JSON holds sensitive values in clear, beside masks that say where they are. A value that either mask of a
// change marks, at whatever depth, becomes plumbline.Masked before a Plan exists, with everything inside it. Options.Secrets
// is told each of them, so that the caller can mask them in text that Terraform or a provider prints. It is told the values of
// variables, too, which the plan holds without masks, of those that the configuration marks as sensitive; and, with
// Options.SecretName, what stands under the name of a secret, whether it changes or not. Errors name the place (byte, section, address of the resource), and never quote a value.
//
// A secret can also be where the plan does not mark it. [Mask] takes what the caller knows of out of a Plan, in every text of it. It has to
// see whole values for that, so none is ever cut: beyond 64 KiB a value is replaced by its size and a keyed hash, and
// beyond what a Plan may keep at all it is left out, whole.
//
// # Attributes
//
// An attribute is listed when it differs, at its leaf: `tags["a.b"]`, `ingress[0].from_port`. JSON does not tell an
// object's attribute from a map's key, so names that look like identifiers follow a dot and others are quoted in brackets.
// Values are JSON; null is the value null, and "" means that there is nothing at that place. A container that appears or
// goes away is listed leaf by leaf, without the leaves that are null; an empty one is a leaf. A sensitive or wholly unknown
// value is one attribute, whatever is inside it.
//
// Elements of lists are told by what they hold: when the first of three goes away, the other two have not changed. Elements that are
// equal on both sides in the same order are found first (znkr.io/diff); between them, an element that was removed and one that was
// added are one that changed, where they are of a kind and resemble each other (align.go). The path of an element that is in the new
// list has its index there, and that of one that is not its index in the old one; so a path can be listed twice, once for
// what went and once for what came. Masks lie over the list that they belong to; what either marks at an index is hidden in both
// lists at that index and wherever its element is now. Very long lists are told by their indexes.
//
// Attribute.Whole is the length of the path of the outermost list element, or member with something inside, that is new or gone
// as a whole. It is 0 throughout a resource that is created or destroyed, and in the configuration of an action.
//
// An attribute forces a replacement if it is at, below or above a replace path. In a list that was aligned, the indexes of replace paths are not
// compared: providers count by index, and one kind of element has one schema.
//
// # The digest
//
// Plan.Digest names what would be done, so that two plans of the same change made on different days and machines have
// the same digest. This is version 2 (version 1 had no actions); a change of what follows needs another version. With
//
//	S(x) = the length of x in bytes, in decimal, then ":", then x
//	N(n) = n in decimal, then ";"
//
// it is the lower-case hexadecimal SHA-256 of
//
//	"plumbline plan 2\n" N(changes) H(change)… N(outputs) H(output)… N(invocations) H(invocation)…
//
// where H is the SHA-256 (32 bytes) of a record. Changes are those of managed resources that are not no-ops, or that are
// moved or imported; imports, moves and forgets are among them. They are sorted by address, then deposed key, then H;
// outputs are those with a change other than no-op, sorted by name; invocations are the elements of action_invocations, sorted
// by address, then H.
//
//	change = S(address) S(deposed key) S(previous address) S(full provider name) N(actions) S(action)…
//	         S(action reason) S(imported id) S(object id) N(replace paths) S(path)…   paths sorted
//	         entry…
//	output = S(name) N(actions) S(action)… V(before) V(after)
//	invocation = S(address) S(full provider name) S(lifecycle trigger) S(invoke trigger) entry…
//	entry  = S(path) V(before) V(after)
//
// A trigger is the canonical JSON of lifecycle_action_trigger or invoke_action_trigger, or empty where there is none. The entries of an
// invocation are those of its config_values, with config_unknown and config_sensitive over them, and nothing before.
//
// The imported id is the id, or the canonical JSON of an identity, or "(known after apply)". The object id is what the member "id" of
// before says, where that is a string that neither mask marks and the change is other than to create or to do nothing; else it is
// empty. So the same change of another physical object has another digest. A path is written as in an
// Attribute. Entries are in the order of a walk over both values at once that visits a container before what is in it,
// object members in the byte order of their names, and list elements by index: the digest is about values, not about how a
// change of a list is best shown. There is an entry for each place where the
// new value is unknown, and where the values differ, in kind (nothing, null, string, number, true, false, object, array)
// or, being scalars, in value:
//
//	V = "-"            nothing there
//	  | "=" S(json)    a null or scalar, in canonical JSON; a whole container where the other side is unknown
//	  | "{"  |  "["    a container: what is in it has entries of its own
//	  | "?"            unknown until the plan is applied; "?*" if marked sensitive then
//	  | "*" hmac       marked sensitive; "#" hmac where only the other side is
//
// Where a value is marked sensitive, there is one entry if the two values or their marks differ, and none for what is
// inside. hmac = HMAC-SHA256(Options.Key, canonical JSON, then, if part of it is unknown, "?" and the canonical JSON of
// its after_unknown). A null is "=" even then. An output's values are whole: "=" S(json), followed by "?" S(mask) when part
// of it is unknown, or "*" or "#" hmac, or "?" or "?*", or "-".
//
// Canonical JSON has no blanks, object members sorted by the bytes of their names, strings escaped as RFC 8785 does, and
// numbers as an integer without trailing zeros, "e" and a decimal exponent (1500 is 15e2, 0.25 is 25e-2, zero is 0),
// so that 1.0 and 1 are the same and no digit is lost. A number whose exponent does not fit in 64 bits stays as it is.
//
// Without Options.Key, the key is a random one for that Read alone: the digest of a plan in which something sensitive changes then reveals
// nothing and compares with none. Plan.Keyed tells whether there is an HMAC in the digest; where there is none, it is the
// same under every key.
//
// Not in it: timestamps, order, unchanged attributes (but the object id), data sources, drift, deferred changes, checks, variables,
// versions. Nor is the configuration: the plan JSON of a provider that is pointed elsewhere (another region, account or endpoint), or of
// another provisioner, has the same digest when the changes are the same. Whoever compares digests of plans that were made from different commits
// compares Plan.Config as well: HMAC-SHA256 under Options.Key of the engine, its version, the configuration section as the engine wrote it and the
// values of the root module's variables. Without Options.Key it is empty.
package tfplan
