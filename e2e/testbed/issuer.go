package testbed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Issuer is an OpenID provider of which there is what resource servers ask for, its metadata and its keys, and a login for one client.
type Issuer struct {
	URL string
	// ClientSecret is that of the client; empty means that it is a public one.
	ClientSecret string

	mu      sync.Mutex // guards the rest
	keys    []*SigningKey
	fetched int
	down    bool
	logins  map[string]login // by code
}

// SigningKey is a key of an issuer's, or of somebody who would like to be one.
type SigningKey struct {
	ID      string
	private *ecdsa.PrivateKey
}

// NewSigningKey makes a key.
func NewSigningKey(t testing.TB, id string) *SigningKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &SigningKey{ID: id, private: private}
}

// NewIssuer starts an issuer with one key.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{keys: []*SigningKey{NewSigningKey(t, "first")}}
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.URL = server.URL + "/realms/mcp"
	return i
}

// ServeHTTP answers for the metadata and the keys.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Access-Control-Allow-Origin", "*") // pages log in, too
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Headers", "*")
		return
	}
	switch r.URL.Path {
	case "/realms/mcp/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/auth", "token_endpoint": i.URL + "/token",
			"registration_endpoint":    i.URL + "/register",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	case "/realms/mcp/keys":
		i.fetched++
		set := []map[string]string{}
		for _, k := range i.keys {
			set = append(set, k.jwk())
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": set})
	case "/realms/mcp/register":
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"client_id":"registered"}`))
	case "/realms/mcp/auth":
		i.authorize(w, r)
	case "/realms/mcp/token":
		i.token(w, r)
	default:
		http.NotFound(w, r)
	}
}

// Rotate makes these the issuer's keys. It signs with the last one.
func (i *Issuer) Rotate(keys ...*SigningKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// Key is the key that the issuer signs with.
func (i *Issuer) Key() *SigningKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

// Down makes the issuer unreachable, or reachable again.
func (i *Issuer) Down(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Fetched is how often the keys have been read.
func (i *Issuer) Fetched() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetched
}

// Token is a token for a user as the value of an Authorization header. Further claims may take the place of those that it has anyway; a nil one
// takes a claim away.
func (i *Issuer) Token(t testing.TB, user string, claims map[string]any) string {
	t.Helper()
	return "Bearer " + i.Key().Sign(t, nil, i.Claims(user, claims))
}

// Claims are those of a good token.
func (i *Issuer) Claims(user string, claims map[string]any) map[string]any {
	now := time.Now()
	all := map[string]any{
		"iss": i.URL, "aud": "mcp-gateway", "sub": subjectOf(user), "preferred_username": user,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// Sign makes a compact JWT by ES256. The header's members may be others.
func (k *SigningKey) Sign(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	out, err := k.sign(header, claims)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sign is Sign outside of a test's own goroutine.
func (k *SigningKey) sign(header, claims map[string]any) (string, error) {
	h := map[string]any{"alg": "ES256", "typ": "JWT", "kid": k.ID}
	maps.Copy(h, header)
	text := ""
	for _, part := range []any{h, claims} {
		segment, err := json.Marshal(part)
		if err != nil {
			return "", fmt.Errorf("token: %w", err)
		}
		text += "." + base64.RawURLEncoding.EncodeToString(segment)
	}
	text = text[1:]
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// Segment is a value as it stands in a JWT.
func Segment(t testing.TB, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// PEM is the public key in a file's form.
func (k *SigningKey) PEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&k.private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (k *SigningKey) jwk() map[string]string {
	point, err := k.private.PublicKey.Bytes()
	if err != nil {
		panic(fmt.Sprintf("a key that was just made has no point: %v", err)) //nolint:forbidigo // of a test's own making
	}
	coordinate := base64.RawURLEncoding.EncodeToString
	return map[string]string{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": k.ID,
		"x": coordinate(point[1:33]), "y": coordinate(point[33:]),
	}
}
