package app

import (
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/kubesource"
	"github.com/guicassolato/mcp-gateway/internal/telemetry"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// texts are the keys of a ConfigMap at one time.
type texts map[string]string

// LookupEnv implements config.Env.
func (texts) LookupEnv(string) (string, bool) { return "", false }

// ReadFile implements config.Env.
func (t texts) ReadFile(name string) ([]byte, error) {
	text, ok := t[strings.TrimPrefix(name, "team/policies/")]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

var _ config.Env = texts{}

// A ConfigMap that names the key of an engine has nothing shown without that engine's word; another key or none counts at once, a bad one changes nothing
// (Invariants 5 and 8).
func TestAuthorizerBesidePolicies(t *testing.T) {
	engine, other := signingKey(t, ""), signingKey(t, "")
	publicKey := func(k jose.JSONWebKey) string {
		der, err := x509.MarshalPKIXPublicKey(k.Public().Key)
		require.NoError(t, err)
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	list := func(k jose.JSONWebKey) string {
		return strings.TrimPrefix(token(t, k, map[string]any{"iss": "mcp-gateway", "allow": []any{"s_look", map[string]any{"server": "s", "tool": "read"}}}), "Bearer ")
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	d, err := kubesource.NewDocument(&rest.Config{Host: "http://127.0.0.1:1"}, "team/policies", kubesource.PoliciesKey, logger)
	require.NoError(t, err)
	p, err := newPolicies(policiesOptions{Document: d, Logger: logger, Metrics: telemetry.NewMetrics("v", telemetry.Sources{}).Policies(), Elsewhere: true})
	require.NoError(t, err)
	a := &access{policies: p}
	load := func(keys texts) (*policyValues, error) { return p.kind().Load("team/policies/policies.yaml", keys) }
	take := func(keys texts) *policyValues {
		t.Helper()
		values, err := load(keys)
		require.NoError(t, err)
		p.changed(values)
		return values
	}
	allowed := func(list, tool string) bool {
		t.Helper()
		header := http.Header{}
		if list != "" {
			header.Set(wire.HeaderAuthorized, list)
		}
		ok, err := accessOf(a, header, tool)
		require.NoError(t, err)
		return ok
	}
	const values = `policies: {acl: [{everyone: true, allow: [s_look, s_change]}]}`

	plain := take(texts{"policies.yaml": values})
	assert.True(t, allowed("", "look"), "the values alone decide")

	signed := take(texts{"policies.yaml": values, "authorizer.pem": publicKey(engine)})
	assert.False(t, p.kind().Equal(plain, signed), "a key is a change")
	assert.False(t, allowed("", "look"), "without the engine's word")
	assert.False(t, allowed(list(other), "look"), "with another's")
	assert.True(t, allowed(list(engine), "look"))
	assert.False(t, allowed(list(engine), "change"), "the values allow it, and the engine does not")
	assert.False(t, allowed(list(engine), "read"), "the engine allows it, and the values do not")

	_, err = load(texts{"policies.yaml": values, "authorizer.pem": "no key"})
	require.ErrorContains(t, err, "authorizer.pem beside team/policies/policies.yaml: the policy engine's public key is unreadable")

	take(texts{"policies.yaml": values, "authorizer.pem": publicKey(other)})
	assert.False(t, allowed(list(engine), "look"))
	assert.True(t, allowed(list(other), "look"))
}
