package notify

import (
	"context"
	"net/http"
	"strings"

	"github.com/slack-go/slack"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// slackSink posts to an incoming webhook of Slack, or of what speaks its language.
type slackSink struct {
	url    plumbline.Secret
	client *http.Client
}

func (s slackSink) send(ctx context.Context, m plumbline.Message) error {
	return post(ctx, s.client, s.url.Reveal(), slackMessage(m), nil)
}

// maxSlack is how much text a message has: Slack does not say how much rich text it takes, but says of other texts that 12,000 characters are much.
const maxSlack = 10_000

// slackMessage lays a message out as rich text, whose texts are shown as they are: nothing in them is a mention, a link or bold. Only what devices
// show in a notification is markup, in which three characters are special.
func slackMessage(m plumbline.Message) *slack.WebhookMessage {
	m = within(m, maxSlack, 100)
	no := false
	title := []slack.RichTextSectionElement{
		slack.NewRichTextSectionTextElement(sign(m.Severity)+" ", nil),
		slack.NewRichTextSectionTextElement(m.Title, &slack.RichTextSectionTextStyle{Bold: true}),
	}
	parts := []slack.RichTextElement{slack.NewRichTextSection(title...)}
	var lines []slack.RichTextElement
	for _, l := range m.Lines {
		lines = append(lines, slack.NewRichTextSection(slack.NewRichTextSectionTextElement(l, nil)))
	}
	if len(lines) > 0 {
		parts = append(parts, slack.NewRichTextList(slack.RTEListBullet, 0, lines...))
	}
	if m.Link != "" {
		parts = append(parts, slack.NewRichTextSection(slack.NewRichTextSectionLinkElement(m.Link, "Open in Plumbline", nil)))
	}
	return &slack.WebhookMessage{
		Text:   slackEscape(sign(m.Severity) + " " + m.Title),
		Blocks: &slack.Blocks{BlockSet: []slack.Block{slack.NewRichTextBlock("", parts...)}},
		Parse:  "none", UnfurlLinks: &no, UnfurlMedia: &no,
	}
}

// slackEscape is what Slack asks for: "<!channel>" is a text then.
func slackEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// sign shows how urgent a message is, where colours cannot.
func sign(s plumbline.Severity) string {
	switch s {
	case plumbline.SeverityCritical, plumbline.SeverityError:
		return "🔴"
	case plumbline.SeverityWarning:
		return "🟠"
	default:
		return "🟢"
	}
}
