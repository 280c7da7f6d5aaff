# Everything says whose it is.
package acme.tags

deny contains {"address": rc.address, "msg": "it has no tag owner"} if {
	some rc in input.resource_changes
	rc.mode == "managed"
	"create" in rc.change.actions
	is_object(rc.change.after.tags_all)
	not rc.change.after.tags_all.owner
}
