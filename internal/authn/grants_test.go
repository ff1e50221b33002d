package authn

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// wristband is a list of grants as Authorino makes it, changed as told.
func wristband(t testing.TB, s signer, grants string, change map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": "authorino", "sub": "fbd8ed47", "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
		"aud": nil, "preferred_username": nil, "groups": nil, grantsClaim: grants,
	}
	for name, v := range change {
		claims[name] = v
	}
	return s.token(t, claims)
}

func grantVerifier(t testing.TB, o GrantOptions) *GrantVerifier {
	t.Helper()
	v, err := NewGrantVerifier(o)
	require.NoError(t, err)
	return v
}

func TestGrants(t *testing.T) {
	s := newSigner(t, "key", "ES256")
	v := grantVerifier(t, GrantOptions{PublicKeyPEM: publicPEM(t, s.private), Issuer: "authorino"})
	g, err := v.Parse(wristband(t, s, `{
		"tools": {"team-a/weather": ["get_forecast", "list_*", "*_now"], "alarm": ["*"], "*": ["echo"], "empty": [], "odd": ["", "a*b", "**", "*c*"]},
		"prompts": {"team-a/weather": ["report"]},
		"resources": {"files": ["file:///shared/*", "file:///{+path*}.md"]},
		"completions": {"x": 1}
	}`, nil))
	require.NoError(t, err)
	for _, c := range []struct {
		kind         policy.Kind
		server, name string
		allowed      bool
	}{
		{policy.Tool, "team-a/weather", "get_forecast", true},
		{policy.Tool, "team-a/weather", "get_forecasts", false},
		{policy.Tool, "team-a/weather", "GET_FORECAST", false},
		{policy.Tool, "team-a/weather", "list_stations", true},
		{policy.Tool, "team-a/weather", "rain_now", true},
		{policy.Tool, "team-a/weather", "rain_now_or_later", false},
		{policy.Tool, "team-a/weather", "report", false},
		{policy.Tool, "team-a/weather", "", false},
		{policy.Tool, "weather", "get_forecast", false},
		{policy.Tool, "team-b/weather", "get_forecast", false},
		{policy.Tool, "alarm", "set", true},
		{policy.Tool, "empty", "set", false},
		{policy.Tool, "unknown", "echo", true},
		{policy.Tool, "", "echo", false},
		{policy.Tool, "odd", "anything", false},
		{policy.Tool, "odd", "axb", false},
		{policy.Tool, "odd", "a*b", true},
		{policy.Prompt, "team-a/weather", "report", true},
		{policy.Prompt, "team-a/weather", "get_forecast", false},
		{policy.Prompt, "alarm", "set", false},
		{policy.Resource, "files", "file:///shared/a.txt", true},
		{policy.Resource, "files", "file:///secret", false},
		{policy.Resource, "files", "file:///{+path*}.md", true},
		{policy.None, "", "", true},
		{policy.Kind(99), "alarm", "set", false},
	} {
		r := policy.Request{Kind: c.kind, Server: c.server, Name: c.name, PublicName: "get_forecast"}
		assert.Equal(t, c.allowed, g.Allows(r), "%+v", r)
	}
	var nobody *Grants
	assert.False(t, nobody.Allows(policy.Request{}), "no grants, no access")
}

// Invariant 5: an unreadable policy means no.
func TestRefusedGrants(t *testing.T) {
	s, other := newSigner(t, "key", "ES256"), newSigner(t, "key", "ES256")
	const all = `{"tools":{"*":["*"]}}`
	v := grantVerifier(t, GrantOptions{PublicKeyPEM: publicPEM(t, s.private), Issuer: "authorino", Audience: "broker", Skew: 10 * time.Second})
	with := func(name string, value any) map[string]any { return map[string]any{"aud": "broker", name: value} }
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	hs := hmacToken(t, "key", publicPEM(t, s.private))
	for name, c := range map[string]struct {
		header string
		reason Reason
	}{
		"good":                       {wristband(t, s, all, with("aud", []string{"x", "broker"})), ""},
		"within the skew":            {wristband(t, s, all, with("exp", at(-5*time.Second))), ""},
		"expired":                    {wristband(t, s, all, with("exp", at(-20*time.Second))), Expired},
		"without an expiry":          {wristband(t, s, all, with("exp", nil)), NoExpiry},
		"not yet valid":              {wristband(t, s, all, with("nbf", at(20*time.Second))), NotYetValid},
		"another issuer":             {wristband(t, s, all, with("iss", "Authorino")), WrongIssuer},
		"no issuer":                  {wristband(t, s, all, with("iss", nil)), WrongIssuer},
		"another audience":           {wristband(t, s, all, nil), WrongAudience},
		"another key":                {wristband(t, other, all, with("aud", "broker")), BadSignature},
		"another curve":              {wristband(t, newSigner(t, "key", "ES384"), all, with("aud", "broker")), WrongAlgorithm},
		"another algorithm":          {wristband(t, newSigner(t, "key", "EdDSA"), all, with("aud", "broker")), WrongAlgorithm},
		"HMAC with the public key":   {hs, WrongAlgorithm},
		"unsigned":                   {encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(`{}`)) + ".", Malformed},
		"behind a scheme":            {"Bearer " + wristband(t, s, all, with("aud", "broker")), Malformed},
		"two of them":                {strings.Repeat(wristband(t, s, all, with("aud", "broker"))+",", 2), Malformed},
		"no JSON":                    {wristband(t, s, "tools", with("aud", "broker")), UnreadableGrant},
		"nothing":                    {wristband(t, s, "", with("aud", "broker")), UnreadableGrant},
		"a list":                     {wristband(t, s, `["*"]`, with("aud", "broker")), UnreadableGrant},
		"a list of tools":            {wristband(t, s, `{"tools":["*"]}`, with("aud", "broker")), UnreadableGrant},
		"one tool":                   {wristband(t, s, `{"tools":{"a":"*"}}`, with("aud", "broker")), UnreadableGrant},
		"numbers":                    {wristband(t, s, `{"tools":{"a":[1]}}`, with("aud", "broker")), UnreadableGrant},
		"twice":                      {wristband(t, s, `{"tools":{"a":["b"]},"tools":{"*":["*"]}}`, with("aud", "broker")), UnreadableGrant},
		"no string":                  {wristband(t, s, all, with(grantsClaim, map[string]any{"tools": map[string]any{"*": []string{"*"}}})), UnreadableGrant},
		"no claim":                   {wristband(t, s, all, with(grantsClaim, nil)), UnreadableGrant},
		"more than one text of JSON": {wristband(t, s, all+all, with("aud", "broker")), UnreadableGrant},
	} {
		g, err := v.Parse(c.header)
		assert.Equal(t, c.reason, reasonOf(t, err), name)
		assert.Equal(t, c.reason == "", g.Allows(policy.Request{Kind: policy.Tool, Server: "a", Name: "b"}), name)
	}
	_, err := v.Parse("")
	require.ErrorIs(t, err, ErrNoGrants)
}

