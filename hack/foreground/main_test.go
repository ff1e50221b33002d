//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// recipe is a command that ends well on a SIGINT or a SIGTERM, and says which it got.
const recipe = `run:
	@exec %s bash -c 'for s in INT TERM; do trap "echo got $$s; exit 0" $$s; done; echo ready; while :; do sleep 0.05; done'
fail:
	@exec %[1]s sh -c 'exit 3'
`

func makefile(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"make", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	folder := t.TempDir()
	binary := filepath.Join(folder, "foreground")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "Makefile"), fmt.Appendf(nil, recipe, binary), 0o600))
	return folder
}

// terminal opens a new one: what is written to the first file is typed on the second, which programs may use.
func terminal(t *testing.T) (keyboard, tty *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = keyboard.Close() })
	fd := int(keyboard.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tty.Close() })
	return keyboard, tty
}

// startMake runs make as a shell would: leader of a session on tty, or of a process group without a terminal.
func startMake(t *testing.T, folder, target string, tty *os.File) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", folder, target)
	command.Stdout, command.Stderr = writer, writer
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if tty != nil {
		command.Stdin = tty
		command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}
	require.NoError(t, command.Start())
	require.NoError(t, writer.Close())
	t.Cleanup(func() { _ = reader.Close() })
	return command, bufio.NewReader(reader)
}

func line(t *testing.T, output *bufio.Reader) string {
	t.Helper()
	text, err := output.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(text)
}

func TestCtrlCEndsMakeWell(t *testing.T) {
	keyboard, tty := terminal(t)
	command, output := startMake(t, makefile(t), "run", tty)
	require.Equal(t, "ready", line(t, output))
	_, err := keyboard.WriteString("\x1a\x03") // Ctrl-Z, which does nothing, and Ctrl-C
	require.NoError(t, err)
	assert.Equal(t, "got INT", line(t, output))
	require.NoError(t, command.Wait(), "make must exit 0")
}

// A signal that make gets reaches the command, once, with a terminal and without; make itself then dies of it, as ever.
func TestSignalsReachTheCommand(t *testing.T) {
	folder := makefile(t)
	_, tty := terminal(t)
	for _, tt := range []struct {
		name   string
		tty    *os.File
		signal syscall.Signal
		want   string
	}{
		{"interrupt to the group, terminal", tty, syscall.SIGINT, "got INT"},
		{"terminate, no terminal", nil, syscall.SIGTERM, "got TERM"},
		{"interrupt to the group, no terminal", nil, syscall.SIGINT, "got INT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			command, output := startMake(t, folder, "run", tt.tty)
			require.Equal(t, "ready", line(t, output))
			require.NoError(t, syscall.Kill(-command.Process.Pid, tt.signal))
			rest := line(t, output)
			if rest == "Terminated" { // what bash says of its sleep
				rest = line(t, output)
			}
			assert.Equal(t, tt.want, rest)
			require.Error(t, command.Wait())
		})
	}
}

func TestExitCodeIsPassedOn(t *testing.T) {
	folder := makefile(t)
	_, tty := terminal(t)
	for name, terminal := range map[string]*os.File{"terminal": tty, "no terminal": nil} {
		t.Run(name, func(t *testing.T) {
			command, output := startMake(t, folder, "fail", terminal)
			assert.Contains(t, line(t, output), "Error 3")
			require.Error(t, command.Wait())
		})
	}
}
