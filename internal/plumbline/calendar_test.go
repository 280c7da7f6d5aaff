package plumbline

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests must not depend on what this machine knows of zones
)

func at(t *testing.T, zone, s string) time.Time {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	must(t, err)
	got, err := time.ParseInLocation("2006-01-02 15:04", s, loc)
	must(t, err)
	return got
}

// TestWindowAcrossChanges shows what becomes of windows when clocks change. Each line is the first opening after an instant.
func TestWindowAcrossChanges(t *testing.T) {
	const london, newYork, lordHowe, kolkata, nuuk, apia = "Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Nuuk", "Pacific/Apia"
	for _, c := range []struct {
		zone, allow string
		length      time.Duration
		after       string
		want        string // when it opens and closes on the clock, how long that is
	}{
		// An ordinary day.
		{london, "0 9 * * MON-FRI", 8 * time.Hour, "2026-06-01 00:00", "Mon 1 Jun 09:00 BST to Mon 1 Jun 17:00 BST, 8h0m0s"},
		{kolkata, "30 2 * * *", 4 * time.Hour, "2026-03-29 00:00", "Sun 29 Mar 02:30 IST to Sun 29 Mar 06:30 IST, 4h0m0s"},
		{"", "@daily", time.Hour, "2026-03-29 00:30", "Mon 30 Mar 00:00 UTC to Mon 30 Mar 01:00 UTC, 1h0m0s"},

		// A day with a change, which is in neither end: the ends stay where people expect them.
		{london, "0 9 * * *", 8 * time.Hour, "2026-03-29 00:00", "Sun 29 Mar 09:00 BST to Sun 29 Mar 17:00 BST, 8h0m0s"},
		{london, "0 22 * * *", 8 * time.Hour, "2026-03-28 12:00", "Sat 28 Mar 22:00 GMT to Sun 29 Mar 06:00 BST, 7h0m0s"},
		{london, "0 22 * * *", 8 * time.Hour, "2026-10-24 12:00", "Sat 24 Oct 22:00 BST to Sun 25 Oct 06:00 GMT, 9h0m0s"},
		{newYork, "0 22 * * SAT", 8 * time.Hour, "2026-03-07 12:00", "Sat 7 Mar 22:00 EST to Sun 8 Mar 06:00 EDT, 7h0m0s"},
		{newYork, "0 22 * * SAT", 8 * time.Hour, "2026-10-31 12:00", "Sat 31 Oct 22:00 EDT to Sun 1 Nov 06:00 EST, 9h0m0s"},
		{newYork, "0 18 * * FRI", 63 * time.Hour, "2026-10-30 12:00", "Fri 30 Oct 18:00 EDT to Mon 2 Nov 09:00 EST, 64h0m0s"},
		{lordHowe, "0 22 * * SAT", 8 * time.Hour, "2026-10-03 12:00", "Sat 3 Oct 22:00 +1030 to Sun 4 Oct 06:00 +11, 7h30m0s"},
		{lordHowe, "0 22 * * SAT", 8 * time.Hour, "2026-04-04 12:00", "Sat 4 Apr 22:00 +11 to Sun 5 Apr 06:00 +1030, 8h30m0s"},

		// It opens in what spring leaves out: at once after the jump, and for its whole length on the clock.
		{london, "30 1 * * *", time.Hour, "2026-03-29 00:00", "Sun 29 Mar 02:00 BST to Sun 29 Mar 03:00 BST, 1h0m0s"},
		{london, "0 1 * * *", time.Hour, "2026-03-29 00:00", "Sun 29 Mar 02:00 BST to Sun 29 Mar 03:00 BST, 1h0m0s"},
		{london, "59 1 * * *", time.Minute, "2026-03-29 00:00", "Sun 29 Mar 02:00 BST to Sun 29 Mar 02:01 BST, 1m0s"},
		{newYork, "30 2 * * *", 4 * time.Hour, "2026-03-08 00:00", "Sun 8 Mar 03:00 EDT to Sun 8 Mar 07:00 EDT, 4h0m0s"},
		{lordHowe, "15 2 * * *", time.Hour, "2026-10-04 00:00", "Sun 4 Oct 02:30 +11 to Sun 4 Oct 03:30 +11, 1h0m0s"},
		{nuuk, "30 23 * * SAT", time.Hour, "2026-03-28 12:00", "Sun 29 Mar 00:00 -01 to Sun 29 Mar 01:00 -01, 1h0m0s"}, // the jump ends the Saturday

		// It closes in what spring leaves out.
		{london, "30 0 * * *", time.Hour, "2026-03-29 00:00", "Sun 29 Mar 00:30 GMT to Sun 29 Mar 02:00 BST, 30m0s"},
		{newYork, "0 1 * * *", 90 * time.Minute, "2026-03-08 00:00", "Sun 8 Mar 01:00 EST to Sun 8 Mar 03:00 EDT, 1h0m0s"},
		{lordHowe, "45 1 * * *", 30 * time.Minute, "2026-10-04 00:00", "Sun 4 Oct 01:45 +1030 to Sun 4 Oct 02:30 +11, 15m0s"},

		// It opens in what comes twice in autumn: the first time only.
		{london, "30 1 * * *", time.Hour, "2026-10-25 00:00", "Sun 25 Oct 01:30 BST to Sun 25 Oct 02:30 GMT, 2h0m0s"},
		{london, "15 1 * * *", 30 * time.Minute, "2026-10-25 00:00", "Sun 25 Oct 01:15 BST to Sun 25 Oct 01:45 BST, 30m0s"},
		{newYork, "0 1 * * *", 30 * time.Minute, "2026-11-01 00:00", "Sun 1 Nov 01:00 EDT to Sun 1 Nov 01:30 EDT, 30m0s"},
		{newYork, "30 1 * * *", 4 * time.Hour, "2026-11-01 00:00", "Sun 1 Nov 01:30 EDT to Sun 1 Nov 05:30 EST, 5h0m0s"},
		{lordHowe, "45 1 * * *", time.Hour, "2026-04-05 00:00", "Sun 5 Apr 01:45 +11 to Sun 5 Apr 02:45 +1030, 1h30m0s"},

		// It closes in what comes twice: the first time.
		{london, "0 0 * * SUN", 90 * time.Minute, "2026-10-24 12:00", "Sun 25 Oct 00:00 BST to Sun 25 Oct 01:30 BST, 1h30m0s"},
		{newYork, "0 23 * * SAT", 3 * time.Hour, "2026-10-31 12:00", "Sat 31 Oct 23:00 EDT to Sun 1 Nov 02:00 EST, 4h0m0s"},
		{lordHowe, "0 1 * * *", 45 * time.Minute, "2026-04-05 00:00", "Sun 5 Apr 01:00 +11 to Sun 5 Apr 01:45 +11, 45m0s"},

		// Where Go tells a wrong end of the period between two changes.
		{london, "0 9 * * *", time.Hour, "2028-12-31 00:00", "Sun 31 Dec 09:00 GMT to Sun 31 Dec 10:00 GMT, 1h0m0s"},
		{newYork, "0 20 * * *", 8 * time.Hour, "2040-12-30 12:00", "Sun 30 Dec 20:00 EST to Mon 31 Dec 04:00 EST, 8h0m0s"},
		{lordHowe, "0 9 * * *", time.Hour, "2040-12-31 10:00", "Tue 1 Jan 09:00 +11 to Tue 1 Jan 10:00 +11, 1h0m0s"},

		// Apia went from Thursday 29 to Saturday 31 December 2011: there was no Friday to open on.
		{apia, "0 9 * * MON-FRI", 8 * time.Hour, "2011-12-29 12:00", "Mon 2 Jan 09:00 +14 to Mon 2 Jan 17:00 +14, 8h0m0s"},
		{apia, "0 22 * * THU", 4 * time.Hour, "2011-12-29 12:00", "Thu 29 Dec 22:00 -10 to Sat 31 Dec 00:00 +14, 2h0m0s"},
		{apia, "0 0 * * *", time.Hour, "2011-12-29 12:00", "Sat 31 Dec 00:00 +14 to Sat 31 Dec 01:00 +14, 1h0m0s"},
		{apia, "0 20 * * THU,FRI", 36 * time.Hour, "2011-12-29 12:00", "Thu 29 Dec 20:00 -10 to Sat 31 Dec 08:00 +14, 12h0m0s"},
	} {
		cal := Calendar{Windows: []Window{{Name: "w", Allow: c.allow, For: c.length, Timezone: c.zone}}}
		must(t, cal.Windows[0].Check())
		after := at(t, c.zone, c.after)
		spans := cal.Openings(after, 2)
		if len(spans) == 0 {
			t.Errorf("%s %q after %s: never opens", c.zone, c.allow, c.after)
			continue
		}
		s := spans[0]
		if s.From.Equal(after) && len(spans) > 1 {
			s = spans[1] // the one after the one that is open
		}
		layout := "Mon 2 Jan 15:04 MST"
		got := s.From.Format(layout) + " to no end"
		if !s.Until.IsZero() {
			got = fmt.Sprintf("%s to %s, %s", s.From.Format(layout), s.Until.Format(layout), s.Until.Sub(s.From))
		}
		if got != c.want {
			t.Errorf("%s %q for %s after %s:\n got %s\nwant %s", c.zone, c.allow, c.length, c.after, got, c.want)
		}
	}
}

