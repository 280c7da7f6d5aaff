package plumbline

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
