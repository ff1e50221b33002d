package authn

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

func reasonOf(t testing.TB, err error) Reason {
	t.Helper()
	if err == nil {
		return ""
	}
	if errors.Is(err, ErrNoToken) {
		return noToken
	}
	var bad *InvalidToken
	require.ErrorAs(t, err, &bad)
	return bad.Reason
}

// Invariant 5: an unverifiable token means no.
func TestVerify(t *testing.T) {
	p := newPeople(t)
	v := verifierOf(values(), keySet(t, p.jwks(t)), nil)
	for _, c := range tokens(t, p) {
		t.Run(c.name, func(t *testing.T) {
			id, err := v.Verify(t.Context(), c.header)
			got := reasonOf(t, err)
			assert.Equal(t, got == "", id != nil)
			if c.reason == anyReason {
				assert.NotEmpty(t, got)
				return
			}
			assert.Equal(t, c.reason, got)
			if err != nil {
				assert.NotContains(t, err.Error(), "eyJ", "a token in an error would end in the log")
			}
		})
	}
}

func TestVerifiedCaller(t *testing.T) {
	s := newSigner(t, "a", "ES256")
	v := verifierOf(values(), keySet(t, jwksOf(t, s)), nil)
	id, err := v.Verify(t.Context(), "Bearer "+s.token(t, nil))
	require.NoError(t, err)
	assert.Equal(t, issuerURL, id.Issuer)
	assert.Equal(t, "1234", id.Subject)
	assert.Equal(t, "mcp", id.User)
	assert.Equal(t, []string{"accounting"}, id.Groups)
}

func TestWithoutAuthenticationNobodyIsACaller(t *testing.T) {
	for _, set := range []*policy.Set{nil, {}} {
		id, err := verifierOf(set, &KeySet{}, nil).Verify(t.Context(), "Bearer a.b.c")
		require.NoError(t, err)
		assert.Nil(t, id)
	}
}

func TestWithoutKeysNoTokenIsBelieved(t *testing.T) {
	s := newSigner(t, "a", "ES256")
	other, err := NewKeySet("https://other.example", jwksOf(t, s))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		keys   *KeySet
		reason Reason
	}{
		"nothing":            {nil, NoKeys},
		"no issuer":          {&KeySet{}, NoKeys},
		"another issuer":     {other, NoKeys},
		"an issuer's no key": {keySet(t, []byte(`{"keys":[]}`)), UnknownKey},
	} {
		_, err := verifierOf(values(), c.keys, nil).Verify(t.Context(), "Bearer "+s.token(t, nil))
		assert.Equal(t, c.reason, reasonOf(t, err), name)
	}
}

func TestMissedKeys(t *testing.T) {
	p := newPeople(t)
	var missed []string
	v := verifierOf(values(), keySet(t, p.jwks(t)), &missed)
	for _, c := range []struct {
		name, token string
		missed      []string
	}{
		{"an unknown key", p.stranger.token(t, nil), []string{"stranger"}},
		{"an unknown key without an id", p.anonymous.token(t, nil), []string{""}},
		{"a known key", p.es.token(t, nil), nil},
		{"a known key's id", p.impostor.token(t, nil), nil},
		{"an unknown key, expired", p.stranger.token(t, map[string]any{"exp": 1}), nil},
		{"an unknown key, for another", p.stranger.token(t, map[string]any{"aud": "x"}), nil},
		{"an unknown key of another issuer", p.stranger.token(t, map[string]any{"iss": "x"}), nil},
	} {
		missed = nil
		_, _ = v.Verify(t.Context(), "Bearer "+c.token)
		assert.Equal(t, c.missed, missed, c.name)
	}
}

// The bounds are Envoy's, to the second. It knows no skew below a second.
func TestTimes(t *testing.T) {
	s := newSigner(t, "a", "ES256")
	for skew, limit := range map[time.Duration]time.Duration{
		0: time.Second, 500 * time.Millisecond: time.Second, time.Second: time.Second, 30 * time.Second: 30 * time.Second, 5 * time.Minute: 5 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			set := values()
			set.Authentication.ClockSkew = skew
			v, fresh := verifierOf(set, keySet(t, jwksOf(t, s)), nil), verifierOf(set, keySet(t, jwksOf(t, s)), nil)
			text := "Bearer " + s.token(t, map[string]any{"nbf": time.Now().Add(time.Hour).Unix(), "exp": time.Now().Add(2 * time.Hour).Unix()})
			at := func(d time.Duration, want Reason) {
				time.Sleep(d)
				for _, v := range []*Verifier{v, fresh} {
					_, err := v.Verify(t.Context(), text)
					require.Equal(t, want, reasonOf(t, err), "skew %s", skew)
				}
				fresh = verifierOf(set, keySet(t, jwksOf(t, s)), nil)
			}
			at(time.Hour-limit-time.Nanosecond, NotYetValid)
			at(time.Nanosecond, "")
			at(time.Hour+2*limit+time.Second-time.Nanosecond, "")
			at(time.Nanosecond, Expired)
			assert.Zero(t, v.cache.Load().len(), "an expired identity is forgotten")
		})
	}
}

