package plumbline

import "fmt"

// Told is how a commit status ends up on a forge.
type Told string

// The states of a commit status, in the words that most forges share.
const (
	ToldPending Told = "pending"
	ToldSuccess Told = "success"
	ToldFailure Told = "failure" // the change is at fault
	ToldError   Told = "error"   // something around it is
)

// CommitStatus is one line beside a commit on its forge.
type CommitStatus struct {
	Context     string // "plumbline", "plumbline/production/live/net"
	State       Told
	Description string // one sentence; adapters shorten it to the forge's limit
	URL         string
}

// DeploymentStatus is how one commit on its way to one environment is doing, as a forge shows it.
type DeploymentStatus struct {
	Environment string
	Branch      string
	Commit      string
	State       DeploymentState
	Description string
	URL         string // of the deployment on Plumbline's pages
}

// DeploymentState is where a deployment is.
type DeploymentState string

// The states of a deployment.
const (
	DeploymentRunning  DeploymentState = "running"
	DeploymentSuccess  DeploymentState = "success"
	DeploymentFailed   DeploymentState = "failed"
	DeploymentCanceled DeploymentState = "canceled" // superseded, rejected, expired
)

// CheckRun is a commit status with more to say.
type CheckRun struct {
	CommitStatus
	Summary  string // Markdown
	Findings []Finding
}

// Deploying tells how the deployment of a commit to an environment is doing, from the newest run of each of its stacks. It says nothing
// of a deployment without runs.
func Deploying(runs []Run) (state DeploymentState, description string) {
	good, bad, live, waits, away := 0, 0, 0, 0, 0
	for _, r := range runs {
		switch {
		case r.State == StateAwaiting:
			waits++
		case !r.State.Ended():
			live++
		case r.State.Good():
			good++
		case r.State == StateSuperseded || r.State == StateCanceled:
			away++
		default:
			bad++
		}
	}
	description = fmt.Sprintf("%d of %d stacks done", good, len(runs))
	if bad > 0 {
		description += fmt.Sprintf(", %d failed", bad)
	}
	if waits > 0 {
		description += fmt.Sprintf(", %d waiting for approval", waits)
	}
	switch {
	case live+waits > 0:
		return DeploymentRunning, description
	case bad > 0:
		return DeploymentFailed, description
	case good > 0 && away == 0:
		return DeploymentSuccess, description
	}
	return DeploymentCanceled, description
}
