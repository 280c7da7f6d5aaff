package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Cloud lends runs credentials of their own.
type Cloud interface {
	// Lend puts credentials for one phase of a run where its Terraform finds them, in job.Dir, and keeps them good until End. A *plumbline.Refusal says in
	// words why there are none. nil: the run needs none.
	Lend(ctx context.Context, run plumbline.Run, job plumbline.Job) (Loan, error)
}

// Loan is what was lent for one phase.
type Loan interface {
	Env() []plumbline.EnvVar // for Terraform besides
	Masks() []string         // secrets, to be masked in the log
	As() string              // as whom it is done, for the audit log
	End() error              // takes it back
}

// lendAgain is how long until credentials for a process that goes on are asked for again.
const lendAgain = 20 * time.Second

// lend gets a phase what it may do in its cloud. The returned function takes it back; it is never nil.
func (w *Worker) lend(ctx context.Context, run plumbline.Run, job *plumbline.Job, log *zap.Logger) (end func(), failure *plumbline.Failure) {
	nothing := func() {}
	if w.c.Cloud == nil {
		return nothing, nil
	}
	loan, err := w.c.Cloud.Lend(ctx, run, *job)
	if err != nil {
		var no *plumbline.Refusal
		if errors.As(err, &no) {
			return nothing, &plumbline.Failure{Kind: plumbline.FailCredentials, Text: no.What, Next: no.Next}
		}
		return nothing, failed(plumbline.FailCredentials, again(run), fmt.Errorf("credentials for %s: %w", run.Stack, err)).Failure
	}
	if loan == nil {
		return nothing, nil
	}
	job.Env, job.Mask, job.Credentials = append(job.Env, loan.Env()...), append(job.Mask, loan.Masks()...), loan.As()
	return func() { takeBack(loan, log) }, nil
}

// relend does the same for a process that an earlier daemon has started, which goes on with what it has: it is tried until it works.
func (w *Worker) relend(ctx context.Context, run plumbline.Run, job plumbline.Job, log *zap.Logger) (end func()) {
	if w.c.Cloud == nil {
		return func() {}
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			loan, err := w.c.Cloud.Lend(ctx, run, job)
			switch {
			case err == nil && loan == nil:
				return
			case err == nil:
				<-ctx.Done()
				takeBack(loan, log)
				return
			case ctx.Err() != nil:
				return
			}
			log.Warn("renew the credentials of a run of an earlier daemon", zap.Error(err))
			pause(ctx, lendAgain)
		}
	}()
	return func() {
		stop()
		<-done
	}
}

func takeBack(loan Loan, log *zap.Logger) {
	if err := loan.End(); err != nil {
		log.Warn("take credentials back", zap.Error(err)) // Clear removes them with the directory
	}
}
