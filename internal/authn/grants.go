package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// The claims with grants, of which a list has at least one; what either grants is granted.
const (
	// grantsClaim has names and patterns by kind and server, as a text of JSON.
	grantsClaim = "allowed-capabilities"
	// itemsClaim has items as they stand under "allow" in policy values.
	itemsClaim = "allow"
)

// GrantOptions are what a [GrantVerifier] needs.
type GrantOptions struct {
	// PublicKeyPEM holds the policy engine's public key, on the curve P-256, or several of them while one is being replaced. A certificate stands for
	// its key; nothing else of it matters.
	PublicKeyPEM []byte
	// Issuer and Audience are what "iss" must be and "aud" must have; empty means that it does not matter.
	Issuer, Audience string
	// Skew is how far the policy engine's clock may be from ours.
	Skew time.Duration
	// Now is optional.
	Now func() time.Time
}

// GrantVerifier reads lists of grants.
type GrantVerifier struct {
	keys []*ecdsa.PublicKey
	opts GrantOptions
}

// NewGrantVerifier fails if a key is unreadable or of another kind.
func NewGrantVerifier(o GrantOptions) (*GrantVerifier, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &GrantVerifier{opts: o}
	for rest := o.PublicKeyPEM; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		k, err := grantKey(block)
		if err != nil {
			return nil, fmt.Errorf("public key %d of the policy engine: %w", len(v.keys)+1, err)
		}
		v.keys = append(v.keys, k)
	}
	if len(v.keys) == 0 {
		return nil, errors.New(`the policy engine's public key is unreadable: want PEM, "-----BEGIN PUBLIC KEY-----"`)
	}
	return v, nil
}

func grantKey(block *pem.Block) (*ecdsa.PublicKey, error) {
	var parsed any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		parsed, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			parsed = certificate.PublicKey
		}
	default:
		err = fmt.Errorf(`it is a %q: want a "PUBLIC KEY" or a "CERTIFICATE"`, block.Type)
	}
	if err != nil {
		return nil, err
	}
	k, ok := parsed.(*ecdsa.PublicKey)
	if !ok || k.Curve != elliptic.P256() {
		return nil, errors.New("it is of another kind: want one on the curve P-256, for ES256")
	}
	return k, nil
}

// Grants are what a policy engine grants one caller. They are never modified; a nil one grants nothing.
type Grants struct {
	tools, prompts, resources granted
	items                     []policy.Pattern
}

// granted has names and patterns by server.
type granted map[string][]string

// Parse reads the value of the header. The error is [ErrNoGrants] or an [InvalidToken]; either way nothing is granted.
func (v *GrantVerifier) Parse(header string) (*Grants, error) {
	if header == "" {
		return nil, ErrNoGrants
	}
	t, err := readToken(header, jose.ES256)
	if err != nil {
		return nil, err
	}
	if !v.signed(t) {
		return nil, invalid(BadSignature)
	}
	if v.opts.Issuer != "" && t.issuer != v.opts.Issuer {
		return nil, invalid(WrongIssuer)
	}
	if v.opts.Audience != "" && !t.isFor([]string{v.opts.Audience}) {
		return nil, invalid(WrongAudience)
	}
	if err := t.checkTime(v.opts.Now(), skewSeconds(v.opts.Skew)); err != nil {
		return nil, err
	}
	return readGrants(t.claims)
}

// readGrants is strict: what cannot be read grants nothing, neither the rest.
func readGrants(claims map[string]any) (*Grants, error) {
	g := &Grants{}
	lists, named := claims[grantsClaim]
	if named && !g.readLists(lists) {
		return nil, invalid(UnreadableGrant)
	}
	allow, itemized := claims[itemsClaim]
	if itemized {
		items, err := policy.Items(allow)
		if err != nil {
			return nil, invalid(UnreadableGrant)
		}
		g.items = items
	}
	if !named && !itemized {
		return nil, invalid(UnreadableGrant)
	}
	return g, nil
}

func (g *Grants) readLists(claim any) bool {
	text, ok := claim.(string)
	if !ok {
		return false
	}
	var lists struct {
		Tools     granted `json:"tools"`
		Prompts   granted `json:"prompts"`
		Resources granted `json:"resources"`
	}
	if json.Unmarshal([]byte(text), &lists) != nil {
		return false
	}
	g.tools, g.prompts, g.resources = lists.Tools, lists.Prompts, lists.Resources
	return true
}

func (v *GrantVerifier) signed(t *token) bool {
	for _, k := range v.keys {
		if _, err := t.jws.Verify(k); err == nil {
			return true
		}
	}
	return false
}

// Allows tells whether the caller may have what is asked for. As in policies, what asks for no item is for every caller.
func (g *Grants) Allows(r policy.Request) bool {
	if g == nil {
		return false
	}
	if slices.ContainsFunc(g.items, func(p policy.Pattern) bool { return p.Match(r) }) {
		return true
	}
	switch r.Kind {
	case policy.None:
		return true
	case policy.Tool:
		return g.tools.has(r.Server, r.Name)
	case policy.Prompt:
		return g.prompts.has(r.Server, r.Name)
	case policy.Resource:
		return g.resources.has(r.Server, r.Name)
	}
	return false
}

func (g granted) has(server, name string) bool {
	return server != "" && name != "" && (matches(g[server], name) || matches(g["*"], name))
}

// matches is exact for what policies would refuse as a pattern: an empty text, and one with a "*" in another place than at one of its ends.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return p == name || strings.Count(p, "*") == 1 && (p[0] == '*' || p[len(p)-1] == '*') && policy.Glob(p).Match(name)
	})
}
