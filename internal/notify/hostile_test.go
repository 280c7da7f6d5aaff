package notify

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/slack-go/slack"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// hostile are texts as somebody may put them into a stack's name, a title, or the words of a provider.
var hostile = []string{
	"<!channel> <!here> <!everyone> <@U123> <#C123> <!subteam^S1>",
	"<https://evil.example.com|the plan>", "&lt;!channel&gt;", "@channel @here",
	"[the plan](https://evil.example.com) ![x](https://evil.example.com/x.png)", "<at>Everybody</at>", "<script>alert(1)</script>", "&#60;b&#62;",
	"*bold* _italic_ ~struck~ `code` ```fence``` > quote", "# heading", "- item", "1. item", "| a | b |",
	"x\r\nBcc: victim@example.com\r\n\r\nbody", "x\nSubject: other", "x\u0085y\u2028z\u2029", "\r\n.\r\nQUIT\r\n", "=?utf-8?q?=0D=0ABcc:_victim@example.com?=",
	"\u202egnp.exe", "a\u200bb\u2066c\u2069", "\x00\x07\x1b[31mred\x1b[0m", "\xff\xfe\xc3\x28", strings.Repeat("A", 1<<16), strings.Repeat("é", 9999), strings.Repeat("a ", 9999),
	`{"text":"x"}`, `","attachments":[{"text":"x`, "%s %d %n", "${jndi:ldap://x}", "{{7*7}}", "aws_x.a_b_c[\"*\"]",
}

func hostileMessage(s string) plumbline.Message {
	m := aMessage()
	n := aNotice(7)
	n.What, n.Detail, n.Stack.Name, n.MR, n.Commit = s, []string{s, s}, s, s, s
	m.Title, m.Lines, m.Notices = n.Title(), n.Detail, []plumbline.Notice{n}
	return bounded(m)
}

// TestHostile sends every text through every medium.
func TestHostile(t *testing.T) {
	for _, s := range hostile {
		m := hostileMessage(s)
		for _, text := range append([]string{m.Title}, m.Lines...) {
			if strings.ContainsFunc(text, func(c rune) bool {
				return unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || c == '\u2028' || c == '\u2029'
			}) {
				t.Errorf("%q is not plain", text)
			}
		}
		t.Run("slack", func(t *testing.T) { hostileSlack(t, m) })
		t.Run("teams", func(t *testing.T) { hostileTeams(t, m) })
		t.Run("mail", func(t *testing.T) { hostileMail(t, m) })
		t.Run("json", func(t *testing.T) {
			doc, err := json.Marshal(document(m))
			if err != nil {
				t.Fatal(err)
			}
			conforms(t, doc)
			body, err := json.Marshal(pagerEvent(plantedKey, m.Notices[0], m.Link))
			if err != nil {
				t.Fatal(err)
			}
			eventsV2(t, body)
			if sub := subject(m.Title); len(sub) > 100 || strings.ContainsFunc(sub, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("SNS does not take the subject %q", sub)
			}
		})
	}
}

// hostileSlack: texts stand in elements that Slack shows as they are, and where they are markup, nothing in them is.
func hostileSlack(t *testing.T, m plumbline.Message) {
	t.Helper()
	raw, err := json.Marshal(slackMessage(m))
	if err != nil {
		t.Fatal(err)
	}
	var got slack.WebhookMessage
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(got.Text, "<>") {
		t.Errorf("markup in %q", got.Text)
	}
	if html.UnescapeString(html.EscapeString(got.Text)) != got.Text || !strings.HasSuffix(unescape(got.Text), m.Title) {
		t.Errorf("%q does not say %q", got.Text, m.Title)
	}
	if len(got.Blocks.BlockSet) != 1 || got.Attachments != nil {
		t.Fatalf("%s", raw)
	}
	block, ok := got.Blocks.BlockSet[0].(*slack.RichTextBlock)
	if !ok {
		t.Fatalf("a %T, whose text is markup", got.Blocks.BlockSet[0])
	}
	var texts []string
	var walk func([]slack.RichTextElement)
	section := func(s *slack.RichTextSection) {
		for _, e := range s.Elements {
			switch e := e.(type) {
			case *slack.RichTextSectionTextElement:
				texts = append(texts, e.Text)
			case *slack.RichTextSectionLinkElement:
				if e.URL != m.Link {
					t.Errorf("a link to %s", e.URL)
				}
			default:
				t.Errorf("a %T", e)
			}
		}
	}
	walk = func(list []slack.RichTextElement) {
		for _, e := range list {
			switch e := e.(type) {
			case *slack.RichTextSection:
				section(e)
			case *slack.RichTextList:
				walk(e.Elements)
			default:
				t.Errorf("a %T", e)
			}
		}
	}
	walk(block.Elements)
	for _, want := range append([]string{m.Title}, m.Lines...) {
		if !slices.Contains(texts, want) {
			t.Errorf("%q is not among %q", want, texts)
		}
	}
}

