//go:build unix && !linux

package testenv

import "syscall"

// dieWithParent does nothing where the kernel offers nothing: a killed keeper then leaves its server behind.
func dieWithParent(*syscall.SysProcAttr) {}
