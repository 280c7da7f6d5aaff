package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// BenchmarkClaim claims and finishes one run of 10,000 that wait, on a file system that is synced at each commit.
func BenchmarkClaim(b *testing.B) {
	dsns := map[string]func(b *testing.B) string{
		"sqlite":   func(b *testing.B) string { return "sqlite:" + filepath.Join(b.TempDir(), "plumbline.db") },
		"postgres": func(b *testing.B) string { return testenv.Postgres(b) },
	}
	for _, db := range []string{"sqlite", "postgres"} {
		for _, stacks := range []int{10_000, 100} {
			b.Run(fmt.Sprintf("%s/%d-stacks", db, stacks), func(b *testing.B) {
				s := open(b, dsns[db](b))
				fill := func() {
					runs := make([]plumbline.Run, 10_000)
					for i := range runs {
						runs[i] = queued(plumbline.KindProposal, fmt.Sprintf("stack-%05d", i%stacks), "c1")
					}
					enqueue(b, s, runs...)
				}
				fill()
				for b.Loop() {
					r, err := s.Claim(b.Context(), "worker-1", t0, lease)
					if errors.Is(err, plumbline.ErrNotFound) {
						b.StopTimer()
						fill()
						b.StartTimer()
						continue
					}
					if err != nil {
						b.Fatal(err)
					}
					must[plumbline.Run](b)(s.Update(b.Context(), r.ID, t0, finish(r.Claim, plumbline.Outcome{}, changes(digest))))
				}
			})
		}
	}
}

// BenchmarkClaimPassesOver looks for a run behind 9,990 that may not go: their stacks are at work, or they wait for another stack.
func BenchmarkClaimPassesOver(b *testing.B) {
	for _, db := range []string{"sqlite", "postgres"} {
		for _, why := range []string{"busy", "waiting"} {
			b.Run(db+"/"+why, func(b *testing.B) {
				dsn := "sqlite:" + filepath.Join(b.TempDir(), "plumbline.db")
				if db == "postgres" {
					dsn = testenv.Postgres(b)
				}
				s := open(b, dsn)
				o := plumbline.Observation{
					Repository: "infra", At: t0, Runs: make([]plumbline.Run, 10_000),
					Deployments: []plumbline.Deployment{{Repository: "infra", Environment: "production", Commit: "c1"}},
				}
				for i := range o.Runs {
					if why == "busy" {
						o.Runs[i] = queued(plumbline.KindProposal, fmt.Sprintf("stack-%d", i%10), "c1")
						continue
					}
					o.Runs[i] = queued(plumbline.KindDeploy, fmt.Sprintf("stack-%d", i), "c1")
					o.Runs[i].Deployment = -1
					if i >= 10 {
						o.Runs[i].WaitsFor = []string{fmt.Sprintf("stack-%d", i%10)}
					}
				}
				must[[]plumbline.RunID](b)(s.Observe(b.Context(), o))
				for range 10 {
					must[plumbline.Run](b)(s.Claim(b.Context(), "worker-1", t0, lease))
				}
				for b.Loop() {
					if _, err := s.Claim(b.Context(), "worker-1", t0, lease); !errors.Is(err, plumbline.ErrNotFound) {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
