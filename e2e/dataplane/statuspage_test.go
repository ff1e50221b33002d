package dataplane_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// plainRoute is an Envoy that knows nothing of us and leads a hostname to an address, as an HTTPRoute does.
const plainRoute = `
static_resources:
  listeners:
    - address: {socket_address: {address: 127.0.0.1, port_value: %d}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: in
                route_config:
                  virtual_hosts:
                    - {name: status, domains: [status.example.com], routes: [{match: {prefix: /}, route: {cluster: page}}]}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
    - name: page
      load_assignment:
        cluster_name: page
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]
`

// TestStatusPageThroughARoute: by a name and a route that anybody reaches, the page is seen by those alone whom their token names.
func TestStatusPageThroughARoute(t *testing.T) {
	t.Parallel()
	issuer := testbed.NewIssuer(t)
	policies := filepath.Join(t.TempDir(), "policies.yaml")
	require.NoError(t, os.WriteFile(policies, []byte("policies:\n  authentication: {issuer: "+issuer.URL+", audiences: [mcp-gateway]}\n"), 0o600))
	page, port := testbed.FreeAddress(t), testbed.FreePort(t)
	_, pagePort, err := net.SplitHostPort(page)
	require.NoError(t, err)
	testbed.StartGateway(t, testbed.Options{
		Mode: testbed.Fed, Policies: policies, Flags: []string{"--status-page-address", page, "--status-page-groups", "operators", "--status-page-cookie", "token"},
	})
	bootstrap := filepath.Join(t.TempDir(), "envoy.yaml")
	require.NoError(t, os.WriteFile(bootstrap, fmt.Appendf(nil, plainRoute, port, pagePort), 0o600))
	envoy := testbed.Start(t, "envoy", testbed.Command{Path: testbed.Program(t, testbed.EnvoyBin), Args: []string{"-c", bootstrap, "--use-dynamic-base-id"}})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	testbed.AwaitListening(t, envoy, address)
	ask := func(path string, headers ...string) (int, http.Header) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
		require.NoError(t, err)
		r.Host = "status.example.com"
		for i := 0; i < len(headers); i += 2 {
			r.Header.Add(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode, resp.Header
	}
	olga := issuer.Token(t, "olga", map[string]any{"groups": []string{"staff", "operators"}})
	otto := issuer.Token(t, "otto", map[string]any{"groups": []string{"staff"}})
	forged := testbed.NewSigningKey(t, issuer.Key().ID).Sign(t, nil, issuer.Claims("olga", map[string]any{"groups": []string{"operators"}}))
	answers := func(want int, path string, headers ...string) {
		t.Helper()
		status, _ := ask(path, headers...)
		assert.Equal(t, want, status, path)
	}
	for _, path := range []string{"/", "/status", "/access", "/metrics"} {
		answers(http.StatusUnauthorized, path)
		answers(http.StatusUnauthorized, path, "Authorization", "Bearer "+forged)
		answers(http.StatusUnauthorized, path, "Authorization", olga, "Authorization", olga)
		answers(http.StatusForbidden, path, "Authorization", otto)
	}
	answers(http.StatusOK, "/status", "Authorization", olga)
	status, header := ask("/", "Cookie", "token="+strings.TrimPrefix(olga, "Bearer "))
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	assert.Empty(t, header.Get("Access-Control-Allow-Origin"))
}
