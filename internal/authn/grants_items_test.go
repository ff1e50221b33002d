package authn

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// What a rule could allow, a grant can: items mean the same in both.
func TestGrantedItems(t *testing.T) {
	s := newSigner(t, "key", "ES256")
	v := grantVerifier(t, GrantOptions{PublicKeyPEM: publicPEM(t, s.private)})
	allow := []any{"invoices_*", map[string]any{"server": "wiki", "tool": "*", "hints": map[string]any{"readOnly": true}}, map[string]any{"server": "team/crm"}}
	g, err := v.Parse(wristband(t, s, "", map[string]any{grantsClaim: nil, itemsClaim: allow}))
	require.NoError(t, err)
	const reads, writes = "readOnly=true,destructive=false,idempotent=false,openWorld=true", "readOnly=false,destructive=true,idempotent=false,openWorld=true"
	for _, c := range []struct {
		r       policy.Request
		allowed bool
	}{
		{policy.Request{Kind: policy.Tool, Server: "erp", Name: "pay", PublicName: "invoices_pay"}, true},
		{policy.Request{Kind: policy.Tool, Server: "erp", Name: "invoices_pay", PublicName: "erp_invoices_pay"}, false},
		{policy.Request{Kind: policy.Prompt, Server: "erp", Name: "pay", PublicName: "invoices_pay"}, false},
		{policy.Request{Kind: policy.Tool, Server: "wiki", Name: "search", PublicName: "w_search", Hints: reads}, true},
		{policy.Request{Kind: policy.Tool, Server: "wiki", Name: "search", PublicName: "w_search", Hints: writes}, false},
		{policy.Request{Kind: policy.Resource, Server: "team/crm", Name: "x:y", PublicName: "x:y"}, true},
		{policy.Request{Kind: policy.Resource, Server: "crm", Name: "x:y", PublicName: "x:y"}, false},
		{policy.Request{}, true},
	} {
		assert.Equal(t, c.allowed, g.Allows(c.r), "%+v", c.r)
	}

	both, err := v.Parse(wristband(t, s, `{"tools":{"erp":["list"]}}`, map[string]any{itemsClaim: allow}))
	require.NoError(t, err)
	assert.True(t, both.Allows(policy.Request{Kind: policy.Tool, Server: "erp", Name: "list", PublicName: "erp_list"}), "by its own name")
	assert.True(t, both.Allows(policy.Request{Kind: policy.Tool, Server: "erp", Name: "pay", PublicName: "invoices_pay"}), "by an item")

	none, err := v.Parse(wristband(t, s, "", map[string]any{grantsClaim: nil, itemsClaim: []any{}}))
	require.NoError(t, err)
	assert.False(t, none.Allows(policy.Request{Kind: policy.Tool, Server: "a", Name: "b", PublicName: "b"}))
}

// Invariant 5: of a list that is not wholly readable, nothing is granted.
func TestRefusedItems(t *testing.T) {
	s := newSigner(t, "key", "ES256")
	v := grantVerifier(t, GrantOptions{PublicKeyPEM: publicPEM(t, s.private)})
	for name, allow := range map[string]any{
		"a text":           `["*"]`,
		"one item":         "*",
		"an unknown key":   []any{"*", map[string]any{"servers": "x"}},
		"a star within":    []any{"*", "a*b"},
		"a number":         []any{"*", 7},
		"nothing in it":    []any{"*", map[string]any{}},
		"prompt and hints": []any{"*", map[string]any{"prompt": "x", "hints": map[string]any{"readOnly": true}}},
	} {
		g, err := v.Parse(wristband(t, s, `{"tools":{"*":["*"]}}`, map[string]any{itemsClaim: allow}))
		assert.Equal(t, UnreadableGrant, reasonOf(t, err), name)
		assert.False(t, g.Allows(policy.Request{Kind: policy.Tool, Server: "a", Name: "b", PublicName: "b"}), name)
	}
}

// A certificate stands for its key, however old it is and whoever signed it.
func TestGrantCertificate(t *testing.T) {
	s, other := newSigner(t, "key", "ES256"), newSigner(t, "key", "ES384")
	certificate := func(s signer) []byte {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "engine"}, NotAfter: time.Unix(1, 0)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, s.private.Public(), s.private)
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	v := grantVerifier(t, GrantOptions{PublicKeyPEM: certificate(s)})
	_, err := v.Parse(wristband(t, s, `{}`, nil))
	require.NoError(t, err)
	_, err = NewGrantVerifier(GrantOptions{PublicKeyPEM: certificate(other)})
	require.ErrorContains(t, err, "want one on the curve P-256")
	_, err = NewGrantVerifier(GrantOptions{PublicKeyPEM: []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")})
	require.ErrorContains(t, err, "public key 1 of the policy engine")
}
