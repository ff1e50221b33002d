package testbed

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// The variables by which tests find programs. Main sets the first two, hack/test-env.sh prints the others.
const (
	GatewayBin          = "MCP_GATEWAY_TEST_BIN"
	ExampleBin          = "MCP_GATEWAY_TEST_EXAMPLE_BIN"
	EnvoyBin            = "ENVOY_BIN"
	ConformanceBin      = "CONFORMANCE_BIN"
	ServerEverythingBin = "SERVER_EVERYTHING_BIN"
	GoSDKServerBin      = "GO_SDK_SERVER_BIN"
	MCPGoServerBin      = "MCP_GO_SERVER_BIN"
	// plainBin is set by MainPlain: the gateway without the race detector, whatever the tests have.
	plainBin = "MCP_GATEWAY_TEST_PLAIN_BIN"
	// moduleLib is set by Main as well, where tests run with the router inside of Envoy.
	moduleLib = "MCP_GATEWAY_TEST_MODULE"
)

// RouterVariable says how Envoy asks the router in tests: "module" or, by default, "extproc". Both must show the same to clients and servers.
const RouterVariable = "MCP_GATEWAY_TEST_ROUTER"

// Module tells whether tests run with the router inside of Envoy.
func Module() bool { return os.Getenv(RouterVariable) == "module" }

// Main builds the gateway and the example server once and runs a package's tests with them. The result is the exit code.
func Main(m *testing.M) int { return runMain(m, false) }

// MainPlain is Main for tests that want to know what the gateway costs: see Options.Plain.
func MainPlain(m *testing.M) int { return runMain(m, true) }

func runMain(m *testing.M, plain bool) int {
	dir, err := os.MkdirTemp("", "mcp-gateway-e2e-")
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for variable, pkg := range map[string]string{GatewayBin: "cmd/mcp-broker-router", ExampleBin: "examples/servers"} {
		bin := filepath.Join(dir, filepath.Base(pkg))
		if err := errors.Join(build(bin, pkg), os.Setenv(variable, bin)); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if plain {
		bin := filepath.Join(dir, "mcp-broker-router-plain")
		if err := errors.Join(compile(bin, "cmd/mcp-broker-router", false), os.Setenv(plainBin, bin)); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if Module() {
		lib, err := buildModule(dir, "dev")
		if err := errors.Join(err, os.Setenv(moduleLib, lib)); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	flag.Parse()
	// These tests wait far more than they compute.
	if parallel := flag.Lookup("test.parallel"); parallel != nil {
		_ = parallel.Value.Set("8")
	}
	return m.Run()
}

// build builds with the race detector if the tests themselves were: a race that only real traffic brings about is then
// found here.
func build(bin, pkg string) error {
	return compile(bin, pkg, Raced())
}

func compile(bin, pkg string, race bool) error {
	args := []string{"build", "-buildvcs=false", "-o", bin}
	if race {
		args = append(args, "-race")
	}
	if !race && Raced() {
		args = append(args, "-trimpath") // as make build does, so that it is compiled once
	}
	cmd := exec.Command("go", append(args, "github.com/guicassolato/mcp-gateway/"+pkg)...) //nolint:noctx // it ends by itself
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build %q: %w\n%s", pkg, err, out)
	}
	return nil
}

// buildModule builds the router module, without the race detector, which cannot live in Envoy's process, and as hack/envoy-module.sh does, so that it is
// compiled once.
func buildModule(dir, version string) (string, error) {
	lib := filepath.Join(dir, xds.ModuleFile)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags", "-X main.version="+version, "-o", lib, "github.com/guicassolato/mcp-gateway/cmd/envoy-module") //nolint:noctx // it ends by itself
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the router module: %w\n%s", err, out)
	}
	return lib, nil
}

// ModuleLib is the path of the router module.
func ModuleLib(t testing.TB) string {
	t.Helper()
	if lib := os.Getenv(moduleLib); lib != "" {
		return lib
	}
	return BuildModule(t, "dev")
}

// BuildModule builds the router module of a version.
func BuildModule(t testing.TB, version string) string {
	t.Helper()
	lib, err := buildModule(t.TempDir(), version)
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

// Raced tells whether the tests and the gateway run with the race detector, which takes several times the memory and the time of what it watches.
func Raced() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// Program is the path of a program by its variable. A test without its program fails: skipped, it would prove nothing.
func Program(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf(`%s is not set: run env=$(hack/test-env.sh) && eval "$env" in the repository's root first, or "make test", which does so`, variable)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s does not lead to a program: %v", variable, strings.TrimSpace(err.Error()))
	}
	return path
}
