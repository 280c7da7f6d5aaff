package notify

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// TestSlackOnEmulate posts to a Slack that somebody else wrote, and reads the channel by its API.
func TestSlackOnEmulate(t *testing.T) {
	api := testenv.Emulate(t, "slack", map[string]any{
		"tokens": map[string]any{"xoxb-plumbline": map[string]any{"login": "plumbline", "scopes": []string{"channels:history", "chat:write"}}},
		"slack": map[string]any{
			"team": map[string]string{"name": "Acme", "domain": "acme"}, "channels": []map[string]string{{"name": "general"}},
			"incoming_webhooks": []map[string]string{{"channel": "general", "label": "plumbline"}},
		},
	}, "/")
	o := office(t, Config{Sinks: []Settings{{Kind: Slack, Name: "sre", URL: plumbline.NewSecret(api + "/services/T000000001/B000000001/X000000001")}}})
	for _, s := range []string{"awaits approval: +2 −1", "<!channel> & <https://evil.example.com|plan>"} {
		m := hostileMessage(s)
		if err := o.Send(t.Context(), "sre", m); err != nil {
			t.Fatal(err)
		}
		text, blocks := newest(t, api)
		if !strings.HasSuffix(unescape(text), m.Title) || strings.ContainsAny(text, "<>") {
			t.Errorf("the channel has %q, want %q", text, m.Title)
		}
		if !strings.Contains(blocks, "rich_text") {
			t.Errorf("the channel has no rich text: %s", blocks)
		}
	}
}

// newest is the last message of the channel.
func newest(t *testing.T, api string) (text, blocks string) {
	t.Helper()
	call := func(method, form string, into any) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api+"/api/"+method, strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer xoxb-plumbline")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	var channels struct {
		Channels []struct{ ID, Name string }
		Error    string
	}
	call("conversations.list", "", &channels)
	for _, c := range channels.Channels {
		if c.Name != "general" {
			continue
		}
		var history struct {
			Messages []struct {
				Text   string
				Blocks json.RawMessage
			}
			Error string
		}
		call("conversations.history", "channel="+c.ID, &history)
		if len(history.Messages) == 0 {
			t.Fatalf("no messages: %s", history.Error)
		}
		return history.Messages[0].Text, string(history.Messages[0].Blocks)
	}
	t.Fatalf("no channel: %+v", channels)
	return "", ""
}
