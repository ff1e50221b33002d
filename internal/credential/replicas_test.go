package credential

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// TestReplicasShareExchanges: what one replica has exchanged serves at all of them, and the store is asked by the first call of each only.
func TestReplicasShareExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := granting(300)
		all, r := gatewayOf(t, 3, as)
		assert.Equal(t, "token-1", tokenAt(t, all[0], "alice"))
		assert.Equal(t, "load create", r.take())
		for _, m := range all {
			assert.Equal(t, "token-1", tokenAt(t, m, "alice"))
			assert.Equal(t, "token-1", tokenAt(t, m, "alice"))
		}
		assert.Equal(t, 1, as.count())
		assert.Equal(t, "load load", r.take(), "one for each replica that meets the caller")
		assert.Equal(t, "token-2", tokenAt(t, all[1], "bob"), "another caller")
		assert.Equal(t, "token-2", tokenAt(t, all[0], "bob"))
		assert.Equal(t, 2, as.count())

		// One of them renews it, and the others learn of that when it is their turn.
		pass(226 * time.Second)
		for i, m := range all {
			assert.Equal(t, "token-1", tokenAt(t, m, "alice"), "the old one serves meanwhile")
			synctest.Wait()
			assert.Equal(t, "token-3", tokenAt(t, m, "alice"), "replica %d", i)
		}
		assert.Equal(t, 3, as.count())
	})
}

// TestReplicasShareNothingElse: a token is for the client and the caller that it was got for, and for replicas with the same key.
func TestReplicasShareNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := granting(300)
		r, key := newRecords(), session.GenerateKey()
		first, _ := manage(t, as, Options{Replicas: sharedBy(r, key)})
		tokenAt(t, first, "alice")
		for what, change := range map[string]func(*config.OAuthClient){
			"token URL": func(c *config.OAuthClient) { c.TokenURL += "2" },
			"issuer":    func(c *config.OAuthClient) { c.Issuer = "https://idp.example.com" },
			"client":    func(c *config.OAuthClient) { c.ID = "other" },
			"secret":    func(c *config.OAuthClient) { c.Secret = config.NewSecret("another") },
			"audience":  func(c *config.OAuthClient) { c.Audience = "other" },
			"resource":  func(c *config.OAuthClient) { c.Resource = "https://weather.example.com" },
			"scopes":    func(c *config.OAuthClient) { c.Scopes = []string{"weather.read"} },
			"no scopes": func(c *config.OAuthClient) { c.Scopes = nil },
		} {
			before := as.count()
			m, _ := manage(t, as, Options{Replicas: sharedBy(r, key)})
			s := server("weather", config.TokenExchange, oauth(change))
			assert.NotEqual(t, "token-1", mustToken(t, m.Caller(&s, config.NewSecret("alice"))), what)
			assert.Equal(t, before+1, as.count(), what)
		}
		stranger, _ := manage(t, as, Options{Replicas: sharedBy(r, session.GenerateKey())})
		assert.NotEqual(t, "token-1", tokenAt(t, stranger, "alice"), "who has another session key")
		again, _ := manage(t, as, Options{Replicas: sharedBy(r, key)})
		assert.Equal(t, "token-1", tokenAt(t, again, "alice"))
		alone, _ := manage(t, as, Options{})
		r.take()
		assert.NotEqual(t, "token-1", tokenAt(t, alone, "alice"))
		assert.Empty(t, r.take())
	})
}

// TestSharedTokensEnd: a token is in the store no longer than it may be used, and is not used any longer by who finds it.
func TestSharedTokensEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := granting(300)
		all, r := gatewayOf(t, 2, as)
		tokenAt(t, all[0], "opaque")
		assert.Equal(t, 295*time.Second, r.life, "with time for calls on their way")
		alice := jwt("alice", time.Now().Add(time.Minute)).Reveal()
		tokenAt(t, all[0], alice)
		assert.Equal(t, time.Minute, r.life, "no longer than the caller's own")

		asked := as.count()
		assert.Equal(t, "token-1", tokenAt(t, all[1], "opaque"))
		pass(290 * time.Second)
		assert.Equal(t, "token-1", tokenAt(t, all[1], "opaque"), "still good")
		synctest.Wait()
		assert.Equal(t, asked+1, as.count(), "and due for renewal")
		noTokenAt(t, all[1], alice)

		as.set(func(w http.ResponseWriter, _ *http.Request, _ int) { grantToken(w, "forever", 1<<30) })
		tokenAt(t, all[0], "carol")
		assert.Equal(t, maxShared, r.life)
	})
}

