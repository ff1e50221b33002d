package xds_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

func TestValuesReportEveryProblem(t *testing.T) {
	authenticated := func(jwksURI string) *policy.Set {
		return &policy.Set{Authentication: &policy.Authentication{Issuer: "i", Audiences: []string{"a"}, JWKSURI: jwksURI}}
	}
	rule := func(name string) policy.Rule {
		return policy.Rule{Name: name, Allow: []policy.Pattern{{Kind: policy.Tool, Public: "x"}}}
	}
	tests := map[string]struct {
		values xds.PolicyValues
		static bool
		want   []string
	}{
		"no values": {values: xds.PolicyValues{}, want: []string{"policy values: there are none"}},
		"what breaks out of a header": {
			values: xds.PolicyValues{Set: &policy.Set{}, ResourceMetadata: `https://x" y`, Scopes: []string{"a b", "", `a"`, "ok", "ö"}},
			want:   []string{`resource metadata "https://x\" y"`, `scope "a b"`, `scope ""`, `scope "a\""`, `scope "ö"`},
		},
		"keys that are none":    {values: xds.PolicyValues{Set: authenticated(""), JWKS: []byte("<html>")}, want: []string{"the issuer's keys are no JSON Web Key Set"}},
		"a key that is none":    {values: xds.PolicyValues{Set: authenticated(""), JWKS: []byte(`{"keys":[{"kty":"RSA"},[]]}`)}, want: []string{"key 1 of the issuer's"}},
		"two rules of one name": {values: xds.PolicyValues{Set: &policy.Set{ACL: []policy.Rule{rule("a"), rule("b"), rule("a")}}}, want: []string{`acl rule "a": the name is taken`}},
		"a rule of our own name": {
			values: xds.PolicyValues{Set: &policy.Set{ACL: []policy.Rule{rule("requests without an item")}}}, want: []string{`acl rule "requests without an item": the name is taken`},
		},
		"a rule for nothing": {
			values: xds.PolicyValues{Set: &policy.Set{ACL: []policy.Rule{{Name: "a"}}}}, want: []string{`policy values: filter "mcp-gateway-access"`, "Permissions"},
		},
		"no place for keys":    {values: xds.PolicyValues{Set: authenticated("")}, static: true, want: []string{"set policies.authentication.jwksURI"}},
		"a bad place for keys": {values: xds.PolicyValues{Set: authenticated("ftp://x")}, static: true, want: []string{`jwksURI "ftp://x": want an http or https URL`}},
		"no roots for keys":    {values: xds.PolicyValues{Set: authenticated("https://x")}, static: true, want: []string{`"mcp_jwks": https without a CA of its own needs the machine's trusted roots`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := goldenOptions()
			o.Values = &tt.values
			var err error
			if tt.static {
				_, err = xds.Static(o, nil)
			} else {
				_, err = xds.Translate(o, nil)
			}
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// An Envoy that nobody feeds gets the issuer's keys itself.
func TestValuesInAStaticFile(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	key := newIssuer(t, "k")
	broken := false
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken {
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = w.Write(jwks(t, key))
	}))
	defer keys.Close()
	set, err := policy.Parse("values", []byte(`
policies:
  authentication: {issuer: "`+issuerName+`", audiences: [`+audience+`], jwksURI: "`+keys.URL+`/keys"}
  acl: [{groups: [staff], allow: [x_*]}]
  rateLimits: [{per: tool, limit: 1, window: 1h}]
`))
	require.NoError(t, err)
	start := func(t *testing.T) func(tool, authorization string) answer {
		t.Helper()
		o := testOptions(t)
		o.Values = values(set, nil)
		url := startGateway(t, o, a) + "/mcp"
		return func(tool, authorization string) answer {
			return send(t, http.MethodPost, url, namedTool(tool).body(t), "authorization", authorization)
		}
	}
	staff := "Bearer " + key.token(t, goodClaims(map[string]any{"groups": "staff"}))
	t.Run("with keys", func(t *testing.T) {
		call := start(t)
		require.Equal(t, "done", call("x_a", staff).body)
		require.Equal(t, http.StatusTooManyRequests, call("x_a", staff).status)
		require.Equal(t, []string{challengeScope}, call("y_a", staff).header.Values("WWW-Authenticate"))
		require.Equal(t, []string{challengeInvalid}, call("x_a", strings.Replace(staff, ".", ".e30", 1)).header.Values("WWW-Authenticate"))
		require.Equal(t, []string{challengeNone}, call("x_a", "").header.Values("WWW-Authenticate"))
	})
	broken = true
	t.Run("without keys", func(t *testing.T) {
		got := start(t)("x_a", staff)
		require.Equal(t, http.StatusServiceUnavailable, got.status)
		require.Equal(t, rpcError("1", -32603, "tokens cannot be verified at the moment"), got.body)
	})
}
