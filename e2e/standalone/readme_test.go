package standalone_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// block is the code block of the README that has a text.
func block(t *testing.T, text string) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	for _, b := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(readme), -1) {
		if strings.Contains(b[1], text) {
			return b[1]
		}
	}
	t.Fatalf("the README has no block with %q", text)
	return ""
}

// TestFirstCallOfTheReadme: what a newcomer pastes into a shell does what the README says.
func TestFirstCallOfTheReadme(t *testing.T) {
	g := start(t, withExamples(t)...)
	script := "set -euo pipefail\n" + strings.ReplaceAll(block(t, "# A session"), "http://127.0.0.1:8888/mcp", g.endpoint)
	out, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), `"weather_get_forecast"`)
	assert.Contains(t, string(out), "Lisbon")
}

// TestOwnServersOfTheReadme: the file that the README begins with is taken, and so are a static Envoy's commands.
func TestOwnServersOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	file := regexp.MustCompile("(?ms)^```yaml\n(# servers.yaml\n.*?)^```").FindStringSubmatch(string(readme))
	require.NotNil(t, file)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/servers.yaml", []byte(file[1]), 0o600))
	for line := range strings.Lines(block(t, "envoy-config")) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "bin/mcp-broker-router envoy-config"); ok {
			cmd := exec.CommandContext(t.Context(), "bash", "-c", testbed.Program(t, testbed.GatewayBin)+" envoy-config"+command)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "TICKETS_TOKEN=do-not-tell-4711")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			envoy, err := os.ReadFile(dir + "/envoy.yaml")
			require.NoError(t, err)
			if text := string(envoy); !strings.Contains(text, "tickets.example.com") || strings.Contains(text, "4711") {
				t.Error("the server is not in Envoy's file, or its token is")
			}
			return
		}
	}
	t.Fatal("the README has no such command")
}