func TestClosed(t *testing.T) {
	const london = "Europe/London"
	office := Window{Name: "office-hours", Allow: "0 9 * * MON-FRI", For: 8 * time.Hour, Timezone: london}
	night := Window{Name: "night", Allow: "0 22 * * *", For: 4 * time.Hour, Timezone: "America/New_York"}
	leap := Window{Name: "leap", Allow: "0 0 29 2 *", For: time.Hour}
	broken := Window{Name: "broken", Allow: "0 25 * * *", For: time.Hour}
	frozen := func(name, from, until string) Freeze {
		f := Freeze{Name: name, From: at(t, "", from), Reason: "change freeze"}
		if until != "" {
			f.Until = at(t, "", until)
		}
		return f
	}
	yearEnd := frozen("year-end", "2026-12-20 00:00", "2027-01-03 00:00") // a Sunday
	alice := Freeze{From: at(t, "", "2026-12-01 00:00"), Reason: "the database\n is being moved", By: "corp/alice"}
	aliceUntil := alice
	aliceUntil.Until = at(t, "", "2026-12-02 08:00")
	cal := func(parts ...any) (c Calendar) {
		for _, p := range parts {
			switch p := p.(type) {
			case Window:
				c.Windows = append(c.Windows, p)
			case Freeze:
				c.Freezes = append(c.Freezes, p)
			}
		}
		return c
	}
	for _, c := range []struct {
		cal   Calendar
		now   string // in London
		why   string // "": open
		until string // in UTC
	}{
		{cal(), "2026-06-01 03:00", "", ""},
		{cal(office), "2026-06-01 09:00", "", ""},
		{cal(office), "2026-06-01 16:59", "", ""},
		{cal(office), "2026-06-01 08:59", "outside the window office-hours until Mon 09:00 BST", "2026-06-01 08:00"},
		{cal(office), "2026-06-05 17:00", "outside the window office-hours until Mon 09:00 BST", "2026-06-08 08:00"},
		{cal(office), "2026-12-04 17:00", "outside the window office-hours until Mon 09:00 GMT", "2026-12-07 09:00"},
		{cal(office), "2026-03-27 17:00", "outside the window office-hours until Mon 09:00 BST", "2026-03-30 08:00"},
		{cal(Window{Name: "mondays", Allow: "0 9 * * MON", For: time.Hour, Timezone: london}), "2026-06-01 18:00", "outside the window mondays until 8 Jun 2026 09:00 BST", "2026-06-08 08:00"},
		{cal(leap), "2026-06-01 09:00", "outside the window leap until 29 Feb 2028 00:00 UTC", "2028-02-29 00:00"},
		{cal(leap), "2096-06-01 09:00", "outside the window leap, which does not open within five years", ""}, // 2100 is no leap year
		{cal(broken), "2026-06-01 09:00", "outside the window broken, which does not open within five years", ""},
		{cal(broken, office), "2026-06-01 10:00", "", ""},
		{cal(broken, broken), "2026-06-01 10:00", "outside the windows, which do not open within five years", ""},

		// Several windows: the next of them, in its own zone.
		{cal(office, night), "2026-06-01 18:00", "outside the windows until Mon 22:00 EDT (night)", "2026-06-02 02:00"},
		{cal(office, night), "2026-06-02 08:00", "outside the windows until Tue 09:00 BST (office-hours)", "2026-06-02 08:00"},
		{cal(office, night), "2026-06-02 04:00", "", ""},

		// Freezes.
		{cal(yearEnd), "2026-12-19 23:59", "", ""},
		{cal(yearEnd), "2026-12-20 00:00", "frozen (year-end: change freeze) until 3 Jan 2027 00:00 UTC", "2027-01-03 00:00"},
		{cal(yearEnd), "2027-01-02 23:59", "frozen (year-end: change freeze) until Sun 00:00 UTC", "2027-01-03 00:00"},
		{cal(yearEnd), "2027-01-03 00:00", "", ""},
		{cal(Freeze{}), "2026-12-01 09:00", "frozen until it is lifted", ""},
		{cal(Freeze{Name: "n"}), "2026-12-01 09:00", "frozen (n) until it is lifted", ""},
		{cal(Freeze{Reason: "r"}), "2026-12-01 09:00", "frozen (r) until it is lifted", ""},
		{cal(Freeze{By: "corp/alice"}), "2026-12-01 09:00", "frozen by corp/alice until it is lifted", ""},
		{cal(alice), "2026-12-01 09:00", "frozen by corp/alice until it is lifted: the database is being moved", ""},
		{cal(aliceUntil), "2026-12-01 09:00", "frozen by corp/alice until Wed 08:00 UTC: the database is being moved", "2026-12-02 08:00"},
		{cal(frozen("backwards", "2026-12-20 00:00", "2026-12-01 00:00")), "2026-12-10 00:00", "", ""},

		// The longest of several, and what comes after it.
		{cal(yearEnd, alice), "2026-12-24 09:00", "frozen by corp/alice until it is lifted: the database is being moved", ""},
		{cal(alice, yearEnd), "2026-12-24 09:00", "frozen by corp/alice until it is lifted: the database is being moved", ""},
		{cal(yearEnd, frozen("tail", "2027-01-01 00:00", "2027-01-05 00:00")), "2026-12-24 09:00", "frozen (year-end: change freeze) until 3 Jan 2027 00:00 UTC, open from 5 Jan 2027 00:00 UTC", "2027-01-05 00:00"},
		{cal(yearEnd, frozen("tail", "2027-01-01 00:00", "2027-01-05 00:00")), "2027-01-01 09:00", "frozen (tail: change freeze) until Tue 00:00 UTC", "2027-01-05 00:00"},
		{cal(frozen("tail", "2027-01-01 00:00", "2027-01-05 00:00"), yearEnd), "2027-01-01 09:00", "frozen (tail: change freeze) until Tue 00:00 UTC", "2027-01-05 00:00"},
		{cal(yearEnd, frozen("next", "2027-01-03 00:00", "2027-01-05 00:00")), "2026-12-24 09:00", "frozen (year-end: change freeze) until 3 Jan 2027 00:00 UTC, open from 5 Jan 2027 00:00 UTC", "2027-01-05 00:00"},
		{cal(yearEnd, frozen("next", "2027-01-03 00:00", "")), "2026-12-24 09:00", "frozen (year-end: change freeze) until 3 Jan 2027 00:00 UTC, and no opening is known after that", ""},

		// Freezes over windows.
		{cal(office, yearEnd), "2026-12-21 10:00", "frozen (year-end: change freeze) until 3 Jan 2027 00:00 GMT, open from 4 Jan 2027 09:00 GMT", "2027-01-04 09:00"},
		{cal(office, yearEnd), "2026-12-18 18:00", "outside the window office-hours until Mon 09:00 GMT, open from 4 Jan 2027 09:00 GMT", "2027-01-04 09:00"},
		{cal(office, aliceUntil), "2026-12-01 08:00", "frozen by corp/alice until Wed 08:00 GMT, open from Wed 09:00 GMT: the database is being moved", "2026-12-02 09:00"},
		{cal(office, frozen("noon", "2026-06-01 10:00", "2026-06-01 11:00")), "2026-06-01 11:30", "frozen (noon: change freeze) until Mon 12:00 BST", "2026-06-01 11:00"},
		{cal(office, frozen("noon", "2026-06-01 10:00", "2026-06-01 11:00")), "2026-06-01 10:30", "", ""},
		{cal(broken, aliceUntil), "2026-12-01 10:00", "frozen by corp/alice until Wed 08:00 UTC, and no opening is known after that: the database is being moved", ""},

		// A zone without a name for its time.
		{cal(Window{Name: "w", Allow: "@daily", For: time.Hour, Timezone: "Australia/Lord_Howe"}), "2026-06-01 18:00", "outside the window w until Wed 00:00 UTC+1030", "2026-06-02 13:30"},
	} {
		why, until, closed := c.cal.Closed(at(t, london, c.now))
		got := ""
		if !until.IsZero() {
			got = until.UTC().Format("2006-01-02 15:04")
		}
		if why != c.why || got != c.until || closed != (c.why != "") {
			t.Errorf("at %s:\n got %q until %q\nwant %q until %q", c.now, why, got, c.why, c.until)
		}
	}
}

