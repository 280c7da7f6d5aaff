package runner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes this process the parent of what its children leave behind, so that it can find and end it: a killed Terraform
// leaves its providers.
func adoptOrphans() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// stat is what the kernel says about a process.
type stat struct {
	pid, parent, session int
	start                uint64
	zombie               bool
}

func readStat(pid int) (stat, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, false // it has ended
	}
	// The second field is the program's name in parentheses, and may hold anything.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return stat{}, false
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return stat{}, false
	}
	s := stat{pid: pid, zombie: f[0] == "Z" || f[0] == "X"}
	s.parent, _ = strconv.Atoi(f[1])
	s.session, _ = strconv.Atoi(f[3])
	s.start, _ = strconv.ParseUint(f[19], 10, 64)
	return s, true
}

// startOf returns when a process began; 0: it has ended.
func startOf(pid int) uint64 {
	s, ok := readStat(pid)
	if !ok || s.zombie {
		return 0
	}
	return s.start
}

func processes() ([]stat, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // only read
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var all []stat
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			if s, ok := readStat(pid); ok {
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// killWait is how long the kernel may take to end what was killed; a process that waits for a broken disk never ends.
const killWait = 30 * time.Second

// endAll kills what pick chooses until nothing of it lives, since a process may start another while it is being killed.
func endAll(pick func([]stat) []int) error {
	began := time.Now()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		all, err := processes()
		if err != nil {
			return err
		}
		pids := pick(all)
		if len(pids) == 0 {
			return nil
		}
		if time.Since(began) > killWait {
			return fmt.Errorf("processes %v do not end although they were killed", pids)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
		time.Sleep(wait) // for the kernel to carry it out
	}
}

// endDescendants kills all that this process has started, directly or not.
func endDescendants() error {
	self := os.Getpid()
	return endAll(func(all []stat) []int {
		children := map[int][]stat{}
		for _, s := range all {
			children[s.parent] = append(children[s.parent], s)
		}
		var pids []int
		queue := []int{self}
		for len(queue) > 0 {
			next := children[queue[0]]
			queue = queue[1:]
			for _, s := range next {
				queue = append(queue, s.pid)
				if !s.zombie {
					pids = append(pids, s.pid)
				}
			}
		}
		return pids
	})
}

// endOrphans is endDescendants for when every command has been waited for. It costs next to nothing when there are none: whatever lives
// has an ancestor among our children.
func endOrphans() error {
	if orphans() {
		return endDescendants()
	}
	return nil
}

// orphans reaps the children that have ended, and reports whether others are left.
func orphans() bool {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return false // ECHILD: there are none
		case pid == 0:
			return true
		}
	}
}

// endSession kills what is left of the session of a run's process that is gone.
func endSession(p process, dir string) error {
	return endAll(func(all []stat) []int { return leftOf(p, dir, all, environ) })
}

// leftOf picks the members of a session whose leader is gone. The number of a session is not given away while it has members, but after
// a restart of the machine or of a container somebody else may have it: ours have the run's own HOME.
func leftOf(p process, dir string, all []stat, environ func(pid int) []string) []int {
	var pids []int
	for _, s := range all {
		if s.pid == p.pid && !s.zombie {
			return nil
		}
		if s.session != p.pid || s.zombie || s.start < p.start {
			continue
		}
		// One that is just ending has given its memory back, its environment with it, before it is a zombie: it is waited for.
		if env := environ(s.pid); slices.Equal(env, []string{""}) || slices.Contains(env, "HOME="+filepath.Join(dir, homeDir)) {
			pids = append(pids, s.pid)
		}
	}
	return pids
}

// environ is what a process was started with; nil: it has ended, or is somebody else's; one empty string: it is just ending.
func environ(pid int) []string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return nil
	}
	return strings.Split(string(b), "\x00")
}
