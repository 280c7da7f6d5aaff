package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// teamsSink posts an Adaptive Card to the webhook of a Teams workflow.
type teamsSink struct {
	url    plumbline.Secret
	client *http.Client
}

func (s teamsSink) send(ctx context.Context, m plumbline.Message) error {
	return post(ctx, s.client, s.url.Reveal(), teamsMessage(m), nil)
}

// post posts JSON.
func post(ctx context.Context, client *http.Client, url string, doc any, sign func(body []byte, h http.Header)) error {
	body, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if sign != nil {
		sign(body, req.Header)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

type (
	teamsEnvelope struct {
		Type        string            `json:"type"`
		Attachments []teamsAttachment `json:"attachments"`
	}
	teamsAttachment struct {
		ContentType string    `json:"contentType"`
		Content     teamsCard `json:"content"`
	}
	teamsCard struct {
		Schema  string         `json:"$schema"`
		Type    string         `json:"type"`
		Version string         `json:"version"`
		Summary string         `json:"fallbackText"`
		Body    []teamsElement `json:"body"`
		Actions []teamsAction  `json:"actions,omitempty"`
		Teams   teamsWidth     `json:"msteams"`
	}
	teamsElement struct {
		Type    string     `json:"type"`
		Inlines []teamsRun `json:"inlines"`
	}
	teamsRun struct {
		Type   string `json:"type"`
		Text   string `json:"text"`
		Weight string `json:"weight,omitempty"`
		Size   string `json:"size,omitempty"`
	}
	teamsAction struct {
		Type  string `json:"type"`
		Title string `json:"title"`
		URL   string `json:"url"`
	}
	teamsWidth struct {
		Width string `json:"width"`
	}
)

// maxTeams is how much a card has: Teams takes 28 KB.
const maxTeams = 24_000

// teamsMessage is a card of runs of text, the one element that shows its text as it is: a TextBlock would read it as Markdown.
func teamsMessage(m plumbline.Message) teamsEnvelope {
	m = within(m, maxTeams, 120)
	block := func(text, weight, size string) teamsElement {
		return teamsElement{Type: "RichTextBlock", Inlines: []teamsRun{{Type: "TextRun", Text: text, Weight: weight, Size: size}}}
	}
	title := sign(m.Severity) + " " + m.Title
	card := teamsCard{
		Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4", Summary: title,
		Body: []teamsElement{block(title, "Bolder", "Medium")}, Teams: teamsWidth{Width: "Full"},
	}
	for _, l := range m.Lines {
		card.Body = append(card.Body, block(l, "", ""))
	}
	if m.Link != "" {
		card.Actions = []teamsAction{{Type: "Action.OpenUrl", Title: "Open in Plumbline", URL: m.Link}}
	}
	return teamsEnvelope{Type: "message", Attachments: []teamsAttachment{{ContentType: "application/vnd.microsoft.card.adaptive", Content: card}}}
}
