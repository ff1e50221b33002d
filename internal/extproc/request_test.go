package extproc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestEverySplit: however the body comes in pieces, the decision is one, and what changes of it is the name alone
// (Invariant 1).
func TestEverySplit(t *testing.T) {
	g := start(t)
	in, out := callOf(hugeID, "w_read"), callOf(hugeID, "read")
	want := []string{fmt.Sprintf("to weather %d", len(out)), "request " + out + "$"}
	for _, lone := range []bool{false, true} { // the end comes with the last piece or alone
		for at := range len(in) + 1 {
			e := g.stream()
			e.send(g.post())
			e.send(requestBody(in[:at], false))
			e.send(requestBody(in[at:], !lone))
			if lone {
				e.send(requestBody("", true))
			}
			got := transcript([]*extprocv3.ProcessingResponse{e.next(), e.next()})
			require.Equal(t, want, got, "split at %d", at)
			e.leave()
		}
	}
}

// TestContentLength: who knows the length answers without waiting for the end of the stream, which may come late.
func TestContentLength(t *testing.T) {
	g := start(t)
	in, out := callOf("1", "w_read"), callOf("1", "read")
	e := g.stream()
	e.send(g.post("content-length", fmt.Sprint(len(in))))
	e.send(requestBody(in[:20], false))
	e.send(requestBody(in[20:], false))
	got := transcript([]*extprocv3.ProcessingResponse{e.next(), e.next()})
	assert.Equal(t, []string{fmt.Sprintf("to weather %d", len(out)), "request " + out + "$"}, got)
	e.send(requestBody("", true))
	e.send(answerHeaders(false, "200", "application/json"))
	assert.Equal(t, []string{"answer headers"}, transcript(e.rest()))
}

func TestRequestTrailers(t *testing.T) {
	g := start(t)
	in, out := callOf("1", "w_read"), callOf("1", "read")
	e := g.stream()
	e.send(g.post())
	e.send(requestBody(in, false))
	e.send(requestTrailers())
	got := transcript([]*extprocv3.ProcessingResponse{e.next(), e.next(), e.next()})
	assert.Equal(t, []string{fmt.Sprintf("to weather %d", len(out)), "request " + out, "request trailers"}, got)
	e.leave()

	e = g.stream() // trailers behind a body that was known to be whole
	e.send(g.post("content-length", fmt.Sprint(len(in))))
	e.send(requestBody(in, false))
	e.next()
	e.next()
	e.send(requestTrailers())
	assert.Equal(t, []string{"request trailers"}, transcript([]*extprocv3.ProcessingResponse{e.next()}))
}

