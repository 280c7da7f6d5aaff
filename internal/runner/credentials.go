package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Where whoever lends a run credentials puts them, in the run's directory.
const (
	// CredentialsFile has what a `credential_process` of AWS prints, renewed while the run goes on; or an Error in its place.
	CredentialsFile = "credentials.json"
	// Home is Terraform's HOME.
	Home = homeDir
)

const (
	// credentialsSpare is how long credentials must last to be handed out.
	credentialsSpare = 20 * time.Second
	// credentialsWait is how long fresh ones are waited for, as while the daemon is being replaced. The SDKs of AWS wait a minute.
	credentialsWait = 45 * time.Second
	credentialsLook = 250 * time.Millisecond
)

// PrintCredentials is `plumbline runner credentials DIR`, which Terraform asks for the credentials of its run. It prints those that are good, waits for a while
// if there are none, and then says why.
func PrintCredentials(ctx context.Context, dir string, out io.Writer) error {
	file := filepath.Join(dir, CredentialsFile)
	ctx, cancel := context.WithTimeout(ctx, credentialsWait)
	defer cancel()
	tick := time.NewTicker(credentialsLook)
	defer tick.Stop()
	for {
		b, err := goodCredentials(file, time.Now())
		if err == nil {
			_, err = out.Write(b)
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func goodCredentials(file string, now time.Time) ([]byte, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("this run has no credentials of its own, or has ended")
	}
	if err != nil {
		return nil, err
	}
	var c struct {
		Expiration time.Time
		Error      string
	}
	switch err := json.Unmarshal(b, &c); {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", file, err)
	case c.Error != "":
		return nil, errors.New(c.Error)
	case now.Add(credentialsSpare).After(c.Expiration):
		return nil, fmt.Errorf("the credentials of this run expire at %s, and the daemon has not renewed them", c.Expiration.UTC().Format(time.TimeOnly))
	}
	return b, nil
}
