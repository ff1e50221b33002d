// Package limits_test holds the gateway's rate limits to what they promise for many Envoys: real ones, with the real global rate limit service and a
// real Redis behind them. It knows what the guide to policies says, never how the gateway keeps it.
package limits_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bed are gateways whose calls one service counts.
type bed struct {
	*service

	issuer   *testbed.Issuer
	upstream *testbed.Upstream
	policies string
	gateways []*testbed.Gateway
}

// values are policies with a limit for each user, counted by the service. The timeout is that of a busy machine.
func (b *bed) values(failClosed bool) string {
	return fmt.Sprintf(`policies:
  authentication: {issuer: %q, jwksURI: "%s/keys", audiences: [mcp-gateway]}
  acl: [{everyone: true, allow: [u_slow, u_quick]}]
  rateLimitService: {address: %q, timeout: 5s, failClosed: %t}
  rateLimits:
    - {name: slow, tools: [u_slow], per: user, limit: 3, window: 24h}
`, b.issuer.URL, b.issuer.URL, b.grpc, failClosed)
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{
		service: newService(t), issuer: testbed.NewIssuer(t), policies: filepath.Join(t.TempDir(), "policies.yaml"),
		upstream: testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "slow"}, {Name: "quick"}, {Name: "secret"}}}),
	}
	require.NoError(t, os.WriteFile(b.policies, []byte(b.values(false)), 0o600))
	return b
}

// startGateway starts one more gateway with an Envoy of its own.
func (b *bed) startGateway(t *testing.T) *testbed.Gateway {
	t.Helper()
	g := testbed.StartGateway(t, testbed.Options{Servers: []config.ServerSpec{testbed.ServerSpec("u", b.upstream.URL)}, Policies: b.policies})
	g.AwaitTools(t, "u_slow", "u_quick", "u_secret")
	b.gateways = append(b.gateways, g)
	return g
}

// change gives all gateways other policies.
func (b *bed) change(t *testing.T, values string) {
	t.Helper()
	generations := make([]int, len(b.gateways))
	for i, g := range b.gateways {
		generations[i] = g.Status(t).Policies.Generation
	}
	require.NoError(t, os.WriteFile(b.policies, []byte(values), 0o600))
	for i, g := range b.gateways {
		testbed.Await(t, "the policies to be taken", func() bool { return g.Status(t).Policies.Generation > generations[i] })
	}
}

func (b *bed) connect(t *testing.T, g *testbed.Gateway, user string) *testbed.Client {
	t.Helper()
	return testbed.ConnectAs(t, g.Endpoint, user, b.issuer.Token(t, user, nil))
}

func slow(t *testing.T, c *testbed.Client) *testbed.Answer {
	t.Helper()
	return c.Call(t, "u_slow", "{}")
}

// limited asserts that a call is refused for now.
func limited(t *testing.T, c *testbed.Client) {
	t.Helper()
	body, id := c.ToolCall("u_slow", "{}")
	a := c.Post(t, body)
	require.Equal(t, http.StatusTooManyRequests, a.Status, a)
	assert.Equal(t, testbed.RPCError{ID: fmt.Sprint(id), Code: 429, Message: "too many requests"}, a.Error(t))
	wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
	require.NoError(t, err, a)
	assert.Positive(t, wait)
	assert.LessOrEqual(t, wait, 24*60*60)
	for name := range a.Header {
		assert.NotContains(t, strings.ToLower(name), "ratelimit")
	}
}

// uncounted asserts that a call is refused because nobody can count it, and that what is not limited goes on.
func uncounted(t *testing.T, c *testbed.Client) {
	t.Helper()
	testbed.Await(t, "calls to be refused that cannot be counted", func() bool { return slow(t, c).Status == http.StatusServiceUnavailable })
	body, id := c.ToolCall("u_slow", "{}")
	a := c.Post(t, body)
	require.Equal(t, http.StatusServiceUnavailable, a.Status, a)
	assert.Equal(t, testbed.RPCError{ID: fmt.Sprint(id), Code: -32603, Message: "calls cannot be counted at the moment"}, a.Error(t))
	c.Call(t, "u_quick", "{}").Result(t)
	assert.ElementsMatch(t, []string{"u_slow", "u_quick"}, c.ToolNames(t))
}

// TestEnvoysShareBudgets: a user has one budget, through whichever Envoy the calls go, and other users have theirs.
func TestEnvoysShareBudgets(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.startRedis(t)
	b.start(t, b.policies)
	one, two := b.startGateway(t), b.startGateway(t)
	ann := []*testbed.Client{b.connect(t, one, "ann"), b.connect(t, two, "ann")}
	for _, c := range ann {
		require.Equal(t, http.StatusForbidden, c.Call(t, "u_secret", "{}").Status)
		for range 5 {
			c.Call(t, "u_quick", "{}").Result(t)
		}
	}
	for i := range 3 {
		slow(t, ann[i%2]).Result(t)
	}
	reached := len(b.upstream.Calls("ann", testbed.RPC("tools/call")))
	limited(t, ann[1])
	limited(t, ann[0])
	assert.Len(t, b.upstream.Calls("ann", testbed.RPC("tools/call")), reached, "a call that is too many does not reach the server")
	bob := b.connect(t, two, "bob")
	slow(t, bob).Result(t)
	limited(t, b.connect(t, two, "ann")) // a new session is no new budget
	require.Empty(t, one.Status(t).Problems)
}

// TestLimitsChange: the service takes new limits while it runs, and remembers what was spent.
func TestLimitsChange(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.startRedis(t)
	b.start(t, b.policies)
	c := b.connect(t, b.startGateway(t), "ann")
	for range 3 {
		slow(t, c).Result(t)
	}
	limited(t, c)
	for _, next := range []struct {
		limit string
		want  int
	}{{"limit: 100000", http.StatusOK}, {"limit: 2", http.StatusTooManyRequests}} {
		b.change(t, strings.Replace(b.values(false), "limit: 3", next.limit, 1))
		b.configure(t, b.policies)
		testbed.Await(t, "the "+next.limit, func() bool { return slow(t, c).Status == next.want })
	}
}

// TestServiceDown: whether calls pass that nobody can count is for the policies to say. What was counted is remembered.
func TestServiceDown(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	redis := b.startRedis(t)
	process := b.start(t, b.policies)
	c := b.connect(t, b.startGateway(t), "ann")
	for range 3 {
		slow(t, c).Result(t)
	}
	limited(t, c)
	process.Kill()
	slow(t, c).Result(t)
	b.change(t, b.values(true))
	uncounted(t, c)

	b.start(t, b.policies)
	testbed.Await(t, "calls to be counted again", func() bool { return slow(t, c).Status == http.StatusTooManyRequests })
	limited(t, c)
	redis.Kill()
	uncounted(t, c)
	b.change(t, b.values(false))
	testbed.Await(t, "calls to pass uncounted", func() bool { return slow(t, c).Status == http.StatusOK })
}

// TestRedisDownAtStart: the service does not start without its Redis, and the gateway does not mind. Once both are there, calls are counted without
// anything else being restarted.
func TestRedisDownAtStart(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	process := b.launch(t, b.policies)
	assert.NotZero(t, process.ExitCode(t))
	c := b.connect(t, b.startGateway(t), "ann")
	for range 5 {
		slow(t, c).Result(t)
	}
	b.startRedis(t)
	b.start(t, b.policies)
	testbed.Await(t, "calls to be counted", func() bool { return slow(t, c).Status == http.StatusTooManyRequests })
	limited(t, c)
}
