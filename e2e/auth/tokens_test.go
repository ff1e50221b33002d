package auth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// guarded is a gateway that lets developers use everything of one scripted server.
func guarded(t *testing.T, r *realm) (*gateway, *testbed.Upstream) {
	t.Helper()
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
	return startGateway(t, r, policiesOf(r, `    - {groups: [developers], allow: [{server: "*"}]}`+"\n"), testbed.ServerSpec("u", u.URL)), u
}

// hmacSigned is a token whose "secret" is a public key: what a verifier takes that believes the token's own algorithm.
func hmacSigned(t *testing.T, s *signer, claims map[string]any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	require.NoError(t, err)
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	input := segment(map[string]any{"alg": "HS256", "typ": "JWT", "kid": s.kid}) + "." + segment(claims)
	_, _ = mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// badTokens are tokens that must let nobody in, by what is wrong with them.
func badTokens(t *testing.T, r *realm) map[string]string {
	t.Helper()
	ours, foreign := r.trustedSigner(t), &signer{key: newKey(t)}
	foreign.kid = ours.kid
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	elsewhere := sharedRealm(t)
	r.addClient(t, "without-audience", nil, "basic", "groups", "roles")
	real := r.token(t, "mcp")
	sub := with("sub", claimsOf(t, real)["sub"]) // so that no session is in the way
	own := jose.JSONWebKey{Key: foreign.key.Public(), KeyID: "own"}
	signed := func(change ...func(map[string]any)) string {
		return ours.sign(t, r.claims(append(change, sub)...), nil)
	}
	return map[string]string{
		"expired":                      signed(with("exp", ago(2*time.Second)), with("iat", ago(time.Hour))),
		"expires never":                signed(with("exp", nil)),
		"not valid yet":                signed(with("nbf", ago(-time.Hour))),
		"another audience":             signed(with("aud", "weather-server")),
		"an audience like ours":        signed(with("aud", "mcp-gateway-2")),
		"no audience":                  signed(with("aud", nil)),
		"no audience, by Keycloak":     r.tokenOf(t, "without-audience", "mcp"),
		"another issuer":               signed(with("iss", "https://evil.example.com/realms/mcp")),
		"an issuer like ours":          signed(with("iss", r.issuer+"/")),
		"no issuer":                    signed(with("iss", nil)),
		"another realm, by Keycloak":   elsewhere.token(t, "mcp"),
		"unsigned":                     unsigned("none", r.claims(sub)),
		"unsigned, spelt NONE":         unsigned("NONE", r.claims(sub)),
		"without its signature":        real[:strings.LastIndex(real, ".")+1],
		"HMAC with the public key":     hmacSigned(t, ours, r.claims(sub)),
		"a foreign key, our id":        foreign.sign(t, r.claims(sub), nil),
		"a foreign key, no id":         foreign.sign(t, r.claims(sub), map[string]any{"kid": nil}),
		"a key that nobody knows":      foreign.sign(t, r.claims(sub), map[string]any{"kid": "nobody's"}),
		"a key that it brings along":   foreign.sign(t, r.claims(sub), map[string]any{"kid": nil, "jwk": own}),
		"a link to its own key":        foreign.sign(t, r.claims(sub), map[string]any{"kid": "own", "jku": "http://127.0.0.1:1/keys"}),
		"claims changed after signing": altered(t, real, with("groups", []string{"admins"})),
		"rubbish":                      "rubbish",
		"empty":                        "",
	}
}

// TestBadTokens: no token that is not the realm's own, for this gateway and of now, gets anything, and nothing that comes
// with one reaches a server or the broker (Invariant 5).
func TestBadTokens(t *testing.T) {
	t.Parallel()
	g, u := guarded(t, newRealm(t))
	bad := badTokens(t, g.realm)
	token := g.realm.token(t, "mcp")
	c := g.connect(t, token)
	c.Call(t, "u_tool", "{}").Result(t)
	c.Call(t, "u_tool", "{}").Result(t)
	good := len(u.Calls(c.Name, testbed.RPC("tools/call")))
	for name, bad := range bad {
		for what, body := range map[string]string{
			"call": `{"jsonrpc":"2.0","id":"a\u0062c","method":"tools/call","params":{"name":"u_tool","arguments":{}}}`,
			"list": `{"jsonrpc":"2.0","id":"a\u0062c","method":"tools/list"}`,
			"new":  `{"jsonrpc":"2.0","id":"a\u0062c","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`,
		} {
			headers := bearer(bad)
			if what == "new" {
				headers = append(headers, "Mcp-Session-Id", "")
			}
			a := c.Post(t, body, headers...)
			if what != "new" && a.Status == http.StatusNotFound {
				continue // the session is not this token's, which is found out first and lets in as little
			}
			if !assert.Equal(t, http.StatusUnauthorized, a.Status, "%s, %s: %v", name, what, a) {
				continue
			}
			assert.Equal(t, `"a\u0062c"`, a.Error(t).ID, "%s, %s", name, what)
			challenge(t, a)
		}
		listen := c.Do(t, http.MethodGet, nil, bearer(bad)...)
		assert.Contains(t, []int{http.StatusUnauthorized, http.StatusNotFound}, listen.Status, name)
		end := c.Do(t, http.MethodDelete, nil, bearer(bad)...)
		assert.Contains(t, []int{http.StatusUnauthorized, http.StatusNotFound}, end.Status, name)
	}
	assert.Len(t, u.Calls(c.Name, testbed.RPC("tools/call")), good, "no call reached the server")
	c.Call(t, "u_tool", "{}").Result(t)
}

// TestPlacesOfTokens: a token counts in the Authorization header and nowhere else.
func TestPlacesOfTokens(t *testing.T) {
	t.Parallel()
	g, u := guarded(t, sharedRealm(t))
	token := g.realm.token(t, "mcp")
	c := testbed.NewClient(t, g.Endpoint)
	assert.Equal(t, http.StatusOK, c.Post(t, firstMessage, bearer(token)...).Status)
	assert.Equal(t, http.StatusOK, c.Post(t, firstMessage, "Authorization", "bearer "+token).Status, "RFC 9110: schemes have no case")
	for name, headers := range map[string][]string{
		"another header":     {"X-Authorization", "Bearer " + token},
		"proxy":              {"Proxy-Authorization", "Bearer " + token},
		"forwarded token":    {"X-Forwarded-Access-Token", token},
		"cookie":             {"Cookie", "access_token=" + token},
		"no scheme":          {"Authorization", token},
		"basic":              {"Authorization", "Basic " + token},
		"DPoP":               {"Authorization", "DPoP " + token},
		"no space":           {"Authorization", "Bearer" + token},
		"verified elsewhere": {"X-Jwt-Payload", strings.Split(token, ".")[1]},
	} {
		a := c.Post(t, firstMessage, headers...)
		assert.Equal(t, http.StatusUnauthorized, a.Status, "%s: %v", name, a)
	}
	for _, name := range []string{"access_token", "token", "authorization"} {
		a := c.At(g.Endpoint+"?"+name+"="+url.QueryEscape(token)).Post(t, firstMessage)
		assert.Equal(t, http.StatusUnauthorized, a.Status, "in the query string as %s: %v", name, a)
	}
	two := c.Post(t, firstMessage, "Authorization", "Bearer "+token, "Authorization", "Bearer "+token)
	assert.Contains(t, []int{http.StatusBadRequest, http.StatusUnauthorized}, two.Status, "two tokens are none")
	two.Error(t)
	assert.Empty(t, u.Calls("x", testbed.RPC("tools/call")))
}

// TestTokenEnds: a token that ends while its session is open is worth nothing from then on, and the next one goes on with
// the session.
func TestTokenEnds(t *testing.T) {
	t.Parallel()
	g, u := guarded(t, sharedRealm(t))
	g.realm.addClient(t, "short", map[string]string{"access.token.lifespan": "3"})
	c := g.connect(t, g.realm.tokenOf(t, "short", "mcp"))
	c.Call(t, "u_tool", "{}").Result(t)
	testbed.Await(t, "the token to end", func() bool { return c.Call(t, "u_tool", "{}").Status != http.StatusOK })
	before := len(u.Calls(c.Name, testbed.RPC("tools/call")))
	body, id := c.ToolCall("u_tool", "{}")
	unauthorized(t, g, c.Post(t, body), fmt.Sprint(id))
	assert.Len(t, u.Calls(c.Name, testbed.RPC("tools/call")), before)
	c.as(g.realm.token(t, "mcp")).Call(t, "u_tool", "{}").Result(t)
}

// TestTokensStayHere: servers never see the client's token, nor its cookies (Invariant 6).
func TestTokensStayHere(t *testing.T) {
	t.Parallel()
	g, u := guarded(t, sharedRealm(t))
	token := g.realm.token(t, "mcp")
	c := g.connect(t, token)
	for range 3 {
		c.Call(t, "u_tool", "{}", "Cookie", "secret=1", "Proxy-Authorization", "Basic c2VjcmV0").Result(t)
	}
	c.ToolNames(t)
	calls := u.AllCalls()
	require.NotEmpty(t, u.Calls(c.Name, testbed.RPC("tools/call")))
	for _, call := range calls {
		for name, values := range call.Header {
			all := strings.Join(values, " ")
			assert.NotContains(t, all, token[:20], "%s: %s", call.RPC, name)
			assert.NotContains(t, all, strings.Split(token, ".")[1], "%s: %s", call.RPC, name)
			assert.NotContains(t, all, "secret", "%s: %s", call.RPC, name)
		}
		assert.Empty(t, call.Header.Get("Authorization"))
	}
}
