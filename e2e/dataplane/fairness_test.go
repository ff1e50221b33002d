package dataplane_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// crowd is a server that may have only so many calls open, and users who call it.
type crowd struct {
	*testbed.Gateway

	issuer *testbed.Issuer
	server *testbed.Upstream
}

// mostOpen is how many calls may be open with the server, and shareOfOne how many calls one user may make.
const mostOpen, shareOfOne = 12, 5

func newCrowd(t *testing.T, mode testbed.Mode, limits string) *crowd {
	t.Helper()
	b := &crowd{issuer: testbed.NewIssuer(t), server: testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{
		{Name: "quick"},
		{Name: "hang", Call: func(_ http.ResponseWriter, c *testbed.Call) { <-c.Context().Done() }},
	}})}
	file := filepath.Join(t.TempDir(), "policies.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "policies:\n  authentication: {issuer: %q, jwksURI: %q, audiences: [mcp-gateway]}\n%s", b.issuer.URL, b.issuer.URL+"/keys", limits), 0o600))
	b.Gateway = testbed.StartGateway(t, testbed.Options{Mode: mode, Policies: file, Servers: []config.ServerSpec{
		spec("s", b.server.URL, func(s *config.ServerSpec) { s.MaxCalls = new(int); *s.MaxCalls = mostOpen }),
	}})
	b.AwaitTools(t, "s_quick", "s_hang")
	return b
}

func (b *crowd) as(t *testing.T, user string) *testbed.Client {
	t.Helper()
	return testbed.ConnectAs(t, b.Endpoint, strings.ReplaceAll(t.Name(), "/", ".")+"."+user, b.issuer.Token(t, user, nil))
}

// hang makes calls that nobody answers until the test ends, and returns how often each status came at once.
func (b *crowd) hang(t *testing.T, c *testbed.Client, calls, open int) map[int]int {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	t.Cleanup(func() {
		stop()
		wait.Wait()
	})
	statuses := make(chan int, calls)
	for range calls {
		body, _ := c.ToolCall("s_hang", "{}")
		wait.Go(func() {
			req, err := c.Request(ctx, http.MethodPost, strings.NewReader(body))
			if err != nil {
				return
			}
			if resp, err := c.HTTP.Do(req); err == nil {
				if resp.StatusCode == http.StatusTooManyRequests {
					assert.NotEmpty(t, resp.Header.Get("Retry-After"))
				}
				_ = resp.Body.Close()
				statuses <- resp.StatusCode
			}
		})
	}
	testbed.Await(t, "the rest to be refused", func() bool { return len(statuses) == calls-open && callsOf(b.server, "hang") == open })
	got := map[int]int{}
	for range calls - open {
		got[<-statuses]++
	}
	return got
}

// TestOneCallerAmongMany: a caller whose calls hang takes no more of a server than a limit per user leaves it, so that another's calls all succeed; without
// one it can take all that may be open with the server.
func TestOneCallerAmongMany(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		t.Run("with a limit per user", func(t *testing.T) {
			t.Parallel()
			b := newCrowd(t, mode, fmt.Sprintf("  rateLimits:\n    - {tools: [\"*\"], per: user, limit: %d, window: 1h}\n", shareOfOne))
			mallory, alice := b.as(t, "mallory"), b.as(t, "alice")
			mallory.Call(t, "s_quick", "{}").Result(t) // the session with the server is open: Envoy carries what follows
			assert.Equal(t, map[int]int{http.StatusTooManyRequests: 40 - (shareOfOne - 1)}, b.hang(t, mallory, 40, shareOfOne-1))
			assert.Equal(t, http.StatusTooManyRequests, b.as(t, "mallory").Call(t, "s_quick", "{}").Status, "another session is the same caller")
			for range shareOfOne {
				alice.Call(t, "s_quick", "{}").Result(t)
			}
		})
		t.Run("without", func(t *testing.T) {
			t.Parallel()
			b := newCrowd(t, mode, "")
			mallory, alice := b.as(t, "mallory"), b.as(t, "alice")
			mallory.Call(t, "s_quick", "{}").Result(t)
			alice.Call(t, "s_quick", "{}").Result(t)
			assert.Equal(t, map[int]int{http.StatusServiceUnavailable: 40 - mostOpen}, b.hang(t, mallory, 40, mostOpen))
			assert.Equal(t, http.StatusServiceUnavailable, alice.Call(t, "s_quick", "{}").Status)
		})
	})
}