// TestRequests: what is not watched ends the stream as soon as it is decided.
func TestRequests(t *testing.T) {
	g := start(t)
	ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	get := []string{":path", "/mcp", "accept", "text/event-stream", "mcp-session-id", g.session.Token()}
	large := callOf("1", "w_read")
	large = large[:len(large)-3] + `,"pad":"` + strings.Repeat("x", 300_000) + `"}}}`
	for name, tc := range map[string]struct {
		in       []*extprocv3.ProcessingRequest
		want     []string
		observed string
	}{
		"to the broker": {
			[]*extprocv3.ProcessingRequest{g.post(), requestBody(ping, true)}, []string{"to mcp_broker 40", "request " + ping + "$"}, "broker",
		},
		"GET": {
			[]*extprocv3.ProcessingRequest{requestHeaders(true, append(get, ":method", "GET")...)}, []string{"to mcp_broker"}, "broker",
		},
		"GET with a body": {
			[]*extprocv3.ProcessingRequest{requestHeaders(false, append(get, ":method", "GET")...), requestBody("a", false), requestBody("b", true)},
			[]string{`reply 400 {"jsonrpc":"2.0","error":{"code":-32600,"message":"a GET request must have no body"}}`},
			"reply 400",
		},
		"DELETE": {
			[]*extprocv3.ProcessingRequest{requestHeaders(true, append(get, ":method", "DELETE")...)}, []string{"to mcp_broker"}, "broker",
		},
		"PUT": {
			[]*extprocv3.ProcessingRequest{requestHeaders(true, append(get, ":method", "PUT")...)},
			[]string{`reply 405 {"jsonrpc":"2.0","error":{"code":-32600,"message":"the endpoint takes POST, GET and DELETE"}}`},
			"reply 405",
		},
		"elsewhere, before the body": {
			[]*extprocv3.ProcessingRequest{requestHeaders(false, ":method", "POST", ":path", "/other")},
			[]string{`reply 404 {"jsonrpc":"2.0","error":{"code":-32600,"message":"there is nothing at this path; the endpoint is /mcp"}}`},
			"reply 404",
		},
		"too large, as it says": {
			[]*extprocv3.ProcessingRequest{g.post("content-length", "1048577")},
			[]string{`reply 413 {"jsonrpc":"2.0","error":{"code":413,"message":"the request body is larger than the 1048576 bytes that this gateway accepts"}}`},
			"reply 413",
		},
		"too large, as it shows": {
			[]*extprocv3.ProcessingRequest{g.post(), requestBody(strings.Repeat(" ", maxBody), false), requestBody(" ", false)},
			[]string{`reply 413 {"jsonrpc":"2.0","error":{"code":413,"message":"the request body is larger than the 1048576 bytes that this gateway accepts"}}`},
			"reply 413",
		},
		"unknown tool": {
			[]*extprocv3.ProcessingRequest{g.post(), requestBody(callOf(hugeID, "t"), true)},
			[]string{`reply 200 {"jsonrpc":"2.0","id":` + hugeID + `,"error":{"code":-32602,"message":"unknown tool \"t\"; tools/list gives those on offer"}}`},
			"reply 200",
		},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := g.observer.told()
			e := g.stream()
			for _, r := range tc.in {
				e.send(r)
			}
			assert.Equal(t, tc.want, transcript(e.rest()))
			after, _ := g.observer.told()
			assert.Equal(t, append(before, tc.observed), after)
		})
	}
	t.Run("no body", func(t *testing.T) {
		e := g.stream()
		e.send(requestHeaders(true, ":method", "POST", ":path", "/mcp", "content-type", "application/json"))
		got := transcript(e.rest())
		require.Len(t, got, 1)
		assert.Contains(t, got[0], `reply 400 {"jsonrpc":"2.0","error":{"code":-32700`)
	})
	t.Run("in pieces that Envoy can take", func(t *testing.T) {
		e := g.stream()
		e.send(g.post())
		e.send(requestBody(large, true))
		got := []*extprocv3.ProcessingResponse{e.next()}
		for done := false; !done; {
			r := e.next()
			s := r.GetRequestBody().GetResponse().GetBodyMutation().GetStreamedResponse()
			assert.LessOrEqual(t, len(s.GetBody()), 64<<10)
			done = s.GetEndOfStream()
			got = append(got, r)
		}
		assert.Greater(t, len(got), 4)
		assert.Equal(t, "request "+strings.Replace(large, "w_read", "read", 1)+"$", transcript(got)[1])
		e.leave()
	})
}

// TestLabels: policies read what was decided in headers and in metadata, and what a client forged is gone (Invariant 3).
func TestLabels(t *testing.T) {
	g := start(t)
	e := g.stream()
	e.send(g.post("x-mcp-toolname", "forged", "x-mcp-other", "forged", "authorization", "Bearer x"))
	e.send(requestBody(callOf(`"a"`, "w_read"), true))
	r := e.next()
	common := r.GetRequestHeaders().GetResponse()
	assert.True(t, common.GetClearRouteCache())
	set := fields(common.GetHeaderMutation())
	for name, want := range map[string]string{
		"x-mcp-cluster": "weather", "x-mcp-method": "tools/call", "x-mcp-servername": "weather", "x-mcp-toolname": "read", "x-mcp-publicname": "w_read",
		":authority": "weather.example", ":path": "/mcp", "mcp-session-id": serverSession, "mcp-protocol-version": "2025-11-25",
	} {
		assert.Equal(t, want, set[name], name)
	}
	assert.NotContains(t, set, "x-mcp-router-key", "that is for the broker alone")
	assert.Equal(t, []string{"x-mcp-other"}, common.GetHeaderMutation().GetRemoveHeaders(), "what is set must not be taken off again")
	facts := r.GetDynamicMetadata().GetFields()["envoy.filters.http.mcp_gateway"].GetStructValue().AsMap()
	assert.Equal(t, map[string]any{
		"method": "tools/call", "server": "weather", "tool": "read", "public_name": "w_read", "id": `"a"`,
		"hints": "readOnly=true,destructive=false,idempotent=false,openWorld=true", "watched": "1",
	}, facts)
	e.leave()

	e = g.stream()
	e.send(g.post())
	e.send(requestBody(callOf(`"a"`, "none"), true))
	facts = e.next().GetDynamicMetadata().GetFields()["envoy.filters.http.mcp_gateway"].GetStructValue().AsMap()
	assert.Equal(t, `"a"`, facts["id"])
	assert.Equal(t, "message", facts["reply"], "Envoy must not put words of its own in place of these")
}