func TestOpenings(t *testing.T) {
	window := func(allow string, length time.Duration) Window {
		return Window{Name: "w", Allow: allow, For: length, Timezone: "Europe/London"}
	}
	freeze := func(from, until string) Freeze {
		return Freeze{From: at(t, "Europe/London", from), Until: at(t, "Europe/London", until)}
	}
	now := at(t, "Europe/London", "2026-03-27 12:00") // Friday; the clocks change on the 29th
	for _, c := range []struct {
		what string
		cal  Calendar
		want string
	}{
		{"always", Calendar{}, "Fri 12:00-"},
		{"until a freeze", Calendar{Freezes: []Freeze{freeze("2026-03-28 12:00", "2026-03-28 13:00"), {From: now.Add(72 * time.Hour)}}}, "Fri 12:00-Sat 12:00 Sat 13:00-Mon 13:00"},
		{"open now", Calendar{Windows: []Window{window("0 9 * * MON-FRI", 8*time.Hour)}}, "Fri 12:00-Fri 17:00 Mon 09:00-Mon 17:00 Tue 09:00-Tue 17:00"},
		{"overlapping", Calendar{Windows: []Window{window("0 9 * * *", 8*time.Hour), window("0 16 * * *", 4*time.Hour)}}, "Fri 12:00-Fri 20:00 Sat 09:00-Sat 20:00 Sun 09:00-Sun 20:00"},
		{"touching", Calendar{Windows: []Window{window("0 9 * * *", 8*time.Hour), window("0 17 * * *", time.Hour)}}, "Fri 12:00-Fri 18:00 Sat 09:00-Sat 18:00 Sun 09:00-Sun 18:00"},
		{"touching across the change", Calendar{Windows: []Window{window("0 0 * * SAT,SUN", 24*time.Hour)}}, "Sat 00:00-Mon 00:00 Sat 00:00-Mon 00:00 Sat 00:00-Mon 00:00"},
		{"every hour, in full", Calendar{Windows: []Window{window("@hourly", time.Hour)}}, "Fri 12:00-"},
		{"every minute, in full, until a freeze", Calendar{Windows: []Window{window("* * * * *", time.Minute)}, Freezes: []Freeze{freeze("2026-03-28 12:00", "2026-03-28 13:00")}}, "Fri 12:00-Sat 12:00 Sat 13:00-"},
		{"cut in two", Calendar{Windows: []Window{window("0 9 * * *", 8*time.Hour)}, Freezes: []Freeze{freeze("2026-03-28 12:00", "2026-03-28 13:00")}}, "Fri 12:00-Fri 17:00 Sat 09:00-Sat 12:00 Sat 13:00-Sat 17:00"},
		{"swallowed", Calendar{Windows: []Window{window("0 9 * * *", 8*time.Hour)}, Freezes: []Freeze{freeze("2026-03-28 09:00", "2026-03-29 17:00")}}, "Fri 12:00-Fri 17:00 Mon 09:00-Mon 17:00 Tue 09:00-Tue 17:00"},
		{"no window can be used", Calendar{Windows: []Window{window("0 0 31 2 *", time.Hour)}}, ""},
	} {
		var got []string
		for _, s := range c.cal.Openings(now, 3) {
			until := ""
			if !s.Until.IsZero() {
				until = s.Until.In(now.Location()).Format("Mon 15:04")
			}
			got = append(got, s.From.In(now.Location()).Format("Mon 15:04")+"-"+until)
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.what, g, c.want)
		}
	}
	if got := (Calendar{}).Openings(now, 0); got != nil {
		t.Errorf("no openings asked for: %v", got)
	}
}

