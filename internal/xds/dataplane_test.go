package xds_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/wire"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// startGateway runs Envoy from a static file and returns the endpoint's base URL.
func startGateway(t *testing.T, o xds.Options, cs ...xds.Cluster) string {
	t.Helper()
	file, err := xds.Static(o, cs)
	require.NoError(t, err)
	startStatic(t, o.Admin, file)
	return "http://" + o.Listen
}

func rpcError(id string, code int, message string) string {
	if id != "" {
		id = `"id":` + id + `,`
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0",%s"error":{"code":%d,"message":%q}}`, id, code, message)
}

// Invariant 7: what Envoy itself answers is a JSON-RPC error with the request's own id.
func TestEnvoyAnswersInJSONRPC(t *testing.T) {
	a := upstream(t, "a", func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("x-test-server") {
		case "hang":
			// Only with the body read does Go notice that the caller has gone.
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		case "redirect":
			http.Redirect(w, r, "http://elsewhere.example.com/", http.StatusTemporaryRedirect)
		case "garbage":
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "this is not HTTP\r\n\r\n")
				_ = conn.Close()
			}
		case "half":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":`)
		case "long teapot":
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, strings.Repeat("<br>", 1<<20))
		case "teapot":
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "the server's own words")
		}
	})
	dead := clusterAt(t, "dead", "http://"+freeAddress(t))
	base := startGateway(t, testOptions(t), a, dead)

	tests := map[string]struct {
		call    stubCall
		path    string
		headers []string
		status  int
		body    string
	}{
		"a dead server":           {call: stubCall{To: "dead"}, status: 503, body: rpcError("1", -32603, "the MCP server did not answer")},
		"a dead server by name":   {call: stubCall{To: "dead", Metadata: map[string]string{wire.KeyServer: "team/dead"}}, status: 503, body: rpcError("1", -32603, `the MCP server "team/dead" did not answer`)},
		"an id that is text":      {call: stubCall{To: "dead", ID: json.RawMessage(`"é\"x"`)}, status: 503, body: rpcError(`"é\"x"`, -32603, "the MCP server did not answer")},
		"an id beyond 2^53":       {call: stubCall{To: "dead", ID: json.RawMessage(`9007199254740993`)}, status: 503, body: rpcError(`9007199254740993`, -32603, "the MCP server did not answer")},
		"a server that hangs":     {call: stubCall{To: "a", Set: map[string]string{"x-test-server": "hang", wire.HeaderEnvoyTimeout: "200"}}, status: 504, body: rpcError("1", -32603, "the MCP server did not answer in time")},
		"a server that redirects": {call: stubCall{To: "a", Metadata: map[string]string{wire.KeyServer: "a"}, Set: map[string]string{"x-test-server": "redirect"}}, status: 502, body: rpcError("1", -32603, "server 'a' answered with a redirect, which is not followed; its configured url should be the final one (HTTP status 307)")},
		"a server with no HTTP":   {call: stubCall{To: "a", Set: map[string]string{"x-test-server": "garbage"}}, status: 502, body: rpcError("1", -32603, "the MCP server did not answer")},
		"a page of HTML":          {call: stubCall{To: "a", Metadata: map[string]string{wire.KeyServer: "a"}, Set: map[string]string{"x-test-server": "teapot"}}, status: 502, body: rpcError("1", -32603, "server 'a' answered with neither JSON nor an event stream (HTTP status 418)")},
		"a long one":              {call: stubCall{To: "a", Metadata: map[string]string{wire.KeyServer: "a"}, Set: map[string]string{"x-test-server": "long teapot"}}, status: 502, body: rpcError("1", -32603, "server 'a' answered with neither JSON nor an event stream (HTTP status 418)")},
		"half a JSON document":    {call: stubCall{To: "a", Metadata: map[string]string{wire.KeyServer: "a"}, Set: map[string]string{"x-test-server": "half"}}, status: 200, body: `{"jsonrpc":"2.0","id":1,"result":`},
		"a server's own error":    {call: stubCall{To: "a", Set: map[string]string{"x-test-server": "teapot"}}, status: 418, body: "the server's own words"},
		"a cluster that is not":   {call: stubCall{To: "nothing"}, status: 503, body: rpcError("1", -32603, "the MCP server cannot be called at the moment")},
		"no label":                {call: stubCall{}, status: 404, body: rpcError("1", -32600, "there is nothing at this address")},
		"a label of the client's": {call: stubCall{}, headers: []string{wire.HeaderCluster, "a"}, status: 404, body: rpcError("1", -32600, "there is nothing at this address")},
		"another path":            {call: stubCall{}, path: "/other", status: 404, body: rpcError("1", -32600, "there is nothing at this address")},
		"a path in disguise":      {call: stubCall{}, path: "/mcp%2fx", status: 400, body: rpcError("", -32600, "the request cannot be handled")},
		"the router, early":       {call: stubCall{}, headers: []string{doHeader, replyAtHeaders}, status: 202, body: `{"by":"the router"}`},
		"the router, later":       {call: stubCall{Do: replyAfterBody}, status: 401, body: `{"by":"the router"}`},
		"the router, at the end":  {call: stubCall{To: "a", Do: replyAtAnswer}, status: 502, body: `{"by":"the router"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := tt.path
			if path == "" {
				path = "/mcp"
			}
			got := send(t, http.MethodPost, base+path, tt.call.body(t), tt.headers...)
			require.Equal(t, tt.status, got.status, got.body)
			require.Equal(t, tt.body, got.body)
			if tt.status != http.StatusTeapot {
				require.Equal(t, "application/json", got.header.Get("Content-Type"))
			}
			require.Equal(t, "mcp-gateway", got.header.Get("Server"))
		})
	}
}

func TestEnvoyWithoutARouter(t *testing.T) {
	reached := false
	a := upstream(t, "a", func(http.ResponseWriter, *http.Request) { reached = true })
	o := testOptions(t)
	o.Router = "unix:" + t.TempDir() + "/nobody.sock"
	base := startGateway(t, o, a)
	got := send(t, http.MethodPost, base+"/mcp", stubCall{To: "a"}.body(t), wire.HeaderCluster, "a")
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.JSONEq(t, rpcError("", -32603, "the gateway could not handle the request"), got.body)
	require.False(t, reached)
}

// A router that hangs must not hold requests for ever, and the limit for that must not cut answers that take longer.
func TestEnvoyLimitsTheRequestButNotTheAnswer(t *testing.T) {
	a := upstream(t, "a", func(w http.ResponseWriter, r *http.Request) {
		for i := range 4 {
			_, _ = fmt.Fprintf(w, "%d", i)
			w.(http.Flusher).Flush()
			select {
			case <-time.After(500 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
	})
	o := testOptions(t)
	file, err := xds.Static(o, []xds.Cluster{a})
	require.NoError(t, err)
	quick := strings.Replace(string(file), "request_timeout: 60s", "request_timeout: 1s", 1)
	quick = strings.Replace(quick, "idle_timeout: 65s", "idle_timeout: 2s", 1)
	require.NotContains(t, quick, "timeout: 60s")
	startStatic(t, o.Admin, []byte(quick))
	at := "http://" + o.Listen + "/mcp"

	got := send(t, http.MethodPost, at, stubCall{Do: hanging}.body(t))
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.Equal(t, rpcError("", -32603, "the gateway could not handle the request"), got.body)

	_, slow := dial(t, o.Listen, "POST /mcp HTTP/1.1\r\nHost: gateway\r\nContent-Length: 10\r\n\r\n{")
	status, body := readResponse(t, slow)
	require.Equal(t, http.StatusRequestTimeout, status)
	require.Equal(t, rpcError("", -32600, "the request did not arrive in time"), body)

	got = send(t, http.MethodPost, at, stubCall{To: "a"}.body(t))
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, "0123", got.body)
}

// echo answers with what reached it.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(wire.HeaderSessionID, "the server's own")
	w.Header().Set("Set-Cookie", "a=b")
	w.Header().Set("X-Envoy-Upstream-Service-Time", "1")
	_ = json.NewEncoder(w).Encode(r.Header)
}

func reached(t *testing.T, a answer) http.Header {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, a.body)
	var h http.Header
	require.NoError(t, json.Unmarshal([]byte(a.body), &h))
	return h
}

// Invariants 3 and 6: of the client's token and of the gateway's own headers nothing reaches a server; what is configured does.
func TestEnvoyFinishesRequests(t *testing.T) {
	const secret = "hush-4711"
	a := upstream(t, "a", echo)
	a.Server.Headers = []config.Header{{Name: "x-team", Value: "blue 100%"}}
	a.Server.Credential = &config.Credential{Header: "authorization", Prefix: "Bearer ", Value: config.NewSecret(secret), Env: "XDS_TEST_SECRET"}
	b := upstream(t, "b", echo)
	b.Server.Credential = &config.Credential{Header: "x-api-key", Value: config.NewSecret(secret), File: writeFile(t, "key", []byte(secret))}
	c := upstream(t, "c", echo)
	cs := []xds.Cluster{a, b, c}
	client := []string{
		"authorization", "Bearer the client's", "cookie", "a=b", "proxy-authorization", "Basic x", "x-api-key", "the client's",
		"x-forwarded-for", "10.0.0.1", "x-forwarded-proto", "https", "x-forwarded-host", "h", "forwarded", "for=x", "via", "1.1 x", "x-real-ip", "10.0.0.1",
		"x-envoy-retry-on", "5xx", "x-envoy-original-path", "/x", "x-request-id", "r-1", "traceparent", "00-1", "x-team", "red",
		wire.HeaderCluster, "b", wire.HeaderRouterKey, "k", wire.HeaderIntent, "i", wire.HeaderTool, "forged",
		"x_mcp_toolname", "forged", "accept", "application/json",
	}
	set := map[string]string{wire.HeaderRouterKey: "key", wire.HeaderIntent: "open", wire.HeaderTool: "forecast", wire.HeaderEnvoyTimeout: "5000"}

	check := func(t *testing.T, url string) {
		t.Helper()
		call := func(to string) answer {
			return send(t, http.MethodPost, url, stubCall{To: to, Set: set}.body(t), client...)
		}
		got := call("a")
		at := reached(t, got)
		require.Equal(t, []string{"Bearer " + secret}, at["Authorization"])
		require.Equal(t, []string{"blue 100%"}, at["X-Team"])
		require.Equal(t, []string{"the client's"}, at["X-Api-Key"], "a header that nobody speaks of")
		require.Equal(t, []string{"forecast"}, at["X-Mcp-Toolname"])
		for _, name := range []string{"Mcp-Session-Id", "Set-Cookie", "X-Envoy-Upstream-Service-Time"} {
			require.Empty(t, got.header.Get(name), name)
		}

		at = reached(t, call("b"))
		require.Equal(t, []string{secret}, at["X-Api-Key"])
		require.Empty(t, at["Authorization"])

		at = reached(t, call("c"))
		for _, name := range []string{
			"Authorization", "Cookie", "Proxy-Authorization", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "Via",
			"X-Real-Ip", "X-Mcp-Cluster", "X-Mcp-Router-Key", "X-Mcp-Intent", "X-Mcp-Answer", "X_mcp_toolname", "X-Envoy-Retry-On",
			"X-Envoy-Original-Path", "X-Envoy-Upstream-Rq-Timeout-Ms", "X-Envoy-Expected-Rq-Timeout-Ms",
		} {
			require.NotContains(t, at, name)
		}
		for name, value := range map[string]string{"X-Request-Id": "r-1", "Traceparent": "00-1", "Accept": "application/json"} {
			require.Equal(t, []string{value}, at[name])
		}
	}

	t.Run("from a static file", func(t *testing.T) {
		o := testOptions(t)
		file, err := xds.Static(o, cs)
		require.NoError(t, err)
		require.NotContains(t, string(file), secret)
		e := startStatic(t, o.Admin, file, "XDS_TEST_SECRET="+secret)
		check(t, "http://"+o.Listen+"/mcp")
		require.NotContains(t, e.get(t, "/config_dump?include_eds"), secret)
	})
	t.Run("over ADS", func(t *testing.T) {
		g := startFed(t, testOptions(t), cs...)
		for _, c := range cs {
			g.await(t, c.Name+" programmed", func() bool { return g.server.Programmed(c.Name) })
		}
		g.envoy.waitReady(t)
		check(t, g.url())
		dump := g.envoy.get(t, "/config_dump?include_eds")
		require.NotContains(t, dump, secret)
		require.Contains(t, dump, "[redacted]")

		changed := a
		changed.Server.Credential = &config.Credential{Header: "authorization", Prefix: "Bearer ", Value: config.NewSecret("another")}
		g.update(t, changed, b, c)
		require.True(t, g.server.Programmed("a"), "calls go on with the old credential meanwhile")
		g.awaitSynced(t)
		at := reached(t, send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t)))
		require.Equal(t, []string{"Bearer another"}, at["Authorization"])
	})
}

// Invariant 10: an answer streams through, whether or not the router's stream is still open and whether or not the router watches.
func TestEnvoyStreamsAnswers(t *testing.T) {
	step := make(chan struct{})
	a := upstream(t, "a", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, event := range []string{"one;", "two;", "three;"} {
			_, _ = io.WriteString(w, event)
			w.(http.Flusher).Flush()
			select {
			case <-step:
			case <-r.Context().Done():
				return
			}
		}
	})
	base := startGateway(t, testOptions(t), a)
	tests := map[string]struct {
		do      string
		events  []string
		watched string
	}{
		"alone":                   {events: []string{"one;", "two;", "three;"}},
		"a router that ends late": {do: lingering, events: []string{"one;", "two;", "three;"}},
		"a router that watches":   {do: watching, events: []string{"one;", "two;", "three;"}, watched: watching},
		"a router that rewrites":  {do: rewriting, events: []string{"<one;>", "<two;>", "<three;>"}, watched: rewriting},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			resp, err := http.Post(base+"/mcp", "application/json", strings.NewReader(stubCall{To: "a", Do: tt.do}.body(t)))
			require.NoError(t, err)
			defer func() { _ = resp.Body.Close() }()
			require.Equal(t, tt.watched, resp.Header.Get("x-watched"))
			body := bufio.NewReader(resp.Body)
			for _, want := range tt.events {
				got := make([]byte, len(want))
				_, err := io.ReadFull(body, got)
				require.NoError(t, err)
				require.Equal(t, want, string(got), "must arrive before the next one is made")
				step <- struct{}{}
			}
			rest, err := io.ReadAll(body)
			require.NoError(t, err)
			require.Empty(t, rest)
		})
	}
}

// An answer that is there before the router has ended its stream must arrive whole.
func TestEnvoyLosesNoAnswerOfAQuickServer(t *testing.T) {
	text := strings.Repeat("x", 200<<10)
	a := upstream(t, "a", saying(text))
	dead := clusterAt(t, "dead", "http://"+freeAddress(t))
	base := startGateway(t, testOptions(t), a, dead)
	require.Equal(t, text, send(t, http.MethodPost, base+"/mcp", stubCall{To: "a", Do: lingering}.body(t)).body)
	require.Equal(t, text, send(t, http.MethodPost, base+"/mcp", stubCall{To: "a", Do: watching}.body(t)).body)
	require.Equal(t, text, send(t, http.MethodPost, base+"/mcp", stubCall{To: "a", Pad: strings.Repeat("y", 3<<20)}.body(t)).body)
	require.Equal(t, rpcError("1", -32603, "the MCP server did not answer"), send(t, http.MethodPost, base+"/mcp", stubCall{To: "dead", Do: lingering}.body(t)).body)
	for range 100 {
		require.Equal(t, rpcError("1", -32603, "the MCP server cannot be called at the moment"), send(t, http.MethodPost, base+"/mcp", stubCall{To: "nothing"}.body(t)).body)
	}
}

func TestEnvoyContinuesAnExpectingClient(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	o := testOptions(t)
	startGateway(t, o, a)
	body := stubCall{To: "a"}.body(t)
	conn, r := dial(t, o.Listen, fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body)))
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line, "before the body")
	_, err = r.ReadString('\n')
	require.NoError(t, err)
	_, err = io.WriteString(conn, body)
	require.NoError(t, err)
	status, got := readResponse(t, r)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "done", got)
}

func TestEnvoyRefusesHugeHeaders(t *testing.T) {
	o := testOptions(t)
	startGateway(t, o)
	_, r := dial(t, o.Listen, "POST /mcp HTTP/1.1\r\nHost: gateway\r\n"+strings.Repeat("X-Big: "+strings.Repeat("x", 1<<10)+"\r\n", 98)+"\r\n")
	status, got := readResponse(t, r)
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, status)
	require.Equal(t, rpcError("", -32600, "the request's headers are too large"), got)
}

// dial opens a connection and writes to it.
func dial(t *testing.T, at, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", at)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	return conn, bufio.NewReader(conn)
}

func readResponse(t *testing.T, r *bufio.Reader) (status int, body string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(got)
}

func TestEnvoySpeaksHTTP2WithoutTLS(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	base := startGateway(t, testOptions(t), a)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Post(base+"/mcp", "application/json", strings.NewReader(stubCall{To: "a"}.body(t)))
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, 2, resp.ProtoMajor)
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "done", string(got))
}

// What goes to the broker keeps what proves that it came through the router, except where no router ran.
func TestEnvoyReachesTheBroker(t *testing.T) {
	broker := upstream(t, "broker", echo)
	o := testOptions(t)
	o.Broker = broker.Server.Address()
	base := startGateway(t, o)
	key := map[string]string{wire.HeaderRouterKey: "key", wire.HeaderIntent: "open"}
	got := send(t, http.MethodPost, base+"/mcp/team", stubCall{To: wire.BrokerCluster, Set: key}.body(t), "authorization", "Bearer the client's")
	at := reached(t, got)
	require.Equal(t, "key", at.Get(wire.HeaderRouterKey))
	require.Equal(t, "open", at.Get(wire.HeaderIntent))
	require.Equal(t, "Bearer the client's", at.Get("Authorization"))
	require.Empty(t, at.Get(wire.HeaderCluster))
	require.Equal(t, "the server's own", got.header.Get(wire.HeaderSessionID))

	got = send(t, http.MethodGet, base+wire.PathProtectedResource+"/mcp", "", "origin", "https://anywhere.example.com", wire.HeaderRouterKey, "forged")
	at = reached(t, got)
	require.Empty(t, at.Get(wire.HeaderRouterKey))
	require.Equal(t, "https://anywhere.example.com", got.header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, http.StatusNotFound, send(t, http.MethodGet, base+wire.PathProtectedResource+"x", "").status)

	require.Empty(t, reached(t, send(t, http.MethodGet, base+"/mcp", "", toHeader, wire.BrokerCluster)).Get("Content-Length"), "a GET has no body to wait for")
}

func TestEnvoyAnswersBrowsers(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	o := testOptions(t)
	o.AllowedOrigins = []string{"https://inspector.example.com"}
	base := startGateway(t, o, a)
	for origin, allowed := range map[string]bool{
		"http://localhost":                       true,
		"http://localhost:6274":                  true,
		"https://app.localhost:1":                true,
		"http://127.0.0.1:6274":                  true,
		"http://[::1]:6274":                      true,
		"https://inspector.example.com":          true,
		"https://inspector.example.com:8443":     false,
		"http://localhost.example.com":           false,
		"http://127.0.0.1.example.com":           false,
		"http://evillocalhost":                   false,
		"https://inspector.example.com.evil.org": false,
		"null":                                   false,
	} {
		t.Run(origin, func(t *testing.T) {
			want := ""
			if allowed {
				want = origin
			}
			pre := send(t, http.MethodOptions, base+"/mcp", "", "origin", origin, "access-control-request-method", "POST", "access-control-request-headers", "mcp-protocol-version")
			require.Equal(t, http.StatusOK, pre.status, "answered by Envoy, not by the router")
			require.Equal(t, want, pre.header.Get("Access-Control-Allow-Origin"))
			require.Contains(t, pre.header.Get("Access-Control-Allow-Headers"), "mcp-protocol-version")
			require.Empty(t, pre.header.Get("Access-Control-Allow-Credentials"))

			for _, call := range []stubCall{{To: "a"}, {Do: replyAfterBody}, {To: "nothing"}} {
				got := send(t, http.MethodPost, base+"/mcp", call.body(t), "origin", origin)
				require.Equal(t, want, got.header.Get("Access-Control-Allow-Origin"), got.body)
				if allowed {
					require.Equal(t, "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After", got.header.Get("Access-Control-Expose-Headers"))
				}
			}
		})
	}
}
