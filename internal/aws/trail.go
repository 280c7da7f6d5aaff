package aws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// TrailConfig says whose CloudTrail is asked.
type TrailConfig struct {
	Account *Account // of the objects; it needs cloudtrail:LookupEvents there
	// Own are the ARNs of the roles that Plumbline's runs have. What their sessions called plumbline-… did is Plumbline's own work, as is what Account's
	// own identity did; another session of the same role is somebody's.
	Own     []string
	Spacing time.Duration // least time between two requests in a region; default 500 ms: AWS takes two a second of an account, from everybody
	Budget  int           // requests of one check; default 60, half a minute
	Settled time.Duration // how late CloudTrail may list an event; default 15 min
}

const (
	retention    = 90 * 24 * time.Hour // of what LookupEvents finds
	maxPages     = 4                   // of one name, 50 events each
	trailTries   = 4
	trailBackoff = 2 * time.Second // after the first refusal; it doubles
	maxKnown     = 2000            // look-ups that are remembered
	sessionStart = "plumbline-"
	lookUp       = "cloudtrail:LookupEvents"
)

// Trail tells who changed an object of AWS, as far as CloudTrail knows. It spaces its requests and remembers what it found, so there should be one for
// each account. Its methods are safe for concurrent use.
type Trail struct {
	c TrailConfig

	mu    sync.Mutex
	next  map[string]time.Time // by region: when it may be asked again
	known map[lookup][]record
}

// lookup is one question: a name in a region, in a window.
type lookup struct {
	region, name string
	since, until int64
}

// NewTrail returns a Trail.
func NewTrail(c TrailConfig) *Trail {
	c.Spacing = cmp.Or(c.Spacing, 500*time.Millisecond)
	c.Budget = cmp.Or(c.Budget, 60)
	c.Settled = cmp.Or(c.Settled, 15*time.Minute)
	return &Trail{c: c, next: map[string]time.Time{}, known: map[lookup][]record{}}
}

// TrailCheck is the use of a Trail by one check, with a budget of its own.
type TrailCheck struct {
	t *Trail

	mu   sync.Mutex
	left int
}

// Check begins one check.
func (t *Trail) Check() *TrailCheck { return &TrailCheck{t: t, left: t.c.Budget} }

// errBudget: the check has asked as often as it may.
var errBudget = errors.New("the budget of this check for CloudTrail is used up")

// Attribute tells who changed r after since, the last time that it was seen to be as it should, and before until, when it was seen to differ.
// region is where it is unless its type or ARN say otherwise; "": where the account is.
//
// It never guesses. One person who changed the object in that time is named, with the last thing that they did to it; of a deleted object whoever deleted
// it, if there was one. In all other cases Actor.Unknown says in a sentence why nobody is named, and who is in question.
//
// With an error nothing is decided, and Actor.Unknown says why for the time being. The same may be asked again: at the time of a *plumbline.Retry, later
// if the error is Temporary, else when somebody has changed what it says.
func (c *TrailCheck) Attribute(ctx context.Context, region string, r Resource, since, until time.Time) (plumbline.Actor, error) {
	unknown := func(format string, args ...any) (plumbline.Actor, error) {
		return plumbline.Actor{Source: "CloudTrail", Unknown: fmt.Sprintf(format, args...)}, nil
	}
	names := Identifiers(r.Type, r.Attributes)
	switch {
	case !strings.HasPrefix(r.Type, "aws_"):
		return plumbline.Actor{Unknown: "nothing tells who changes objects of " + r.Type}, nil
	case len(names) == 0:
		return unknown("neither ID nor ARN of %s are known, by which CloudTrail would find it", r.Address)
	case !until.After(since):
		return unknown("there is no time between the last clean look and this one")
	}
	now := c.t.c.Account.conf.Now()
	if at := until.Add(c.t.c.Settled); now.Before(at) {
		a, _ := unknown("CloudTrail lists events up to %v late", c.t.c.Settled)
		return a, &plumbline.Retry{At: at, Err: errors.New("too early to tell who changed it")}
	}
	region, err := c.t.c.Account.in(regionOf(r, region))
	if err != nil {
		a, _ := unknown("%v", err)
		return a, err
	}
	begin, seenBefore := since, true
	if oldest := now.Add(-retention); begin.Before(oldest) {
		begin, seenBefore = oldest, false
	}
	if !until.After(begin) {
		return unknown("it changed before %s, and CloudTrail keeps %d days", day(begin), int(retention.Hours()/24))
	}
	events, err := c.events(ctx, region, names, begin, until)
	var told *Error
	if errors.As(err, &told) && told.Operation == lookUp && errors.Is(err, plumbline.ErrDenied) {
		a, _ := unknown("Plumbline may not look into CloudTrail; give its role cloudtrail:LookupEvents (%v)", err)
		return a, err
	}
	if err != nil {
		a, _ := unknown("%v", err)
		return a, err
	}
	who, err := c.t.strangers(ctx, events)
	if err != nil {
		a, _ := unknown("%v", err)
		return a, err
	}
	return decide(r, who, names, begin, until, seenBefore), nil
}

