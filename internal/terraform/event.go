package terraform

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Event is one line of an engine's machine-readable output, as far as Plumbline uses it.
type Event struct {
	Type       string // "diagnostic", "apply_complete", "change_summary", …
	Message    string // for people, may have several lines
	Diagnostic *plumbline.Diagnostic
	Done       *plumbline.Created // what an apply has just made, changed or destroyed
	Operation  string             // of a change_summary: "plan", "apply" or "destroy"; it comes only at a good end
	Test       *TestRun           // a run of a test file that has ended
	Tests      *TestCount         // at the end of test
}

// ParseEvent reads one line. It reports false for what is not an event, such as the plain text that an engine prints between them.
func ParseEvent(line []byte) (Event, bool) {
	var in struct {
		Type       string      `json:"type"`
		Message    string      `json:"@message"`
		Level      string      `json:"@level"`
		Diagnostic *diagnostic `json:"diagnostic"`
		Hook       *struct {
			Resource struct {
				Address string `json:"addr"`
			} `json:"resource"`
			Action string `json:"action"`
			ID     string `json:"id_value"`
		} `json:"hook"`
		Changes *struct {
			Operation string `json:"operation"`
		} `json:"changes"`
		TestRun *struct {
			Path   string `json:"path"`
			Run    string `json:"run"`
			Status string `json:"status"`
		} `json:"test_run"`
		TestSummary *TestCount `json:"test_summary"`
	}
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &in) != nil || in.Level == "" {
		return Event{}, false
	}
	e := Event{Type: in.Type, Message: in.Message}
	if d := in.Diagnostic; d != nil {
		said := d.domain()
		e.Diagnostic = &said
	}
	if in.Type == "apply_complete" && in.Hook != nil && in.Hook.Action != "read" && in.Hook.Action != "noop" {
		e.Done = &plumbline.Created{Address: in.Hook.Resource.Address, Action: plumbline.Action(in.Hook.Action), ID: in.Hook.ID}
	}
	if in.Type == "change_summary" && in.Changes != nil {
		e.Operation = in.Changes.Operation
	}
	if r := in.TestRun; r != nil && r.Status != "" {
		e.Test = &TestRun{File: r.Path, Run: r.Run, Status: r.Status}
	}
	e.Tests = in.TestSummary
	return e, true
}

// TextDiagnostics reads the messages out of what an engine prints for people, for the commands that have no machine-readable
// output. Text without any message becomes one, so that nothing is lost.
func TextDiagnostics(text string) []plumbline.Diagnostic {
	var out []plumbline.Diagnostic
	var detail []string
	end := func() {
		if len(out) > 0 {
			out[len(out)-1].Detail = strings.TrimSpace(strings.Join(detail, "\n"))
		}
		detail = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \r\n")
		line = strings.TrimPrefix(strings.TrimLeft(line, "╷│╵"), " ")
		severity, summary, found := strings.Cut(line, ": ")
		if found && (severity == "Error" || severity == "Warning") {
			end()
			out = append(out, plumbline.Diagnostic{Severity: strings.ToLower(severity), Summary: summary})
			continue
		}
		detail = append(detail, line)
	}
	if len(out) == 0 {
		text := strings.TrimSpace(strings.Join(detail, "\n"))
		if text == "" {
			return nil
		}
		first, rest, _ := strings.Cut(text, "\n")
		return []plumbline.Diagnostic{{Severity: "error", Summary: first, Detail: strings.TrimSpace(rest)}}
	}
	end()
	return out
}

// maxLine is where a line is cut in two, in bytes. Events are smaller by far; a program gone wild may print no line end at all.
const maxLine = 4 << 20

// lines is a Writer that calls f for each line. It never fails: an engine that could not write its output would block.
type lines struct {
	f    func(line []byte)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		line := p[:i]
		if len(l.rest) > 0 {
			l.rest = append(l.rest, line...)
			line = l.rest
		}
		l.f(bytes.TrimSuffix(line, []byte("\r")))
		l.rest = l.rest[:0]
		p = p[i+1:]
	}
	l.rest = append(l.rest, p...)
	if len(l.rest) > maxLine {
		l.end()
	}
	return n, nil
}

// end passes on an unfinished last line.
func (l *lines) end() {
	if len(l.rest) > 0 {
		l.f(l.rest)
		l.rest = l.rest[:0]
	}
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}