func TestWindowCheck(t *testing.T) {
	for _, c := range []struct {
		w    Window
		want string // "": nothing is wrong
	}{
		{Window{Name: "w", Allow: "0 9 * * MON-FRI", For: 8 * time.Hour, Timezone: "Europe/London"}, ""},
		{Window{Name: "w", Allow: "@weekly", For: time.Minute}, ""},
		{Window{Name: "w", Allow: "0 0 29 2 *", For: 366 * 24 * time.Hour}, ""},
		{Window{Name: "w", Allow: "", For: time.Hour}, `window "w": allow "" cannot be read: empty spec string; write for example "0 9 * * MON-FRI"`},
		{Window{Name: "w", Allow: "0 25 * * *", For: time.Hour}, `window "w": allow "0 25 * * *" cannot be read: end of range (25) above maximum (23): 25; write for example "0 9 * * MON-FRI"`},
		{Window{Name: "w", Allow: "0 0 9 * * *", For: time.Hour}, `window "w": allow "0 0 9 * * *" cannot be read: expected exactly 5 fields, found 6: [0 0 9 * * *]; write for example "0 9 * * MON-FRI"`},
		{Window{Name: "w", Allow: "0 , * * *", For: time.Hour}, `window "w": allow "0 , * * *" has an empty field; write for example "0 9 * * MON-FRI"`},
		{Window{Name: "w", Allow: "@every 1h", For: time.Hour}, `window "w": allow "@every 1h" says how often, not when; write for example "0 9 * * MON-FRI"`},
		{Window{Name: "w", Allow: "@reboot", For: time.Hour}, `window "w": allow "@reboot" cannot be read: unrecognized descriptor: @reboot; write for example "0 9 * * MON-FRI"`},
		{Window{Name: "w", Allow: "0 0 31 2,4 *", For: time.Hour}, `window "w": allow "0 0 31 2,4 *" never comes: no month that it names has such a day`},
		{Window{Name: "w", Allow: "TZ=", For: time.Hour}, `window "w": allow "TZ=" has a timezone in it; write it as timezone = "…" beside it`},
		{Window{Name: "w", Allow: "CRON_TZ=UTC 0 9 * * *", For: time.Hour}, `window "w": allow "CRON_TZ=UTC 0 9 * * *" has a timezone in it; write it as timezone = "…" beside it`},
		{Window{Name: "w", Allow: "@daily"}, `window "w": it is open for 0s; the least is 1m`},
		{Window{Name: "w", Allow: "@daily", For: time.Minute - 1}, `window "w": it is open for 59.999999999s; the least is 1m`},
		{Window{Name: "w", Allow: "@daily", For: 366*24*time.Hour + 1}, `window "w": it is open for 8784h0m0.000000001s; the most is a year, 8784h`},
		{Window{Name: "w", Allow: "@daily", For: time.Hour, Timezone: "Europe/Lodnon"}, `window "w": timezone "Europe/Lodnon" is not known; write an IANA name, for example "Europe/London"`},
		{Window{Name: "w", Allow: "@daily", For: time.Hour, Timezone: "Local"}, `window "w": timezone "Local" is another one on each machine; write for example "Europe/London"`},
	} {
		got := ""
		if err := c.w.Check(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v:\n got %s\nwant %s", c.w, got, c.want)
		}
	}
}

