//go:build !linux

package terraform

import "syscall"

// ownGroup keeps an engine out of this process's group, so that it gets no signal that is not meant for it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
