package xds_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/wire"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

const (
	resourceMetadata = "https://gateway.example.com/.well-known/oauth-protected-resource/mcp"
	challengeNone    = `Bearer resource_metadata="` + resourceMetadata + `", scope="openid basic"`
	challengeInvalid = `Bearer error="invalid_token", resource_metadata="` + resourceMetadata + `", scope="openid basic"`
	challengeScope   = `Bearer error="insufficient_scope", scope="openid basic", resource_metadata="` + resourceMetadata + `"`
)

// parseValues reads policy values that have the authentication of the tests' issuer.
func parseValues(t testing.TB, rest string) *policy.Set {
	t.Helper()
	set, err := policy.Parse("values.yaml", []byte(`
policies:
  authentication: {issuer: "`+issuerName+`", audiences: [other, `+audience+`], clockSkew: 2s, jwksURI: "http://127.0.0.1:1/keys"}
`+rest))
	require.NoError(t, err)
	return set
}

func values(set *policy.Set, keys []byte) *xds.PolicyValues {
	return &xds.PolicyValues{Set: set, JWKS: keys, ResourceMetadata: resourceMetadata, Scopes: []string{"openid", "basic"}}
}

// startWithValues runs a fed Envoy.
func startWithValues(t *testing.T, v *xds.PolicyValues, cs ...xds.Cluster) *gateway {
	t.Helper()
	o := testOptions(t)
	o.Values = v
	g := startFed(t, o, cs...)
	g.awaitSynced(t)
	g.envoy.waitReady(t)
	return g
}

// change gives the Envoy other values.
func (g *gateway) change(t *testing.T, v *xds.PolicyValues, cs ...xds.Cluster) {
	t.Helper()
	g.options.Values = v
	g.update(t, cs...)
	g.awaitSynced(t)
}

func namedTool(public string) stubCall {
	server, tool, _ := strings.Cut(public, "_")
	return stubCall{To: "a", Metadata: map[string]string{
		wire.KeyMethod: "tools/call", wire.KeyServer: server, wire.KeyTool: tool, wire.KeyPublicName: public,
		wire.KeyHints: "readOnly=true,destructive=false,idempotent=false,openWorld=true",
	}}
}

