package aws_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// lent answers AssumeRole with credentials that last as long as was asked for, each time others.
func lent(n *atomic.Int64, element string) func(call) reply {
	return func(c call) reply {
		seconds, err := strconv.Atoi(c.Form["DurationSeconds"])
		if err != nil || seconds < 900 || seconds > 43200 {
			return reply{code: "ValidationError", message: "1 validation error detected"}
		}
		return reply{body: fmt.Sprintf(`<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId>`+
			`<Arn>arn:aws:sts::111122223333:assumed-role/apply/x</Arn></AssumedRoleUser><Credentials><AccessKeyId>ASIARUN%[2]d</AccessKeyId><SecretAccessKey>run-secret-%[2]d</SecretAccessKey>`+
			`<SessionToken>run-token-%[2]d</SessionToken><Expiration>%[3]s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`,
			element, n.Add(1), time.Now().Add(time.Duration(seconds)*time.Second).UTC().Format(time.RFC3339))}
	}
}

func order(t *testing.T) aws.Order {
	dir := t.TempDir()
	return aws.Order{
		Role: aws.Role{
			ARN: applyRole, ExternalID: "plumbline", Region: "eu-central-1", Session: "plumbline-run-9812", Lifetime: 15 * time.Minute,
			Tags: map[string]string{"repository": "infra", "environment": "production", "stack": "live/net, “a” & b", "commit": "3a9be01", "kind": "deploy", "empty": "", "aws:x": "y", "Kind": "z"},
		},
		Dir: dir, File: "credentials.json", Home: "home", Program: []string{"/opt/plumb line/plumbline", "runner", "credentials", dir},
	}
}

func never(t *testing.T) func(error) {
	return func(err error) { t.Errorf("warned: %v", err) }
}

