package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/consent"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// TestConsentSettings: what the pages for users' credentials cannot work without is missed at the start, and a store is not touched with another key.
func TestConsentSettings(t *testing.T) {
	good, values := write(t, "c.yaml", "servers: []\n"), write(t, "p.yaml", withTokens(""))
	key, other := write(t, "key", strings.Repeat("k", 32)), write(t, "other", strings.Repeat("o", 32))
	secret, empty := write(t, "secret", "s3cr3t\n"), write(t, "empty", "\n")
	stored := filepath.Join(t.TempDir(), "store")
	one, err := session.NewKey([]byte(strings.Repeat("k", 32)))
	require.NoError(t, err)
	file, err := consent.OpenFile(stored, one.Derive("credential-store"))
	require.NoError(t, err)
	require.NoError(t, file.Close())
	before, err := os.ReadFile(stored)
	require.NoError(t, err)

	for name, tt := range map[string]struct {
		args []string
		env  string
		code int
		want string
	}{
		"a secret without a client": {[]string{"--consent-client-secret-file", secret}, "", 2, "go with --consent-client-id only"},
		"a store without a client":  {[]string{"--consent-store-file", stored}, "", 2, "go with --consent-client-id only"},
		"no policies":               {[]string{"--consent-client-id", "a"}, "", 2, "--consent-client-id needs --policies with authentication"},
		"a store without a key":     {[]string{"--consent-client-id", "a", "--policies", values, "--consent-store-file", stored}, "", 2, "--consent-store-file needs --session-key-file"},
		"another key": {
			[]string{"--consent-client-id", "a", "--policies", values, "--consent-store-file", stored, "--session-key-file", other},
			"", 1,
			"was written with another session key: it was left as it is",
		},
		"nowhere to store":   {[]string{"--consent-client-id", "a", "--policies", values, "--consent-store-file", "/nowhere/store", "--session-key-file", key}, "", 1, "--consent-store-file: the credential store \"/nowhere/store\""},
		"no secret":          {[]string{"--consent-client-id", "a", "--policies", values, "--consent-client-secret-file", "/nowhere/secret"}, "", 1, "--consent-client-secret-file: open /nowhere/secret"},
		"a secret that none": {[]string{"--consent-client-id", "a", "--policies", values, "--consent-client-secret-file", empty}, "", 1, "is empty"},
		"two secrets":        {[]string{"--consent-client-id", "a", "--policies", values, "--consent-client-secret-file", secret}, "s3cr3t", 2, "keep one of them"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(envConsentSecret, tt.env)
			_, log, err := run(t, append([]string{"--mcp-gateway-config", good}, tt.args...)...)
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, tt.code, ExitCode(err))
			assert.NotContains(t, err.Error()+log, "s3cr3t")
		})
	}
	after, err := os.ReadFile(stored)
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
}
