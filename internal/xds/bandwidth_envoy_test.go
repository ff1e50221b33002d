package xds_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/guicassolato/mcp-gateway/internal/xds"
)

func limitedTo(c xds.Cluster, bytesPerSecond uint32) xds.Cluster {
	c.Server.MaxBytesPerSecond = bytesPerSecond
	return c
}

// Streams go on when a limit comes or goes: it changes neither the listener nor the routes.
func TestBandwidthLeavesTheListenerAlone(t *testing.T) {
	a, b := clusterAt(t, "a", "http://127.0.0.1:1"), clusterAt(t, "b", "http://127.0.0.1:2")
	without, err := xds.Translate(goldenOptions(), []xds.Cluster{a, b})
	require.NoError(t, err)
	with, err := xds.Translate(goldenOptions(), []xds.Cluster{limitedTo(a, 1000), b})
	require.NoError(t, err)
	require.True(t, proto.Equal(without.Listeners[0], with.Listeners[0]))
	require.True(t, proto.Equal(without.Routes[0], with.Routes[0]))
	require.False(t, proto.Equal(without.Filters[0], with.Filters[0]))
}

// A server with a limit answers no faster than that and whole, one without as fast as ever; limits come and go while streams go on (Invariants 10 and 12).
func TestBandwidthInEnvoy(t *testing.T) {
	const mib = 1 << 20
	text := strings.Repeat("0123456789abcdef", mib/16)
	next := make(chan string)
	long := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		switch r.Header.Get("x-test-answer") {
		case "events":
			for event := "begun\n"; event != ""; {
				_, _ = io.WriteString(w, event)
				_ = http.NewResponseController(w).Flush()
				select {
				case event = <-next:
				case <-r.Context().Done():
					return
				}
			}
		case "endless":
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, text)
			}
		default:
			_, _ = io.WriteString(w, text)
		}
	}
	a, b := upstream(t, "a", long), upstream(t, "b", long)
	dead := limitedTo(clusterAt(t, "dead", "http://"+freeAddress(t)), mib)
	g := startFed(t, testOptions(t), a, b, dead)
	g.awaitSynced(t)
	g.envoy.waitReady(t)
	call := func(to, answer string) string {
		return stubCall{To: to, Set: map[string]string{"x-test-answer": answer}}.body(t)
	}
	stream := open(t, g.url(), call("a", "events"))
	read := func(text string) {
		line, err := stream.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, text, line)
	}
	event := func(text string) {
		next <- text
		read(text)
	}
	read("begun\n")
	event("before\n")

	g.update(t, limitedTo(a, mib/4), b, dead)
	g.awaitSynced(t)
	event("with a limit\n")
	began := time.Now()
	flood := open(t, g.url(), call("a", "endless"))
	require.Equal(t, text, send(t, http.MethodPost, g.url(), call("b", "")).body)
	require.Equal(t, rpcError("1", -32603, "the MCP server did not answer"), send(t, http.MethodPost, g.url(), stubCall{To: "dead"}.body(t)).body)
	n, err := io.CopyN(io.Discard, flood, mib)
	require.NoError(t, err)
	require.Equal(t, int64(mib), n)
	assert.GreaterOrEqual(t, time.Since(began), 2500*time.Millisecond)
	out, err := g.envoy.tryGet("/stats?filter=mcp_server.a.http_bandwidth_limit.response_enforced")
	require.NoError(t, err)
	assert.NotContains(t, out, ": 0\n")

	g.update(t, a, b)
	g.awaitSynced(t)
	event("and without one\n")
	close(next)
	free := open(t, g.url(), call("a", "endless"))
	_, err = io.CopyN(io.Discard, free, 32*mib) // which would take two minutes
	require.NoError(t, err)
}

// open makes a call whose answer is read bit by bit.
func open(t *testing.T, url, body string, headers ...string) *bufio.Reader {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, Timeout: patience}).Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(t, http.StatusOK, resp.StatusCode)
	return bufio.NewReader(resp.Body)
}

// What policies do to an answer they do to one that is held back.
func TestBandwidthBehindPolicies(t *testing.T) {
	compressing := parsePolicies(t, `
httpFilters:
  - name: compress
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
      compressor_library:
        name: gzip
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip
`)
	text := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"result":{"text":%q}}`, strings.Repeat("0123456789", 20<<10))
	a := upstream(t, "a", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
	})
	startWithPolicies(t, compressing, func(t *testing.T, url string) {
		t.Helper()
		body, err := gzip.NewReader(open(t, url, stubCall{To: "a"}.body(t), "Accept-Encoding", "gzip"))
		require.NoError(t, err)
		got, err := io.ReadAll(body)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}, limitedTo(a, 1<<20))
}
