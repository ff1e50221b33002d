package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"
)

// policyValues are those of the guarded gateway: one of each kind, as small as they are in practice. The limit is counted and never reached.
const policyValues = `policies:
  authentication: {issuer: %[1]q, jwksURI: "%[1]s/keys", audiences: [mcp-gateway]}
  acl:
    - {groups: [accounting], allow: ["invoices_*", {server: ledger}]}
    - {roles: [admin], allow: [{server: "*"}]}
    - {groups: [bench], allow: ["sessionless_*"]}
  rateLimits:
    - {tools: ["sessionless_*"], per: user, limit: 4000000000, window: 1s}
`

// policies starts an issuer. They are the path of the policy file, and what a caller sends who may call.
func (s *stage) policies(ctx context.Context) (path, authorization string, err error) {
	if s.guard.path != "" {
		return s.guard.path, s.guard.authorization, nil
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", "", err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	issuer := "http://" + listener.Addr().String()
	token, err := sign(key, claims(issuer, time.Now()))
	if err != nil {
		return "", "", errors.Join(err, listener.Close())
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{jwk(&key.PublicKey)}})
	})}
	go func() { _ = server.Serve(listener) }()
	s.closing = append(s.closing, func() { _ = server.Close() })
	path, err = s.write("policies.yaml", fmt.Appendf(nil, policyValues, issuer))
	s.guard = guard{path, "Bearer " + token}
	return path, s.guard.authorization, err
}

// guard is a file of policies with a token that they allow.
type guard struct{ path, authorization string }

// claims are those of an access token as Keycloak makes them, and as many.
func claims(issuer string, now time.Time) map[string]any {
	return map[string]any{
		"iss": issuer, "aud": []string{"mcp-gateway", "account"}, "sub": "0f8fad5b-d9cb-469f-a165-70867728950e", "azp": "mcp-client", "typ": "Bearer",
		"iat": now.Unix(), "exp": now.Add(12 * time.Hour).Unix(), "jti": "onrtac:7c9e6679-7425-40de-944b-e07fc1f90ae7",
		"sid": "e7d1e2a4-6f3c-4b7a-9a35-0c3b7f6a1d52", "acr": "1", "allowed-origins": []string{"https://client.example.com"}, "scope": "openid basic groups profile email",
		"realm_access": map[string]any{"roles": []string{"default-roles-mcp", "offline_access", "uma_authorization"}},
		"email":        "bench@example.com", "email_verified": true, "name": "Ben Ch", "preferred_username": "bench", "given_name": "Ben", "family_name": "Ch",
		"groups": []string{"bench", "everybody"},
	}
}

const keyID = "bench"

// sign makes a token, by the algorithm that issuers use most.
func sign(key *rsa.PrivateKey, claims map[string]any) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": keyID})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

func jwk(key *rsa.PublicKey) map[string]string {
	encode := base64.RawURLEncoding.EncodeToString
	return map[string]string{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": keyID, "n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes()),
	}
}
