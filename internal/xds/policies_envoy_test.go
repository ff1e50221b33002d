package xds_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/wire"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// shippedPolicies parses one of the examples, after replacements of pairs of old and new text.
func shippedPolicies(t *testing.T, name string, replace ...string) *xds.Policies {
	t.Helper()
	file, err := os.ReadFile("../../policies/envoy/" + name)
	require.NoError(t, err)
	text := string(file)
	require.True(t, strings.HasPrefix(text, "# "), "must open with what it shows and how to use it")
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, text, replace[i])
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return parsePolicies(t, text)
}

func parsePolicies(t *testing.T, text string) *xds.Policies {
	t.Helper()
	p, err := xds.ParsePolicies([]byte(text))
	require.NoError(t, err)
	return p
}

// startWithPolicies runs Envoy with the policies, fed over ADS and from a static file, and calls check with the endpoint of each.
func startWithPolicies(t *testing.T, p *xds.Policies, check func(t *testing.T, url string), cs ...xds.Cluster) {
	t.Helper()
	t.Run("from a static file", func(t *testing.T) {
		o := testOptions(t)
		o.Policies = p
		check(t, startGateway(t, o, cs...)+"/mcp")
	})
	t.Run("over ADS", func(t *testing.T) {
		o := testOptions(t)
		o.Policies = p
		g := startFed(t, o, cs...)
		g.awaitSynced(t)
		g.envoy.waitReady(t)
		check(t, g.url())
	})
}

func toolCall(server, tool, hints string) stubCall {
	return stubCall{
		To:       "a",
		Metadata: map[string]string{wire.KeyMethod: "tools/call", wire.KeyServer: server, wire.KeyTool: tool, wire.KeyHints: hints},
		Set:      map[string]string{wire.HeaderMethod: "tools/call", wire.HeaderServer: server, wire.HeaderTool: tool, wire.HeaderRouterKey: "key"},
	}
}

const notAllowed = "this request is not allowed"

func TestShippedRBACPolicy(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	startWithPolicies(t, shippedPolicies(t, "rbac.yaml"), func(t *testing.T, url string) {
		t.Helper()
		for call, refused := range map[[2]string]bool{
			{"weather", "set_alarm"}:      true,
			{"weather", "delete_station"}: true,
			{"weather", "forecast"}:       false,
			{"weather", "reset_alarm"}:    false,
			{"calendar", "set_alarm"}:     false,
		} {
			// What the client says in a header must not matter.
			got := send(t, http.MethodPost, url, toolCall(call[0], call[1], "").body(t), wire.HeaderServer, "calendar")
			if refused {
				require.Equal(t, http.StatusForbidden, got.status, call)
				require.Equal(t, rpcError("1", 403, notAllowed), got.body)
			} else {
				require.Equal(t, "done", got.body, call)
			}
		}
	}, a)
}

func TestShippedExtAuthzPolicy(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	asked := make(chan *http.Request, 16)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		switch r.Header.Get(wire.HeaderTool) {
		case "free":
		case "scarce":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer service.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(service.URL, "http://"), ":")
	p := shippedPolicies(t, "ext-authz.yaml", "port_value: 9191", "port_value: "+port)
	startWithPolicies(t, p, func(t *testing.T, url string) {
		t.Helper()
		got := send(t, http.MethodPost, url, toolCall("weather", "free", "").body(t), "authorization", "Bearer x")
		require.Equal(t, "done", got.body)
		r := <-asked
		require.Equal(t, "/mcp", r.URL.Path)
		require.Equal(t, "weather", r.Header.Get(wire.HeaderServer))
		require.Equal(t, "tools/call", r.Header.Get(wire.HeaderMethod))
		require.Equal(t, "Bearer x", r.Header.Get("Authorization"))
		require.NotContains(t, r.Header, http.CanonicalHeaderKey(wire.HeaderRouterKey), "what is between the router and the broker is nobody else's")
		require.NotContains(t, r.Header, http.CanonicalHeaderKey(wire.HeaderCluster))

		got = send(t, http.MethodPost, url, toolCall("weather", "scarce", "").body(t))
		<-asked
		require.Equal(t, http.StatusTooManyRequests, got.status)
		require.Equal(t, "7", got.header.Get("Retry-After"))
		require.Equal(t, rpcError("1", 429, "too many requests"), got.body)

		got = send(t, http.MethodPost, url, toolCall("weather", "other", "").body(t))
		<-asked
		require.Equal(t, http.StatusUnauthorized, got.status)
		require.Equal(t, "Bearer", got.header.Get("WWW-Authenticate"))
		require.Equal(t, rpcError("1", 401, "authentication is needed"), got.body)
	}, a)

	t.Run("without the service", func(t *testing.T) {
		o := testOptions(t)
		o.Policies = shippedPolicies(t, "ext-authz.yaml", "port_value: 9191", fmt.Sprintf("port_value: %d", freePort(t)))
		got := send(t, http.MethodPost, startGateway(t, o, a)+"/mcp", toolCall("weather", "free", "").body(t))
		require.Equal(t, http.StatusServiceUnavailable, got.status)
		require.Equal(t, rpcError("1", -32603, "the gateway could not handle the request"), got.body)
	})
}

