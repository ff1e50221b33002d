package authn

import (
	"encoding/json"
	"maps"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// with is a key with other members; a nil value takes one away.
func with(k, change map[string]any) map[string]any {
	out := maps.Clone(k)
	maps.Copy(out, change)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

func TestOnlySigningKeysAreKept(t *testing.T) {
	ec, rs, ed := newSigner(t, "ec", "ES256").jwk(t), newSigner(t, "rs", "RS256").jwk(t), newSigner(t, "ed", "EdDSA").jwk(t)
	for name, c := range map[string]struct {
		key map[string]any
		alg string
		err string
	}{
		"ECDSA":                        {key: ec, alg: "ES256"},
		"ECDSA without algorithm":      {key: with(ec, map[string]any{"alg": nil}), alg: "ES256"},
		"P-384":                        {key: newSigner(t, "", "ES384").jwk(t), alg: "ES384"},
		"P-521":                        {key: newSigner(t, "", "ES512").jwk(t), alg: "ES512"},
		"Ed25519":                      {key: ed, alg: "EdDSA"},
		"RSA":                          {key: rs, alg: "RS256"},
		"RSA for PSS":                  {key: with(rs, map[string]any{"alg": "PS512"}), alg: "PS512"},
		"RSA for all":                  {key: with(rs, map[string]any{"alg": nil, "use": nil}), alg: ""},
		"for verifying":                {key: with(ec, map[string]any{"key_ops": []string{"verify"}}), alg: "ES256"},
		"an unreadable certificate":    {key: with(rs, map[string]any{"x5c": []string{"?"}, "x5t": "?"}), alg: "RS256"},
		"for encryption":               {key: with(rs, map[string]any{"use": "enc"}), err: `key "rs" is for the use "enc"`},
		"for another operation":        {key: with(ec, map[string]any{"key_ops": []string{"deriveKey"}}), err: "is not for verifying"},
		"for an encryption algorithm":  {key: with(rs, map[string]any{"alg": "RSA-OAEP", "use": nil}), err: `is for the algorithm "RSA-OAEP"`},
		"RSA for HMAC":                 {key: with(rs, map[string]any{"alg": "HS256"}), err: `is for the algorithm "HS256"`},
		"another curve's algorithm":    {key: with(ec, map[string]any{"alg": "ES384"}), err: `is for the algorithm "ES384"`},
		"symmetric":                    {key: map[string]any{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}, err: `is of the type "oct"`},
		"a point that is on no curve":  {key: with(ec, map[string]any{"x": "AAAA"}), err: "is unreadable"},
		"an unknown curve":             {key: with(ec, map[string]any{"crv": "secp256k1"}), err: "is unreadable"},
		"for agreement":                {key: with(ed, map[string]any{"crv": "X25519"}), err: "is unreadable"},
		"a small RSA key":              {key: with(rs, map[string]any{"n": "sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5pcM9H95GQRV3JDXboIRROSBigeC5yjU1hGzHHyXss8UDprecbAYxknTcQkhslANGRUZmdTOQ5qTRsLAt6BTYuyvVRdhS8exSZEy_c4"}), err: "has 1024 bits"},
		"an RSA key of another making": {key: with(rs, map[string]any{"e": "Ew"}), err: "has the exponent 19"},
		"no type":                      {key: with(rs, map[string]any{"kty": nil}), err: `is of the type ""`},
		"a number for an id":           {key: with(rs, map[string]any{"kid": 7}), err: "unreadable"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseRing(jwksText(t, c.key))
			require.NoError(t, err)
			if c.err != "" {
				require.ErrorContains(t, r.empty(), c.err)
				assert.JSONEq(t, `{"keys":[]}`, string(r.jwks))
				return
			}
			require.NoError(t, r.empty())
			require.Len(t, r.keys, 1)
			assert.Equal(t, c.alg, r.keys[0].alg)
		})
	}
}

func TestPrivateParametersAreLeftOut(t *testing.T) {
	k := newSigner(t, "a", "ES256").jwk(t)
	r, err := parseRing(jwksText(t, with(k, map[string]any{"d": "c2VjcmV0"})))
	require.NoError(t, err)
	var got struct{ Keys []map[string]any }
	require.NoError(t, json.Unmarshal(r.jwks, &got))
	assert.Equal(t, []map[string]any{with(k, map[string]any{"use": nil})}, got.Keys)
}

func TestTheSameKeysHaveOneForm(t *testing.T) {
	a, b, c := newSigner(t, "a", "ES256").jwk(t), newSigner(t, "", "EdDSA").jwk(t), newSigner(t, "a", "RS256").jwk(t)
	want := keySet(t, jwksText(t, a, b, c)).JWKS
	assert.Equal(t, want, keySet(t, jwksText(t, c, b, a, b)).JWKS)
	assert.Equal(t, want, keySet(t, want).JWKS)
	assert.NotEqual(t, want, keySet(t, jwksText(t, a, b)).JWKS)
}

func TestKeySetThatIsNone(t *testing.T) {
	for doc, want := range map[string]string{"": "not JSON", "[]": "not JSON", "{}": `no list "keys"`, `{"keys":{}}`: "not JSON", `{"keys":null}`: `no list "keys"`} {
		_, err := NewKeySet(issuerURL, []byte(doc))
		require.ErrorContains(t, err, want, "%q", doc)
	}
	k, many := newSigner(t, "a", "ES256").jwk(t), []map[string]any{}
	for i := range maxKeys + 1 {
		many = append(many, with(k, map[string]any{"kid": strconv.Itoa(i)}))
	}
	_, err := NewKeySet(issuerURL, jwksText(t, many...))
	require.ErrorContains(t, err, "more than 100 are not taken")
}
