// Package istio_test checks what the gateway's EnvoyFilters become in a real Envoy that a real istiod feeds: that they are in force, and not only
// accepted. It needs no node: istiod works for a Kubernetes API server, the MCP servers and the gateway are programs on loopback, and a ServiceEntry
// tells Istio of each.
//
// It must not know how the EnvoyFilters are made, nor how the gateway keeps what it promises: it looks at what Envoy says of its configuration, and
// at the wire.
package istio_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// pilotBin is the variable with the path of istiod.
const pilotBin = "PILOT_DISCOVERY_BIN"

// helmBin is the variable with the path of helm, which renders the policies as users install them.
const helmBin = "HELM_BIN"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	for variable, program := range map[string]struct{ script, file string }{
		"KUBEBUILDER_ASSETS": {"kube-binaries.sh", ""},
		pilotBin:             {"cluster-programs.sh", "pilot-discovery"},
		testbed.EnvoyBin:     {"envoy.sh", ""},
		helmBin:              {"helm.sh", ""},
	} {
		if err := provide(variable, program.script, program.file); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return testbed.Main(m)
}

// provide has a script make what a variable leads to, unless it does already. A program that cannot be had fails the tests: skipped, they would
// prove nothing.
func provide(variable, script, file string) error {
	if os.Getenv(variable) != "" {
		return nil
	}
	var stdout bytes.Buffer
	path := filepath.Join("..", "..", "..", "hack", script)
	cmd := exec.Command(path)
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("hack/%s, for %s: %w", script, variable, err)
	}
	return os.Setenv(variable, filepath.Join(strings.TrimSpace(stdout.String()), file))
}