// decide picks whoever changed r from what strangers did.
func decide(r Resource, events []record, names []string, begin, until time.Time, seenBefore bool) plumbline.Actor {
	var writes, beside []record
	for _, e := range events {
		if about(r.Type, e.EventName) && !e.ofAnother(names) {
			writes = append(writes, e)
		} else {
			beside = append(beside, e)
		}
	}
	if r.Deleted {
		if gone := slices.DeleteFunc(slices.Clone(writes), func(e record) bool { return !deletes(e.EventName) }); len(gone) > 0 {
			writes = gone
		}
	}
	unknown := func(format string, args ...any) plumbline.Actor {
		return plumbline.Actor{Source: "CloudTrail", Unknown: fmt.Sprintf(format, args...)}
	}
	people := map[string]bool{}
	for _, e := range writes {
		people[e.UserIdentity.person()] = true
	}
	window := fmt.Sprintf("between %s and %s", day(begin), day(until))
	switch {
	case len(writes) == 0 && len(beside) > 0:
		return unknown("%s nobody changed it as far as CloudTrail tells; it was only named in %s", window, list(beside))
	case len(writes) == 0:
		return unknown("CloudTrail has no change of it %s; not every service tells it by this name", window)
	case len(people) > 1:
		return unknown("%d people or services changed it %s: %s", len(people), window, list(writes))
	case !seenBefore:
		return unknown("it may have changed before %s, which is as far back as CloudTrail goes; since then: %s", day(begin), list(writes))
	}
	return writes[0].actor()
}

// list names who did what, newest first, each once.
func list(events []record) string {
	var out []string
	for _, e := range events {
		a := e.actor()
		if one := fmt.Sprintf("%s (%s, %s)", firstOf(a.Who, "somebody"), a.Event, day(a.At)); !slices.Contains(out, one) {
			out = append(out, one)
		}
	}
	const most = 4
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("and %d more", len(out)-most))
	}
	return strings.Join(out, ", ")
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// ofAnother reports whether an event is about another object of the same kind, and names this one only inside: a rule of one security group that lets
// another one in.
func (r record) ofAnother(names []string) bool {
	var parameters map[string]any
	if json.Unmarshal(r.RequestParameters, &parameters) != nil {
		return false
	}
	other := false
	for _, v := range parameters {
		s, ok := v.(string)
		if !ok {
			continue
		}
		if slices.Contains(names, s) {
			return false
		}
		for _, name := range names {
			prefix, _, found := strings.Cut(name, "-")
			other = other || found && len(prefix) <= 6 && strings.HasPrefix(s, prefix+"-") && len(s) == len(name)
		}
	}
	return other
}

// strangers leaves out what Plumbline did itself.
func (t *Trail) strangers(ctx context.Context, events []record) ([]record, error) {
	if len(events) == 0 {
		return nil, nil
	}
	me, err := t.c.Account.Identity(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(events), func(e record) bool { return t.own(e.UserIdentity, me) }), nil
}

func (t *Trail) own(u identity, me string) bool {
	if u.ARN == me {
		return true
	}
	account, role, name, ok := session(u.ARN)
	if !ok {
		return false
	}
	if a, r, _, ok := session(me); ok && a == account && r == role {
		return true // the daemon's role, of which each node has sessions
	}
	if !strings.HasPrefix(name, sessionStart) {
		return false
	}
	issuer := u.SessionContext.SessionIssuer.ARN
	for _, arn := range t.c.Own {
		a, r, ok := roleOf(arn)
		if issuer == arn || ok && issuer == "" && a == account && r == role {
			return true
		}
	}
	return false
}

