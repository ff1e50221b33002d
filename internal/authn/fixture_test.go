package authn

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

const (
	issuerURL   = "https://issuer.example/realms/mcp"
	gatewayName = "mcp-gateway"
)

// signer is a key pair of an issuer.
type signer struct {
	id, alg string
	private crypto.Signer
}

func newSigner(t testing.TB, id, alg string) signer {
	t.Helper()
	var k crypto.Signer
	var err error
	switch alg {
	case "ES256":
		k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		k, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		k, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, k, err = ed25519.GenerateKey(rand.Reader)
	default:
		k, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	require.NoError(t, err)
	return signer{id, alg, k}
}

// jwk is the public key as an issuer publishes it.
func (s signer) jwk(t testing.TB) map[string]any {
	t.Helper()
	text, err := jose.JSONWebKey{Key: s.private.Public(), KeyID: s.id, Algorithm: s.alg, Use: "sig"}.MarshalJSON()
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(text, &out))
	return out
}

// sign makes a token of any header and payload, good or bad.
func (s signer) sign(t testing.TB, header map[string]any, payload string) string {
	t.Helper()
	h, err := json.Marshal(header)
	require.NoError(t, err)
	return s.signText(t, string(h), payload)
}

func (s signer) signText(t testing.TB, header, payload string) string {
	t.Helper()
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	sig, err := s.signature([]byte(signed))
	require.NoError(t, err)
	return signed + "." + encode(sig)
}

func (s signer) signature(text []byte) ([]byte, error) {
	hash := map[byte]crypto.Hash{'2': crypto.SHA256, '3': crypto.SHA384, '5': crypto.SHA512}[s.alg[2]]
	var sum []byte
	if hash != 0 {
		h := hash.New()
		h.Write(text)
		sum = h.Sum(nil)
	}
	switch k := s.private.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(k, text), nil
	case *rsa.PrivateKey:
		if s.alg[0] == 'P' {
			return rsa.SignPSS(rand.Reader, k, hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, k, hash, sum)
	case *ecdsa.PrivateKey:
		r, v, err := ecdsa.Sign(rand.Reader, k, sum)
		if err != nil {
			return nil, err
		}
		size := (k.Curve.Params().BitSize + 7) / 8
		out := make([]byte, 2*size)
		r.FillBytes(out[:size])
		v.FillBytes(out[size:])
		return out, nil
	}
	return nil, fmt.Errorf("no signature with %T", s.private)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (s signer) header() map[string]any {
	h := map[string]any{"alg": s.alg, "typ": "JWT"}
	if s.id != "" {
		h["kid"] = s.id
	}
	return h
}

// token is one with good claims, changed as told: a nil value takes a claim away.
func (s signer) token(t testing.TB, change map[string]any) string {
	t.Helper()
	return s.sign(t, s.header(), claimsText(t, change))
}

func claimsText(t testing.TB, change map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": issuerURL, "aud": gatewayName, "sub": "1234", "preferred_username": "mcp", "groups": []string{"accounting"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(claims)
	require.NoError(t, err)
	return string(text)
}

func jwksOf(t testing.TB, signers ...signer) []byte {
	t.Helper()
	keys := []map[string]any{}
	for _, s := range signers {
		keys = append(keys, s.jwk(t))
	}
	return jwksText(t, keys...)
}

func jwksText(t testing.TB, keys ...map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	require.NoError(t, err)
	return text
}

func keySet(t testing.TB, doc []byte) *KeySet {
	t.Helper()
	set, err := NewKeySet(issuerURL, doc)
	require.NoError(t, err)
	return set
}

func values() *policy.Set {
	return &policy.Set{Authentication: &policy.Authentication{
		Issuer: issuerURL, Audiences: []string{gatewayName, "https://gateway.example/mcp"}, ClockSkew: 30 * time.Second,
		Claims: policy.Claims{User: []string{"preferred_username"}, Groups: []string{"groups"}},
	}}
}

// verifierOf believes what the keys have signed; it notes the key ids that it missed.
func verifierOf(set *policy.Set, keys *KeySet, missed *[]string) *Verifier {
	return NewVerifier(func() (*policy.Set, *KeySet) { return set, keys }, Options{Missed: func(kid string) {
		if missed != nil {
			*missed = append(*missed, kid)
		}
	}})
}

// fakeIssuer answers without a network, so that tests have their own time.
type fakeIssuer struct {
	mu sync.Mutex
	// documents are by URL; requests are the times of those for the keys.
	documents map[string]string
	requests  []time.Time
	down      bool
	// hold keeps requests waiting until their context ends.
	hold bool
}

const keysURL = "https://issuer.example/keys"

func newFakeIssuer(t testing.TB, signers ...signer) *fakeIssuer {
	t.Helper()
	f := &fakeIssuer{documents: map[string]string{
		issuerURL + "/.well-known/openid-configuration": `{"issuer":"` + issuerURL + `","jwks_uri":"` + keysURL + `"}`,
	}}
	f.publish(t, signers...)
	return f
}

func (f *fakeIssuer) publish(t testing.TB, signers ...signer) {
	t.Helper()
	f.set(keysURL, string(jwksOf(t, signers...)))
}

func (f *fakeIssuer) set(url, doc string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.documents[url] = doc
}

func (f *fakeIssuer) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *fakeIssuer) times() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.requests...)
}

// RoundTrip implements http.RoundTripper.
func (f *fakeIssuer) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hold {
		f.mu.Unlock()
		<-r.Context().Done()
		f.mu.Lock()
		return nil, r.Context().Err()
	}
	doc, ok := f.documents[r.URL.String()]
	if r.URL.String() == keysURL {
		f.requests = append(f.requests, time.Now())
	}
	status := http.StatusOK
	switch {
	case f.down:
		status = http.StatusServiceUnavailable
	case !ok:
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(doc)), Header: http.Header{}, Request: r}, nil
}

func (f *fakeIssuer) client() *http.Client { return &http.Client{Transport: f} }

// runKeys runs until the test ends.
func runKeys(t testing.TB, o KeysOptions) *Keys {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	k := NewKeys(o)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return k
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}
