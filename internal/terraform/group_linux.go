package terraform

import "syscall"

// ownGroup keeps an engine out of this process's group, so that it gets no signal that is not meant for it, and has the kernel end it with
// the thread that started it: terraform-exec does the same.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
