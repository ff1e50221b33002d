// Package conformance_test runs the official conformance suite of the Model Context Protocol against a reference server
// alone and through the gateway.
package conformance_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// suiteTime is the longest that one run of the suite may take.
const suiteTime = 3 * time.Minute

// notYet names the scenarios that pass against the server alone but not yet through the gateway, each with the reason. One
// that has begun to pass must be taken out.
func notYet() map[string]string { return map[string]string{} }

// TestRequired: each scenario that passes against the server alone passes through the gateway.
func TestRequired(t *testing.T) {
	server := testbed.GoSDKEverything(t)
	gateway := testbed.StartGateway(t, testbed.Options{Servers: []config.ServerSpec{{Name: "everything", URL: server.URL}}})
	for _, requirements := range []string{"2025-11-25"} {
		t.Run(requirements, func(t *testing.T) {
			alone := runSuite(t, server.URL, requirements)
			through := runSuite(t, gateway.Endpoint, requirements)
			require.Greater(t, len(alone), 25, "the suite has run")
			for name, passes := range alone {
				if !passes {
					continue
				}
				got, ran := through[name]
				assert.True(t, ran, "scenario %q has not run through the gateway", name)
				if reason, excused := notYet()[name]; excused {
					assert.False(t, got, "scenario %q passes now: take it out of notYet (%s)", name, reason)
					continue
				}
				assert.True(t, got, "scenario %q passes against the server alone, but not through the gateway", name)
			}
			t.Logf("%d scenarios", len(alone))
		})
	}
}

// runSuite returns which scenarios passed.
func runSuite(t *testing.T, url, requirements string) map[string]bool {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), suiteTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, testbed.Program(t, testbed.ConformanceBin), "server", "--url", url, "--requirements", requirements, "-o", dir)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("the suite's exit (%v) is judged by its results", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "server-*", "checks.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "the suite left no results:\n%s", out)
	passed := map[string]bool{}
	for _, file := range files {
		name := scenario(filepath.Base(filepath.Dir(file)))
		passed[name] = passes(t, name, file)
	}
	return passed
}

// scenario takes off what the suite puts around a scenario's name.
func scenario(dir string) string {
	return regexp.MustCompile(`^server-(.*)-\d{4}-\d\d-\d\dT[\d-]+Z$`).ReplaceAllString(dir, "$1")
}

func passes(t *testing.T, name, file string) bool {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var checks []struct{ ID, Status, ErrorMessage string }
	require.NoError(t, json.Unmarshal(data, &checks))
	ok := len(checks) > 0
	for _, c := range checks {
		if c.Status == "FAILURE" {
			t.Logf("%s: %s: %s", name, c.ID, c.ErrorMessage)
			ok = false
		}
	}
	return ok
}
