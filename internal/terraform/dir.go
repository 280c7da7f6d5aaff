package terraform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/terraform-exec/tfexec"
)

// DirConfig is one root module with all that its engine is given.
type DirConfig struct {
	Binary Binary
	Path   string            // the root module, absolute
	Env    map[string]string // the whole environment; see Env
	// Line gets each line of the standard output of init, plan, apply; ErrLine those of the standard error of every command.
	// Two goroutines call them. The bytes are valid during the call only.
	Line, ErrLine func(line []byte)
}

// Dir runs one engine's commands in one root module, one at a time.
//
// A cancelled context interrupts the command once (SIGINT), and then waits for as long as it takes: killing is for the caller,
// who knows what may be lost. A command that succeeds nevertheless has succeeded. On Linux the command is killed when the
// thread that called it ends, so the caller locks its goroutine to its thread.
type Dir struct {
	c    DirConfig
	tf   *tfexec.Terraform
	tail tail // of the current command's standard error
}

// NewDir checks what it is given. It starts nothing.
func NewDir(c DirConfig) (*Dir, error) {
	if c.Env == nil {
		return nil, errors.New("an engine without an environment of its own would inherit this process's")
	}
	tf, err := tfexec.NewTerraform(c.Path, c.Binary.Path)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for k, v := range c.Env {
		if k != "TF_IN_AUTOMATION" { // terraform-exec sets it itself, and refuses to be told
			env[k] = v
		}
	}
	if err := tf.SetEnv(env); err != nil {
		return nil, err
	}
	if err := tf.SetWaitDelay(0); err != nil {
		return nil, err
	}
	return &Dir{c: c, tf: tf}, nil
}

// Data is where the engine keeps what init has found, absolute.
func (d *Dir) Data() string {
	data := d.c.Env["TF_DATA_DIR"]
	if data == "" {
		data = ".terraform"
	}
	if filepath.IsAbs(data) {
		return data
	}
	return filepath.Join(d.c.Path, data)
}

// CommandError is a command that did not do what it was told.
type CommandError struct {
	Command string // "terraform plan"
	Err     error
	Stderr  string // the end of its standard error
}

func (e *CommandError) Error() string { return fmt.Sprintf("%s: %v", e.Command, e.Err) }

func (e *CommandError) Unwrap() error { return e.Err }

// InitOptions are those of Init.
type InitOptions struct {
	BackendConfig string // path of a file, "" none: a value in the argument list could be read by every user of the machine
	NoBackend     bool   // leave the backend alone: enough to validate and test, not to plan
}

// Init installs modules and providers, connects the backend.
func (d *Dir) Init(ctx context.Context, o InitOptions) error {
	return d.run(ctx, initArgs(o, d.c.Binary), nil)
}

func initArgs(o InitOptions, b Binary) []string {
	args := []string{"init", "-no-color", "-input=false"}
	if initSpeaksJSON(b) {
		args = append(args, "-json")
	}
	if o.NoBackend {
		args = append(args, "-backend=false")
	}
	if o.BackendConfig != "" {
		args = append(args, "-backend-config="+o.BackendConfig)
	}
	return args
}

// initSpeaksJSON reports whether init has -json: Terraform since 1.9, OpenTofu since 1.7, by their change logs.
func initSpeaksJSON(b Binary) bool {
	since := version.Must(version.NewVersion("1.9.0"))
	if b.Name == Tofu {
		since = version.Must(version.NewVersion("1.7.0"))
	}
	v, err := version.NewVersion(b.Version)
	return err == nil && v.Core().GreaterThanOrEqual(since)
}

// PlanOptions are those of Plan.
type PlanOptions struct {
	Out         string   // path of the saved plan
	VarFiles    []string // in order; later ones win
	Destroy     bool
	NoRefresh   bool
	RefreshOnly bool // compare reality with the state alone, whatever the configuration asks for
	// LockTimeout is how long to wait for the state's lock; 0: plan without it, and so never keep an apply waiting. State
	// storage replaces a state as a whole, so that such a plan sees one state or the next.
	LockTimeout time.Duration
}

// Plan writes a plan to a file. It reports whether there is anything to do.
func (d *Dir) Plan(ctx context.Context, o PlanOptions) (changes bool, err error) {
	err = d.run(ctx, planArgs(o), nil)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		return true, nil
	}
	return false, err
}