// events are what was written to an object under any of its names, newest first.
func (c *TrailCheck) events(ctx context.Context, region string, names []string, begin, until time.Time) ([]record, error) {
	var out []record
	seen := map[string]bool{}
	for _, name := range names {
		key := lookup{region, name, begin.Unix(), until.Unix()}
		c.t.mu.Lock()
		found, ok := c.t.known[key]
		c.t.mu.Unlock()
		if !ok {
			var err error
			if found, err = c.ask(ctx, region, name, begin, until); err != nil {
				return nil, err
			}
			c.t.mu.Lock()
			if len(c.t.known) >= maxKnown {
				clear(c.t.known)
			}
			c.t.known[key] = found
			c.t.mu.Unlock()
		}
		for _, e := range found {
			if !seen[e.EventID] {
				seen[e.EventID] = true
				out = append(out, e)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b record) int { return b.EventTime.Compare(a.EventTime) })
	return out, nil
}

// ask looks a name up, all pages of it: one that is left out may name somebody else.
func (c *TrailCheck) ask(ctx context.Context, region, name string, begin, until time.Time) ([]record, error) {
	in := &cloudtrail.LookupEventsInput{
		LookupAttributes: []types.LookupAttribute{{AttributeKey: types.LookupAttributeKeyResourceName, AttributeValue: &name}},
		StartTime:        &begin, EndTime: &until, MaxResults: sdk.Int32(50),
	}
	client := cloudtrail.NewFromConfig(c.t.c.Account.config(region), func(o *cloudtrail.Options) { o.Retryer = sdk.NopRetryer{} })
	var out []record
	for range maxPages {
		page, err := c.page(ctx, client, region, in)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			if sdk.ToString(e.ReadOnly) == "true" {
				continue
			}
			r, err := readRecord(sdk.ToString(e.CloudTrailEvent))
			if err != nil {
				return nil, err
			}
			if r.EventTime.IsZero() {
				r.EventTime = sdk.ToTime(e.EventTime)
			}
			r.EventID, r.EventName = firstOf(r.EventID, sdk.ToString(e.EventId)), firstOf(r.EventName, sdk.ToString(e.EventName))
			// What was refused has changed nothing.
			if r.ErrorCode == "" && (r.ReadOnly == nil || !*r.ReadOnly) {
				out = append(out, r)
			}
		}
		if in.NextToken = page.NextToken; sdk.ToString(page.NextToken) == "" {
			return out, nil
		}
	}
	return nil, fmt.Errorf("CloudTrail has more than %d events that name %s in that time, too many to read: %w", maxPages*50, text(name), plumbline.ErrInvalid)
}

// page asks once, in its turn, and again when AWS has had too many questions from the account, whoever asked them.
func (c *TrailCheck) page(ctx context.Context, client *cloudtrail.Client, region string, in *cloudtrail.LookupEventsInput) (*cloudtrail.LookupEventsOutput, error) {
	a := c.t.c.Account
	for try := 1; ; try++ {
		if !c.spend() {
			return nil, &plumbline.Retry{At: a.conf.Now().Add(time.Minute), Err: errBudget}
		}
		if err := c.t.turn(ctx, region); err != nil {
			return nil, err
		}
		asking, cancel := a.within(ctx)
		out, err := client.LookupEvents(asking, in)
		cancel()
		if err == nil {
			return out, nil
		}
		if err = a.refused(lookUp, err); !Temporary(err) || try == trailTries || ctx.Err() != nil {
			return nil, err
		}
		c.t.rest(region, trailBackoff<<(try-1))
	}
}

// spend takes one request from the budget.
func (c *TrailCheck) spend() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		return false
	}
	c.left--
	return true
}

// turn waits until the region may be asked. Whoever comes later waits behind.
func (t *Trail) turn(ctx context.Context, region string) error {
	t.mu.Lock()
	at := t.next[region]
	if now := time.Now(); at.Before(now) {
		at = now
	}
	t.next[region] = at.Add(t.c.Spacing)
	t.mu.Unlock()
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// rest leaves the region alone for a while.
func (t *Trail) rest(region string, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := time.Now().Add(d); t.next[region].Before(at) {
		t.next[region] = at
	}
}
