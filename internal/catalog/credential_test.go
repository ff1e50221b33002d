package catalog

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

func withKind(kind config.CredentialKind) config.Server {
	return config.Server{Name: "weather", Enabled: true, Credential: &config.Credential{
		Kind: kind, Header: "authorization", Prefix: "Bearer ", Client: &config.OAuthClient{TokenURL: "https://idp/token", ID: "gateway"},
	}}
}

func TestWhoMakesTheCalls(t *testing.T) {
	yes, no := func(*config.Server) bool { return true }, func(*config.Server) bool { return false }
	for _, tt := range []struct {
		kind               config.CredentialKind
		hasToken           func(*config.Server) bool
		perCaller, carried bool
	}{
		{config.StaticCredential, no, false, false},
		{config.ClientCredentials, yes, false, false},
		{config.ClientCredentials, no, false, true},
		{config.ClientCredentials, nil, false, true},
		{config.TokenExchange, yes, true, true},
		{config.ClientToken, no, true, false},
	} {
		s := Build(Input{Servers: []config.Server{withKind(tt.kind)}, HasToken: tt.hasToken}).Server("weather")
		assert.Equal(t, tt.perCaller, s.PerCaller, tt.kind)
		assert.Equal(t, tt.carried, s.Carried, tt.kind)
	}
	s := Build(Input{Servers: []config.Server{{Name: "plain"}}}).Server("plain")
	assert.False(t, s.PerCaller || s.Carried)
	s = Build(Input{Servers: []config.Server{{Name: "untrusted", Untrusted: true}}}).Server("untrusted")
	assert.True(t, s.Carried)
}

// Whatever decides which token a server gets makes another server of it. Where a secret was found does not.
func TestFingerprintOfClients(t *testing.T) {
	of := func(change func(*config.Credential)) string {
		s := withKind(config.ClientCredentials)
		change(s.Credential)
		return Fingerprint(&s)
	}
	same := of(func(*config.Credential) {})
	assert.Equal(t, same, of(func(c *config.Credential) { c.Client.SecretEnv, c.Client.SecretFile = "A", "b" }))
	seen := map[string]bool{same: true}
	for i, change := range []func(*config.Credential){
		func(c *config.Credential) { c.Kind = config.TokenExchange },
		func(c *config.Credential) { c.Kind = config.ClientToken },
		func(c *config.Credential) { c.Client = nil },
		func(c *config.Credential) { c.Client.TokenURL = "https://other/token" },
		func(c *config.Credential) { c.Client.Issuer = "https://idp" },
		func(c *config.Credential) { c.Client.ID = "other" },
		func(c *config.Credential) { c.Client.Secret = config.NewSecret("a") },
		func(c *config.Credential) { c.Client.Scopes = []string{"a", "b"} },
		func(c *config.Credential) { c.Client.Scopes = []string{"a b"} },
		func(c *config.Credential) { c.Client.Audience = "a" },
		func(c *config.Credential) { c.Client.Resource = "a" },
	} {
		f := of(change)
		assert.False(t, seen[f], i)
		seen[f] = true
	}
}
