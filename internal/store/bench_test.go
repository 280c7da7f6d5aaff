package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

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

// BenchmarkClaimPassesOver looks for a run behind 9,990 that may not go: their stacks are at work, or they wait for another stack, or for their
// calendar, or somebody has frozen their environment.
func BenchmarkClaimPassesOver(b *testing.B) {
	for _, db := range []string{"sqlite", "postgres"} {
		for _, why := range []string{"busy", "waiting", "closed", "frozen"} {
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
					if why == "waiting" && i >= 10 {
						o.Runs[i].WaitsFor = []string{fmt.Sprintf("stack-%d", i%10)}
					}
				}
				must[[]plumbline.RunID](b)(s.Observe(b.Context(), o))
				for range 10 {
					must[plumbline.Run](b)(s.Claim(b.Context(), "worker-1", t0, lease))
				}
				switch why {
				case "closed":
					s.sqlExec(b, `UPDATE run SET state = 'approved', priority = 0, opens = $1 WHERE state = 'queued'`, t0.Add(time.Hour).UnixMicro())
				case "frozen":
					s.sqlExec(b, `UPDATE run SET state = 'approved', priority = 0 WHERE state = 'queued'`)
					must[int64](b)(s.Freeze(b.Context(), "infra", "production", plumbline.Freeze{}, plumbline.Person{Name: "ops-b"}, t0))
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

// BenchmarkUpdate changes a run once in a way that is told of, and once in a way that is not: the difference is what an entry of the audit log costs,
// together with its line of the run's history.
func BenchmarkUpdate(b *testing.B) {
	for _, db := range []string{"sqlite", "postgres"} {
		for _, told := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/audit=%t", db, told), func(b *testing.B) {
				dsn := "sqlite:" + filepath.Join(b.TempDir(), "plumbline.db")
				if db == "postgres" {
					dsn = testenv.Postgres(b)
				}
				s := open(b, dsn)
				id := enqueue(b, s, queued(plumbline.KindDeploy, "net", "c1"))[0]
				planned(b, s, t0)
				now := t0
				for b.Loop() {
					now = now.Add(time.Microsecond)
					must[plumbline.Run](b)(s.Update(b.Context(), id, now, func(r *plumbline.Run, now time.Time) error {
						a := plumbline.Approval{By: "ops-b", Digest: "another", At: t0, Carried: "run 1"}
						if told {
							a.At = now
						}
						r.Approvals = []plumbline.Approval{a}
						return nil
					}))
				}
			})
		}
	}
}

func BenchmarkVerifyAudit(b *testing.B) {
	for _, db := range []string{"sqlite", "postgres"} {
		b.Run(db+"/100000", func(b *testing.B) {
			dsn := "sqlite:" + filepath.Join(b.TempDir(), "plumbline.db")
			if db == "postgres" {
				dsn = testenv.Postgres(b)
			}
			s := open(b, dsn)
			entries(b, s, 100_000)
			for b.Loop() {
				whole(b, s, 100_000)
			}
		})
	}
}
