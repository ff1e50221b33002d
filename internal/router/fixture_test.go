package router

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/tally"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

const (
	testMaxBody   = 64 << 10
	testBrokerKey = "broker-key"
)

// world is a gateway with one server of each sort and one session of each sort.
type world struct {
	router   *Router
	snap     *catalog.Snapshot
	sessions *session.Registry
	tasks    session.Tasks
	// open has backend sessions with "weather" and "team/notes", and calls 7 and "seven" in flight. fresh has none, but
	// call 8 which the broker is still opening one for. forecasts is one of the virtual server of that name, with a backend session with "weather".
	open, fresh, alice, forecasts *session.Session
	// tokens are what transcripts write as ${name}.
	tokens map[string]string
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{snap: newSnapshot(nil)}
	key, err := session.NewKey([]byte("a key that is for tests alone, 32 bytes or more"))
	require.NoError(tb, err)
	w.sessions = session.NewRegistry(session.Options{Key: key})
	w.tasks = session.NewTasks(key)
	w.router = New(Options{MaxBody: testMaxBody, BrokerKey: testBrokerKey, Tasks: w.tasks, AllowedOrigins: []string{"https://App.example.com"}},
		w.sessions, func() *catalog.Snapshot { return w.snap })
	alice, bob := jwt("alice"), jwt("bob")
	w.open = w.create(tb, w.sessions, session.Subject{})
	w.fresh = w.create(tb, w.sessions, session.Subject{})
	w.alice = w.create(tb, w.sessions, session.SubjectOf("Bearer "+alice))
	for _, name := range []string{"weather", "team/notes"} {
		server := w.snap.Server(name)
		require.True(tb, w.open.SetBackend(name, session.Backend{ID: name + "-1", Revision: wire.Revision20250618, Fingerprint: server.Fingerprint}))
	}
	virtual, err := w.sessions.Create(tb.Context(), session.Start{VirtualServer: "forecasts", Revision: wire.LatestSession})
	require.NoError(tb, err)
	w.forecasts = virtual
	w.forecasts.SetBackend("weather", session.Backend{ID: "weather-2", Revision: wire.Revision20250618, Fingerprint: w.snap.Server("weather").Fingerprint})
	w.forecasts.BeginCall([]byte("9"), "weather")
	nightly, err := w.sessions.Create(tb.Context(), session.Start{VirtualServer: "team/nightly", Revision: wire.LatestSession})
	require.NoError(tb, err)
	w.open.BeginCall([]byte("7"), "weather")
	w.open.BeginCall([]byte(`"seven"`), "team/notes")
	w.fresh.BeginCall([]byte("8"), "weather")
	deleted := w.create(tb, w.sessions, session.Subject{})
	require.NoError(tb, w.sessions.Delete(tb.Context(), deleted))
	past := session.NewRegistry(session.Options{Key: key, MaxAge: time.Nanosecond})
	elsewhere := session.NewRegistry(session.Options{Key: session.GenerateKey()})
	w.tokens = map[string]string{
		"forecasts": w.forecasts.Token(), "nightly": nightly.Token(),
		"open": w.open.Token(), "fresh": w.fresh.Token(), "alices": w.alice.Token(), "deleted": deleted.Token(),
		"expired": w.create(tb, past, session.Subject{}).Token(), "forged": w.create(tb, elsewhere, session.Subject{}).Token(),
		"alice": alice, "bob": bob,
	}
	return w
}

func (w *world) create(tb testing.TB, r *session.Registry, subject session.Subject) *session.Session {
	tb.Helper()
	s, err := r.Create(tb.Context(), session.Start{Subject: subject, Revision: wire.LatestSession})
	require.NoError(tb, err)
	return s
}

