package credential

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

func timeOf(s int64) time.Time { return time.Unix(s, 0) }

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestSharedTokenIsRenewedBeforeItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := granting(300)
		m, told := manage(t, as, Options{})
		defer m.Close()
		s, twin := server("weather", config.ClientCredentials, oauth()), server("twin", config.ClientCredentials, oauth())
		_, ok := m.Token(&s)
		assert.False(t, ok)
		m.Apply(servers(s, twin))
		synctest.Wait()
		assert.Equal(t, 1, as.count(), "equal clients share a token")
		token, ok := m.Token(&s)
		assert.True(t, ok)
		assert.Equal(t, "token-1", token.Reveal())
		assert.Equal(t, []string{"[weather twin] true"}, told.take())

		pass(224 * time.Second)
		assert.Equal(t, 1, as.count())
		pass(2 * time.Second)
		assert.Equal(t, 2, as.count(), "a quarter of its life before the end")
		assert.Equal(t, "token-2", mustToken(t, m.Shared(&s)))
		assert.Equal(t, []string{"[weather twin] false"}, told.take())

		m.Apply(servers(s, twin))
		pass(10 * time.Minute)
		assert.Equal(t, 4, as.count(), "a configuration that says the same changes nothing")
		m.Apply(servers())
		pass(time.Hour)
		assert.Equal(t, 4, as.count(), "nobody needs it any more")
	})
}

// The old token serves while no new one is to be had, and not for a moment longer than it is good.
func TestSharedTokenOutlivesTroubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := granting(300)
		m, told := manage(t, as, Options{})
		defer m.Close()
		s := server("weather", config.ClientCredentials, oauth())
		m.Apply(servers(s))
		synctest.Wait()
		told.take()
		as.set(func(w http.ResponseWriter, _ *http.Request, _ int) {
			http.Error(w, "down", http.StatusServiceUnavailable)
		})
		pass(290 * time.Second)
		assert.Equal(t, "token-1", mustToken(t, m.Shared(&s)))
		assert.Empty(t, told.take())
		assert.InDelta(t, 7, as.count(), 1, "tried again, ever more rarely")
		assert.Equal(t, 1, strings.Count(told.logged(), "no token for servers"), "trouble is logged once")

		pass(6 * time.Second)
		assert.Equal(t, []string{"[weather] false"}, told.take(), "the loss is told when it happens")
		_, ok := m.Token(&s)
		assert.False(t, ok)
		_, err := m.Shared(&s).Token(t.Context())
		require.ErrorContains(t, err, "HTTP status 503")

		as.set(func(w http.ResponseWriter, _ *http.Request, _ int) { grantToken(w, "again", 300) })
		pass(longestPause)
		assert.Equal(t, []string{"[weather] true"}, told.take())
		assert.Equal(t, "again", mustToken(t, m.Shared(&s)))
		assert.Contains(t, told.logged(), "tokens are had again")
	})
}

func TestRejectedTokenIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := granting(300)
		m, told := manage(t, as, Options{})
		defer m.Close()
		s := server("weather", config.ClientCredentials, oauth())
		m.Apply(servers(s))
		synctest.Wait()
		shared := m.Shared(&s)
		shared.Rejected(config.NewSecret("older"))
		assert.Equal(t, "token-1", mustToken(t, shared), "it was another that was refused")
		m.Refused(&s)
		assert.Equal(t, "token-2", mustToken(t, shared))
		synctest.Wait()
		assert.Equal(t, []string{"[weather] true", "[weather] false", "[weather] true"}, told.take())

		m.Refused(&s)
		pass(time.Second)
		assert.Equal(t, 2, as.count(), "a server that takes no token must not have one fetched for each call")
		pass(rejectPause)
		m.Refused(&s)
		assert.Equal(t, "token-3", mustToken(t, shared))
	})
}

func TestCallersHaveTokensOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &authorizationServer{took: time.Second, answer: func(w http.ResponseWriter, r *http.Request, n int) {
			grantToken(w, fmt.Sprintf("%s-%d", r.PostFormValue("subject_token"), n), 300)
		}}
		m, _ := manage(t, as, Options{})
		s := server("weather", config.TokenExchange, oauth())
		of := func(who string) Tokens { return m.Caller(&s, config.NewSecret(who)) }
		var wait sync.WaitGroup
		for range 20 {
			for _, who := range []string{"alice", "bob"} {
				wait.Go(func() { assert.Contains(t, mustToken(t, of(who)), who+"-") })
			}
		}
		wait.Wait()
		assert.Equal(t, 2, as.count(), "one request for each caller, however many calls race")

		first := mustToken(t, of("alice"))
		pass(226 * time.Second)
		assert.Equal(t, first, mustToken(t, of("alice")), "the old one serves while the next is fetched")
		pass(2 * time.Second)
		assert.Equal(t, 3, as.count(), "who does not call is not asked for")
		renewed := mustToken(t, of("alice"))
		assert.NotEqual(t, first, renewed)

		of("alice").Rejected(config.NewSecret(renewed))
		assert.NotEqual(t, renewed, mustToken(t, of("alice")))
		assert.Equal(t, 4, as.count())
	})
}

// A caller whose login has ended loses what it was exchanged for when that is renewed, and at the latest when its own token ends.
func TestCallersTokensEndWithTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := granting(3600)
		m, _ := manage(t, as, Options{})
		s := server("weather", config.TokenExchange, oauth())
		alice := jwt("alice", time.Now().Add(time.Minute))
		bob := config.NewSecret("opaque")
		mustToken(t, m.Caller(&s, alice))
		mustToken(t, m.Caller(&s, bob))
		as.set(func(w http.ResponseWriter, _ *http.Request, _ int) { refuse(w, 400, "invalid_grant", "session ended") })
		pass(61 * time.Second)
		_, err := m.Caller(&s, alice).Token(t.Context())
		require.ErrorContains(t, err, "invalid_grant")
		mustToken(t, m.Caller(&s, bob))

		pass(56 * time.Minute)
		mustToken(t, m.Caller(&s, bob))
		synctest.Wait()
		_, err = m.Caller(&s, bob).Token(t.Context())
		require.ErrorContains(t, err, "session ended")
		asked := as.count()
		_, err = m.Caller(&s, bob).Token(t.Context())
		require.Error(t, err)
		assert.Equal(t, asked, as.count(), "a refusal is not asked for again at once")
		pass(rejectPause)
		_, err = m.Caller(&s, bob).Token(t.Context())
		require.Error(t, err)
		assert.Equal(t, asked+1, as.count())
	})
}

func TestCallersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := granting(300)
		m, _ := manage(t, as, Options{MaxCallers: 3})
		s := server("weather", config.TokenExchange, oauth())
		for _, who := range []string{"a", "b", "c", "a", "d"} {
			mustToken(t, m.Caller(&s, config.NewSecret(who)))
		}
		kept := &m.source(s.Credential.Client).callers
		assert.Equal(t, 3, kept.recent.Len())
		assert.Len(t, kept.cells, 3)
		asked := as.count()
		mustToken(t, m.Caller(&s, config.NewSecret("a")))
		assert.Equal(t, asked, as.count())
		mustToken(t, m.Caller(&s, config.NewSecret("b")))
		assert.Equal(t, asked+1, as.count(), "who has not called for longest is forgotten")
		pass(time.Hour)
		mustToken(t, m.Caller(&s, config.NewSecret("e")))
		assert.Equal(t, 1, kept.recent.Len(), "what has expired is not kept")
	})
}

// A caller that gives up takes nothing from others that wait for the same token.
func TestImpatientCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := granting(300)
		as.took = 2 * time.Second
		m, _ := manage(t, as, Options{})
		s := server("weather", config.TokenExchange, oauth())
		tokens := m.Caller(&s, config.NewSecret("alice"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := tokens.Token(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, "token-1", mustToken(t, tokens))
	})
}

func TestLifeThatIsNotTold(t *testing.T) {
	for body, life := range map[string]time.Duration{
		`{"access_token":"t","token_type":"bearer"}`:                     unknownLife,
		`{"access_token":"t","token_type":"BEARER","expires_in":"600"}`:  10 * time.Minute,
		`{"access_token":"t","token_type":"Bearer","expires_in":null}`:   unknownLife,
		`{"access_token":"t","token_type":"Bearer","expires_in":86400}`:  24 * time.Hour,
		`{"access_token":"t","token_type":"Bearer","expires_in":"soon"}`: unknownLife,
	} {
		g, err := (&request{}).granted([]byte(body), timeOf(0))
		require.NoError(t, err)
		assert.Equal(t, timeOf(0).Add(life-5*time.Second), g.expires, body)
		assert.Equal(t, timeOf(0).Add(life-min(life/4, 5*time.Minute)), g.renew, body)
	}
}
