# Changes on a Friday afternoon are somebody's weekend.
package plumbline.calendar

import data.plumbline.plan

default timezone := "UTC"

timezone := data.settings.timezone

default friday_from := 13

friday_from := data.settings.friday_from

warn contains sprintf("it is Friday, %02d:%02d in %s; who is there if it goes wrong?", [hour, minute, timezone]) if {
	count(plan.changes) > 0
	input.run.kind in {"proposal", "deploy", "destroy"}
	now := time.parse_rfc3339_ns(input.run.time)
	time.weekday([now, timezone]) == "Friday"
	[hour, minute, _] := time.clock([now, timezone])
	hour >= friday_from
}