// fields is a window as the oracle knows it: its own reading of cron, in lists. A nil list is a star.
type fields struct {
	minutes, hours, days, months, weekdays []int
	length                                 int // minutes
}

func (f fields) String() string {
	list := func(xs []int) string {
		if xs == nil {
			return "*"
		}
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(xs), " ", ","), "[]")
	}
	return strings.Join([]string{list(f.minutes), list(f.hours), list(f.days), list(f.months), list(f.weekdays)}, " ")
}

// names reports whether the window opens when clocks show a minute, which is counted from 1970 on a clock that never jumps.
func (f fields) names(minute int) bool {
	shown := time.Unix(int64(minute)*60, 0).UTC()
	in := func(xs []int, x int) bool { return xs == nil || slices.Contains(xs, x) }
	d := in(f.days, shown.Day()) && in(f.weekdays, int(shown.Weekday()))
	if f.days != nil && f.weekdays != nil {
		d = in(f.days, shown.Day()) || in(f.weekdays, int(shown.Weekday()))
	}
	return d && in(f.minutes, shown.Minute()) && in(f.hours, shown.Hour()) && in(f.months, int(shown.Month()))
}

// oracle watches the clocks of a zone for n minutes as a person would, and says for each whether the window is open. It has watched for
// longer than the window is open before that.
func oracle(f fields, zone *time.Location, from time.Time, n int) []bool {
	shows := func(i int) int {
		_, offset := from.Add(time.Duration(i) * time.Minute).In(zone).Zone()
		return int(from.Unix()/60) + i + offset/60
	}
	first := -f.length - 3*24*60
	seen := shows(first - 1) // the latest that the clocks have shown
	closes := seen           // what they show when it closes
	open := make([]bool, n)
	for i := first; i < n; i++ {
		now := shows(i)
		jump := now - seen
		for m := seen + 1; m <= now; m++ {
			if f.names(m) && (m == now || jump <= 24*60) {
				closes = now + f.length
			}
		}
		seen = max(seen, now)
		if i >= 0 {
			open[i] = seen < closes
		}
	}
	return open
}