// TestLend: what is asked of STS, and what Terraform gets.
func TestLend(t *testing.T) {
	f := newFake(t)
	var n atomic.Int64
	f.on("sts:AssumeRole", lent(&n, "AssumeRole"))
	a := f.load(t)
	o := order(t)
	// What a plan left there would be asked first.
	if err := os.MkdirAll(filepath.Join(o.Dir, "home", ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, "home", ".aws", "credentials"), []byte("[default]\naws_access_key_id = AKIAOTHER\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	loan, err := a.Lend(t.Context(), o, never(t))
	if err != nil {
		t.Fatal(err)
	}
	got := f.asked("sts:AssumeRole")
	if len(got) != 1 || got[0].Host != "sts.eu-central-1.amazonaws.com" || got[0].Key != keyID {
		t.Fatalf("%+v", got)
	}
	want := map[string]string{
		"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": applyRole, "RoleSessionName": "plumbline-run-9812", "ExternalId": "plumbline", "DurationSeconds": "900",
		"Tags.member.1.Key": "Kind", "Tags.member.1.Value": "z", "Tags.member.2.Key": "commit", "Tags.member.2.Value": "3a9be01", "Tags.member.3.Key": "environment",
		"Tags.member.3.Value": "production", "Tags.member.4.Key": "repository", "Tags.member.4.Value": "infra", "Tags.member.5.Key": "stack", "Tags.member.5.Value": "live/net_ _a_ _ b",
	}
	if !maps.Equal(got[0].Form, want) {
		t.Errorf("asked %v\nwant %v", got[0].Form, want)
	}
	config, err := os.ReadFile(filepath.Join(o.Dir, "home", ".aws", "config"))
	if want := "[default]\ncredential_process = /opt/plumb\\ line/plumbline runner credentials " + o.Dir + "\nregion = eu-central-1\n"; err != nil || string(config) != want {
		t.Errorf("%s, %v, want %s", config, err, want)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, "home", ".aws", "credentials")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a plan left is still there: %v", err)
	}
	info, err := os.Stat(filepath.Join(o.Dir, o.File))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if loan.As() != applyRole+"/plumbline-run-9812" || strings.Join(loan.Masks(), " ") != "run-secret-1 run-token-1" {
		t.Errorf("%s, %q", loan.As(), loan.Masks())
	}
	env := map[string]string{}
	for _, v := range loan.Env() {
		env[v.Name] = v.Value.Reveal()
	}
	if !maps.Equal(env, map[string]string{"AWS_EC2_METADATA_DISABLED": "true", "AWS_SDK_LOAD_CONFIG": "1", "AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1"}) {
		t.Errorf("environment %v", env)
	}
	if err := loan.End(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, o.File)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the credentials are still there: %v", err)
	}
	if err := loan.End(); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

// TestProgram has the AWS SDK itself read what was written, with a program and a directory whose names are no words of a shell.
func TestProgram(t *testing.T) {
	f := newFake(t)
	var n atomic.Int64
	f.on("sts:AssumeRole", lent(&n, "AssumeRole"))
	a := f.load(t)
	o := order(t)
	o.Dir = filepath.Join(o.Dir, `it's #1 "$HOME" \ ; and `+"`more`")
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(o.Dir, "print it")
	if err := os.WriteFile(program, []byte("#!/bin/sh\ncat \"$1/$2\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	o.Program = []string{program, o.Dir, o.File}
	loan, err := a.Lend(t.Context(), o, never(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(o.Dir, "home", ".aws", "config"))
	terraform, err := aws.Load(t.Context(), aws.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := terraform.Credentials().Retrieve(t.Context())
	if err != nil || c.AccessKeyID != "ASIARUN1" || !c.CanExpire || terraform.Region() != "eu-central-1" {
		t.Errorf("%s, %v", c.AccessKeyID, err)
	}
	if err := loan.End(); err != nil {
		t.Error(err)
	}
	o.Program = []string{"a\nb"}
	if _, err := a.Lend(t.Context(), o, never(t)); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// TestLongApply: an apply of three hours with credentials of a quarter of an hour has good ones at any moment, also when STS is away for a while.
func TestLongApply(t *testing.T) {
	f := newFake(t)
	var n atomic.Int64
	answer := lent(&n, "AssumeRole")
	var away atomic.Bool
	f.on("sts:AssumeRole", func(c call) reply {
		if away.Load() {
			return reply{status: 503, code: "ServiceUnavailable", message: "away"}
		}
		return answer(c)
	})
	a := f.load(t)
	o := order(t)
	synctest.Test(t, func(t *testing.T) {
		warned := 0
		loan, err := a.Lend(t.Context(), o, func(error) { warned++ })
		if err != nil {
			t.Fatal(err)
		}
		began, keys := time.Now(), map[string]bool{}
		for time.Since(began) < 3*time.Hour {
			time.Sleep(time.Minute)
			away.Store(time.Since(began) > time.Hour && time.Since(began) < time.Hour+9*time.Minute)
			b, err := os.ReadFile(filepath.Join(o.Dir, o.File))
			if err != nil {
				t.Fatal(err)
			}
			var c struct {
				Version                   int
				AccessKeyID, SessionToken string
				Expiration                time.Time
			}
			if err := json.Unmarshal(b, &c); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(c.Expiration); c.Version != 1 || left < time.Minute || c.SessionToken == "" || strings.Contains(string(b), secret) {
				t.Fatalf("after %v: %s, good for %v", time.Since(began), b, left)
			}
			keys[c.AccessKeyID] = true
		}
		if len(keys) < 12 {
			t.Errorf("only %d credentials in three hours", len(keys))
		}
		if warned == 0 {
			t.Error("nobody was told that STS was away")
		}
		if err := loan.End(); err != nil {
			t.Error(err)
		}
	})
}

// TestExcuse: when a role is taken away for longer than the credentials live, Terraform reads why.
func TestExcuse(t *testing.T) {
	f := newFake(t)
	var n atomic.Int64
	answer := lent(&n, "AssumeRole")
	f.on("sts:GetCallerIdentity", whoami)
	f.on("sts:AssumeRole", func(c call) reply {
		if n.Load() > 0 {
			return reply{status: 403, code: "AccessDenied", message: "not authorized"}
		}
		return answer(c)
	})
	a := f.load(t)
	o := order(t)
	synctest.Test(t, func(t *testing.T) {
		loan, err := a.Lend(t.Context(), o, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		b, err := os.ReadFile(filepath.Join(o.Dir, o.File))
		if err != nil || !strings.Contains(string(b), "AWS does not give the role "+applyRole) || strings.Contains(string(b), "not started") || strings.Contains(string(b), "ASIA") {
			t.Errorf("%s, %v", b, err)
		}
		if err := loan.End(); err != nil {
			t.Error(err)
		}
	})
}

// TestLifetime: a role that allows less than is asked for is taken for an hour, which every role allows.
func TestLifetime(t *testing.T) {
	for _, message := range []string{
		"The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
		"The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
	} {
		f := newFake(t)
		var n atomic.Int64
		answer := lent(&n, "AssumeRole")
		f.on("sts:AssumeRole", func(c call) reply {
			if s, _ := strconv.Atoi(c.Form["DurationSeconds"]); s > 3600 {
				return reply{code: "ValidationError", message: message}
			}
			return answer(c)
		})
		o := order(t)
		o.Lifetime = 4 * time.Hour
		loan, err := f.load(t).Lend(t.Context(), o, never(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := loan.End(); err != nil {
			t.Error(err)
		}
		if got := f.asked("sts:AssumeRole"); len(got) != 2 || got[0].Form["DurationSeconds"] != "14400" || got[1].Form["DurationSeconds"] != "3600" {
			t.Errorf("asked %+v", got)
		}
	}
}

// TestWebIdentity: the role is taken with a token alone, which no error repeats.
func TestWebIdentity(t *testing.T) {
	f := newFake(t)
	var n atomic.Int64
	f.on("sts:AssumeRoleWithWebIdentity", lent(&n, "AssumeRoleWithWebIdentity"))
	a := f.load(t)
	o := order(t)
	o.TokenFile = filepath.Join(o.Dir, "token")
	if _, err := a.Lend(t.Context(), o, never(t)); err == nil || !strings.Contains(err.Error(), "the web identity token "+o.TokenFile+" cannot be read") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(o.TokenFile, []byte("eyJ.web.identity\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	loan, err := a.Lend(t.Context(), o, never(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := loan.End(); err != nil {
		t.Error(err)
	}
	if got := f.asked("sts:AssumeRoleWithWebIdentity"); len(got) != 1 || got[0].Form["WebIdentityToken"] != "eyJ.web.identity" || got[0].Key != "" || got[0].Form["RoleArn"] != applyRole {
		t.Errorf("asked %+v", got)
	}
	f.on("sts:AssumeRoleWithWebIdentity", func(call) reply {
		return reply{code: "InvalidIdentityToken", message: "No OpenIDConnect provider found for eyJ.web.identity"}
	})
	if _, err := a.Lend(t.Context(), o, never(t)); err == nil || !strings.Contains(err.Error(), "AWS did not take the web identity") || strings.Contains(err.Error(), "eyJ") {
		t.Errorf("%v", err)
	}
}

// TestRoleRefused: each way in which a role is not given has its own sentence, and Terraform is not started.
func TestRoleRefused(t *testing.T) {
	for _, c := range []struct {
		name, code, message, what, next string
		status                          int
		again                           bool
	}{
		{name: "denied", status: 403, code: "AccessDenied", message: "User is not authorized to perform: sts:AssumeRole",
			what: "AWS does not give the role " + applyRole + " to arn:aws:sts::111122223333:assumed-role/plumbline/daemon. Terraform was not started.",
			next: `Let the role's trust policy allow sts:AssumeRole and sts:TagSession to arn:aws:iam::111122223333:role/plumbline, with the external ID "plumbline", and Plumbline's own policy`},
		{name: "expired", status: 403, code: "ExpiredToken", message: "The security token included in the request is expired", what: "Plumbline's own credentials have expired", next: "docs/aws.md"},
		{name: "throttled", status: 400, code: "Throttling", message: "Rate exceeded", what: "AWS had too many requests", next: "Retry the run in a minute", again: true},
		{name: "clock", status: 403, code: "SignatureDoesNotMatch", message: "Signature expired: 20261120T060000Z is now earlier than 20261120T070000Z", what: "the clock of this machine is wrong", next: "Set the clock"},
		{name: "clock, older", status: 400, code: "RequestExpired", message: "Request has expired.", what: "the clock of this machine is wrong", next: "Set the clock"},
		{name: "region", status: 403, code: "RegionDisabledException", message: "STS is not activated in this region", what: "STS is not active in the region", next: "Activate STS"},
		{name: "tags", status: 400, code: "PackedPolicyTooLarge", message: "Packed size of session tags consumes 117%", what: "The tags of the session are too long", next: "shorter names"},
		{name: "wrong", status: 400, code: "ValidationError", message: "1 validation error detected: roleArn", what: "AWS did not give the role " + applyRole + ": 400 ValidationError: 1 validation error", next: "Look at the aws block"},
		{name: "broken", status: 500, code: "InternalFailure", message: "sorry", what: "AWS could not give the role " + applyRole + " just now (500 InternalFailure: sorry)", next: "Retry the run."},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			f.on("sts:GetCallerIdentity", whoami)
			f.on("sts:AssumeRole", func(call) reply { return reply{status: c.status, code: c.code, message: c.message} })
			conf := f.config()
			conf.Timeout = time.Minute
			a, o := load(t, conf), order(t)
			var err error
			synctest.Test(t, func(t *testing.T) { _, err = a.Lend(t.Context(), o, never(t)) })
			var no *plumbline.Refusal
			var again *plumbline.Retry
			if !errors.As(err, &no) || !strings.Contains(no.What, c.what) || !strings.Contains(no.Next, c.next) || errors.As(err, &again) != c.again {
				t.Fatalf("%v", err)
			}
			if !strings.HasSuffix(no.What, "Terraform was not started.") {
				t.Errorf("%q does not say what it means for the infrastructure", no.What)
			}
			if entries, err := os.ReadDir(o.Dir); err != nil || len(entries) > 0 {
				t.Errorf("left %v, %v", entries, err)
			}
		})
	}
}

// TestLinks: what a plan ran in the directory cannot have the next credentials written elsewhere.
func TestLinks(t *testing.T) {
	f := newFake(t)
	var n atomic.Int64
	f.on("sts:AssumeRole", lent(&n, "AssumeRole"))
	a := f.load(t)
	for _, link := range []string{"credentials.json", "credentials.json.new", "home", "home/.aws"} {
		o, outside := order(t), t.TempDir()
		if link == "home/.aws" {
			if err := os.Mkdir(filepath.Join(o.Dir, "home"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		target := outside
		if strings.HasPrefix(link, "cred") {
			target = filepath.Join(outside, "file")
			if err := os.WriteFile(target, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(target, filepath.Join(o.Dir, link)); err != nil {
			t.Fatal(err)
		}
		loan, err := a.Lend(t.Context(), o, never(t))
		if err == nil {
			if err := loan.End(); err != nil {
				t.Error(err)
			}
		} else if link != "home" {
			t.Errorf("%s: %v", link, err)
		}
		if b, err := os.ReadFile(target); err == nil && string(b) != "mine" {
			t.Errorf("%s: wrote %s", link, b)
		}
		if entries, err := os.ReadDir(outside); err != nil || len(entries) > 1 || target == outside && len(entries) > 0 {
			t.Errorf("%s: %v, %v", link, entries, err)
		}
	}
}

// TestAs: what is asked in the name of a role is asked with its credentials.
func TestAs(t *testing.T) {
	f := newFake(t)
	var n atomic.Int64
	f.on("sts:AssumeRole", lent(&n, "AssumeRole"))
	f.on("sts:GetCallerIdentity", whoami)
	a := f.load(t).As(order(t).Role)
	if _, err := a.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.asked("sts:GetCallerIdentity"); len(got) != 1 || got[0].Key != "ASIARUN1" || got[0].Region != "eu-central-1" {
		t.Errorf("asked %+v", got)
	}
	f.on("sts:AssumeRole", func(call) reply { return reply{status: 403, code: "AccessDenied", message: "no"} })
	conf := f.config()
	conf.Now = func() time.Time { return later }
	refused := load(t, conf).As(order(t).Role)
	_, err := refused.Identity(t.Context())
	if !errors.Is(err, plumbline.ErrDenied) || aws.Temporary(err) || !strings.Contains(err.Error(), "AWS does not give the role") || strings.Contains(err.Error(), "Terraform") {
		t.Errorf("%v", err)
	}
	// A trail that is not given its role says that, and not that the role lacks a right.
	tr := aws.NewTrail(aws.TrailConfig{Account: refused})
	got, err := tr.Check().Attribute(t.Context(), "", group, cleanAt, foundAt)
	if !errors.Is(err, plumbline.ErrDenied) || !strings.Contains(got.Unknown, "AWS does not give the role") || strings.Contains(got.Unknown, "LookupEvents") {
		t.Errorf("%+v, %v", got, err)
	}
}
