package app

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// Envoys that somebody else feeds are told the names that the configuration has, and get no call that they could not make as it must be made (Invariant 6).
func TestForeignClusters(t *testing.T) {
	cfg := &config.Config{Servers: []config.Server{
		{Name: "team/plain", Cluster: "outbound|80||plain", Enabled: true},
		{Name: "nameless", Enabled: true},
		{Name: "secret", Cluster: "outbound|80||secret", Enabled: true, Credential: &config.Credential{Kind: config.StaticCredential}},
		{Name: "token", Cluster: "outbound|80||token", Enabled: true, Credential: &config.Credential{Kind: config.ClientToken}},
		{Name: "headers", Cluster: "outbound|80||headers", Enabled: true, Headers: []config.Header{{Name: "x-env", Value: "prod"}}},
	}}
	p := newPublisher(cfg, nil, true, nil, slog.New(slog.DiscardHandler), func(*catalog.Snapshot, *catalog.Snapshot) {})
	carried := map[string]bool{}
	for _, s := range p.Snapshot().Servers() {
		assert.True(t, s.Programmed, s.Name)
		carried[s.Name] = s.Carried
	}
	assert.Equal(t, map[string]bool{"team/plain": false, "nameless": true, "secret": true, "token": true, "headers": true}, carried)
	assert.Equal(t, "outbound|80||plain", p.Snapshot().Server("team/plain").Cluster)

	p = newPublisher(cfg, nil, false, nil, slog.New(slog.DiscardHandler), func(*catalog.Snapshot, *catalog.Snapshot) {})
	assert.Equal(t, "team.plain", p.Snapshot().Server("team/plain").Cluster)
	assert.False(t, p.Snapshot().Server("secret").Carried)
}

func TestIstioConfig(t *testing.T) {
	stdout, _, err := run(t, "istio-config", "--gateway", "gateways/public", "--host", "mcp.example.com,mcp.example.org",
		"--server-host", "weather.example.com,apps.example.com/calc", "--router-service", "r.ns.svc.corp:1", "--broker-service", "b.ns.svc.corp:2")
	require.NoError(t, err)
	for _, want := range []string{
		"name: public-mcp-endpoint\n", "name: public-mcp-servers\n", "namespace: gateways\n", "kind: Gateway\n", "priority: 1000000\n",
		"domainName: mcp.example.org\n", "domainName: weather.example.com\n", "path_separated_prefix: /calc\n",
		"cluster_name: outbound|1||r.ns.svc.corp\n", "cluster: outbound|2||b.ns.svc.corp\n",
	} {
		assert.Contains(t, stdout, want)
	}
	stdout, _, err = run(t, "istio-config", "--gateway", "gateways/public", "--host", "a.com", "--pod-namespace", "ingress", "--pod-selector", "istio=ingress", "--priority", "7")
	require.NoError(t, err)
	assert.NotContains(t, stdout, "targetRefs")
	for _, want := range []string{"namespace: ingress\n", "istio: ingress\n", "priority: 7\n", "priority: 6\n"} {
		assert.Contains(t, stdout, want)
	}
}

func TestIstioMistakes(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"istio-config", "--gateway", "public", "--host", "a.com"}, `--gateway "public": want namespace/name`},
		{[]string{"istio-config", "--gateway", "a/b"}, "--host: the endpoint needs a hostname"},
		{[]string{"istio-config", "--gateway", "a/b", "--host", "http://a.com"}, `hostname "http://a.com"`},
		{[]string{"istio-config", "--gateway", "a/b", "--host", "a.com", "--router-service", "r"}, `--router-service "r": want host:port`},
		{[]string{"istio-config", "--gateway", "a/b", "--host", "a.com", "--broker-service", "b:99999"}, `--broker-service "b:99999"`},
		{[]string{"--envoy-control-plane", "linkerd"}, `--envoy-control-plane "linkerd": want istio`},
		{[]string{"--envoy-control-plane", "istio", "--xds-address", "127.0.0.1:1"}, "exclude each other"},
		{[]string{"--envoy-control-plane", "istio", "--route-from-headers"}, "--route-from-headers is for Envoys that this program feeds"},
		{[]string{"--controller", "--envoy-control-plane", "linkerd"}, `--envoy-control-plane "linkerd": want istio`},
	} {
		_, _, err := run(t, tc.args...)
		require.ErrorContains(t, err, tc.want)
		var mistake usageError
		assert.ErrorAs(t, err, &mistake)
	}
}
