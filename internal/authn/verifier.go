package authn

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync/atomic"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// defaultEntries is how many verified identities are kept.
const defaultEntries = 10_000

// Options are what a [Verifier] may need. All are optional.
type Options struct {
	// Missed is told of tokens that nothing is wrong with but that their key is not known, by the id of that key, which may be empty.
	Missed func(kid string)
	Now    func() time.Time
	// Entries is how many verified identities are kept; default 10 000.
	Entries int
}

// Verifier verifies access tokens as Envoy does.
//
// Why not go-oidc? It allows a token five minutes before its "nbf" and none after its "exp", takes another issuer for Google's, and knows one
// audience. What remains of it is the signature, and go-jose checks that.
type Verifier struct {
	state func() (*policy.Set, *KeySet)
	opts  Options
	cache atomic.Pointer[cache]
}

// NewVerifier makes a verifier by whatever policies and keys the state is at the time of each call.
func NewVerifier(state func() (*policy.Set, *KeySet), o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Missed == nil {
		o.Missed = func(string) {}
	}
	if o.Entries <= 0 {
		o.Entries = defaultEntries
	}
	return &Verifier{state: state, opts: o}
}

// Verify reads the caller from the value of an Authorization header. The error is [ErrNoToken] or an [InvalidToken]. Where the policies ask for no
// token, nobody is a caller: both results are nil, whatever the header says. The identity is shared; nobody may modify it.
func (v *Verifier) Verify(_ context.Context, authorization string) (*policy.Identity, error) {
	set, keys := v.state()
	if set == nil || set.Authentication == nil {
		return nil, nil
	}
	text, ok := bearer(authorization)
	if !ok {
		return nil, ErrNoToken
	}
	if keys == nil || keys.ring == nil || keys.Issuer != set.Authentication.Issuer {
		return nil, invalid(NoKeys)
	}
	c, sum := v.cacheFor(set, keys.ring), sha256.Sum256([]byte(text))
	if known, ok := c.get(sum); ok {
		if !expired(seconds(v.opts.Now()), known.expires, skewSeconds(set.Authentication.ClockSkew)) {
			return known.identity, nil
		}
		c.drop(sum)
	}
	t, err := v.verify(set.Authentication, keys.ring, text)
	if err != nil {
		return nil, err
	}
	id := set.Identify(t.claims)
	c.put(verified{digest: sum, identity: id, expires: t.expires})
	return id, nil
}

// bearer is the token in a header that is of the one shape that Envoy is shown.
func bearer(authorization string) (string, bool) {
	text, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok {
		text, ok = strings.CutPrefix(authorization, "bearer ")
	}
	return text, ok && shaped(text)
}

// cacheFor makes a new one where the policies or the keys have changed since the last call.
func (v *Verifier) cacheFor(set *policy.Set, r *ring) *cache {
	old := v.cache.Load()
	if old != nil && old.set == set && old.ring == r {
		return old
	}
	fresh := newCache(set, r, v.opts.Entries)
	v.cache.CompareAndSwap(old, fresh)
	return fresh
}

// verify asks in Envoy's order. The signature comes last: only a token that would be good with another key is a reason to look for keys.
func (v *Verifier) verify(a *policy.Authentication, r *ring, text string) (*token, error) {
	t, err := readToken(text, signatureAlgorithms()...)
	if err != nil {
		return nil, err
	}
	if t.issuer != a.Issuer {
		return nil, invalid(WrongIssuer)
	}
	if err := t.checkTime(v.opts.Now(), skewSeconds(a.ClockSkew)); err != nil {
		return nil, err
	}
	if !t.isFor(a.Audiences) {
		return nil, invalid(WrongAudience)
	}
	reason := UnknownKey
	for _, k := range r.keys {
		if !k.signs(t) {
			continue
		}
		if _, err := t.jws.Verify(k.public); err == nil {
			return t, nil
		}
		reason = BadSignature
	}
	if !r.knows(t.kid) {
		v.opts.Missed(t.kid)
	}
	return nil, invalid(reason)
}
