package authn

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

const (
	// A token without the id of its key is tried with all of them.
	maxKeys = 100

	minRSABits, maxRSABits = 2048, 8192
)

// key is a public key that signs tokens.
type key struct {
	// alg is empty for an RSA key that serves all of RSA's algorithms.
	id, alg string
	public  any
	// text is its canonical form.
	text []byte
}

// signs tells whether the key may have signed a token with this header. A key without an id may have signed every token.
func (k key) signs(t *token) bool {
	if t.kid != "" && k.id != "" && t.kid != k.id {
		return false
	}
	return k.alg == "" || k.alg == t.alg
}

// ring are all keys of an issuer. It is never modified, and stays the same one as long as the keys do.
type ring struct {
	keys []key
	// jwks is their canonical form.
	jwks []byte
	// left is why the first key that was left out was; nil if none was.
	left error
}

// knows tells whether a token with this key id is worth trying.
func (r *ring) knows(kid string) bool {
	return slices.ContainsFunc(r.keys, func(k key) bool { return k.id == kid && kid != "" })
}

// empty is why there is no key; nil if there is one.
func (r *ring) empty() error {
	switch {
	case len(r.keys) > 0:
		return nil
	case r.left == nil:
		return errors.New("the issuer has no keys: its list is empty")
	}
	return fmt.Errorf("the issuer has no key that signs tokens: %w", r.left)
}

// parseRing reads a JWK Set and leaves out what cannot have signed a token that both Envoy and this process verify.
func parseRing(doc []byte) (*ring, error) {
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(doc, &set); err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if set.Keys == nil {
		return nil, errors.New(`it has no list "keys"`)
	}
	r := &ring{}
	for _, raw := range *set.Keys {
		k, err := parseKey(raw)
		if err == nil {
			r.keys = append(r.keys, k)
		} else if r.left == nil {
			r.left = err
		}
	}
	// The order of the issuer's list means nothing: a new one must not look like new keys.
	slices.SortFunc(r.keys, func(a, b key) int { return cmp.Or(cmp.Compare(a.id, b.id), bytes.Compare(a.text, b.text)) })
	r.keys = slices.CompactFunc(r.keys, func(a, b key) bool { return bytes.Equal(a.text, b.text) })
	if len(r.keys) > maxKeys {
		return nil, fmt.Errorf("it has %d signing keys: more than %d are not taken", len(r.keys), maxKeys)
	}
	texts := make([][]byte, len(r.keys))
	for i, k := range r.keys {
		texts[i] = k.text
	}
	r.jwks = slices.Concat([]byte(`{"keys":[`), bytes.Join(texts, []byte(",")), []byte("]}"))
	return r, nil
}

// jwk are the members that are read. No private ones are among them, whatever an issuer publishes, nor certificates, which say nothing here.
type jwk struct {
	Kty string   `json:"kty"`
	Use string   `json:"use,omitempty"`
	Ops []string `json:"key_ops,omitempty"`
	Alg string   `json:"alg,omitempty"`
	Kid string   `json:"kid,omitempty"`
	Crv string   `json:"crv,omitempty"`
	X   string   `json:"x,omitempty"`
	Y   string   `json:"y,omitempty"`
	N   string   `json:"n,omitempty"`
	E   string   `json:"e,omitempty"`
}

func parseKey(raw []byte) (key, error) {
	var in jwk
	if err := json.Unmarshal(raw, &in); err != nil {
		return key{}, fmt.Errorf("a key is unreadable: %w", err)
	}
	switch {
	case in.Use != "" && in.Use != "sig":
		return key{}, fmt.Errorf("key %q is for the use %q", in.Kid, in.Use)
	case len(in.Ops) > 0 && !slices.Contains(in.Ops, "verify"):
		return key{}, fmt.Errorf("key %q is not for verifying", in.Kid)
	case in.Kty != "RSA" && in.Kty != "EC" && in.Kty != "OKP":
		return key{}, fmt.Errorf("key %q is of the type %q", in.Kid, in.Kty)
	}
	text, err := json.Marshal(jwk{Kty: in.Kty, Crv: in.Crv, X: in.X, Y: in.Y, N: in.N, E: in.E})
	if err != nil {
		return key{}, err
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(text); err != nil {
		return key{}, fmt.Errorf("key %q is unreadable: %w", in.Kid, err)
	}
	algorithms, err := algorithmsOf(parsed.Key)
	if err != nil {
		return key{}, fmt.Errorf("key %q %w", in.Kid, err)
	}
	if in.Alg != "" && !slices.Contains(algorithms, jose.SignatureAlgorithm(in.Alg)) {
		return key{}, fmt.Errorf("key %q is for the algorithm %q", in.Kid, in.Alg)
	}
	// A curve has one algorithm. Envoy takes any hash with a key that does not say so.
	if len(algorithms) == 1 {
		in.Alg = string(algorithms[0])
	}
	if text, err = (jose.JSONWebKey{Key: parsed.Key, KeyID: in.Kid, Algorithm: in.Alg}).MarshalJSON(); err != nil {
		return key{}, fmt.Errorf("key %q is unreadable: %w", in.Kid, err)
	}
	return key{id: in.Kid, alg: in.Alg, public: parsed.Key, text: text}, nil
}

// algorithmsOf are those that a key can have signed with.
func algorithmsOf(public any) ([]jose.SignatureAlgorithm, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("has %d bits: want %d to %d", bits, minRSABits, maxRSABits)
		}
		// Envoy knows no other exponents.
		if k.E != 3 && k.E != 65537 {
			return nil, fmt.Errorf("has the exponent %d: want 65537", k.E)
		}
		return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}, nil
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return []jose.SignatureAlgorithm{jose.ES256}, nil
		case 384:
			return []jose.SignatureAlgorithm{jose.ES384}, nil
		case 521:
			return []jose.SignatureAlgorithm{jose.ES512}, nil
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}, nil
	}
	return nil, errors.New("is of a kind that signs no tokens")
}
