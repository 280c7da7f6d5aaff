//go:build ignore

// Command extract writes examples.json.gz: example payloads of webhooks, cut down to what is read of them, a few of them whole. README.md
// says where the directories that it is given come from.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// example is one payload with the event that its header names.
type example struct {
	Forge   string          `json:"forge"`
	Event   string          `json:"event"`
	Times   int             `json:"times"` // how many examples come to this one when they are cut down
	Payload json.RawMessage `json:"payload"`
}

// kept are the members that are read, by path; "*" stands for the elements of an array. An object on the way stays an object, null stays null.
var kept = []string{
	"ref", "repository.full_name", "number", "pull_request.number", "issue.number", "issue.pull_request", "is_pull",
	"pullrequest.id", "push.changes.*.new.type", "push.changes.*.new.name", "push.changes.*.old.type", "push.changes.*.old.name",
}

// whole are the first of these, in full.
var whole = map[string]bool{
	"github push": true, "github pull_request": true, "github issue_comment": true, "github pull_request_review_comment": true,
	"bitbucket repo:push": true, "bitbucket pullrequest:comment_created": true, "gitea push": true, "gogs push": true,
}

// reduce cuts a payload down to the members below path.
func reduce(v any, path string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			p := strings.TrimPrefix(path+"."+name, ".")
			if slices.ContainsFunc(kept, func(k string) bool { return k == p || strings.HasPrefix(k, p+".") }) {
				out[name] = reduce(member, p)
			}
		}
		return out
	case []any:
		out := []any{}
		for _, element := range v {
			out = append(out, reduce(element, path+".*"))
		}
		return out
	}
	return v
}

// octokit reads the package's files, one of which belongs to github.com and the others to releases of GitHub Enterprise Server.
func octokit(dir string, add func(forge, event string, payload []byte)) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "index.json"))
	must(err)
	for _, file := range files {
		var events []struct {
			Name     string
			Examples []json.RawMessage
		}
		must(json.Unmarshal(read(file), &events))
		for _, e := range events {
			for _, payload := range e.Examples {
				add("github", e.Name, payload)
			}
		}
	}
}

// playground are the files of go-playground/webhooks, which are named for their events, if not as the header names them.
var playground = map[string]map[string]string{
	"bitbucket": {
		"repo-push": "repo:push", "repo-fork": "repo:fork", "repo-updated": "repo:updated", "commit-comment-created": "repo:commit_comment_created",
		"repo-commit-status-created": "repo:commit_status_created", "repo-commit-status-updated": "repo:commit_status_updated",
		"issue-created": "issue:created", "issue-updated": "issue:updated", "issue-comment-created": "issue:comment_created",
		"pull-request-created": "pullrequest:created", "pull-request-updated": "pullrequest:updated", "pull-request-approved": "pullrequest:approved",
		"pull-request-approval-removed": "pullrequest:unapproved", "pull-request-merged": "pullrequest:fulfilled",
		"pull-request-declined": "pullrequest:rejected", "pull-request-comment-created": "pullrequest:comment_created",
		"pull-request-comment-updated": "pullrequest:comment_updated", "pull-request-comment-deleted": "pullrequest:comment_deleted",
	},
	"gitea": {
		"create-event": "create", "delete-event": "delete", "fork-event": "fork", "push-event": "push", "release-event": "release",
		"repository-event": "repository", "issues-event": "issues", "issue-assign-event": "issues", "issue-label-event": "issues",
		"issue-milestone-event": "issues", "issue-comment-event": "issue_comment", "pull-request-event": "pull_request",
		"pull-request-assign-event": "pull_request", "pull-request-label-event": "pull_request", "pull-request-milestone-event": "pull_request",
		"pull-request-comment-event": "issue_comment", "pull-request-review-event": "pull_request_approved",
	},
	"gogs": {
		"create-event": "create", "delete-event": "delete", "fork-event": "fork", "push-event": "push", "release-event": "release",
		"issues-event": "issues", "issue-comment-event": "issue_comment", "pull-request-event": "pull_request",
	},
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: go run extract.go DIR-OF-OCTOKIT DIR-OF-PLAYGROUND")
	}
	var out []*example
	seen, wholes := map[string]*example{}, map[string]bool{}
	total := 0
	add := func(forge, event string, payload []byte) {
		key := forge + " " + event
		if whole[key] && !wholes[key] {
			wholes[key] = true
			var b bytes.Buffer
			must(json.Compact(&b, payload))
			out = append(out, &example{forge, event, 0, b.Bytes()})
		}
		var v any
		must(json.Unmarshal(payload, &v))
		small, err := json.Marshal(reduce(v, ""))
		must(err)
		if key += string(small); seen[key] == nil {
			seen[key] = &example{forge, event, 0, small}
			out = append(out, seen[key])
		}
		seen[key].Times++
		total++
	}
	octokit(os.Args[1], add)
	for _, forge := range slices.Sorted(maps.Keys(playground)) {
		for _, name := range slices.Sorted(maps.Keys(playground[forge])) {
			add(forge, playground[forge][name], read(filepath.Join(os.Args[2], "testdata", forge, name+".json")))
		}
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	must(err)
	enc := json.NewEncoder(z)
	for _, e := range out {
		must(enc.Encode(e))
	}
	must(z.Close())
	must(os.WriteFile("examples.json.gz", b.Bytes(), 0o644))
	log.Printf("%d examples, %d of them whole as well, %d bytes", total, len(wholes), b.Len())
}

func read(file string) []byte {
	b, err := os.ReadFile(file)
	must(err)
	return b
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
