package standalone_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// TestRouterInsideOfEnvoy: where the module fits it is taken, which is said, and what it routes is counted as ever.
func TestRouterInsideOfEnvoy(t *testing.T) {
	lib := testbed.ModuleLib(t)
	for _, choice := range []string{"auto", "module"} {
		t.Run(choice, func(t *testing.T) {
			g := start(t, append(withExamples(t), "--envoy-module", lib, "--router", choice)...)
			assert.Contains(t, g.Output(), `router: module "`+lib+`" inside of Envoy, which has loaded it`)
			c := testbed.Connect(t, g.endpoint)
			c.Call(t, "weather_get_forecast", `{"city":"Rome"}`).Text(t)
			testbed.Await(t, "a call that goes straight to its server", func() bool {
				c.Call(t, "weather_get_forecast", `{"city":"Rome"}`).Text(t)
				return (&testbed.Gateway{Admin: g.admin}).Metric(t, `mcp_gateway_router_decisions_total{outcome="server",status=""}`) > 0
			})
		})
	}
}

// TestRouterBesideEnvoy: where no module fits, ext_proc is taken, and it is said why.
func TestRouterBesideEnvoy(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "libmcp_gateway.so")
	require.NoError(t, os.WriteFile(broken, []byte("not a library"), 0o600))
	other := testbed.BuildModule(t, "another-version")
	for why, flags := range map[string][]string{
		"router: ext_proc, since the module does not fit: there is no router module at":                    {"--envoy-module", "/nowhere/libmcp_gateway.so"},
		"does not load the router module":                                                                  {"--envoy-module", broken},
		`the router module is of version "another-version", and the gateway of "dev": build them together`: {"--envoy-module", other},
		"router: ext_proc, as --router says":                                                               {"--router", "extproc", "--envoy-module", broken},
	} {
		g := start(t, append(withExamples(t), flags...)...)
		assert.Contains(t, g.Output(), why)
		testbed.Connect(t, g.endpoint).Call(t, "weather_get_forecast", `{"city":"Rome"}`).Text(t)
	}
}

// TestRouterThatWasAskedFor: a module that was asked for and does not fit is an error.
func TestRouterThatWasAskedFor(t *testing.T) {
	g := launch(t, append(withExamples(t), "--router", "module", "--envoy-module", "/nowhere/libmcp_gateway.so")...)
	assert.Equal(t, 1, g.ExitCode(t))
	assert.Contains(t, g.Output(), "--router=module: there is no router module at")
	g = launch(t, append(withExamples(t), "--router", "other")...)
	assert.Equal(t, 2, g.ExitCode(t))
}
