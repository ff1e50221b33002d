//go:build !linux

package cluster_test

import "syscall"

// dieWithUs does nothing where a system has no way of its own.
func dieWithUs() *syscall.SysProcAttr { return nil }