func TestNothingGranted(t *testing.T) {
	s := newSigner(t, "key", "ES256")
	v := grantVerifier(t, GrantOptions{PublicKeyPEM: publicPEM(t, s.private)})
	for _, grants := range []string{`{}`, `null`, `{"tools":null}`, `{"tools":{}}`, `{"tools":{"a":null}}`, `{"Tools":{"a":["b"]}}`, `{"prompts":{"a":["b"]}}`} {
		g, err := v.Parse(wristband(t, s, grants, map[string]any{"iss": nil}))
		require.NoError(t, err, grants)
		assert.False(t, g.Allows(policy.Request{Kind: policy.Tool, Server: "a", Name: "b"}), grants)
	}
}

func TestGrantKeys(t *testing.T) {
	a, b := newSigner(t, "a", "ES256"), newSigner(t, "b", "ES256")
	v := grantVerifier(t, GrantOptions{PublicKeyPEM: slices.Concat([]byte("two keys\n"), publicPEM(t, a.private), publicPEM(t, b.private))})
	for _, s := range []signer{a, b} {
		_, err := v.Parse(wristband(t, s, `{}`, nil))
		require.NoError(t, err, "either key, while one is being replaced")
	}
	for name, c := range map[string]struct{ pem, err string }{
		"nothing":        {"", "is unreadable: want PEM"},
		"no PEM":         {"MFkw", "is unreadable: want PEM"},
		"a private key":  {"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", `public key 1 of the policy engine: it is a "EC PRIVATE KEY": want a "PUBLIC KEY"`},
		"an unreadable":  {string(publicPEM(t, a.private)) + "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "public key 2 of the policy engine"},
		"another curve":  {string(publicPEM(t, newSigner(t, "", "ES384").private)), "want one on the curve P-256"},
		"an RSA key":     {string(publicPEM(t, newSigner(t, "", "RS256").private)), "want one on the curve P-256"},
		"an Ed25519 key": {string(publicPEM(t, newSigner(t, "", "EdDSA").private)), "want one on the curve P-256"},
	} {
		_, err := NewGrantVerifier(GrantOptions{PublicKeyPEM: []byte(c.pem)})
		require.ErrorContains(t, err, c.err, name)
	}
}

// FuzzGrants signs the fuzzed texts itself: what an engine signs may still be nonsense.
func FuzzGrants(f *testing.F) {
	s := newSigner(f, "key", "ES256")
	v := grantVerifier(f, GrantOptions{PublicKeyPEM: publicPEM(f, s.private)})
	for _, grants := range []string{`{"tools":{"a":["b","c*"]}}`, `{}`, `null`, `{"resources":{"*":["*"]}}`, `[`, `{"tools":{"a":1}}`} {
		f.Add(grants, "a", "b", wristband(f, s, grants, nil))
	}
	f.Fuzz(func(t *testing.T, grants, server, name, header string) {
		if g, err := v.Parse(header); (g == nil) == (err == nil) {
			t.Fatalf("want either grants or an error, got %v and %v", g, err)
		}
		g, err := v.Parse(wristband(t, s, grants, nil))
		r := policy.Request{Kind: policy.Tool, Server: server, Name: name}
		if !g.Allows(r) {
			return
		}
		if err != nil {
			t.Fatalf("%q is refused, yet it grants %+v", grants, r)
		}
		var readable map[string]any
		if json.Unmarshal([]byte(grants), &readable) != nil || readable["tools"] == nil {
			t.Fatalf("%q grants %+v", grants, r)
		}
	})
}