// TestWhatIsNoSharedToken: what was not sealed by a replica for this very place, or cannot be used, is not there. It is replaced.
func TestWhatIsNoSharedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := granting(300)
		r, key := newRecords(), session.GenerateKey()
		replicas := sharedBy(r, key)
		first, _ := manage(t, as, Options{Replicas: replicas})
		tokenAt(t, first, "bob")
		var bobs string
		for _, sealed := range r.all() {
			bobs = sealed
		}
		tokenAt(t, first, "alice")
		at := newSharing(replicas).record(keyOf(oauth()), config.NewSecret("alice")).key
		good := r.all()[at]
		require.NotEmpty(t, good)
		sealed := func(plain string) string { return replicas.Box.Close(at, []byte(plain)) }
		for what, value := range map[string]string{
			"text":                 "token-2",
			"a byte changed":       good[:len(good)-1] + string(good[len(good)-1]^1),
			"cut":                  good[:len(good)-1],
			"too short":            "x",
			"another caller's":     bobs,
			"sealed elsewhere":     session.GenerateKey().Box("tokens").Close(at, []byte(`{"token":"stranger","renew":4e12,"expires":4e12}`)),
			"no JSON":              sealed(`token-2`),
			"no token":             sealed(`{"renew":4000000000000,"expires":4000000000000}`),
			"a token with a break": sealed(`{"token":"a\r\nb","renew":4000000000000,"expires":4000000000000}`),
			"a long token":         sealed(`{"token":"` + strings.Repeat("a", maxToken+1) + `","renew":4000000000000,"expires":4000000000000}`),
			"no end":               sealed(`{"token":"t","renew":4000000000000}`),
			"an end that was":      sealed(`{"token":"t","renew":1000,"expires":1000}`),
			"renewed after it":     sealed(`{"token":"t","renew":4000000000001,"expires":4000000000000}`),
			"empty":                "",
		} {
			r.overwrite(t, at, value)
			before := as.count()
			m, _ := manage(t, as, Options{Replicas: replicas})
			got := tokenAt(t, m, "alice")
			assert.Equal(t, before+1, as.count(), what)
			other, _ := manage(t, as, Options{Replicas: replicas})
			assert.Equal(t, got, tokenAt(t, other, "alice"), "%s: replaced", what)
		}
		r.overwrite(t, at, good)
		m, _ := manage(t, as, Options{Replicas: replicas})
		assert.Equal(t, "token-2", tokenAt(t, m, "alice"), "what was sealed is good")
	})
}

// hangs is a store that does not answer.
func hangs(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestStoreIsAway: a store that fails, hangs or is full fails no call, and few of them wait for it.
func TestStoreIsAway(t *testing.T) {
	took := func(f func()) time.Duration {
		began := time.Now()
		f()
		return time.Since(began)
	}
	t.Run("it hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			as := granting(300)
			all, r := gatewayOf(t, 2, as)
			r.breaks(hangs)
			assert.Equal(t, shareTimeout, took(func() { tokenAt(t, all[0], "alice") }), "it is not asked to keep what it did not look up")
			for _, who := range []string{"bob", "carol", "dave"} {
				assert.Zero(t, took(func() { tokenAt(t, all[0], who) }), "it is left alone")
			}
			assert.Equal(t, "load", r.take())
			pass(shareRest*shareTimeout + time.Millisecond)
			var wait sync.WaitGroup
			var longest [3]time.Duration
			for i, who := range []string{"erin", "frank", "grace"} {
				wait.Go(func() { longest[i] = took(func() { tokenAt(t, all[0], who) }) })
			}
			wait.Wait()
			assert.Equal(t, "load", r.take(), "one tries for all")
			assert.Equal(t, shareTimeout, longest[0]+longest[1]+longest[2])
			assert.Equal(t, 7, as.count())

			r.breaks(nil)
			pass(shareRest * shareTimeout)
			tokenAt(t, all[0], "heidi")
			assert.Equal(t, "load create", r.take(), "it is asked again once it is back")
			tokenAt(t, all[1], "heidi")
			assert.Equal(t, 8, as.count())
		})
	})
	t.Run("it is slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			all, r := gatewayOf(t, 1, granting(300))
			r.breaks(func(ctx context.Context, operation string) error {
				if operation == "load" {
					time.Sleep(shareTimeout - time.Millisecond)
					return nil
				}
				return hangs(ctx, operation)
			})
			assert.Equal(t, 2*shareTimeout-time.Millisecond, took(func() { tokenAt(t, all[0], "alice") }))
			assert.Zero(t, took(func() { tokenAt(t, all[0], "bob") }))
		})
	})
	t.Run("it refuses", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			as := granting(300)
			all, r := gatewayOf(t, 2, as)
			r.breaks(func(context.Context, string) error { return errors.New("connection refused") })
			assert.Zero(t, took(func() {
				tokenAt(t, all[0], "alice")
				tokenAt(t, all[1], "alice")
			}))
			r.breaks(nil)
			tokenAt(t, all[0], "bob")
			tokenAt(t, all[1], "bob")
			assert.Equal(t, 3, as.count(), "it is asked again at once")
		})
	})
	t.Run("it is full", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			as := granting(300)
			all, r := gatewayOf(t, 2, as)
			tokenAt(t, all[0], "alice")
			r.breaks(func(_ context.Context, operation string) error {
				if operation == "load" {
					return nil
				}
				return errors.New("OOM command not allowed when used memory > 'maxmemory'")
			})
			tokenAt(t, all[0], "bob")
			assert.Equal(t, "token-1", tokenAt(t, all[1], "alice"), "what it has is found")
			assert.Equal(t, 2, as.count())
		})
	})
}