func unescape(s string) string {
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(s)
}

// hostileTeams: every text stands in a TextRun, which is no Markdown; no mentions.
func hostileTeams(t *testing.T, m plumbline.Message) {
	t.Helper()
	raw, err := json.Marshal(teamsMessage(m))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Attachments []struct {
			Content struct {
				Body []struct {
					Type    string
					Inlines []struct{ Type, Text string }
				}
				Actions []struct{ Type, URL string }
				Teams   map[string]any `json:"msteams"`
			}
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	card := got.Attachments[0].Content
	if len(card.Body) != 1+len(m.Lines) || len(card.Actions) != 1 || card.Actions[0].URL != m.Link || card.Teams["entities"] != nil {
		t.Errorf("%s", raw)
	}
	for i, b := range card.Body {
		if b.Type != "RichTextBlock" || len(b.Inlines) != 1 || b.Inlines[0].Type != "TextRun" {
			t.Errorf("%+v would be read as Markdown", b)
		}
		if want := append([]string{m.Title}, m.Lines...)[i]; !strings.HasSuffix(b.Inlines[0].Text, want) {
			t.Errorf("%q, want %q", b.Inlines[0].Text, want)
		}
	}
}

// hostileMail: the headers are those that we set, each once.
func hostileMail(t *testing.T, m plumbline.Message) {
	t.Helper()
	s := mailSink{mail: Mail{From: "plumbline@example.com", To: []string{"ops@example.com"}}, now: office(t, Config{}).c.Now}
	letter, err := s.letter(m)
	if err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	if _, err := letter.WriteTo(&raw); err != nil {
		t.Fatal(err)
	}
	got, err := mail.ReadMessage(&raw)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name, values := range got.Header {
		names = append(names, name)
		if len(values) != 1 {
			t.Errorf("%s %q", name, values)
		}
	}
	slices.Sort(names)
	want := "Auto-Submitted Content-Transfer-Encoding Content-Type Date From Importance Message-Id Mime-Version Priority Subject To X-Msmail-Priority X-Priority"
	if fmt.Sprint(names) != "["+want+"]" {
		t.Errorf("headers %v", names)
	}
	title, err := decoder.DecodeHeader(got.Header.Get("Subject"))
	if err != nil || title != "[Plumbline] "+strings.ReplaceAll(m.Title, "=?", "= ?") {
		t.Errorf("subject %q, %v; want %q", title, err, m.Title)
	}
	if to := got.Header.Get("To"); to != "<ops@example.com>" {
		t.Errorf("to %s", to)
	}
}

// byPython is the signature as docs/notifications.md computes it, written down apart from what is tested.
func byPython(secret, at string, body []byte) string {
	return hex.EncodeToString(hmacSHA256([]byte(secret), append([]byte("v1."+at+"."), body...)))
}

// TestLargest: however much there is to tell, it fits, and what is left out is said.
func TestLargest(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		notices int
		kept    int // notices in the document
	}{
		"usual":     {"aws_instance.web: changed outside", 200, 200},
		"long":      {strings.Repeat("x", maxLine), 200, 200},
		"escaped":   {strings.Repeat("<", maxLine), 50, 50},
		"too large": {strings.Repeat("<", maxLine), 200, 54},
	} {
		t.Run(name, func(t *testing.T) {
			m := aMessage()
			m.Title, m.Lines, m.Notices = c.text, nil, nil
			for i := range c.notices {
				n := aNotice(int64(i + 1))
				n.What, n.Detail = c.text, []string{c.text, c.text, c.text, c.text, c.text, c.text, c.text, c.text, c.text, c.text}
				m.Notices, m.Lines = append(m.Notices, n), append(m.Lines, c.text)
			}
			m = bounded(m)
			d := document(m)
			doc, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			conforms(t, doc)
			if len(doc) > maxDocument || len(d.Notices) != c.kept || d.Omitted != c.notices-c.kept {
				t.Errorf("%d bytes, %d notices, %d omitted", len(doc), len(d.Notices), d.Omitted)
			}
			card, err := json.Marshal(teamsMessage(m))
			if err != nil {
				t.Fatal(err)
			}
			chat, err := json.Marshal(slackMessage(m))
			if err != nil {
				t.Fatal(err)
			}
			if len(card) > 28_000 || len(chat) > 16_000 {
				t.Errorf("%d bytes for Teams, which takes 28 KB, %d for Slack", len(card), len(chat))
			}
			if c.text[0] != 'a' && (!strings.Contains(string(card), "more lines") || !strings.Contains(string(chat), "more lines")) {
				t.Error("nobody says that lines are left out")
			}
		})
	}
}
