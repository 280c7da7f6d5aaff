package web

import (
	"strconv"
	"time"

	"github.com/plumbline/plumbline/internal/driftreport"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func (s *Server) driftJSON(d plumbline.DriftItem) DriftJSON {
	now := s.c.Now()
	out := DriftJSON{
		ID: d.ID, State: d.State(now), Repository: d.Stack.Repository, Environment: d.Stack.Environment, Stack: d.Stack.Name,
		Address: d.Difference.Address, Deposed: d.Difference.Deposed, Type: d.Difference.Type, Provider: d.Difference.Provider,
		Kind: d.Difference.Kind, Origin: d.Difference.Origin, Action: d.Difference.Action, What: driftreport.What(d.Shown()),
		Attributes: convert(d.Difference.Attributes, attributeJSON), Hidden: d.Hidden, Known: d.Difference.Known,
		Opened: d.Opened, Changed: d.Changed, LastSeen: d.LastSeen, Seen: d.Seen, Resolved: d.Resolved, How: d.How, FirstRun: d.FirstRun, LastRun: d.LastRun,
		Noise: d.Noise, Flapping: d.Flapping, Returned: d.Returned, Openings: d.Openings, Actor: actorJSON(d.Actor), Cause: CauseJSON(d.Cause),
		URL: s.link("drift", strconv.FormatInt(d.ID, 10)),
	}
	if a := d.Acknowledged; a != nil {
		out.Acknowledged = &AcknowledgedJSON{By: a.By, At: a.At, Note: a.Note}
	}
	if i := d.Ignored; i != nil && (i.Until.IsZero() || now.Before(i.Until)) {
		out.Ignored = &IgnoredJSON{Rule: i.Rule, Owner: i.Owner, Reason: i.Reason, Until: i.Until}
	}
	if r := d.Remedy; r != nil {
		out.Remedy = &RemedyJSON{What: r.What, Text: remedyText(r), Run: r.Run, MR: r.MR, At: r.At, Tries: r.Tries, Why: r.Why}
	}
	return out
}

func actorJSON(a *plumbline.Actor) ActorJSON {
	out := ActorJSON{Text: a.String()}
	if a != nil {
		out.Who, out.From, out.How, out.At, out.Event, out.Source, out.Unknown = a.Who, a.From, a.How, a.At, a.Event, a.Source, a.Unknown
	}
	return out
}

func (s *Server) driftListJSON(d drift) DriftListJSON {
	n := d.Numbers
	return DriftListJSON{
		Items: convert(d.Items, s.driftJSON), Open: n.Open, Acknowledged: n.Acknowledged, Flapping: n.Flapping, Ignored: n.Ignored, IgnoredUntil: n.IgnoredUntil,
		Noise: n.Noise, Resolved: n.Resolved, Repair: n.Mean, Text: n.String(thisWeek),
	}
}

func driftEventJSON(e plumbline.DriftEvent) DriftEventJSON {
	return DriftEventJSON{At: e.At, What: e.What, Who: e.Who, Text: e.Text}
}

func driftRuleJSON(r plumbline.IgnoreRule, now time.Time) DriftRuleJSON {
	return DriftRuleJSON{
		ID: r.ID, Stack: r.Stack, Address: r.Address, Attribute: r.Attribute, Owner: r.Owner, Reason: r.Reason, From: r.From, Until: r.Until, By: r.By, Expired: !r.InForce(now),
	}
}
