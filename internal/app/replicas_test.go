package app

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/telemetry"
)

// TestReplicaURL: a pod knows its address, and has no shell to put brackets around it.
func TestReplicaURL(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"":                        "",
		"10.0.0.7":                "http://10.0.0.7:8080",
		"fd00::7":                 "http://[fd00::7]:8080",
		"::ffff:10.0.0.7":         "http://[::ffff:10.0.0.7]:8080",
		"http://10.0.0.7:9":       "http://10.0.0.7:9",
		"http://[fd00::7]:9":      "http://[fd00::7]:9",
		"https://replica-1.pods/": "https://replica-1.pods/",
	} {
		s := replicaSettings{url: given}
		require.NoError(t, s.check("[::]:8080"), given)
		assert.Equal(t, want, s.url)
	}
	for _, given := range []string{"10.0.0.7:8080", "[fd00::7]", "fe80::7%eth0", "replica-1", "ftp://10.0.0.7", "http://fd00::7:8080", "http://u@h:1", "http://h:1/path", "http://h:1?q", "http://:8080"} {
		s := replicaSettings{url: given}
		require.ErrorContains(t, s.check("0.0.0.0:8080"), "--replica-url \""+given+"\": want http://host:port", given)
	}
	for _, broker := range []string{"unix:/run/broker.sock", "0.0.0.0:0"} {
		s := replicaSettings{url: "10.0.0.7"}
		require.ErrorContains(t, s.check(broker), "since --mcp-broker-public-address has no port", broker)
	}
}

// TestOpenStore: what has a password comes from a Secret, and one that was made of a file ends with a line.
func TestOpenStore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		given     replicaSettings
		env       string
		generated bool
		wants     string // empty: a store
	}{
		"a flag":                   {given: replicaSettings{storeURL: "redis://h:1"}},
		"the environment":          {env: "redis://:pw@h:1\n"},
		"both":                     {replicaSettings{storeURL: "redis://h:1"}, "redis://h:1", false, "both --store-url and MCP_GATEWAY_STORE_URL"},
		"a bad one":                {env: "redis://:pw@h", wants: "MCP_GATEWAY_STORE_URL: cannot open the store"},
		"roots of nothing":         {given: replicaSettings{storeCA: "ca.pem"}, wants: "--store-ca-file needs --store-url"},
		"a certificate of nothing": {given: replicaSettings{storeCert: "cert.pem", storeKey: "key.pem"}, wants: "needs --store-url"},
		"half a certificate":       {given: replicaSettings{storeURL: "rediss://h:1", storeCert: "cert.pem"}, wants: "needs both its file and that of its key"},
		"a key for this run":       {replicaSettings{storeURL: "redis://h:1"}, "", true, "replicas share the session key"},
		"a key for this replica":   {replicaSettings{url: "http://h:1"}, "", true, "replicas share the session key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &gateway{settings: &settings{replicas: c.given}, metrics: telemetry.NewMetrics("test", telemetry.Sources{})}
			opened, err := g.openStore(func(name string) (string, bool) { return c.env, c.env != "" && name == envStoreURL }, c.generated)
			if c.wants != "" {
				require.ErrorContains(t, err, c.wants)
				assert.NotContains(t, err.Error(), "pw")
				return
			}
			require.NoError(t, err)
			require.NoError(t, opened.Close())
		})
	}
}
