# Many things do not go away at once without a second look.
package plumbline.destroys

import data.plumbline.plan

default most := 10

most := data.settings.most_destroys

default approvers := ["role:admin"]

approvers := data.settings.destroy_approvers

require_approval contains {"msg": sprintf("%d resources are destroyed or replaced; up to %d need no approval", [n, most]), "from": approvers} if {
	n := count(plan.destroyed)
	n > most
}
