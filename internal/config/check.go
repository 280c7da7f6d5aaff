package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/robfig/cron/v3"
)

// badBranch says why git would refuse a branch of that name, or "". The rules are those of git-check-ref-format(1) with --branch.
func badBranch(s string) string {
	if rest, ok := strings.CutPrefix(s, "refs/heads/"); ok {
		return fmt.Sprintf("is a whole ref; write only the branch: %q", rest)
	}
	switch {
	case s == "HEAD":
		return "is no branch of its own; write the name that it stands for"
	case strings.HasPrefix(s, "-"):
		return "begins with \"-\", which no branch can"
	case strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") || strings.Contains(s, "//"):
		return "has a slash where a name should be"
	case strings.HasSuffix(s, "."):
		return "ends with \".\", which no branch can"
	}
	for _, bad := range []string{"..", "@{", " ", "~", "^", ":", "?", "*", "[", `\`} {
		if strings.Contains(s, bad) {
			hint := ""
			if bad == "*" || bad == "?" || bad == "[" {
				hint = "; an environment has one branch, without patterns"
			}
			return fmt.Sprintf("has %q in it, which no branch can have%s", bad, hint)
		}
	}
	if hasControl(s) {
		return "has a control character in it, which no branch can have"
	}
	for _, part := range strings.Split(s, "/") {
		if strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return fmt.Sprintf("has the part %q, and no part can begin with \".\" or end with \".lock\"", part)
		}
	}
	return ""
}

// badGlob says why a glob could never match a stack's directory, or "".
func badGlob(s string) string {
	switch {
	case s == "":
		return "matches nothing; write \"**\" for everything"
	case strings.HasPrefix(s, "/"):
		return fmt.Sprintf("begins with a slash; globs start at the repository's root: %q", strings.TrimLeft(s, "/"))
	case strings.HasPrefix(s, "./"):
		return fmt.Sprintf("begins with \"./\"; globs start at the repository's root: %q", strings.TrimLeft(s, "./"))
	case slices.Contains(strings.Split(s, "/"), ".."):
		return "leaves the repository with \"..\""
	case !doublestar.ValidatePattern(s):
		return "is not a valid glob; brackets and braces must be closed, and \"\\\" must stand before something"
	}
	return ""
}

// reason is why a text is refused, in words that may quote parts of it, or in words that do not when it is a secret.
func (t text) reason(why, plain string) string {
	if t.secret {
		return plain
	}
	return why
}

// cronField is one of the five fields of a schedule.
type cronField struct {
	name, plural string
	least, most  int
	names        []string // words that stand for numbers, from first on
	first        int
}

var cronFields = []cronField{
	{name: "minute", plural: "minutes", most: 59},
	{name: "hour", plural: "hours", most: 23},
	{name: "day of the month", plural: "days of the month", least: 1, most: 31},
	{name: "month", plural: "months", least: 1, most: 12, first: 1,
		names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{name: "day of the week", plural: "days of the week", most: 6,
		names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
}

var cronWords = []string{"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@every"}

// schedule notes what is wrong with a schedule, field by field. What it accepts, robfig/cron's standard parser accepts.
func (r *reader) schedule(name string, t text) {
	if why := badSchedule(t.value); why != "" {
		r.problem(t.at, "%s %s %s", name, t, t.reason(why, "is not a valid schedule; write for example \"0 */6 * * *\""))
	}
}

func badSchedule(s string) string {
	fields := strings.Fields(s)
	switch {
	case len(fields) == 0:
		return "is empty; write for example \"0 */6 * * *\""
	// Also before the parser sees it: robfig/cron v3.0.1 panics on "TZ=" alone.
	case strings.HasPrefix(s, "TZ=") || strings.HasPrefix(s, "CRON_TZ="):
		return "has a timezone in it; write only the schedule here, and for drift and windows timezone = \"…\" beside it"
	case strings.HasPrefix(s, "@every "):
		d, err := time.ParseDuration(strings.TrimSpace(strings.TrimPrefix(s, "@every ")))
		switch {
		case err != nil:
			return "has no valid duration; write for example \"@every 30s\" or \"@every 1h30m\""
		case d < time.Second:
			return "comes more than once a second; the least is \"@every 1s\""
		}
	case s == "@every":
		return "has no duration; write for example \"@every 30s\""
	case strings.HasPrefix(s, "@"):
		if !slices.Contains(cronWords, s) {
			if near := nearest(s, cronWords); near != "" {
				return fmt.Sprintf("is not known; did you mean %q?", near)
			}
			return "is not known; there are " + strings.Join(cronWords, ", ")
		}
	case len(fields) == 6:
		return "has 6 fields; a schedule has 5, without seconds: minute, hour, day of the month, month, day of the week"
	case len(fields) != 5:
		return fmt.Sprintf("has %s; a schedule has 5: minute, hour, day of the month, month, day of the week", count(len(fields), "field"))
	default:
		for i, f := range fields {
			if why := cronFields[i].bad(f); why != "" {
				return why
			}
		}
	}
	parsed, err := cron.ParseStandard(s)
	if err != nil {
		return fmt.Sprintf("cannot be read: %v", err)
	}
	// From any fixed time: cron looks five years ahead, which include a 29th of February.
	if parsed.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return "never comes: no month that it names has such a day"
	}
	return ""
}

// bad says what is wrong with a field, or "".
func (f cronField) bad(s string) string {
	for _, part := range strings.Split(s, ",") {
		part, step, stepped := strings.Cut(part, "/")
		if stepped {
			if n, err := strconv.ParseUint(step, 10, 31); err != nil || n == 0 {
				return fmt.Sprintf("has step %q for the %s; a step is a whole number from 1", step, f.plural)
			}
		}
		if part == "*" || part == "?" {
			continue
		}
		from, to, ranged := strings.Cut(part, "-")
		low, why := f.number(from)
		if why != "" {
			return why
		}
		if !ranged {
			continue
		}
		high, why := f.number(to)
		if why != "" {
			return why
		}
		if low > high {
			return fmt.Sprintf("has %s %s, which run backwards; write two ranges with a comma between them", f.plural, part)
		}
	}
	return ""
}

func (f cronField) number(s string) (int, string) {
	if i := slices.Index(f.names, strings.ToUpper(s)); i >= 0 {
		return f.first + i, ""
	}
	limits := fmt.Sprintf("%s go from %d to %d", f.plural, f.least, f.most)
	if f.names != nil {
		limits += fmt.Sprintf(", or %s to %s", f.names[0], f.names[len(f.names)-1])
	}
	n, err := strconv.ParseUint(s, 10, 31)
	switch {
	case err != nil:
		return 0, fmt.Sprintf("has %s %q; %s", f.name, s, limits)
	case int(n) < f.least || int(n) > f.most:
		if f.name == "day of the week" && n == 7 {
			limits += "; Sunday is 0"
		}
		return 0, fmt.Sprintf("has %s %d; %s", f.name, n, limits)
	}
	return int(n), ""
}