// jwt is an unsigned token: the router does not verify it.
func jwt(subject string) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"none"}`) + "." + part(`{"iss":"https://issuer.example.com","sub":"`+subject+`"}`) + "." + part("-")
}

// newSnapshot has the servers of the transcripts, and "calc" and "weather" with more tools if some are given.
func newSnapshot(more []json.RawMessage) *catalog.Snapshot {
	server := func(name, prefix string) config.Server {
		return config.Server{
			Name: name, ToolPrefix: prefix, Scheme: "http", Host: "10.0.0.1", Port: 8080, Path: "/" + name + "/mcp",
			Hostname: "backend.example.com", Enabled: true, Timeout: time.Minute,
		}
	}
	weather, calc, notes := server("weather", "weather_"), server("calc", ""), server("team/notes", "n_")
	weather.ToolTimeouts = map[string]time.Duration{"alert": 1500 * time.Millisecond}
	calc.Timeout = 0
	notes.URIPrefix = true
	era, twin := server("era", "era_"), server("twin", "twin_")
	asleep, unprogrammed := server("asleep", ""), server("unprogrammed", "un_")
	unprogrammed.URIPrefix = true
	asleep.Enabled = false
	listings := map[string]*catalog.Listing{
		"weather": listing(true, wire.Revision20250618, [4][]string{
			{`{"name":"get_forecast","annotations":{"readOnlyHint":true}}`, `{"name":"alert","annotations":{"idempotentHint":false}}`, `{"name":"größe"}`, `{"name":" padded\t"}`, `{"name":"=?base64?eA==?="}`},
			{`{"name":"brief"}`},
			{`{"uri":"weather://today","name":"today"}`},
			{`{"uriTemplate":"weather://city/{name}","name":"city"}`},
		}),
		"calc": listing(false, wire.Revision20250326, [4][]string{
			{`{"name":"add","annotations":{"idempotentHint":true,"openWorldHint":false}}`},
			{`{"name":"explain"}`},
			{`{"uri":"calc://pi","name":"pi"}`},
			nil,
		}),
		"team/notes": listing(true, wire.Revision20251125, [4][]string{
			{`{"name":"find"}`},
			nil,
			{`{"uri":"file:///readme.md","name":"readme"}`},
			{`{"uriTemplate":"file:///{+path}","name":"file"}`},
		}),
		"era": listing(false, "", [4][]string{
			{
				`{"name":"look","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},` +
					`"limit":{"type":"object","properties":{"rows":{"type":"integer","x-mcp-header":"Rows"},"all":{"type":"boolean","x-mcp-header":"All"}}}}}}`,
				`{"name":"größe"}`,
			},
			{`{"name":"brief"}`},
			{`{"uri":"era://now","name":"now"}`},
			{`{"uriTemplate":"era://at/{time}","name":"at"}`},
		}),
		"twin":         listing(true, wire.Revision20251125, [4][]string{{`{"name":"both"}`}}),
		"asleep":       listing(false, wire.Revision20251125, [4][]string{{`{"name":"snore"}`}}),
		"unprogrammed": listing(true, wire.Revision20251125, [4][]string{{`{"name":"reachable"}`}}),
	}
	listings["era"].Modern, listings["twin"].Modern = wire.Revision20260728, wire.Revision20260728
	listings["twin"].Capabilities = json.RawMessage(`{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`)
	for _, name := range []string{"weather", "calc"} {
		listings[name].Items[catalog.Tool] = append(listings[name].Items[catalog.Tool], more...)
	}
	in := catalog.Input{
		Servers: []config.Server{weather, calc, notes, era, twin, asleep, unprogrammed}, States: map[string]catalog.State{},
		VirtualServers: []config.VirtualServer{
			{Name: "forecasts", Tools: []string{"weather_get_*", "tool_*"}, Prompts: []string{"weather_brief"}, Resources: []string{"weather://city/R*"}},
			{Name: "team/nightly", Servers: []string{"calc"}},
		},
		Programmed: func(cluster string) bool { return cluster != "unprogrammed" }, Counting: catalog.Counting{Set: &tally.Set{}},
	}
	for name, l := range listings {
		in.States[name] = catalog.State{Health: catalog.HealthReady, Listing: l}
	}
	return catalog.Build(in)
}

func listing(sessions bool, revision string, items [4][]string) *catalog.Listing {
	l := &catalog.Listing{Sessions: sessions, Revision: revision, Capabilities: json.RawMessage(`{"tools":{},"prompts":{},"resources":{}}`)}
	for kind, defs := range items {
		for _, def := range defs {
			l.Items[kind] = append(l.Items[kind], json.RawMessage(def))
		}
	}
	return l
}

func manyTools(n int) []json.RawMessage {
	defs := make([]json.RawMessage, n)
	for i := range defs {
		defs[i] = fmt.Appendf(nil, `{"name":"tool_%05d","inputSchema":{"type":"object"}}`, i)
	}
	return defs
}
