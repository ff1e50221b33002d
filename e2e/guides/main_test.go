// Package guides_test runs the blocks of commands in README and guides as a newcomer does who pastes them into a shell: in a copy of the repository, where
// nothing is built yet, and with the ports that the pages name. docs/blocks.yaml says which blocks these are.
package guides_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// inside is set in a process that has a network of its own.
const inside = "MCP_GATEWAY_TEST_INSIDE"

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run runs the tests where all ports are free and no server of an example can be reached. Where a system has no such place, the ports must be free as it is.
func run(m *testing.M) int {
	if os.Getenv(inside) != "" {
		if err := loopback(); err != nil {
			fmt.Fprintln(os.Stderr, "cannot have a loopback interface:", err)
			return 1
		}
		return m.Run()
	}
	again := exec.Command(os.Args[0], os.Args[1:]...) //nolint:gosec // this very program, which ends by the tests' own timeout
	again.Env = append(os.Environ(), inside+"=1")
	again.Stdout, again.Stderr = os.Stdout, os.Stderr
	again.SysProcAttr = apart()
	if again.SysProcAttr == nil {
		return m.Run()
	}
	if err := again.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "there can be no network of its own (%v): the tests take the machine's, where the ports 8888, 8090, 8080, 50051 and 18000 must be free\n", err)
		return m.Run()
	}
	_ = again.Wait() // the exit code tells
	return again.ProcessState.ExitCode()
}
