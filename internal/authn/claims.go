package authn

import (
	"errors"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// maxToken is more than fits into the headers of a request that Envoy takes.
const maxToken = 64 << 10

// signatureAlgorithms are all that are accepted: asymmetric ones.
func signatureAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	}
}

// token is one that has been read, and not believed yet.
type token struct {
	jws      *jose.JSONWebSignature
	alg, kid string
	claims   map[string]any

	issuer    string
	audiences []string
	// In seconds since 1970; zero where the token has none.
	notBefore, expires uint64
}

// readToken reads a token without verifying it.
func readToken(text string, algorithms ...jose.SignatureAlgorithm) (*token, error) {
	if len(text) > maxToken || !shaped(text) {
		return nil, invalid(Malformed)
	}
	jws, err := jose.ParseSignedCompact(text, algorithms)
	if err != nil {
		if _, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
			return nil, invalid(WrongAlgorithm)
		}
		return nil, invalid(Malformed)
	}
	t := &token{jws: jws, alg: jws.Signatures[0].Header.Algorithm, kid: jws.Signatures[0].Header.KeyID}
	payload := jws.UnsafePayloadWithoutVerification()
	// This reader refuses a member that stands there twice, of which two readers may see another one each.
	if !utf8.Valid(payload) || json.Unmarshal(payload, &t.claims) != nil || t.claims == nil || !t.readClaims() {
		return nil, invalid(Malformed)
	}
	return t, nil
}

// shaped tells whether a text looks like a token: three parts in base64url, none of them empty, and no padding.
func shaped(text string) bool {
	parts := strings.SplitN(text, ".", 4)
	return len(parts) == 3 && !slices.ContainsFunc(parts, func(part string) bool {
		return part == "" || strings.ContainsFunc(part, func(r rune) bool {
			return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
		})
	})
}

// readClaims is false if a registered claim has a wrong type: Envoy does not take such a token, not even where nobody asks for the claim.
func (t *token) readClaims() bool {
	var ignored string
	var issuedAt uint64
	ok := t.text("iss", &t.issuer) && t.text("sub", &ignored) && t.text("jti", &ignored)
	ok = ok && t.seconds("iat", &issuedAt) && t.seconds("nbf", &t.notBefore) && t.seconds("exp", &t.expires)
	return ok && t.list("aud", &t.audiences)
}

func (t *token) text(name string, to *string) bool {
	v, present := t.claims[name]
	if !present {
		return true
	}
	s, ok := v.(string)
	*to = s
	return ok
}

// seconds reads a NumericDate, cut to whole seconds.
func (t *token) seconds(name string, to *uint64) bool {
	v, present := t.claims[name]
	if !present {
		return true
	}
	f, ok := v.(float64)
	if !ok || f < 0 || f >= math.MaxUint64 {
		return false
	}
	*to = uint64(f)
	return true
}

func (t *token) list(name string, to *[]string) bool {
	switch v := t.claims[name].(type) {
	case string:
		*to = []string{v}
	case []any:
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return false
			}
			*to = append(*to, s)
		}
	default:
		_, present := t.claims[name]
		return !present
	}
	return true
}

// checkTime is nil while the token is valid, by a clock that may be off by the skew.
func (t *token) checkTime(now time.Time, skew uint64) error {
	switch at := seconds(now); {
	case t.expires == 0:
		return invalid(NoExpiry)
	case at+skew < t.notBefore:
		return invalid(NotYetValid)
	case expired(at, t.expires, skew):
		return invalid(Expired)
	}
	return nil
}

func expired(at, expires, skew uint64) bool { return at > skew && at-skew > expires }

func seconds(t time.Time) uint64 { return uint64(max(0, t.Unix())) }

// skewSeconds is a clock skew as Envoy is told of it: in whole seconds, and never none, which Envoy would take for 60.
func skewSeconds(d time.Duration) uint64 { return uint64(max(1, d/time.Second)) }

// audience is what Envoy compares of one: without "http://" or "https://" before and a slash behind.
func audience(s string) string {
	rest, ok := strings.CutPrefix(s, "http://")
	if !ok {
		rest = strings.TrimPrefix(s, "https://")
	}
	return strings.TrimSuffix(rest, "/")
}

// isFor tells whether the token is for one of the audiences.
func (t *token) isFor(audiences []string) bool {
	return slices.ContainsFunc(t.audiences, func(has string) bool {
		return slices.ContainsFunc(audiences, func(want string) bool { return audience(has) == audience(want) })
	})
}
