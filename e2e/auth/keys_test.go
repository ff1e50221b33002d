package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// revocation is how long a key that its issuer has withdrawn may still count: keys are fetched every minute.
const revocation = 90 * time.Second

func kidOf(t *testing.T, token string) string {
	t.Helper()
	first, _, _ := strings.Cut(token, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(first)
	require.NoError(t, err)
	var header struct{ Kid string }
	require.NoError(t, json.Unmarshal(decoded, &header))
	require.NotEmpty(t, header.Kid)
	return header.Kid
}

// component is a part of a realm's configuration, as the administration reads and writes it.
type component map[string]any

func (r *realm) keyProviderOf(t *testing.T, kind string) (path string, provider component) {
	t.Helper()
	var all []component
	r.admin(t, http.MethodGet, "/components?type=org.keycloak.keys.KeyProvider", nil, &all)
	for _, c := range all {
		if c["providerId"] == kind {
			return "/components/" + c["id"].(string), c
		}
	}
	t.Fatalf("the realm has no keys of the kind %q", kind)
	return "", nil
}

// TestKeyRotation: Keycloak signs with a new key, and tokens of both are good; the old key is taken away, and its tokens
// are refused.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	g, _ := guarded(t, newRealm(t))
	r := g.realm
	old := r.token(t, "mcp")
	c := g.connect(t, old)
	c.Call(t, "u_tool", "{}").Result(t)
	path, provider := r.keyProviderOf(t, "rsa-generated")

	r.admin(t, http.MethodPost, "/components", keyProvider("newer", "rsa-generated", map[string]string{"priority": "1000", "active": "true", "keySize": "2048"}), nil)
	young := r.token(t, "mcp")
	require.NotEqual(t, kidOf(t, old), kidOf(t, young))
	after := c.as(young)
	testbed.Await(t, "the new key to be known", func() bool { return after.Call(t, "u_tool", "{}").Status == http.StatusOK })
	assert.Equal(t, []string{"u_tool"}, after.ToolNames(t), "by Envoy and by the broker")
	c.Call(t, "u_tool", "{}").Result(t)

	config := provider["config"].(map[string]any)
	config["enabled"], config["active"] = []string{"false"}, []string{"false"}
	r.admin(t, http.MethodPut, path, provider, nil)
	for _, k := range r.keys(t).Keys {
		require.NotEqual(t, kidOf(t, old), k.KeyID, "the realm no longer publishes the key")
	}
	testbed.AwaitWithin(t, revocation, "tokens of the revoked key to be refused", func() bool { return c.Call(t, "u_tool", "{}").Status != http.StatusOK })
	body, id := c.ToolCall("u_tool", "{}")
	unauthorized(t, g, c.Post(t, body), fmt.Sprint(id))
	after.Call(t, "u_tool", "{}").Result(t)
}