// TestRefusedTokenDoesNotComeBack: what a server refused is given up by all replicas that meet it, and newer ones stay.
func TestRefusedTokenDoesNotComeBack(t *testing.T) {
	down := func(w http.ResponseWriter, _ *http.Request, _ int) {
		http.Error(w, "down", http.StatusServiceUnavailable)
	}
	t.Run("another takes its place", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			as := granting(300)
			all, _ := gatewayOf(t, 4, as)
			tokenAt(t, all[0], "alice")
			tokenAt(t, all[1], "alice")
			rejectAt(all[0], "alice", "token-1")
			assert.Equal(t, "token-2", tokenAt(t, all[0], "alice"))
			assert.Equal(t, "token-2", tokenAt(t, all[2], "alice"))
			assert.Equal(t, "token-1", tokenAt(t, all[1], "alice"), "this one does not know of that")
			rejectAt(all[1], "alice", "token-1")
			assert.Equal(t, "token-3", tokenAt(t, all[1], "alice"), "the authorization server knows best")
			assert.Equal(t, "token-3", tokenAt(t, all[3], "alice"))
			assert.Equal(t, 3, as.count())

			// From then on it takes what others have again.
			pass(226 * time.Second)
			for _, m := range []*Manager{all[3], all[1]} {
				assert.Equal(t, "token-3", tokenAt(t, m, "alice"))
				synctest.Wait()
				assert.Equal(t, "token-4", tokenAt(t, m, "alice"))
			}
		})
	})
	t.Run("there is no other", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			as := granting(300)
			all, _ := gatewayOf(t, 2, as)
			tokenAt(t, all[0], "alice")
			as.set(down)
			rejectAt(all[0], "alice", "token-1")
			noTokenAt(t, all[0], "alice")
			noTokenAt(t, all[1], "alice")
			pass(longestPause)
			noTokenAt(t, all[0], "alice")
		})
	})
	t.Run("the store was away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			as := granting(300)
			all, r := gatewayOf(t, 2, as)
			tokenAt(t, all[0], "alice")
			as.set(down)
			rejectAt(all[0], "alice", "token-1")
			r.breaks(func(context.Context, string) error { return errors.New("away") })
			noTokenAt(t, all[0], "alice")
			r.breaks(nil)
			pass(longestPause)
			noTokenAt(t, all[0], "alice")
			noTokenAt(t, all[1], "alice")
		})
	})
	t.Run("another replica has a newer one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			as := granting(300)
			all, _ := gatewayOf(t, 3, as)
			tokenAt(t, all[0], "alice")
			tokenAt(t, all[1], "alice")
			rejectAt(all[0], "alice", "token-1")
			assert.Equal(t, "token-2", tokenAt(t, all[0], "alice"))
			as.set(down)
			rejectAt(all[1], "alice", "token-1")
			noTokenAt(t, all[1], "alice")
			assert.Equal(t, "token-2", tokenAt(t, all[2], "alice"), "it is still there")
		})
	})
	t.Run("another replica is quicker", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			as := granting(300)
			all, r := gatewayOf(t, 3, as)
			tokenAt(t, all[0], "alice")
			tokenAt(t, all[1], "alice")
			rejectAt(all[0], "alice", "token-1")
			// Between the look of the one into the store and its removal of what it saw, the other puts a new one there.
			r.breaks(func(_ context.Context, operation string) error {
				if operation == "swap" {
					r.breaks(nil)
					rejectAt(all[1], "alice", "token-1")
					assert.Equal(t, "token-2", tokenAt(t, all[1], "alice"))
					as.set(down)
				}
				return nil
			})
			noTokenAt(t, all[0], "alice")
			assert.Equal(t, "token-2", tokenAt(t, all[2], "alice"))
		})
	})
}

