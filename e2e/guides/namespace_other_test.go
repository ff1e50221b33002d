//go:build !linux

package guides_test

import "syscall"

// apart is nothing where a system has no way of its own.
func apart() *syscall.SysProcAttr { return nil }

func loopback() error { return nil }
