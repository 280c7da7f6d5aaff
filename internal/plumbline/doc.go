// Package plumbline is the domain: what a stack, a plan, a run is; which step may follow which.
//
// Nothing here reads, writes or waits. Rules take values with the time as an argument and return values or errors;
// the stages (watch, worker, report, web) do the rest and meet in the store.
//
// # A run
//
// A run is one journey of one stack at one commit. Its row in the store is the only queue, bus and lock.
//
//	           ┌──────────────────────── lost, stale ◀───────────────────────────┐
//	           ▼                                                                  │
//	        queued ──claim──▶ planning ─┬─▶ clean       nothing to do             │
//	           ▲                        ├─▶ planned     shown; the end            │
//	           │                        ├─▶ drifted     reality differs from Git  │
//	           │                        ├─▶ awaiting ──approve──▶ approved ──claim──▶ applying ─┬─▶ applied
//	           │                        │       │                    ▲                          ├─▶ failed
//	           │                        │       └─▶ rejected         │                          └─▶ interrupted
//	           │                        ├───────────────────────────┘  automatic, or this very
//	           │                        │                               digest was approved before
//	           │                        └─▶ failed
//	           └── retry ── failed, interrupted, rejected, expired, canceled
//
//	queued, awaiting, approved ──▶ superseded, canceled        at once
//	planning                   ──▶ superseded, canceled        when its worker has stopped (Wish)
//	applying                   ──cancel──▶ interrupted         when Terraform has stopped; supersede never touches it
//	awaiting, approved         ──▶ expired                     the plan or the approval is too old
//	applying, lease lost       ──▶ interrupted                 never retried by itself: only a person can know what it did
//	interrupted                ──▶ applied, failed, queued     when the result of that very claim turns up after all
//
// A lost plan is queued again. A lost apply never is. An approval names the digest of the plan that was seen; when the
// plan is another by then, the approval is refused.
package plumbline
