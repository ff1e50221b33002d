package xds_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

func tokenCluster(kind config.CredentialKind, token string) []xds.Cluster {
	c := &config.Credential{Kind: kind, Header: "authorization", Prefix: "Bearer "}
	if kind != config.ClientToken {
		c.Client = &config.OAuthClient{TokenURL: "https://idp.example.com/token", ID: "gateway", Secret: config.NewSecret("cl13nt-s3cr3t")}
		c.Discovery = &config.Credential{Header: "authorization", Prefix: "Bearer ", Value: config.NewSecret("r3ader")}
	}
	return []xds.Cluster{{
		Name: "weather", Token: config.NewSecret(token),
		Server: config.Server{Name: "weather", Scheme: "http", Host: "10.0.0.1", Port: 80, Path: "/mcp", Hostname: "weather", Enabled: true, Credential: c},
	}}
}

// A token is a secret under its cluster's name. The next one changes that secret and nothing else, so that no connection is drained.
func TestTokensAreSecrets(t *testing.T) {
	first, err := xds.Translate(goldenOptions(), tokenCluster(config.ClientCredentials, "t0ken-1"))
	require.NoError(t, err)
	require.Len(t, first.Secrets, 1)
	assert.Equal(t, "weather", first.Secrets[0].GetName())
	assert.Equal(t, "t0ken-1", first.Secrets[0].GetGenericSecret().GetSecret().GetInlineString())

	next, err := xds.Translate(goldenOptions(), tokenCluster(config.ClientCredentials, "t0ken-2"))
	require.NoError(t, err)
	assert.Equal(t, "t0ken-2", next.Secrets[0].GetGenericSecret().GetSecret().GetInlineString())
	next.Secrets = first.Secrets
	assert.Empty(t, cmp.Diff(first, next, protocmp.Transform()))
	for _, c := range first.Clusters {
		text := protojson.Format(c)
		for _, secret := range []string{"t0ken", "s3cr3t", "r3ader"} {
			assert.NotContains(t, text, secret)
		}
	}
}

// Envoy puts nothing on for servers whose calls carry a token of the caller's, and leaves the client's own only where that was chosen
// (Invariant 6).
func TestWhatBecomesOfAuthorization(t *testing.T) {
	const removed, injected = `"remove":"authorization"`, "credential_injector"
	for kind, want := range map[config.CredentialKind]map[string]bool{
		config.StaticCredential:  {removed: true, injected: true},
		config.ClientCredentials: {removed: true, injected: true},
		config.TokenExchange:     {removed: true, injected: false},
		config.ClientToken:       {removed: false, injected: false},
	} {
		r, err := xds.Translate(goldenOptions(), tokenCluster(kind, ""))
		require.NoError(t, err)
		out, err := protojson.Marshal(r.Clusters[len(r.Clusters)-1])
		require.NoError(t, err)
		text := strings.ReplaceAll(string(out), " ", "") // protojson's own spacing is not the same from run to run
		for part, there := range want {
			assert.Equal(t, there, strings.Contains(text, part), "%d %s", kind, part)
		}
		assert.Contains(t, text, `"remove":"cookie"`, kind)
		assert.Equal(t, want[injected], len(r.Secrets) == 1, kind)
	}
}

func TestStaticFileWithTokens(t *testing.T) {
	_, err := xds.Static(goldenOptions(), tokenCluster(config.ClientCredentials, ""))
	require.ErrorContains(t, err, `server "weather": clientCredentials give tokens that have to be renewed, which only an Envoy gets that the gateway feeds`)
	for _, kind := range []config.CredentialKind{config.TokenExchange, config.ClientToken} {
		_, err := xds.Static(goldenOptions(), tokenCluster(kind, ""))
		require.NoError(t, err)
	}
}
