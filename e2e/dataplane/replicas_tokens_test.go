package dataplane_test

import (
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// exchanges is how often an issuer has given a token for a caller's.
func (i *issuer) exchanges(caller string) (n int) {
	i.change(func() {
		for _, form := range i.forms {
			if v, err := url.ParseQuery(form); err == nil && v.Get("subject_token") == tokenOf(caller) {
				n++
			}
		}
	})
	return n
}

// TestReplicasShareExchangedTokens: a token that one replica got for a caller serves at the others, without the authorization server. Nobody who looks into
// the store finds it, one that the server refuses does not come back from there, and without the store each replica gets its own.
func TestReplicasShareExchangedTokens(t *testing.T) {
	t.Parallel()
	as := newIssuer(t, 300)
	var revoked sync.Map
	up := testbed.NewUpstream(t, guarded(whoami(), func(token string) bool {
		_, gone := revoked.Load(token)
		return strings.Contains(token, ".weather.") && !gone
	}))
	c := startCluster(t, 2, spec("w", up.URL, withCredential(as.tokenExchange())))
	for _, g := range c.replicas {
		g.AwaitTools(t, "w_whoami")
	}
	connect := func(caller string, replica int) *testbed.Client {
		return testbed.ConnectAs(t, c.replicas[replica].Endpoint, caller, "Bearer "+tokenOf(caller))
	}
	whoami := func(client *testbed.Client, replica int) string {
		return c.at(client, replica).Call(t, "w_whoami", "{}").Text(t)
	}

	alice, bob := connect("alice", 0), connect("bob", 1)
	first := whoami(alice, 0)
	assert.Contains(t, first, "Bearer exchanged.alice.weather.")
	assert.Contains(t, whoami(bob, 1), "Bearer exchanged.bob.weather.")
	as.change(func() { as.down = true })
	for range 2 {
		assert.Equal(t, first, whoami(alice, 1))
		assert.Contains(t, whoami(bob, 0), "Bearer exchanged.bob.weather.")
	}
	as.change(func() { as.down = false })
	assert.Equal(t, 1, as.exchanges("alice"))
	assert.Equal(t, 1, as.exchanges("bob"))
	c.assertTokensAreHidden(t, "exchanged.alice", "exchanged.bob", tokenOf("alice"), tokenOf("bob"), clientSecret)

	// The server takes it no longer. Each replica notices by itself, and who meets the caller only now gets what is good.
	revoked.Store(strings.TrimPrefix(first, "Bearer "), true)
	second := whoami(alice, 1)
	assert.NotEqual(t, first, second)
	assert.NotEqual(t, first, whoami(alice, 0))
	assert.Equal(t, 3, as.exchanges("alice"))

	c.redis.Kill()
	stateless := func(caller string, replica int) string {
		s := testbed.NewStateless(t, c.replicas[replica].Endpoint)
		s.Authorization = "Bearer " + tokenOf(caller)
		return s.Ask(t, "tools/call", `{"name":"w_whoami","arguments":{}}`).Result(t)
	}
	assert.NotEqual(t, stateless("carol", 0), stateless("carol", 1))
	assert.Equal(t, 2, as.exchanges("carol"))
	c.startRedis(t)
	tried := 0
	testbed.Await(t, "replicas to share tokens again", func() bool {
		tried++
		caller := "dave-" + strconv.Itoa(tried)
		return stateless(caller, 0) == stateless(caller, 1)
	})
	for _, g := range c.replicas {
		assertNoSecrets(t, g, "exchanged.alice", "exchanged.carol", tokenOf("alice"), tokenOf("carol"))
	}
}

// assertTokensAreHidden looks into the store.
func (c *cluster) assertTokensAreHidden(t *testing.T, secrets ...string) {
	t.Helper()
	stored := evaluated(t, c.address, "", `local all = ''
for _, k in ipairs(redis.call('KEYS', '*exchanged:*')) do
  all = all .. redis.call('PTTL', k) .. ' ' .. k .. ' ' .. table.concat(redis.call('HGETALL', k), ' '):gsub('\n', ' ') .. '\n'
end
return all`)
	lines := strings.Split(strings.TrimSuffix(stored, "\n"), "\n")
	require.Len(t, lines, 2, "one for each caller")
	for _, line := range lines {
		life, rest, _ := strings.Cut(line, " ")
		ms, err := strconv.Atoi(life)
		require.NoError(t, err, line)
		assert.True(t, ms > 0 && ms <= 295_000, "it ends in %d ms", ms)
		for _, secret := range append(secrets, "alice", "bob", "weather") {
			assert.NotContains(t, rest, secret)
		}
	}
}