func TestValuesVerifyTokens(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	es, rs, foreign := newIssuer(t, "es"), newRSAIssuer(t, "rs"), newIssuer(t, "es")
	g := startWithValues(t, values(parseValues(t, ""), jwks(t, es, rs)), a)
	good := goodClaims(nil)
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }

	for name, authorization := range map[string]string{
		"ES256":                         "Bearer " + es.token(t, good),
		"RS256":                         "Bearer " + rs.token(t, good),
		"a scheme in lower case":        "bearer " + es.token(t, good),
		"one audience of two":           "Bearer " + es.token(t, goodClaims(map[string]any{"aud": []string{"x", audience}})),
		"expired within the clock skew": "Bearer " + es.token(t, goodClaims(map[string]any{"exp": in(0)})),
	} {
		t.Run(name, func(t *testing.T) {
			got := send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t), "authorization", authorization)
			require.Equal(t, http.StatusOK, got.status, got.body)
		})
	}

	// Invariant 5: an unverifiable token means no.
	const refused, missing = "the access token is not accepted", "authentication is needed"
	for name, tt := range map[string]struct{ authorization, message string }{
		"expired":                  {"Bearer " + es.token(t, goodClaims(map[string]any{"exp": in(-time.Minute)})), refused},
		"not valid yet":            {"Bearer " + es.token(t, goodClaims(map[string]any{"nbf": in(time.Minute)})), refused},
		"never expiring":           {"Bearer " + es.token(t, goodClaims(map[string]any{"exp": nil})), refused},
		"another audience":         {"Bearer " + es.token(t, goodClaims(map[string]any{"aud": "mcp"})), refused},
		"no audience":              {"Bearer " + es.token(t, goodClaims(map[string]any{"aud": nil})), refused},
		"another issuer":           {"Bearer " + es.token(t, goodClaims(map[string]any{"iss": issuerName + "/"})), refused},
		"no issuer":                {"Bearer " + es.token(t, goodClaims(map[string]any{"iss": nil})), refused},
		"a foreign key":            {"Bearer " + foreign.token(t, good), refused},
		"a changed payload":        {"Bearer " + tampered(t, es.token(t, good), goodClaims(map[string]any{"sub": "root"})), refused},
		"no signature":             {"Bearer " + unsigned(t, good, "AAAA"), refused},
		"the public key as secret": {"Bearer " + rs.confused(t, good), refused},
		"no header":                {"", missing},
		"an empty signature":       {"Bearer " + unsigned(t, good, ""), missing},
		"no scheme":                {es.token(t, good), missing},
		"another scheme":           {"Basic " + es.token(t, good), missing},
		"two schemes":              {"Basic Bearer " + es.token(t, good), missing},
		"two tokens":               {"Bearer " + es.token(t, good) + " Bearer " + es.token(t, good), missing},
		"a list":                   {"Bearer " + es.token(t, good) + ",x", missing},
		"two blanks":               {"Bearer  " + es.token(t, good), missing},
		"no token":                 {"Bearer ", missing},
	} {
		t.Run(name, func(t *testing.T) {
			headers := []string{"origin", "http://localhost:6274"}
			if tt.authorization != "" {
				headers = append(headers, "authorization", tt.authorization)
			}
			got := send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t), headers...)
			require.Equal(t, http.StatusUnauthorized, got.status, got.body)
			require.Equal(t, rpcError("1", 401, tt.message), got.body)
			want := challengeNone
			if tt.message == refused {
				want = challengeInvalid
			}
			require.Equal(t, []string{want}, got.header.Values("WWW-Authenticate"))
			require.Equal(t, "http://localhost:6274", got.header.Get("Access-Control-Allow-Origin"))
			require.Contains(t, got.header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate")
		})
	}

	t.Run("elsewhere than in the header", func(t *testing.T) {
		token := es.token(t, good)
		got := send(t, http.MethodPost, g.url()+"?access_token="+token, stubCall{To: "a"}.body(t), "cookie", "access_token="+token, "x-mcp-no-token", token)
		require.Equal(t, http.StatusUnauthorized, got.status)
		require.Equal(t, []string{challengeNone}, got.header.Values("WWW-Authenticate"))
	})
	t.Run("without an id", func(t *testing.T) {
		got := send(t, http.MethodGet, g.url(), "", toHeader, "a")
		require.Equal(t, http.StatusUnauthorized, got.status)
		require.Equal(t, rpcError("", 401, missing), got.body)
	})
}

// tampered has another payload under the same signature.
func tampered(t *testing.T, token string, claims map[string]any) string {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	return parts[0] + "." + encoded(marshal(t, claims)) + "." + parts[2]
}

func TestValuesLeaveSomeRequestsPublic(t *testing.T) {
	broker := upstream(t, "broker", saying("the metadata"))
	o := testOptions(t)
	o.Broker = broker.Server.Address()
	o.Values = values(parseValues(t, "  acl: []\n"), jwks(t, newIssuer(t, "k")))
	g := startFed(t, o)
	g.awaitSynced(t)
	g.envoy.waitReady(t)
	base := strings.TrimSuffix(g.url(), "/mcp")
	for _, path := range []string{wire.PathProtectedResource, wire.PathProtectedResource + "/mcp"} {
		got := send(t, http.MethodGet, base+path, "")
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.Equal(t, "the metadata", got.body)
	}
	pre := send(t, http.MethodOptions, g.url(), "", "origin", "http://localhost:1", "access-control-request-method", "POST")
	require.Equal(t, http.StatusOK, pre.status)
	// What only looks like either of them is not.
	for _, path := range []string{wire.PathProtectedResource + "x", "/mcp", "/mcp" + wire.PathProtectedResource, "/"} {
		got := send(t, http.MethodGet, base+path, "", toHeader, wire.BrokerCluster)
		require.Contains(t, []int{http.StatusUnauthorized, http.StatusNotFound}, got.status, path)
		require.NotEqual(t, "the metadata", got.body, path)
	}
	got := send(t, http.MethodOptions, g.url(), "", toHeader, wire.BrokerCluster)
	require.Equal(t, http.StatusUnauthorized, got.status, "no preflight")
}

