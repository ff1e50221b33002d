package cluster_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// The endpoint by TLS: one listener for all names below a domain, with a certificate of its own making.
func TestTLSListener(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	certificate, key := testbed.SelfSigned(t, "*.example.com")
	w.cluster.apply(t, "tls-secret.yaml", "CERTIFICATE="+base64.StdEncoding.EncodeToString(certificate), "KEY="+base64.StdEncoding.EncodeToString(key))
	listener := `{"name":"mcps","port":8443,"protocol":"HTTPS","hostname":"*.example.com",` +
		`"tls":{"certificateRefs":[{"name":"mcp-tls"}]},"allowedRoutes":{"namespaces":{"from":"All"}}}`
	w.kubectl(t, "-n", gatewayNamespace, "patch", "gateway", "mcp-gateway", "--type=json", "--patch", `[{"op":"add","path":"/spec/listeners/-","value":`+listener+`}]`)
	t.Cleanup(func() { // what is shared becomes what it was
		w.cleanly(t, "-n", gatewayNamespace, "patch", "gateway", "mcp-gateway", "--type=json", "--patch", `[{"op":"remove","path":"/spec/listeners/1"}]`)
		w.cleanly(t, "-n", gatewayNamespace, "delete", "secret", "mcp-tls")
	})
	w.wait(t, gatewayNamespace, "gateway/mcp-gateway", `jsonpath={.status.listeners[?(@.name=='mcps')].conditions[?(@.type=='Programmed')].status}=True`)

	client := testbed.NewClient(t, "https://"+endpointHost+"/mcp")
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(certificate))
	transport := through(t, w.reach(t, gatewayNamespace, envoyDeployment, 8443))
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	client.HTTP.Transport = transport
	await(t, "the endpoint to be live by TLS", func() (string, bool) {
		a, err := client.TryDo(t, http.MethodPost, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
		return seen(a, err), err == nil && a.Status != http.StatusNotFound && a.Status < http.StatusInternalServerError
	})
	client.Initialize(t, "{}")
	assert.Equal(t, allTools(w.ns+"_"), w.tools(t, client))
	for range 2 {
		assert.Contains(t, client.Call(t, w.forecast(), `{"city":"Lisbon"}`).Text(t), "Lisbon")
	}
	assert.Contains(t, w.newClient(t).Call(t, w.forecast(), `{"city":"Lisbon"}`).Text(t), "Lisbon", "plain HTTP goes on")

	// Another name under the same certificate is nobody's, and none outside of the domain is answered at all.
	assert.Equal(t, http.StatusNotFound, client.Do(t, http.MethodPost, strings.NewReader("{}"), "Host", "other.example.com").Status)
	stranger := testbed.NewClient(t, "https://mcp.example.org/mcp")
	stranger.HTTP.Transport = transport
	_, err := stranger.TryDo(t, http.MethodPost, strings.NewReader("{}"))
	require.Error(t, err)
}
