package plumbline.calendar_test

import data.plumbline.calendar
import data.plumbline.plan_test

settings := {"timezone": "Europe/London", "friday_from": 14}

at(time, kind) := object.union(plan_test.of_one(plan_test.created("a", {})), {"run": {"kind": kind, "time": time}})

test_time[time] if {
	some time, n in {
		"2026-07-10T12:59:00Z": 0, # 13:59 in London
		"2026-07-10T13:00:00Z": 1, # 14:00: it is summer
		"2026-01-09T13:30:00Z": 0, # 13:30: it is winter
		"2026-01-09T23:59:00Z": 1,
		"2026-01-10T15:00:00Z": 0, # a Saturday
	}
	count(calendar.warn) == n with input as at(time, "deploy") with data.settings as settings
}

test_kind[kind] if {
	some kind, n in {"proposal": 1, "deploy": 1, "destroy": 1, "drift": 0}
	count(calendar.warn) == n with input as at("2026-07-10T15:00:00Z", kind) with data.settings as settings
}

test_nothing_changes if {
	quiet := object.union(at("2026-07-10T15:00:00Z", "deploy"), {"resource_changes": []})
	count(calendar.warn) == 0 with input as quiet with data.settings as settings
}

test_message if {
	calendar.warn == {"it is Friday, 16:05 in Europe/London; who is there if it goes wrong?"} with input as at("2026-07-10T15:05:00Z", "deploy")
		with data.settings as settings
}

test_without_settings if {
	calendar.warn == {"it is Friday, 13:05 in UTC; who is there if it goes wrong?"} with input as at("2026-07-10T13:05:00Z", "deploy")
		with data.settings as {}
}
