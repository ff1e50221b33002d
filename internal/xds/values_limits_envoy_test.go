package xds_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// calls makes one call for each tool and returns the tools of those that were let pass.
func calls(t *testing.T, g *gateway, authorization string, tools ...string) (passed []string) {
	t.Helper()
	for _, tool := range tools {
		got := send(t, http.MethodPost, g.url(), namedTool(tool).body(t), "authorization", authorization)
		if got.status == http.StatusOK {
			passed = append(passed, tool)
			continue
		}
		require.Equal(t, http.StatusTooManyRequests, got.status, got.body)
		require.Equal(t, rpcError("1", 429, "too many requests"), got.body)
		require.Empty(t, got.header.Values("WWW-Authenticate"))
		wait, err := strconv.Atoi(got.header.Get("Retry-After"))
		require.NoError(t, err)
		require.Positive(t, wait)
	}
	return passed
}

func TestValuesLimitCalls(t *testing.T) {
	t.Run("in Envoy", func(t *testing.T) { limitCalls(t, nil) })
	t.Run("by a service", func(t *testing.T) { limitCalls(t, startLimitService(t)) })
}

// limitCalls has calls counted by Envoy or by a service, with the same outcome.
func limitCalls(t *testing.T, service *limitService) {
	t.Helper()
	a := upstream(t, "a", saying("done"))
	key := newIssuer(t, "k")
	as := func(subject any) string { return "Bearer " + key.token(t, goodClaims(map[string]any{"sub": subject})) }
	one, two := as("u-1"), as("u-2")
	g := startWithValues(t, values(parseValues(t, ""), jwks(t, key)), a)
	tests := map[string]struct {
		limits string
		check  func(t *testing.T)
	}{
		"one for all": {"[{limit: 2, window: 24h}]", func(t *testing.T) {
			require.Equal(t, []string{"a_x", "b_y"}, calls(t, g, one, "a_x", "b_y", "a_x"))
			require.Empty(t, calls(t, g, two, "a_x"))
		}},
		"for each user": {"[{per: user, limit: 2, window: 24h}]", func(t *testing.T) {
			require.Equal(t, []string{"a_x", "b_y"}, calls(t, g, one, "a_x", "b_y", "a_x"))
			require.Equal(t, []string{"a_x", "b_y"}, calls(t, g, two, "a_x", "b_y", "a_x"))
			require.Equal(t, []string{"a_x", "b_y"}, calls(t, g, as(nil), "a_x", "b_y", "a_x"), "nobody escapes by having no name")
			require.Equal(t, []string{"a_x", "b_y"}, calls(t, g, as(strings.Repeat("long", 1000)), "a_x", "b_y", "a_x"))
		}},
		"for each tool": {"[{per: [tool], limit: 1, window: 24h}]", func(t *testing.T) {
			require.Equal(t, []string{"a_x", "b_x", "a_größe"}, calls(t, g, one, "a_x", "a_x", "b_x", "b_x", "a_größe", "a_größe"))
			require.Empty(t, calls(t, g, two, "a_x"))
		}},
		"for each user of each server": {"[{per: [user, server], limit: 1, window: 24h}]", func(t *testing.T) {
			require.Equal(t, []string{"a_x", "b_x"}, calls(t, g, one, "a_x", "a_y", "b_x", "b_y"))
			require.Equal(t, []string{"a_y", "b_y"}, calls(t, g, two, "a_y", "a_x", "b_y", "b_x"))
		}},
		"some tools of some servers": {`[{tools: ["a_s*", "*_slow", größe_x], servers: [a, "g*"], limit: 1, window: 24h}]`, func(t *testing.T) {
			require.Equal(t, []string{"a_s1", "b_slow", "a_x", "c_größe"}, calls(t, g, one, "a_s1", "a_s2", "a_slow", "größe_x", "b_slow", "a_x", "c_größe"))
		}},
		"several, of which each counts": {`[{tools: ["a_*"], limit: 2, window: 24h}, {per: tool, limit: 1, window: 24h}, {tools: ["*_z"], limit: 1, window: 24h}]`, func(t *testing.T) {
			require.Equal(t, []string{"a_x", "a_y", "b_x", "b_z"}, calls(t, g, one, "a_x", "a_x", "a_y", "a_w", "b_x", "b_z", "c_z"))
		}},
		"one that nobody reaches": {"[{limit: 4000000000, window: 1s}]", func(t *testing.T) {
			require.Len(t, calls(t, g, one, "a_x", "a_x", "a_x"), 3)
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set := parseValues(t, "  rateLimits: "+tt.limits+"\n"+service.asValue())
			service.load(t, set)
			g.change(t, values(set, jwks(t, key)), a)
			tt.check(t)
			asked := service.timesAsked()
			for range 5 {
				for _, c := range []stubCall{
					{To: "a", Metadata: map[string]string{wire.KeyMethod: "tools/list", wire.KeyServer: wire.BrokerServer}},
					{To: "a", Metadata: map[string]string{wire.KeyMethod: "prompts/get", wire.KeyServer: "a", wire.KeyPrompt: "x", wire.KeyPublicName: "a_s1"}},
				} {
					got := send(t, http.MethodPost, g.url(), c.body(t), "authorization", one)
					require.Equal(t, http.StatusOK, got.status, "only calls of tools are limited")
				}
			}
			require.Equal(t, asked, service.timesAsked(), "of what is not limited nobody is asked")
		})
	}
}

// A call that is forbidden costs nothing, and what is spent stays spent when another part of the values changes.
func TestValuesKeepBudgets(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	limited := func(acl string) *policy.Set {
		set, err := policy.Parse("values.yaml", []byte("policies:\n  acl: "+acl+"\n  rateLimits: [{per: tool, limit: 2, window: 24h}]\n"))
		require.NoError(t, err)
		return set
	}
	g := startWithValues(t, values(limited("[{everyone: true, allow: [b_y]}]"), nil), a)
	for range 3 {
		require.Equal(t, http.StatusForbidden, send(t, http.MethodPost, g.url(), namedTool("a_x").body(t)).status)
	}
	g.change(t, values(limited(`[{everyone: true, allow: ["*"]}]`), nil), a)
	require.Equal(t, []string{"a_x"}, calls(t, g, "", "a_x"))
	g.change(t, values(limited(`[{everyone: true, allow: [a_x]}]`), nil), a)
	require.Equal(t, []string{"a_x"}, calls(t, g, "", "a_x", "a_x"))
}
