package runner

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestPrintCredentials: Terraform gets credentials that last, waits while the daemon is being replaced, and reads why there are none.
func TestPrintCredentials(t *testing.T) {
	good := func(now time.Time, life time.Duration) string {
		return `{"Version":1,"AccessKeyId":"ASIA","Expiration":"` + now.Add(life).UTC().Format(time.RFC3339) + `"}`
	}
	for _, c := range []struct {
		name        string
		first, then func(now time.Time) string // what is in the file at once, and after half a minute; nil: nothing
		took        time.Duration
		want        string // in the error; "": none
	}{
		{name: "good ones", first: func(now time.Time) string { return good(now, time.Minute) }},
		{name: "good for a moment", first: func(now time.Time) string { return good(now, 10*time.Second) }, then: func(now time.Time) string { return good(now, time.Hour) }, took: 30 * time.Second},
		{name: "none yet", then: func(now time.Time) string { return good(now, time.Hour) }, took: 30 * time.Second},
		{name: "none", took: credentialsWait, want: "this run has no credentials of its own"},
		{name: "old ones", first: func(now time.Time) string { return good(now, -time.Hour) }, took: credentialsWait, want: "the daemon has not renewed them"},
		{name: "an excuse", first: func(time.Time) string { return `{"Version":1,"Error":"AWS does not give the role"}` }, took: credentialsWait, want: "AWS does not give the role"},
		{name: "half a file", first: func(time.Time) string { return `{"Version":` }, took: credentialsWait, want: CredentialsFile},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				put := func(text func(time.Time) string) {
					if text == nil {
						return
					}
					if err := os.WriteFile(filepath.Join(dir, CredentialsFile), []byte(text(time.Now())), 0o600); err != nil {
						t.Error(err)
					}
				}
				put(c.first)
				began := time.Now()
				timer := time.AfterFunc(30*time.Second-time.Millisecond, func() { put(c.then) })
				defer timer.Stop()
				var out bytes.Buffer
				err := PrintCredentials(t.Context(), dir, &out)
				if took := time.Since(began); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || (err == nil) != strings.Contains(out.String(), "ASIA") {
					t.Errorf("%s, %v, want %q", &out, err, c.want)
				}
			})
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := PrintCredentials(ctx, t.TempDir(), &bytes.Buffer{}); err == nil {
		t.Error("no error")
	}
}