func TestValuesDecideAccess(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	key := newIssuer(t, "k")
	g := startWithValues(t, values(parseValues(t, `
  acl:
    - groups: [accounting]
      allow: ["invoices_*"]
    - scopes: [weather]
      when: claims.level >= 2
      allow: [{server: weather}]
`), jwks(t, key)), a)
	as := func(claims map[string]any) string { return "Bearer " + key.token(t, goodClaims(claims)) }
	accountant := as(map[string]any{"groups": []string{"staff", "accounting"}})
	call := func(c stubCall, authorization string) answer {
		return send(t, http.MethodPost, g.url(), c.body(t), "authorization", authorization)
	}
	require.Equal(t, "done", call(namedTool("invoices_list"), accountant).body)
	require.Equal(t, "done", call(stubCall{To: "a", Metadata: map[string]string{wire.KeyMethod: "tools/list", wire.KeyServer: "invoices"}}, as(nil)).body, "no item")
	require.Equal(t, "done", call(namedTool("weather_get"), as(map[string]any{"scope": "openid weather", "level": 2})).body)

	for name, got := range map[string]answer{
		"another tool":         call(namedTool("bills_list"), accountant),
		"nobody in particular": call(namedTool("invoices_list"), as(nil)),
		"a low level":          call(namedTool("weather_get"), as(map[string]any{"scope": "openid weather", "level": 1})),
		"no level":             call(namedTool("weather_get"), as(map[string]any{"scope": "weather"})),
		"a longer scope":       call(namedTool("weather_get"), as(map[string]any{"scope": "weathers openid", "level": 3})),
	} {
		require.Equal(t, http.StatusForbidden, got.status, name)
		require.Equal(t, rpcError("1", 403, notAllowed), got.body, name)
		require.Equal(t, []string{challengeScope}, got.header.Values("WWW-Authenticate"), name)
	}

	// Invariant 3: a client can forge nothing.
	got := send(t, http.MethodPost, g.url(), namedTool("bills_list").body(t), "authorization", accountant,
		wire.HeaderTool, "list", wire.HeaderPublicName, "invoices_list", wire.HeaderServer, "invoices")
	require.Equal(t, http.StatusForbidden, got.status)
}

// Values that change are in force at once, and neither a stream nor a connection ends because of it.
func TestValuesChangeHot(t *testing.T) {
	release := make(chan struct{})
	a := upstream(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintln(w, "first")
		if r.Header.Get("x-wait") != "" {
			w.(http.Flusher).Flush()
			<-release
		}
	})
	old, next := newIssuer(t, "old"), newIssuer(t, "next")
	acl := func(tool string) *policy.Set {
		return parseValues(t, "  acl: [{everyone: true, allow: ["+tool+"]}]\n")
	}
	g := startWithValues(t, values(acl("x_one"), jwks(t, old)), a)
	status := func(i issuer, tool string) int {
		return send(t, http.MethodPost, g.url(), namedTool(tool).body(t), "authorization", "Bearer "+i.token(t, goodClaims(nil))).status
	}
	require.Equal(t, []int{200, 403, 401}, []int{status(old, "x_one"), status(old, "x_two"), status(next, "x_one")})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url(), strings.NewReader(namedTool("x_one").body(t)))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+old.token(t, goodClaims(nil)))
	req.Header.Set("X-Wait", "1")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	stream := bufio.NewReader(resp.Body)
	_, err = stream.ReadString('\n')
	require.NoError(t, err)

	g.change(t, values(acl("x_two"), jwks(t, old, next)), a)
	require.Equal(t, []int{403, 200, 200}, []int{status(old, "x_one"), status(old, "x_two"), status(next, "x_two")})
	g.change(t, values(acl("x_two"), jwks(t, next)), a)
	require.Equal(t, []int{401, 200}, []int{status(old, "x_two"), status(next, "x_two")}, "the old key is gone")

	other := values(acl("x_two"), jwks(t, next))
	other.Scopes = []string{"other"}
	g.change(t, other, a)
	got := send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t))
	require.Equal(t, `Bearer resource_metadata="`+resourceMetadata+`", scope="other"`, got.header.Get("WWW-Authenticate"))

	require.Contains(t, g.envoy.get(t, "/stats?filter=listener_manager.listener_(modified|in_place)"), "listener_modified: 0")
	close(release)
	_, err = stream.ReadString('\n')
	require.EqualError(t, err, "EOF", "the stream ends in good order")
}

