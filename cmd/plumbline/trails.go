package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/watch"
)

// trails ask CloudTrail who changed something, with the role that only reads of the stack that it is about.
type trails struct {
	account *aws.Account
	own     []string // roles of all runs

	mu   sync.Mutex
	open map[string]*aws.Trail // by role and region
}

// sinceOf is the use of the trails by one look at an environment, with one budget for each role.
type sinceOf struct {
	*trails
	checks map[*aws.Trail]*aws.TrailCheck
}

// Attribute tells who changed the object of a drift item.
func (s sinceOf) Attribute(ctx context.Context, env plumbline.Environment, it plumbline.DriftItem, since, until time.Time) (plumbline.Actor, error) {
	a := env.AWS.For(it.Stack.Name)
	t := s.trail(a)
	if s.checks[t] == nil {
		s.checks[t] = t.Check()
	}
	d := it.Difference
	return s.checks[t].Attribute(ctx, a.Region, aws.Resource{
		Type: d.Type, Address: d.Address, Attributes: d.Known, Deleted: d.Kind == plumbline.DriftDeleted,
	}, since, until)
}

func (t *trails) trail(a plumbline.AWS) *aws.Trail {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := a.PlanRole + " " + a.Region
	if t.open[key] == nil {
		as := t.account.As(aws.Role{ARN: a.PlanRole, ExternalID: a.ExternalID, Region: a.Region, TokenFile: a.WebIdentity, Session: "plumbline-who"})
		t.open[key] = aws.NewTrail(aws.TrailConfig{Account: as, Own: t.own})
	}
	return t.open[key]
}

// attribution asks who made what was found, in environments that are on AWS.
func (d *daemon) attribution(account *aws.Account) []*loop {
	t := &trails{account: account, open: map[string]*aws.Trail{}}
	var out []*loop
	for _, repo := range d.cfg.Repositories {
		for _, env := range repo.Environments {
			t.own = append(t.own, env.AWS.Roles()...)
			if len(env.AWS.Roles()) == 0 || !env.AWS.Trail {
				continue
			}
			out = append(out, newLoop("who changed "+env.Key(), func(ctx context.Context) (string, time.Time, error) {
				const every = 2 * time.Minute
				name := "who " + env.Key()
				if d.shared {
					if mine, err := d.store.Lease(ctx, name, d.cfg.Server.Node, time.Now(), 2*every); err != nil || !mine {
						return "another node asks", time.Now().Add(every), err
					}
				}
				told, again, err := watch.Attribute(ctx, sinceOf{t, map[*aws.Trail]*aws.TrailCheck{}}, d.store, env, time.Now())
				if next := time.Now().Add(every); again.IsZero() || again.After(next) {
					again = next
				}
				return fmt.Sprintf("%d told", told), again, err
			}))
		}
	}
	return out
}
