package conformance_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// modernOnly stands before a server that speaks all revisions and lets only those of 2026-07-28 through.
func modernOnly(t *testing.T, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.FlushInterval = -1
	address := testbed.FreeAddress(t)
	testbed.Serve(t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") != "2026-07-28" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","error":{"code":-32022,"message":"unsupported","data":{"supported":["2026-07-28"],"requested":""}}}`)
			return
		}
		// Whole, first: net/http closes the body of a request that is being answered, and its transport, if it is still reading that body,
		// the connection to the server with it.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	return "http://" + address
}

const onlyInSessions = "this tool of the server's asks only where there are sessions"

// TestAcross: each scenario that passes against a server that speaks the suite's revision passes through the gateway against the same server where it
// speaks only the other family, but for those that only a server of the suite's own family can pass.
func TestAcross(t *testing.T) {
	dual := testbed.GoSDKStateless(t)
	for requirements, tt := range map[string]struct {
		alone, behind string
		except        map[string]string
	}{
		"2026-07-28": {dual.URL, testbed.GoSDKEverything(t).URL, map[string]string{
			"input-required-result-basic-elicitation": "it wants a key in inputRequests that no request of a server with sessions can name",
			"input-required-result-multi-round":       "this server ends a call after one round where there are sessions",
			"server-stateless":                        "a server with sessions does not say which capability it lacks",
		}},
		"2025-11-25": {testbed.GoSDKEverything(t).URL, modernOnly(t, dual.URL), map[string]string{
			"elicitation-sep1330-enums":    onlyInSessions,
			"elicitation-sep1034-defaults": onlyInSessions,
			"tools-call-elicitation":       onlyInSessions,
			"tools-call-sampling":          onlyInSessions,
		}},
	} {
		t.Run(requirements, func(t *testing.T) {
			gateway := testbed.StartGateway(t, testbed.Options{Mode: testbed.Standalone, Servers: []config.ServerSpec{{Name: "everything", URL: tt.behind}}})
			alone, through := runSuite(t, tt.alone, requirements), runSuite(t, gateway.Endpoint, requirements)
			for name, want := range alone {
				t.Run(name, func(t *testing.T) {
					if !want.passed() {
						t.Skip("does not pass against the server alone")
					}
					got := through[name]
					if reason, excepted := tt.except[name]; excepted {
						assert.False(t, got.passed(), "it passes now: take it out (%s)", reason)
						return
					}
					for id, check := range got {
						assert.NotEqual(t, failure, check.Status, "%s: %s", id, check.ErrorMessage)
					}
					assert.True(t, got.passed())
				})
			}
		})
	}
}