func TestRotationAndRevocation(t *testing.T) {
	a, b := newSigner(t, "a", "ES256"), newSigner(t, "b", "RS256")
	synctest.Test(t, func(t *testing.T) {
		issuer := newFakeIssuer(t, a)
		set := values()
		k := runKeys(t, KeysOptions{Client: issuer.client()})
		k.Set(set.Authentication)
		v := NewVerifier(func() (*policy.Set, *KeySet) { return set, k.Current() }, Options{Missed: k.Missed})
		verify := func(s signer) Reason {
			_, err := v.Verify(t.Context(), "Bearer "+s.token(t, nil))
			return reasonOf(t, err)
		}
		time.Sleep(10 * time.Second)
		assert.Empty(t, verify(a))

		issuer.publish(t, a, b)
		assert.Equal(t, UnknownKey, verify(b), "the first token with the new key")
		synctest.Wait()
		assert.Empty(t, verify(b), "found without waiting for the next regular fetch")
		assert.Empty(t, verify(a))

		issuer.publish(t, b)
		time.Sleep(defaultInterval)
		synctest.Wait()
		assert.Equal(t, UnknownKey, verify(a), "the cache does not outlive the key")
		assert.Empty(t, verify(b))
	})
}

func TestCacheFollowsThePolicies(t *testing.T) {
	s := newSigner(t, "a", "ES256")
	set, keys := values(), keySet(t, jwksOf(t, s))
	v := NewVerifier(func() (*policy.Set, *KeySet) { return set, keys }, Options{})
	header := "Bearer " + s.token(t, nil)
	first, err := v.Verify(t.Context(), header)
	require.NoError(t, err)
	again, err := v.Verify(t.Context(), header)
	require.NoError(t, err)
	assert.Same(t, first, again, "from the cache")

	set = values()
	set.Authentication.Claims.User = []string{"sub"}
	other, err := v.Verify(t.Context(), header)
	require.NoError(t, err)
	assert.Equal(t, "1234", other.User)

	set = values()
	set.Authentication.Audiences = []string{"other"}
	_, err = v.Verify(t.Context(), header)
	assert.Equal(t, WrongAudience, reasonOf(t, err))
}

func TestCacheIsBounded(t *testing.T) {
	s := newSigner(t, "a", "EdDSA")
	set, keys := values(), keySet(t, jwksOf(t, s))
	v := NewVerifier(func() (*policy.Set, *KeySet) { return set, keys }, Options{Entries: 64})
	kept := "Bearer " + s.token(t, map[string]any{"jti": "kept"})
	first, err := v.Verify(t.Context(), kept)
	require.NoError(t, err)
	for i := range 1000 {
		_, err := v.Verify(t.Context(), "Bearer "+s.token(t, map[string]any{"jti": strconv.Itoa(i)}))
		require.NoError(t, err)
		again, err := v.Verify(t.Context(), kept)
		require.NoError(t, err)
		require.Same(t, first, again, "what is in use stays")
	}
	assert.Equal(t, 64, v.cache.Load().len())
}

func TestVerifierIsForManyAtOnce(t *testing.T) {
	s := newSigner(t, "a", "EdDSA")
	sets := []*policy.Set{values(), values()}
	keys := keySet(t, jwksOf(t, s))
	var turn sync.Map
	v := NewVerifier(func() (*policy.Set, *KeySet) {
		_, odd := turn.LoadAndDelete("odd")
		if !odd {
			turn.Store("odd", true)
			return sets[0], keys
		}
		return sets[1], keys
	}, Options{Entries: 32})
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				jti := fmt.Sprintf("%d-%d", g%2, i%50)
				id, err := v.Verify(t.Context(), "Bearer "+s.token(t, map[string]any{"sub": jti}))
				if assert.NoError(t, err) {
					assert.Equal(t, jti, id.Subject)
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkVerifyCached(b *testing.B) {
	s := newSigner(b, "a", "RS256")
	v := verifierOf(values(), keySet(b, jwksOf(b, s)), nil)
	header := "Bearer " + s.token(b, nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := v.Verify(b.Context(), header); err != nil {
				b.Error(err)
			}
		}
	})
}

func FuzzVerify(f *testing.F) {
	p := newPeople(f)
	for _, c := range tokens(f, p) {
		f.Add(c.header)
	}
	f.Add("Bearer " + encode([]byte(strings.Repeat("[", 40_000))) + ".AAAA.AAAA")
	f.Add("Bearer " + encode([]byte(`{"alg":"ES256"}`)) + "." + encode([]byte(strings.Repeat(`{"a":`, 8_000))) + ".AAAA")
	set, keys := values(), keySet(f, p.jwks(f))
	v := verifierOf(set, keys, nil)
	f.Fuzz(func(t *testing.T, header string) {
		id, err := v.Verify(t.Context(), header)
		if (id == nil) == (err == nil) {
			t.Fatalf("want either a caller or an error, got %v and %v", id, err)
		}
		if id != nil && id.Issuer != issuerURL {
			t.Fatalf("a caller of the issuer %q", id.Issuer)
		}
		if err != nil && reasonOf(t, err) == "" {
			t.Fatalf("an error without a reason: %v", err)
		}
	})
}
