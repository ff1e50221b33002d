//go:build unix && !linux

package app

import "syscall"

// ownGroup has no way to have a child killed when this process is.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
