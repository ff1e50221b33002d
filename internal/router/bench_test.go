package router

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// BenchmarkRoute is the routing decision for the documented 1 KiB tools/call. The budget is 3 µs, and 10 000 tools may
// cost at most 1.2 times what 10 do. A session server is one with an open backend session, whose prefix is stripped. That the call is counted, as adapters do, is
// part of it.
func BenchmarkRoute(b *testing.B) {
	for _, sessions := range []bool{false, true} {
		for _, tools := range []int{10, 10_000} {
			b.Run(fmt.Sprintf("sessions=%t/tools=%d", sessions, tools), func(b *testing.B) {
				r, token, body := benchmarkWorld(b, sessions, tools)
				req, d := new(Request), new(Decision)
				b.ReportAllocs()
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					fill(req, token)
					d.Reset()
					r.Route(req, body, d)
					if d.Reply != nil {
						b.Fatalf("%s", d.Reply.Body)
					}
					d.Tool.Called(1)
				}
			})
		}
	}
}

// BenchmarkRouteAtAVirtualServer is the same call at one of 50 virtual servers that have most of the tools.
func BenchmarkRouteAtAVirtualServer(b *testing.B) {
	w := newWorld(b)
	in := catalog.Input{Servers: []config.Server{{Name: "calc", Enabled: true, Path: "/mcp"}}, States: map[string]catalog.State{
		"calc": {Health: catalog.HealthReady, Listing: listing(false, wire.LatestSession, [4][]string{})},
	}}
	in.States["calc"].Listing.Items[catalog.Tool] = manyTools(10_000)
	for i := range 50 {
		in.VirtualServers = append(in.VirtualServers, config.VirtualServer{Name: fmt.Sprint("v", i), Tools: []string{"tool_0*", "*7"}})
	}
	snap := catalog.Build(in)
	s, _ := w.sessions.Create(b.Context(), session.Start{VirtualServer: "v7", Revision: wire.LatestSession})
	_, _, body := benchmarkWorld(b, false, 10)
	r := New(Options{BrokerKey: testBrokerKey}, w.sessions, func() *catalog.Snapshot { return snap })
	req, d := new(Request), new(Decision)
	b.ReportAllocs()
	for b.Loop() {
		fill(req, s.Token())
		req.Path = "/mcp/v7"
		d.Reset()
		r.Route(req, body, d)
		if d.Reply != nil {
			b.Fatalf("%s", d.Reply.Body)
		}
	}
}

// BenchmarkSessionLookup is the part of BenchmarkRoute that counts apart.
func BenchmarkSessionLookup(b *testing.B) {
	w := newWorld(b)
	token := w.open.Token()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.sessions.Lookup(token); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRouteAllocations keeps the hot path from growing: what is left are the id's copy, the spliced body, the Call and the
// timeout's digits.
func TestRouteAllocations(t *testing.T) {
	for _, sessions := range []bool{false, true} {
		r, token, body := benchmarkWorld(t, sessions, 10)
		req, d := new(Request), new(Decision)
		got := testing.AllocsPerRun(100, func() {
			fill(req, token)
			d.Reset()
			r.Route(req, body, d)
		})
		if most := map[bool]float64{false: 4, true: 7}[sessions]; got > most {
			t.Errorf("sessions=%t: %v allocations for one decision, at most %v are budgeted", sessions, got, most)
		}
	}
}

// fill gives a request the head that Envoy passes on for a usual client.
func fill(req *Request, token string) {
	req.Reset()
	req.Add(":method", "POST")
	req.Add(":path", "/mcp")
	req.Add(":authority", "gateway.example.com")
	req.Add("content-type", "application/json")
	req.Add("content-length", "1024")
	req.Add("accept", "application/json, text/event-stream")
	req.Add("user-agent", "bench")
	req.Add("x-request-id", "0e5d1b2a-6a0e-4f4e-9d55-0c2a51d2a7a1")
	req.Add(wire.HeaderProtocolVersion, wire.LatestSession)
	req.Add(wire.HeaderSessionID, token)
}

func benchmarkWorld(tb testing.TB, sessions bool, tools int) (*Router, string, []byte) {
	tb.Helper()
	body, err := os.ReadFile("../jsonrpc/testdata/tools_call_1k.json")
	if err != nil || len(body) != 1024 {
		tb.Fatal(len(body), err)
	}
	w := newWorld(tb)
	snap := newSnapshot(manyTools(tools))
	if !sessions {
		body = bytes.Replace(body, []byte("weather_get_forecast"), []byte("tool_00003"), 1)
	}
	server := snap.Server("weather")
	w.open.SetBackend("weather", session.Backend{ID: "w-1", Revision: wire.Revision20250618, Fingerprint: server.Fingerprint})
	return New(Options{BrokerKey: testBrokerKey}, w.sessions, func() *catalog.Snapshot { return snap }), w.open.Token(), body
}