func planArgs(o PlanOptions) []string {
	args := []string{"plan", "-no-color", "-input=false", "-json", "-detailed-exitcode", "-out=" + o.Out}
	if o.LockTimeout > 0 {
		args = append(args, "-lock-timeout="+seconds(o.LockTimeout))
	} else {
		args = append(args, "-lock=false")
	}
	if o.Destroy {
		args = append(args, "-destroy")
	}
	if o.NoRefresh {
		args = append(args, "-refresh=false")
	}
	if o.RefreshOnly {
		args = append(args, "-refresh-only")
	}
	for _, f := range o.VarFiles {
		args = append(args, "-var-file="+f)
	}
	return args
}

func seconds(t time.Duration) string { return strconv.Itoa(int(t/time.Second)) + "s" }

// Show hands the JSON of a saved plan to read as it comes. It holds every sensitive value in clear.
func (d *Dir) Show(ctx context.Context, plan string, read func(io.Reader) error) error {
	return d.run(ctx, showArgs(plan), read)
}

func showArgs(plan string) []string { return []string{"show", "-no-color", "-json", plan} }

// Workspace selects a workspace, makes it when there is none of that name.
func (d *Dir) Workspace(ctx context.Context, name string) error {
	err := d.library(ctx, "workspace select", func() error { return d.tf.WorkspaceSelect(ctx, name) })
	var failed *CommandError
	if errors.As(err, &failed) && strings.Contains(failed.Stderr, "doesn't exist") {
		return d.library(ctx, "workspace new", func() error { return d.tf.WorkspaceNew(ctx, name) })
	}
	return err
}

// Apply carries out a saved plan.
func (d *Dir) Apply(ctx context.Context, plan string, lockTimeout time.Duration) error {
	return d.library(ctx, "apply", func() error {
		out := &lines{f: d.c.Line}
		defer out.end()
		return d.tf.ApplyJSON(ctx, out, tfexec.DirOrPlan(plan), tfexec.LockTimeout(seconds(lockTimeout)))
	})
}

// library runs a command of terraform-exec's.
func (d *Dir) library(ctx context.Context, command string, f func() error) error {
	d.tail.b = d.tail.b[:0]
	text := &lines{f: d.c.ErrLine}
	d.tf.SetStderr(io.MultiWriter(text, &d.tail))
	err := f()
	text.end()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		// Its own text has the whole standard error in it.
		return d.failed(command, exit)
	case ctx.Err() != nil:
		return d.failed(command, ctx.Err())
	}
	return d.failed(command, err)
}

// run runs a command to its end. Its standard output goes to read, or else line by line to c.Line.
func (d *Dir) run(ctx context.Context, args []string, read func(io.Reader) error) error {
	d.tail.b = d.tail.b[:0]
	cmd := d.command(ctx, args)
	text := &lines{f: d.c.ErrLine}
	defer text.end()
	cmd.Stderr = io.MultiWriter(text, &d.tail)
	if read == nil {
		out := &lines{f: d.c.Line}
		cmd.Stdout = out
		err := cmd.Run()
		out.end()
		return d.ended(cmd, err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return d.failed(args[0], err)
	}
	if err := cmd.Start(); err != nil {
		return d.ended(cmd, err)
	}
	readErr := read(pipe)
	// What is not read would keep the command from ending. Wait reports what goes wrong with the pipe.
	_, _ = io.Copy(io.Discard, pipe)
	if err := d.ended(cmd, cmd.Wait()); err != nil {
		return err // a command that fails half-way is why its output could not be read
	}
	if readErr != nil {
		return d.failed(args[0], readErr)
	}
	return nil
}

// command builds a command apart from running it.
func (d *Dir) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.c.Binary.Path, args...)
	cmd.Dir = d.c.Path
	for k, v := range d.c.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd
}

// ended turns the result of a command into ours. Wait reports a cancelled context also for a command that succeeded.
func (d *Dir) ended(cmd *exec.Cmd, err error) error {
	if err == nil || (cmd.ProcessState != nil && cmd.ProcessState.Success()) {
		return nil
	}
	return d.failed(cmd.Args[1], err)
}

func (d *Dir) failed(command string, err error) error {
	return &CommandError{Command: d.c.Binary.Name + " " + command, Err: err, Stderr: string(d.tail.b)}
}

// Killed reports whether a command ended by a signal that it cannot catch, such as the kernel's when memory runs out.
func Killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
