package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	sdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Order is what one phase of a run asks for.
type Order struct {
	Role
	Dir     string   // the run's own directory; File and Home are relative to it
	File    string   // where the credentials are written, as `credential_process` prints them; mode 0600, replaced as a whole
	Home    string   // whose .aws/config names the program that prints them
	Program []string // that prints File, with its arguments
}

// Loan is credentials of a role for one phase of a run. Terraform gets them from the program of the order, as often as it needs them; while the loan
// lasts they are renewed at half of their life. The daemon's own are never among them.
type Loan struct {
	order   Order
	account *Account
	warn    func(error)
	masks   []string
	stop    context.CancelFunc
	done    chan struct{}
}

// renewSoon is after how long a renewal that failed is tried again.
const renewSoon = 15 * time.Second

// Lend takes the role of an order, and writes its credentials where Terraform finds them. warn is told of renewals that fail. End must be called.
func (a *Account) Lend(ctx context.Context, o Order, warn func(error)) (*Loan, error) {
	c, err := a.assume(ctx, o.Role)
	var no *plumbline.Refusal
	if errors.As(err, &no) {
		no.What += " Terraform was not started."
	}
	if err != nil {
		return nil, err
	}
	if err := o.write(c); err != nil {
		return nil, fmt.Errorf("write the credentials of %s: %w", o.Session, err)
	}
	if err := o.configure(); err != nil {
		return nil, fmt.Errorf("write the AWS configuration of %s: %w", o.Session, err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &Loan{order: o, account: a, warn: warn, masks: []string{c.SecretAccessKey, c.SessionToken}, stop: stop, done: make(chan struct{})}
	go l.renew(ctx, c.Expires)
	return l, nil
}

// As is the role with the name of its session.
func (l *Loan) As() string { return l.order.ARN + "/" + l.order.Session }

// Masks are the secrets that were lent first.
func (l *Loan) Masks() []string { return l.masks }

// Env is what Terraform's environment needs besides: nothing secret.
func (l *Loan) Env() []plumbline.EnvVar {
	set := func(name, value string) plumbline.EnvVar {
		return plumbline.EnvVar{Name: name, Value: plumbline.NewSecret(value)}
	}
	out := []plumbline.EnvVar{
		set("AWS_EC2_METADATA_DISABLED", "true"), // there the daemon's own credentials are
		set("AWS_SDK_LOAD_CONFIG", "1"),          // backends of old engines read .aws/config only then
	}
	if l.order.Region != "" {
		out = append(out, set("AWS_REGION", l.order.Region), set("AWS_DEFAULT_REGION", l.order.Region))
	}
	return out
}

// End takes the credentials back: they are not renewed any more, and their file is removed. Those that Terraform has in hand are good until they expire.
func (l *Loan) End() error {
	l.stop()
	<-l.done
	if err := os.Remove(filepath.Join(l.order.Dir, l.order.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// renew goes on until ctx ends.
func (l *Loan) renew(ctx context.Context, expires time.Time) {
	defer close(l.done)
	for {
		wait := max(time.Until(expires)/2, renewSoon)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		c, err := l.account.assume(ctx, l.order.Role)
		if err == nil {
			err = l.order.write(c)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.warn(fmt.Errorf("renew the credentials of %s, which expire at %s: %w", l.order.Session, expires.UTC().Format(time.TimeOnly), err))
			if !time.Now().Before(expires) {
				if err := l.order.excuse(err); err != nil {
					l.warn(err)
				}
			}
			continue // what is left of their life is halved again
		}
		expires = c.Expires
	}
}

// write replaces the file. Its form is that of `credential_process`: "Sourcing credentials with an external process" in the guide to the AWS SDKs.
func (o Order) write(c sdk.Credentials) error {
	return o.replace(map[string]any{
		"Version": 1, "AccessKeyId": c.AccessKeyID, "SecretAccessKey": c.SecretAccessKey, "SessionToken": c.SessionToken, "Expiration": c.Expires.UTC().Format(time.RFC3339),
	})
}

// excuse says in the file why there are no credentials any more: Terraform fails next, and repeats it.
func (o Order) excuse(why error) error {
	return o.replace(map[string]any{"Version": 1, "Error": oneLine(why.Error())})
}

func (o Order) replace(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	// What a plan ran may have left links in the directory.
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is written through it any more
	temp := o.File + ".new"
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(temp, o.File)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return nil
}

// configure writes .aws/config, and takes away what else of the kind an earlier phase may have left: it would be asked first.
func (o Order) configure() error {
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is written through it any more
	aws := filepath.Join(o.Home, ".aws")
	if err := errors.Join(root.RemoveAll(aws), root.MkdirAll(aws, 0o700)); err != nil {
		return err
	}
	var words []string
	for _, w := range o.Program {
		word, err := shellWord(w)
		if err != nil {
			return err
		}
		words = append(words, word)
	}
	text := "[default]\ncredential_process = " + strings.Join(words, " ") + "\n"
	if o.Region != "" {
		text += "region = " + o.Region + "\n"
	}
	return root.WriteFile(filepath.Join(aws, "config"), []byte(text), 0o600)
}

// shellWord writes a word of a command line that the SDKs of AWS give to a shell. Quotes would not do: the SDK for Go takes a pair of them off that is
// around the whole line.
func shellWord(w string) (string, error) {
	if w == "" || strings.ContainsFunc(w, unicode.IsControl) {
		return "", fmt.Errorf("the program %q cannot stand in a configuration file of AWS: %w", w, plumbline.ErrInvalid)
	}
	var b strings.Builder
	for _, c := range w {
		if c < unicode.MaxASCII && !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("_./:@%+=,-", c) {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String(), nil
}