func TestShippedLuaPolicy(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	startWithPolicies(t, shippedPolicies(t, "lua.yaml"), func(t *testing.T, url string) {
		t.Helper()
		got := send(t, http.MethodPost, url, toolCall("weather", "forecast", "readOnly=true,destructive=false").body(t))
		require.Equal(t, "done", got.body)
		require.Equal(t, "weather", got.header.Get("x-mcp-answered-by"))

		got = send(t, http.MethodPost, url, toolCall("weather", "wipe", "readOnly=false,destructive=true").body(t))
		require.Equal(t, http.StatusForbidden, got.status)
		require.Equal(t, rpcError("1", 403, notAllowed), got.body)
	}, a)
}

const luaRefusing = `
httpFilters:
  - name: refuse
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
      default_source_code: {inline_string: 'function envoy_on_request(h) if h:headers():get("x-word") == %q then h:respond({[":status"] = "403"}, "") end end'}
`

// A policy that changes is in force at once, and neither a stream nor a connection ends because of it.
func TestPolicyChangesDrainNothing(t *testing.T) {
	release := make(chan struct{})
	a := upstream(t, "a", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintln(w, "first")
		if r.Header.Get("x-word") == "" {
			w.(http.Flusher).Flush()
			<-release
		}
	})
	o := testOptions(t)
	o.Policies = parsePolicies(t, fmt.Sprintf(luaRefusing, "one"))
	g := startFed(t, o, a)
	g.awaitSynced(t)
	g.envoy.waitReady(t)
	status := func(word string) int {
		return send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t), "x-word", word).status
	}
	require.Equal(t, http.StatusForbidden, status("one"))
	require.Equal(t, http.StatusOK, status("two"))
	resp, err := http.Post(g.url(), "application/json", strings.NewReader(stubCall{To: "a"}.body(t)))
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	stream := bufio.NewReader(resp.Body)
	_, err = stream.ReadString('\n')
	require.NoError(t, err)

	g.options.Policies = parsePolicies(t, fmt.Sprintf(luaRefusing, "two"))
	g.update(t, a)
	g.awaitSynced(t)
	require.Equal(t, http.StatusOK, status("one"))
	require.Equal(t, http.StatusForbidden, status("two"))
	require.Contains(t, g.envoy.get(t, "/stats?filter=listener_manager.listener_(modified|in_place)"), "listener_modified: 0")
	close(release)
	_, err = stream.ReadString('\n')
	require.EqualError(t, err, "EOF", "the stream ends in good order")

	// Invariant 8: a policy that Envoy refuses replaces nothing.
	g.options.Policies = parsePolicies(t, strings.Replace(luaRefusing, "function", "no function", 1))
	g.update(t, a)
	g.await(t, "the refusal", func() bool { return len(g.server.Status().Envoys[0].Refused) == 1 })
	refused := g.server.Status().Envoys[0].Refused[0]
	require.Equal(t, "TypedExtensionConfig", refused.Type)
	require.Equal(t, "refuse", refused.Name)
	require.Equal(t, http.StatusForbidden, status("two"))
}

// Invariant 5: a policy that Envoy cannot read lets nobody pass.
func TestPolicyThatIsRefusedFromTheStartLetsNobodyPass(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	o := testOptions(t)
	o.Policies = parsePolicies(t, strings.Replace(luaRefusing, "function", "no function", 1))
	g := startFed(t, o, a)
	g.await(t, "the refusal", func() bool {
		st := g.server.Status()
		return len(st.Envoys) == 1 && len(st.Envoys[0].Refused) == 1 && st.Envoys[0].Serving
	})
	g.envoy.waitReady(t)
	got := send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t))
	require.Equal(t, http.StatusInternalServerError, got.status)
	require.Equal(t, rpcError("1", -32603, "the gateway could not handle the request"), got.body)
}

// A policy may wait for the whole of a request, which is more than a connection holds.
func TestPoliciesWaitForWholeRequests(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	p := parsePolicies(t, `
httpFilters:
  - name: looks-at-bodies
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
      default_source_code:
        inline_string: |
          function envoy_on_request(handle)
            local body = handle:body()
            if body:length() < 3 * 1024 * 1024 then
              handle:respond({[":status"] = "403"}, "too little")
            end
          end
`)
	startWithPolicies(t, p, func(t *testing.T, url string) {
		t.Helper()
		got := send(t, http.MethodPost, url, stubCall{To: "a", Pad: strings.Repeat("y", 3<<20)}.body(t))
		require.Equal(t, "done", got.body)
		require.Equal(t, http.StatusForbidden, send(t, http.MethodPost, url, stubCall{To: "a"}.body(t)).status)
	}, a)
}
