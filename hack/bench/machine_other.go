//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// Elsewhere than on Linux the throughput is measured, but neither CPU time and memory nor what the machine is.

func cpuTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

func residentBytes(int) (uint64, error) { return 0, errors.ErrUnsupported }

func dieTogether(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func usableCPUs() []int { return nil }

func loadAverage() string { return "" }

func cpuModel() string { return "" }

func kernel() string { return "" }

func memory() uint64 { return 0 }
