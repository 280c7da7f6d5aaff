// Package store keeps what Plumbline knows in SQLite or PostgreSQL with the same behaviour.
//
// A run's row is the queue, the bus and the lock (docs/decisions/002-run-row-is-the-queue.md). Three things are left to the
// database because no process can promise them:
//
//   - One active run per stack: the partial unique index run_one_active. Claim's query avoids busy stacks only to be quick.
//   - Queued exactly once: Observe compares and sets the mark that was last seen in the transaction that queues.
//   - Nothing half-done: a rule, the run's new row, its history, its stack, its drift items and what the audit log tells of it are one
//     transaction.
//
// The SQL is one text for both databases; a dialect holds what differs. Columns of a row win over its document where both
// tell the same thing. Runs are locked before stacks, runs by id, stacks by name, so that transactions queue behind each
// other instead of blocking each other; the end of the audit log is locked last of all. One that is chosen as a deadlock's
// victim all the same is repeated.
//
// The audit log is a chain of hashes that anybody can check, each sealed with a key that the database does not have. Triggers
// keep it from being changed by mistake; VerifyAudit finds what somebody did who has the database and not the key.
package store