// TestCalendarOracle compares random calendars with the oracle in the weeks around changes of the clocks.
func TestCalendarOracle(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	some := func(from, to, most int) []int {
		var out []int
		for range 1 + random.IntN(most) {
			out = append(out, from+random.IntN(to-from+1))
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	maybe := func(chance float64, xs []int) []int {
		if random.Float64() < chance {
			return xs
		}
		return nil
	}
	window := func() fields {
		f := fields{
			minutes:  maybe(0.9, some(0, 59, 3)),
			hours:    maybe(0.8, some(0, 23, 3)),
			days:     maybe(0.15, some(1, 31, 12)),
			months:   maybe(0.05, some(1, 12, 8)),
			weekdays: maybe(0.3, some(0, 6, 4)),
			length:   1 + random.IntN(180),
		}
		if random.Float64() < 0.5 {
			f.hours = some(0, 3, 2) // where clocks change
		}
		if random.Float64() < 0.3 {
			f.length = 1 + random.IntN(4*24*60)
		}
		return f
	}
	const n, rounds = 12 * 24 * 60, 8
	compared := 0
	for _, place := range []struct {
		zone string
		from string // six days before the clocks change
	}{
		{"Europe/London", "2026-03-23 00:00"}, {"Europe/London", "2026-10-19 00:00"},
		{"America/New_York", "2026-03-02 00:00"}, {"America/New_York", "2026-10-26 00:00"},
		{"Australia/Lord_Howe", "2026-03-30 00:00"}, {"Australia/Lord_Howe", "2026-09-28 00:00"},
		{"America/Nuuk", "2026-03-22 00:00"}, {"America/Sao_Paulo", "2018-10-29 00:00"},
		{"Asia/Kolkata", "2026-03-23 00:00"}, {"", "2026-03-23 00:00"},
		{"Pacific/Apia", "2011-12-24 00:00"}, {"Pacific/Kwajalein", "1969-09-25 00:00"}, // a day left out, a day twice
	} {
		from := at(t, place.zone, place.from)
		for range rounds {
			var c Calendar
			open := make([]bool, n)
			for i := range 1 + random.IntN(2) {
				f := window()
				c.Windows = append(c.Windows, Window{Name: fmt.Sprint(i), Allow: f.String(), For: time.Duration(f.length) * time.Minute, Timezone: place.zone})
				for i, o := range oracle(f, from.Location(), from, n) {
					open[i] = open[i] || o
				}
			}
			for range random.IntN(3) {
				a, length := random.IntN(n), 1+random.IntN(3*24*60)
				c.Freezes = append(c.Freezes, Freeze{From: from.Add(time.Duration(a) * time.Minute), Until: from.Add(time.Duration(a+length) * time.Minute)})
				for i := a; i < min(a+length, n); i++ {
					open[i] = false
				}
			}
			compare(t, c, from, open, random)
			if compared += len(open); t.Failed() {
				t.Fatalf("in %s with %+v", place.zone, c)
			}
		}
	}
	if compared != 12*rounds*n {
		t.Errorf("compared %d minutes", compared)
	}
}

// compare holds a calendar against what the oracle says of each minute, wherever that changes and in some places between.
func compare(t *testing.T, c Calendar, from time.Time, open []bool, random *rand.Rand) {
	t.Helper()
	minute := func(i int) time.Time { return from.Add(time.Duration(i) * time.Minute) }
	opens := func(i int) int { return i + slices.Index(open[i:], true) } // i-1: not as long as it is watched
	check := func(i int, now time.Time) {
		why, until, closed := c.Closed(now)
		if closed == open[i] {
			t.Errorf("%s: closed %t (%s)", now.Format(time.RFC3339Nano), closed, why)
		}
		if next := opens(i); !open[i] && next > i && !until.Equal(minute(next)) {
			t.Errorf("%s: until %s, want %s", now.Format(time.RFC3339Nano), until, minute(next))
		}
	}
	for i := range open {
		if i > 0 && open[i] != open[i-1] {
			check(i-1, minute(i).Add(-1))
			check(i, minute(i))
		}
	}
	for range 40 {
		i := random.IntN(len(open))
		check(i, minute(i).Add(time.Duration(random.IntN(60_000))*time.Millisecond))
	}
	for _, s := range c.Openings(from, 3) {
		i := int(s.From.Sub(from) / time.Minute)
		if i >= len(open) || s.Until.IsZero() {
			break
		}
		j := int(s.Until.Sub(from) / time.Minute)
		if !open[i] || i > 0 && open[i-1] || j < len(open) && open[j] || slices.Contains(open[i:min(j, len(open))], false) {
			t.Errorf("the opening from %s to %s is not what the minutes say", s.From, s.Until)
		}
	}
}

func FuzzCalendar(f *testing.F) {
	for _, zone := range []string{"Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "Africa/Casablanca", "", "Local", "../x"} {
		f.Add("0 9 * * MON-FRI", int64(8*60), zone, int64(1774746000), int64(1774746060), int64(3600))
		f.Add("30 1,2 29 3,10 */1", int64(366*24*60), zone, int64(1792890000), int64(0), int64(-1))
		f.Add("* * * * *", int64(1), zone, int64(1325200000), int64(1325239200), int64(86400))
	}
	f.Add("TZ=", int64(60), "", int64(0), int64(0), int64(0))
	f.Add(", * * * *", int64(60), "", int64(0), int64(0), int64(0))
	f.Add("0 0 31 2 *", int64(60), "", int64(0), int64(0), int64(0))
	f.Add("@yearly", int64(60), "Asia/Manila", int64(-3944700000), int64(0), int64(0)) // in 1844 a day left out, in seconds of local time
	f.Fuzz(func(t *testing.T, allow string, minutes int64, zone string, unix, freeze, frozen int64) {
		const years = 250 * 365 * 24 * 3600
		now := time.Unix(unix%years, 0)
		w := Window{Name: "w", Allow: allow, For: time.Duration(minutes%(2*366*24*60)) * time.Minute, Timezone: zone}
		good := w.Check() == nil
		c := Calendar{Windows: []Window{w}, Freezes: []Freeze{{From: time.Unix(freeze%years, 0), Until: time.Unix(freeze%years+frozen%years, 0)}}}
		why, until, closed := c.Closed(now)
		if closed == (why == "") || strings.ContainsAny(why, "\r\n") {
			t.Errorf("closed %t, because %q", closed, why)
		}
		if !closed {
			if !good {
				t.Errorf("%+v is open, and cannot be used", w)
			}
			spans := c.Openings(now, 1)
			if len(spans) != 1 || !spans[0].From.Equal(now) {
				t.Fatalf("it is open, and its openings are %v", spans)
			}
			if until = spans[0].Until; until.IsZero() {
				return
			}
			if _, _, closed := c.Closed(until); !closed || !until.After(now) {
				t.Errorf("open until %s, when it is not closed", until)
			}
			if why, _, closed := c.Closed(until.Add(-1)); closed {
				t.Errorf("open until %s, and closed just before: %s", until, why)
			}
			return
		}
		if until.IsZero() {
			return
		}
		if !until.After(now) {
			t.Errorf("at %s closed until %s", now, until)
		}
		if why, _, closed := c.Closed(until); closed {
			t.Errorf("closed until %s, when it is %s", until, why)
		}
		if _, _, closed := c.Closed(until.Add(-1)); !closed {
			t.Errorf("closed until %s, and open just before", until)
		}
	})
}

func BenchmarkClosed(b *testing.B) {
	window := func(allow string, length time.Duration) Window {
		return Window{Name: "w", Allow: allow, For: length, Timezone: "Europe/London"}
	}
	now := time.Date(2026, 10, 3, 11, 12, 13, 0, time.UTC) // a Saturday
	var back []Freeze
	for i := range 50 {
		back = append(back, Freeze{From: now.Add(time.Duration(i-1) * time.Hour), Until: now.Add(time.Duration(i+1) * time.Hour)})
	}
	for _, bench := range []struct {
		name     string
		calendar Calendar
	}{
		{"office hours", Calendar{Windows: []Window{window("0 9 * * MON-FRI", 8*time.Hour)}}},
		{"every minute for a year", Calendar{Windows: []Window{window("* * * * *", longestWindow)}}},
		{"leap day for a year", Calendar{Windows: []Window{window("0 0 29 2 *", longestWindow)}}},
		{"never", Calendar{Windows: []Window{window("0 0 31 2 *", longestWindow)}}},
		{"fifty freezes", Calendar{Windows: []Window{window("0 9 * * MON-FRI", 8*time.Hour)}, Freezes: back}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				bench.calendar.Closed(now)
			}
		})
	}
	b.Run("openings of every minute", func(b *testing.B) {
		c := Calendar{Windows: []Window{window("* * * * *", time.Minute)}}
		for b.Loop() {
			c.Openings(now, 10)
		}
	})
}
