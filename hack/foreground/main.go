//go:build unix

// Command foreground runs a command so that `make` ends well when Ctrl-C ends the command well: make, when a signal reaches
// it, always dies of that signal, whatever its recipe's command answers. On a terminal the command therefore
// becomes the terminal's foreground process group of its own, and Ctrl-C goes to it alone. Without a terminal, or in
// the background, the command simply takes this process's place. It knows nothing of what it runs.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: foreground COMMAND [ARGUMENT...]"))
	}
	path, err := exec.LookPath(os.Args[1])
	if err != nil {
		fail(err)
	}
	if !inForeground() {
		fail(syscall.Exec(path, os.Args[1:], os.Environ()))
	}
	code, err := run(exec.Command(path, os.Args[2:]...)) //nolint:noctx // it ends by the signals that are passed on
	if err != nil {
		fail(err)
	}
	os.Exit(code)
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "foreground: %v\n", err)
	os.Exit(127)
}

// inForeground tells whether a Ctrl-C typed on standard input's terminal would reach this process.
func inForeground() bool {
	group, err := unix.IoctlGetInt(unix.Stdin, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// run gives cmd the terminal, passes on the signals that still come here, and takes the terminal back.
func run(cmd *exec.Cmd) (exitCode int, err error) {
	// Taking the terminal back would else stop this process. The command inherits that Ctrl-Z does nothing:
	// it would stop the command alone, with make waiting for it and nobody to wake it.
	signal.Ignore(syscall.SIGTTOU, syscall.SIGTSTP)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)

	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Foreground: true, Ctty: unix.Stdin}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may have ended already
		}
	}()
	err = cmd.Wait()
	_ = unix.IoctlSetPointerInt(unix.Stdin, unix.TIOCSPGRP, unix.Getpgrp()) // the terminal may be gone
	if exited := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exited) {
		return 0, err
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}