// Without keys nobody passes, but nobody is told that the token is bad.
func TestValuesWithoutKeysLetNobodyPass(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	key := newIssuer(t, "k")
	symmetric := map[string]any{"kty": "oct", "kid": "s", "alg": "HS256", "k": encoded([]byte("0123456789abcdef0123456789abcdef"))}
	g := startWithValues(t, values(parseValues(t, ""), nil), a)
	for _, keys := range [][]byte{nil, []byte(`{"keys":[]}`), marshal(t, map[string]any{"keys": []any{symmetric}})} {
		g.change(t, values(parseValues(t, ""), keys), a)
		got := send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t), "authorization", "Bearer "+key.token(t, goodClaims(nil)))
		require.Equal(t, http.StatusServiceUnavailable, got.status)
		require.Equal(t, rpcError("1", -32603, "tokens cannot be verified at the moment"), got.body)
		got = send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t))
		require.Equal(t, http.StatusUnauthorized, got.status)
	}
	g.change(t, values(parseValues(t, ""), jwks(t, key)), a)
	got := send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t), "authorization", "Bearer "+key.token(t, goodClaims(nil)))
	require.Equal(t, "done", got.body)
}

// A part that the values do not have does nothing.
func TestValuesWithInertParts(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	g := startWithValues(t, values(&policy.Set{}, nil), a)
	require.Equal(t, "done", send(t, http.MethodPost, g.url(), namedTool("x_y").body(t)).body)

	set, err := policy.Parse("values.yaml", []byte("policies: {acl: [{everyone: true, allow: [x_*]}]}\n"))
	require.NoError(t, err)
	g.change(t, values(set, nil), a)
	require.Equal(t, "done", send(t, http.MethodPost, g.url(), namedTool("x_y").body(t)).body)
	got := send(t, http.MethodPost, g.url(), namedTool("y_y").body(t), "authorization", "Bearer "+newIssuer(t, "k").token(t, goodClaims(nil)))
	require.Equal(t, http.StatusForbidden, got.status)
	require.Equal(t, rpcError("1", 403, notAllowed), got.body)
	require.Empty(t, got.header.Values("WWW-Authenticate"), "nobody to challenge")
}

// Policies of the user's own run behind the values, and what they answer stays as they said it.
func TestValuesLeaveOtherAnswersAlone(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
		status, _ := strconv.Atoi(r.Header.Get(wire.HeaderTool))
		w.WriteHeader(status)
	}))
	defer service.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(service.URL, "http://"), ":")
	key := newIssuer(t, "k")
	o := testOptions(t)
	o.Values = values(parseValues(t, "  acl: [{everyone: true, allow: [\"*\"]}]\n"), jwks(t, key))
	o.Policies = shippedPolicies(t, "ext-authz.yaml", "port_value: 9191", "port_value: "+port)
	g := startFed(t, o, a)
	g.awaitSynced(t)
	g.envoy.waitReady(t)
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		c := namedTool("x_y")
		c.Set = map[string]string{wire.HeaderTool: strconv.Itoa(status)}
		got := send(t, http.MethodPost, g.url(), c.body(t), "authorization", "Bearer "+key.token(t, goodClaims(nil)))
		require.Equal(t, status, got.status)
		require.Equal(t, []string{`DPoP error="use_dpop_nonce"`}, got.header.Values("WWW-Authenticate"))
	}
	got := send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t))
	require.Equal(t, []string{challengeNone}, got.header.Values("WWW-Authenticate"), "the values come first")
}
