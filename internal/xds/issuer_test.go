package xds_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	issuerName = "https://issuer.example.com/realms/mcp"
	audience   = "mcp-gateway"
)

// issuer is a key of an issuer of tokens.
type issuer struct {
	kid string
	key crypto.Signer
}

func newIssuer(t testing.TB, kid string) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return issuer{kid: kid, key: key}
}

func newRSAIssuer(t testing.TB, kid string) issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return issuer{kid: kid, key: key}
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (i issuer) alg() string {
	if _, ok := i.key.(*rsa.PrivateKey); ok {
		return "RS256"
	}
	return "ES256"
}

// jwk is the public key.
func (i issuer) jwk(t testing.TB) map[string]any {
	t.Helper()
	if key, ok := i.key.(*rsa.PrivateKey); ok {
		return map[string]any{"kty": "RSA", "kid": i.kid, "alg": "RS256", "use": "sig", "n": encoded(key.N.Bytes()), "e": encoded(big.NewInt(int64(key.E)).Bytes())}
	}
	point, err := i.key.(*ecdsa.PrivateKey).PublicKey.Bytes()
	require.NoError(t, err)
	return map[string]any{"kty": "EC", "kid": i.kid, "alg": "ES256", "use": "sig", "crv": "P-256", "x": encoded(point[1:33]), "y": encoded(point[33:])}
}

func jwks(t testing.TB, issuers ...issuer) []byte {
	t.Helper()
	keys := []map[string]any{}
	for _, i := range issuers {
		keys = append(keys, i.jwk(t))
	}
	return marshal(t, map[string]any{"keys": keys})
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return out
}

// goodClaims are those of a token that is valid for an hour, with some changed; nil takes a claim away.
func goodClaims(changed map[string]any) map[string]any {
	claims := map[string]any{"iss": issuerName, "aud": audience, "sub": "u-1", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, changed)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// token is a signed one.
func (i issuer) token(t testing.TB, claims map[string]any) string {
	t.Helper()
	signed := encoded(marshal(t, map[string]any{"alg": i.alg(), "typ": "JWT", "kid": i.kid})) + "." + encoded(marshal(t, claims))
	sum := sha256.Sum256([]byte(signed))
	if key, ok := i.key.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		require.NoError(t, err)
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signed + "." + encoded(signature)
	}
	signature, err := i.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	require.NoError(t, err)
	return signed + "." + encoded(signature)
}

// unsigned is a token of the algorithm "none".
func unsigned(t testing.TB, claims map[string]any, signature string) string {
	t.Helper()
	return encoded(marshal(t, map[string]any{"alg": "none", "typ": "JWT"})) + "." + encoded(marshal(t, claims)) + "." + signature
}

// confused is a token signed symmetrically, with the public key for a secret.
func (i issuer) confused(t testing.TB, claims map[string]any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(i.key.Public())
	require.NoError(t, err)
	secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	signed := encoded(marshal(t, map[string]any{"alg": "HS256", "typ": "JWT", "kid": i.kid})) + "." + encoded(marshal(t, claims))
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(signed))
	return signed + "." + encoded(mac.Sum(nil))
}
