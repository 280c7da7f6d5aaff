package testenv

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A server outlives the test that started it but not the test process, and tests have no hook for the end of a process
// that is killed. So each server is the child of a keeper: this same test binary, started again, which holds the reading
// end of a pipe. The pipe closes when the test process ends, for whatever reason; the keeper then stops the server and
// removes its directory. Should the keeper itself be killed, the kernel kills the server.

// keeperEnv makes a test binary a keeper instead of running its tests.
const keeperEnv = "PLUMBLINE_TESTENV_KEEPER"

// outputLog is the file in a server's directory that has what it printed.
const outputLog = "output.log"

// A server describes a process for the keeper.
type server struct {
	Dir  string   // its files, removed after it
	Args []string // Args[0] is the program's absolute path
	Env  []string
	User *account       // nil: the user of the test process
	Stop syscall.Signal // makes it end at once; its data is worthless
}

// An account is a user to run as.
type account struct {
	UID, GID uint32
}

func init() {
	if os.Getenv(keeperEnv) == "" {
		return
	}
	// Nobody reads the output of a keeper any more when its work begins. Unless somebody takes this signal, writing there
	// would end it; being ignored instead, it would be ignored in the server too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := keep(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stdout, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// keep runs the server described on in until in ends. A server that ends earlier is reported on out.
//
// It is called from init, where the goroutine is bound to the main thread: the kernel's parent death signal tells of the
// parent's thread, not of its process.
func keep(in io.Reader, out io.Writer) error {
	var s server
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return fmt.Errorf("read what to keep: %w", err)
	}
	log, err := os.Create(filepath.Join(s.Dir, outputLog))
	if err != nil {
		return err
	}
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Dir, cmd.Env = s.Dir, s.Env
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = s.User.attr()
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		fmt.Fprintf(out, "%s: %v\n", s.Args[0], cmd.Wait())
	}()

	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	// Signals can fail only because there is nothing left to receive them.
	_ = cmd.Process.Signal(s.Stop)
	kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	<-exited
	kill.Stop()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it had started itself
	return os.RemoveAll(s.Dir)
}

// keepers holds the writing ends of the pipes to the keepers, for as long as the process lives: were one collected as
// garbage, it would be closed.
var keepers struct {
	sync.Mutex
	pipes []io.Closer
}

// start hands the server to a keeper. If the server ends before the test process does, the channel says how.
func (s server) start() (<-chan string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), keeperEnv+"=1")
	// Away from the terminal: Ctrl-C is meant for the tests, and the keeper has to clean up after them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the keeper of %s: %w", s.Args[0], err)
	}
	keepers.Lock()
	keepers.pipes = append(keepers.pipes, in)
	keepers.Unlock()

	ended := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			line = fmt.Sprintf("the keeper of %s: %v", s.Args[0], err)
		}
		ended <- line
	}()
	if err := json.NewEncoder(in).Encode(s); err != nil {
		return nil, fmt.Errorf("tell the keeper of %s: %w", s.Args[0], err)
	}
	return ended, nil
}

// await asks ready every 50 ms until it returns nil. It gives up when the server has ended, or after a minute.
func (s server) await(ended <-chan string, ready func() error) error {
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case how := <-ended:
			return fmt.Errorf("%s\n%s", how, s.output())
		case <-limit.C:
			return fmt.Errorf("%s after a minute: %w\n%s", s.Args[0], err, s.output())
		case <-tick.C:
		}
	}
}

// output returns what the server has printed.
func (s server) output() string {
	b, err := os.ReadFile(filepath.Join(s.Dir, outputLog))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// attr makes a command run as a. Nil is the user who asks.
func (a *account) attr() *syscall.SysProcAttr {
	if a == nil {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.UID, Gid: a.GID}}
}

// ordinary returns an account for a program that refuses to run as root: nil unless the test process is root, otherwise
// the first of names that exists.
func ordinary(names ...string) (*account, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &account{UID: uint32(uid), GID: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("no user to run as instead of root: tried %q", names)
}
