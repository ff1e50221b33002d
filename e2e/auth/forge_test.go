package auth_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
)

// signer makes tokens that look like the realm's.
type signer struct {
	key *rsa.PrivateKey
	kid string
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

// trustedSigner has a key that the realm publishes as one of its own: what it signs is as good as Keycloak's.
func (r *realm) trustedSigner(t *testing.T) *signer {
	t.Helper()
	s := &signer{key: newKey(t)}
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	require.NoError(t, err)
	r.admin(t, http.MethodPost, "/components", keyProvider("of-the-tests", "rsa", map[string]string{
		"privateKey": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "priority": "1", "active": "false",
	}), nil)
	for _, k := range r.keys(t).Keys {
		if public, ok := k.Key.(*rsa.PublicKey); ok && public.Equal(s.key.Public()) {
			s.kid = k.KeyID
		}
	}
	require.NotEmpty(t, s.kid, "the realm publishes the key")
	return s
}

// keyProvider is what the administration calls a source of keys.
func keyProvider(name, kind string, config map[string]string) map[string]any {
	lists := map[string][]string{"enabled": {"true"}, "algorithm": {"RS256"}}
	for k, v := range config {
		lists[k] = []string{v}
	}
	return map[string]any{"name": name, "providerId": kind, "providerType": "org.keycloak.keys.KeyProvider", "config": lists}
}

// keys are those that the realm publishes.
func (r *realm) keys(t *testing.T) jose.JSONWebKeySet {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.issuer+"/protocol/openid-connect/certs", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var set jose.JSONWebKeySet
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&set))
	return set
}

// claims are those of a token that the user mcp could have.
func (r *realm) claims(change ...func(map[string]any)) map[string]any {
	now := time.Now()
	c := map[string]any{
		"iss": r.issuer, "aud": "mcp-gateway", "sub": "8f3c2a4e-0000-4000-8000-000000000001", "typ": "Bearer", "preferred_username": "mcp",
		"groups": []string{"accounting", "developers"}, "realm_access": map[string]any{"roles": []string{"clock-reader"}}, "scope": "basic groups roles mcp-gateway",
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// with sets a claim; nil takes it away.
func with(name string, value any) func(map[string]any) {
	return func(c map[string]any) {
		if value == nil {
			delete(c, name)
			return
		}
		c[name] = value
	}
}

func segment(v any) string {
	b, _ := json.Marshal(v) // maps of strings and lists can always be written
	return base64.RawURLEncoding.EncodeToString(b)
}

// sign makes a token of RS256. The headers are added to, or put in place of, the usual ones.
func (s *signer) sign(t *testing.T, claims, headers map[string]any) string {
	t.Helper()
	header := map[string]any{"alg": "RS256", "typ": "JWT", "kid": s.kid}
	for k, v := range headers {
		if v == nil {
			delete(header, k)
			continue
		}
		header[k] = v
	}
	input := segment(header) + "." + segment(claims)
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, digest[:])
	require.NoError(t, err)
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// unsigned is a token with the algorithm "none", in any spelling, and no signature.
func unsigned(alg string, claims map[string]any) string {
	return segment(map[string]any{"alg": alg, "typ": "JWT"}) + "." + segment(claims) + "."
}

// altered is a token whose claims were changed after it was signed.
func altered(t *testing.T, token string, change func(map[string]any)) string {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	claims := claimsOf(t, token)
	change(claims)
	return parts[0] + "." + segment(claims) + "." + parts[2]
}

// claimsOf reads a token without a look at its signature.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(payload)
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, json.Unmarshal(decoded, &claims))
	return claims
}