// TestRefusedExchangeIsNotShared: that a caller gets no token is for each replica to find out; what the caller had is taken from all that do not use it.
func TestRefusedExchangeIsNotShared(t *testing.T) {
	no := func(w http.ResponseWriter, _ *http.Request, _ int) { refuse(w, 400, "invalid_grant", "session ended") }
	synctest.Test(t, func(t *testing.T) {
		as := granting(300)
		as.set(no)
		all, r := gatewayOf(t, 3, as)
		require.ErrorContains(t, noTokenAt(t, all[0], "alice"), "session ended")
		assert.Equal(t, "load", r.take())
		as.set(func(w http.ResponseWriter, _ *http.Request, _ int) { grantToken(w, "granted", 300) })
		assert.Equal(t, "granted", tokenAt(t, all[1], "alice"))
		noTokenAt(t, all[0], "alice")
		pass(rejectPause)
		assert.Equal(t, "granted", tokenAt(t, all[0], "alice"))

		// When its renewal is refused, one that still serves is given up.
		pass(226 * time.Second)
		as.set(no)
		tokenAt(t, all[0], "alice")
		synctest.Wait()
		noTokenAt(t, all[0], "alice")
		asked := as.count()
		require.ErrorContains(t, noTokenAt(t, all[2], "alice"), "session ended")
		assert.Equal(t, asked+1, as.count(), "who has not met the caller asks")
	})
	t.Run("the store was away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			as := granting(300)
			all, r := gatewayOf(t, 2, as)
			tokenAt(t, all[0], "alice")
			pass(226 * time.Second)
			as.set(no)
			r.breaks(func(context.Context, string) error { return errors.New("away") })
			tokenAt(t, all[0], "alice")
			pass(rejectPause)
			r.breaks(nil)
			noTokenAt(t, all[0], "alice")
			noTokenAt(t, all[1], "alice")
		})
	})
}

// TestSharedRecordsTellNothing: neither a name nor a value tells whose token it is, for which server, or what it was exchanged for.
func TestSharedRecordsTellNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, r := gatewayOf(t, 1, granting(300))
		alice := jwt("alice", time.Now().Add(time.Hour)).Reveal()
		tokenAt(t, all[0], alice)
		tokenAt(t, all[0], "bob")
		kept := r.all()
		require.Len(t, kept, 2)
		for key, sealed := range kept {
			assert.Regexp(t, `^exchanged:[A-Za-z0-9_-]{43}$`, key)
			for _, secret := range []string{alice, "alice", "bob", "weather", "mcp gateway", clientSecret, "token-1", "token-2"} {
				assert.NotContains(t, sealed, secret)
			}
		}
	})
}

// FuzzParseGrant: whatever a record holds, what is made of it can be sent, ends, and is written as it was read.
func FuzzParseGrant(f *testing.F) {
	f.Add([]byte(`{"token":"t","renew":1,"expires":2}`))
	f.Add([]byte(`{"token":"t","renew":-9223372036854775808,"expires":9223372036854775807}`))
	f.Add([]byte(`{"token":"a\nb","renew":1,"expires":2}`))
	f.Add([]byte(`{"token":"t","token":"","renew":1,"expires":1e300}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, plain []byte) {
		g, err := parseGrant(plain)
		if err != nil {
			return
		}
		if !sendable(g.token.Reveal()) || g.expires.Before(g.renew) || g.expires.UnixMilli() <= 0 {
			t.Fatalf("%q was read as what is no token", plain)
		}
		again, err := parseGrant(g.marshal())
		if err != nil || !again.token.Equal(g.token) || !again.renew.Equal(g.renew) || !again.expires.Equal(g.expires) {
			t.Fatalf("%q is written otherwise than it was read: %v", plain, err)
		}
	})
}
