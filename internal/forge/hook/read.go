package hook

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// wellFormed makes sure of one JSON object that is not too deep. Names that come twice are refused: readers differ in which one they take.
func wellFormed(payload []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(payload))
	if d.PeekKind() != '{' {
		return invalid("it is no JSON object")
	}
	for {
		_, err := d.ReadToken()
		switch {
		case err != nil: // what the error quotes is the body's
			return invalid("it is no JSON at byte %d", d.InputOffset())
		case d.StackDepth() > maxDepth:
			return invalid("its JSON is more than %d levels deep", maxDepth)
		case d.StackDepth() == 0:
			if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
				return invalid("something comes after its JSON")
			}
			return nil
		}
	}
}

// decode fills p. What it cannot is no error for an event of another kind, which nobody reads closely.
func decode(payload []byte, kind Kind, p any) error {
	if err := json.Unmarshal(payload, p); err != nil && kind != Other {
		return invalid("its JSON is not that of a %s", kind)
	}
	return nil
}

// number is a merge request's, "" for what is none.
func number(n int64) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// readGitLab reads https://docs.gitlab.com/user/project/integrations/webhook_events/, and what system hooks have in common with it
// (https://docs.gitlab.com/administration/system_hooks/). The body says what it is, so that the header need not be believed.
func readGitLab(_ http.Header, payload []byte) (Event, error) {
	var what struct {
		ObjectKind string `json:"object_kind"`
		EventName  string `json:"event_name"` // of system hooks
	}
	if json.Unmarshal(payload, &what) != nil || (what.ObjectKind == "" && what.EventName == "") {
		return Event{}, invalid("it does not say what event it is")
	}
	name := what.ObjectKind
	if name == "" {
		name = what.EventName
	}
	var p struct {
		Ref     string `json:"ref"`
		Project struct {
			Path string `json:"path_with_namespace"`
		} `json:"project"`
		Object struct {
			IID int64 `json:"iid"`
		} `json:"object_attributes"`
		MR *struct {
			IID int64 `json:"iid"`
		} `json:"merge_request"` // that a comment is on; not there when it is on a commit, an issue, a snippet
	}
	kind := Other
	switch name {
	case "push", "tag_push", "repository_update":
		kind = Push
	case "merge_request":
		kind = MergeRequest
	case "note":
		kind = Comment
	}
	if err := decode(payload, kind, &p); err != nil {
		return Event{}, err
	}
	e := Event{Kind: kind, Project: p.Project.Path}
	switch {
	case kind == Push:
		e.Ref = p.Ref
	case kind == MergeRequest:
		e.MR = number(p.Object.IID)
	case kind == Comment && p.MR == nil:
		e.Kind = Other
	case kind == Comment:
		e.MR = number(p.MR.IID)
	}
	return e, nil
}

// hubPayload is what GitHub, Gitea, Forgejo and Gogs have in common.
type hubPayload struct {
	Ref        string `json:"ref"`
	Repository struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
	PullRequest struct {
		Number int64 `json:"number"`
	} `json:"pull_request"`
	Number int64 `json:"number"` // of the pull request; Gogs says it here alone
	Issue  struct {
		Number      int64     `json:"number"`
		PullRequest *struct{} `json:"pull_request"` // there when it is one
	} `json:"issue"`
	IsPull bool `json:"is_pull"` // Gitea's
}

func readHub(payload []byte, kind Kind, onIssue bool) (Event, error) {
	var p hubPayload
	if err := decode(payload, kind, &p); err != nil {
		return Event{}, err
	}
	e := Event{Kind: kind, Project: p.Repository.FullName}
	switch {
	case kind == Push:
		e.Ref = p.Ref
	case onIssue && !p.IsPull && p.Issue.PullRequest == nil:
		e.Kind = Other
	case onIssue:
		e.MR = number(p.Issue.Number)
	case kind != Other:
		e.MR = number(cmp.Or(p.PullRequest.Number, p.Number))
	}
	return e, nil
}

// readGitHub reads https://docs.github.com/en/webhooks/webhook-events-and-payloads.
func readGitHub(h http.Header, payload []byte) (Event, error) {
	switch h.Get("X-Github-Event") {
	case "":
		return Event{}, invalid("it does not say what event it is")
	case "push":
		return readHub(payload, Push, false)
	case "pull_request", "pull_request_review": // a review can approve
		return readHub(payload, MergeRequest, false)
	case "pull_request_review_comment":
		return readHub(payload, Comment, false)
	case "issue_comment":
		return readHub(payload, Comment, true)
	}
	return readHub(payload, Other, false)
}

// readGitea reads https://docs.gitea.com/usage/webhooks. Gitea sends the names of HookEventType.Event in its modules/webhook/type.go; a
// comment on a pull request is an issue_comment, one in a review is a pull_request_comment.
func readGitea(h http.Header, payload []byte) (Event, error) {
	switch first(h, "X-Forgejo-Event", "X-Gitea-Event", "X-Gogs-Event") {
	case "":
		return Event{}, invalid("it does not say what event it is")
	case "push":
		return readHub(payload, Push, false)
	case "pull_request", "pull_request_approved", "pull_request_rejected":
		return readHub(payload, MergeRequest, false)
	case "pull_request_comment":
		return readHub(payload, Comment, false)
	case "issue_comment":
		return readHub(payload, Comment, true)
	}
	return readHub(payload, Other, false)
}

// readBitbucket reads https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/.
func readBitbucket(h http.Header, payload []byte) (Event, error) {
	key := h.Get("X-Event-Key")
	kind := Other
	switch {
	case key == "":
		return Event{}, invalid("it does not say what event it is")
	case key == "repo:push":
		kind = Push
	case strings.HasPrefix(key, "pullrequest:comment_"):
		kind = Comment
	case strings.HasPrefix(key, "pullrequest:"):
		kind = MergeRequest
	}
	type ref struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	var p struct {
		Repository struct {
			FullName string `json:"full_name"`
		} `json:"repository"`
		PullRequest struct {
			ID int64 `json:"id"`
		} `json:"pullrequest"`
		Push struct {
			Changes []struct {
				New *ref `json:"new"` // null: it was deleted
				Old *ref `json:"old"` // null: it is new
			} `json:"changes"`
		} `json:"push"`
	}
	if err := decode(payload, kind, &p); err != nil {
		return Event{}, err
	}
	e := Event{Kind: kind, Project: p.Repository.FullName}
	switch {
	case kind == Push && len(p.Push.Changes) == 1:
		c := p.Push.Changes[0]
		if c.New == nil {
			c.New = c.Old
		}
		if c.New != nil {
			e.Ref = fullRef(c.New.Type, c.New.Name)
		}
	case kind == MergeRequest || kind == Comment:
		e.MR = number(p.PullRequest.ID)
	}
	return e, nil
}

// fullRef is "" for what is neither branch nor tag.
func fullRef(kind, name string) string {
	switch {
	case kind == "branch" && name != "":
		return "refs/heads/" + name
	case kind == "tag" && name != "":
		return "refs/tags/" + name
	}
	return ""
}
