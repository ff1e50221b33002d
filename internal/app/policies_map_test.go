package app

import (
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/kubesource"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/telemetry"
)

// document is policy values at one time, as a ConfigMap has them.
type document string

// LookupEnv implements config.Env.
func (document) LookupEnv(string) (string, bool) { return "", false }

// ReadFile implements config.Env.
func (d document) ReadFile(name string) ([]byte, error) {
	if !strings.HasSuffix(name, "/"+kubesource.PoliciesKey) {
		return nil, fs.ErrNotExist
	}
	return []byte(d), nil
}

// Until there are policies in the ConfigMap nobody gets anything, whoever it is, and the process is not ready (Invariant 5).
func TestPoliciesThatAreNotThereYet(t *testing.T) {
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	d, err := kubesource.NewDocument(&rest.Config{Host: "http://127.0.0.1:1"}, "team/mcp-gateway-policies", kubesource.PoliciesKey, logger)
	require.NoError(t, err)
	feed := &valuesSeen{}
	p, err := newPolicies(policiesOptions{Document: d, Logger: logger, Metrics: telemetry.NewMetrics("v", telemetry.Sources{}).Policies(), Feed: feed})
	require.NoError(t, err)
	a := &access{policies: p}

	assert.Equal(t, []string{"there are no good policies in the ConfigMap team/mcp-gateway-policies yet"}, p.NotReady())
	require.Len(t, feed.taken, 1)
	assert.False(t, feed.taken[0].Set.Decide(nil, policy.Request{Kind: policy.Tool, Name: "any"}).Allowed, "Envoy lets no call pass")
	_, err = a.byToken(t.Context(), "")
	var refusal *jsonrpc.Error
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, http.StatusServiceUnavailable, refusal.Status)

	load := func(text string) (*policyValues, error) {
		return p.kind().Load("team/mcp-gateway-policies/policies.yaml", document(text))
	}
	_, bad := load("policies: {rules: []}\n")
	require.ErrorContains(t, bad, "team/mcp-gateway-policies/policies.yaml:1:12: policies.rules: unknown key")
	p.refused(bad)
	assert.NotEmpty(t, p.NotReady(), "bad ones are none")
	assert.Equal(t, "ConfigMap team/mcp-gateway-policies", p.Status().File)
	assert.Len(t, p.Status().Problems, 1)

	// Values that restrict nothing open nothing that was closed: there were none.
	values, err := load("policies: {}\n")
	require.NoError(t, err)
	p.changed(values)
	assert.Empty(t, p.NotReady())
	_, err = a.byToken(t.Context(), "")
	require.NoError(t, err)

	values, err = load("policies: {acl: []}\n")
	require.NoError(t, err)
	p.changed(values)
	_, err = load("policies: {}\n")
	require.ErrorIs(t, err, errOpens)
	assert.Equal(t, 2, p.Status().Generation)
}

var _ config.Env = document("")

// The policies are in one place.
func TestPoliciesMapExcludesFile(t *testing.T) {
	g := &gateway{settings: &settings{envoy: envoySettings{values: "policies.yaml"}, kube: kubeSettings{policiesConfigMap: "a/b"}}}
	_, err := g.policiesDocument()
	require.ErrorContains(t, err, "--policies and --policies-config-map exclude each other")
}