// TestPanic: a fault in a decision costs one request, which is answered.
func TestPanic(t *testing.T) {
	g := start(t)
	g.panics.Store(true)
	e := g.stream()
	e.send(g.post())
	e.send(requestBody(callOf(hugeID, "w_read"), true))
	r := e.next()
	assert.Equal(t, []string{failure(500, hugeID, "internal error in the gateway; its log has the details")}, transcript([]*extprocv3.ProcessingResponse{r}))
	assert.Equal(t, "application/json", fields(r.GetImmediateResponse().GetHeaders())["content-type"])
	e.over()
	_, faults := g.observer.told()
	assert.Equal(t, 1, faults)
	g.panics.Store(false)
	g.watched("1", "read").leave()
}

// TestTokens: who keeps keys fresh hears of each token, from the one header that has it, before the request goes on.
func TestTokens(t *testing.T) {
	g := start(t)
	for _, fields := range [][]string{{"authorization", "Bearer a.b.c"}, {"x-authorization", "Bearer x.y.z"}, {"authorization", "Bearer d.e.f"}} {
		e := g.stream()
		e.send(requestHeaders(true, append(fields, ":method", "GET", ":path", "/mcp")...))
		_, err := e.stream.Recv()
		require.NoError(t, err)
		e.leave()
	}
	assert.Equal(t, []string{"Bearer a.b.c", "Bearer d.e.f"}, g.observer.tokens)
}

// TestPreflight: an answer to what Envoy never showed, such as the CORS filter's to a preflight, passes.
func TestPreflight(t *testing.T) {
	e := start(t).stream()
	e.send(answerHeaders(true, "200", ""))
	e.over()
}

// TestUnexpected: an Envoy that shows what nobody asked for is told what is wrong with it.
func TestUnexpected(t *testing.T) {
	g := start(t)
	for name, r := range map[string]*extprocv3.ProcessingRequest{
		"body": answerBody("x", true), "trailers": answerTrailers(), "nothing": {},
	} {
		t.Run(name, func(t *testing.T) {
			e := g.stream()
			e.send(r)
			_, err := e.stream.Recv()
			require.Error(t, err)
			assert.Equal(t, codes.Unknown, status.Code(err))
			assert.Contains(t, err.Error(), "processing_mode")
		})
	}
	_, faults := g.observer.told()
	assert.Zero(t, faults)
}

// TestToolsAreCounted: each call that goes on, whether its headers or its body decided it.
func TestToolsAreCounted(t *testing.T) {
	g := start(t)
	calls := func(server, tool string) uint64 { return g.snapshot.Tool(server, tool).Calls.Counts().Calls }
	for range 2 {
		g.watched("1", "read").leave()
	}
	e := g.stream()
	e.send(headFirst("look", 10))
	e.rest()
	e = g.stream()
	e.send(g.post())
	e.send(requestBody(callOf("1", "w_none"), true))
	e.rest()
	assert.Equal(t, []uint64{2, 0, 1}, []uint64{calls("weather", "read"), calls("weather", "write"), calls("bare", "look")})
	assert.Eventually(t, func() bool { return g.processor.InFlight() == 0 }, 10*time.Second, time.Millisecond, "nothing of what is over")
	e = g.watched("1", "write")
	assert.Equal(t, int64(1), g.processor.InFlight())
	e.leave()
}

// TestReuse: nothing of one request is left in the next.
func TestReuse(t *testing.T) {
	g := start(t)
	for i := range 50 {
		e := g.stream()
		e.send(g.post("x-mcp-other", "forged"))
		e.send(requestBody(callOf(fmt.Sprint(i), "w_read"), true))
		e.next()
		e.leave()
		e = g.stream()
		e.send(requestHeaders(true, ":method", "GET", ":path", "/mcp", "accept", "text/event-stream"))
		got := transcript(e.rest())
		require.Len(t, got, 1)
		assert.Contains(t, got[0], "Mcp-Session-Id is missing")
	}
}
