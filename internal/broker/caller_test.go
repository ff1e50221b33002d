package broker_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/credential"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// exchange gives each caller "for-" and its own token, and the gateway "reader".
type exchange struct {
	mu  sync.Mutex
	err error
}

type given struct {
	x     *exchange
	token string
}

func (g given) Token(context.Context) (config.Secret, error) {
	g.x.mu.Lock()
	defer g.x.mu.Unlock()
	return config.NewSecret(g.token), g.x.err
}

func (given) Rejected(config.Secret) {}

func (x *exchange) Shared(*config.Server) credential.Tokens { return given{x, "reader"} }

func (x *exchange) Caller(_ *config.Server, token config.Secret) credential.Tokens {
	return given{x, "for-" + token.Reveal()}
}

func (x *exchange) fail(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err = err
}

// exchanging is a broker with one server that gets a token for each caller.
func exchanging(t *testing.T, s *script, options func(*broker.Options)) (*fixture, *exchange) {
	t.Helper()
	f := setup{servers: []server{scripted("weather", s)}, options: options}.start(t)
	x := &exchange{}
	f.config[0].Credential = &config.Credential{Kind: config.TokenExchange, Header: "authorization", Prefix: "Bearer ", Client: &config.OAuthClient{}}
	ep, err := upstream.NewEndpoint(f.config[0], upstream.EndpointOptions{Credentials: x})
	require.NoError(t, err)
	t.Cleanup(ep.Close)
	f.endpoints["weather"] = ep
	f.rebuild()
	require.True(t, f.snapshot.Load().Server("weather").Carried)
	return f, x
}

func (r request) as(token string) request {
	r.header = http.Header{"Authorization": {"Bearer " + token}}
	return r
}

func (f *fixture) initializeAs(token string) string {
	f.t.Helper()
	a := f.do(request{body: `{"jsonrpc":"2.0","id":0,"method":"initialize","params":` + initParams + `}`}.as(token))
	require.Equal(f.t, http.StatusOK, a.status, a.body)
	return a.header.Get("Mcp-Session-Id")
}

// Everything that a server hears in a session comes with the token of the caller whose session it is, whatever it is about: the call, the
// opening, what is told beside it, and the end. A token that the caller has renewed takes the place of the old one.
func TestCallersToken(t *testing.T) {
	weather := newScript()
	f, _ := exchanging(t, weather, nil)
	alice, bob := f.initializeAs("header.eyJpc3MiOiJpIiwic3ViIjoiYWxpY2UifQ.1"), f.initializeAs("header.eyJpc3MiOiJpIiwic3ViIjoiYm9iIn0.1")
	const aliceNow = "header.eyJpc3MiOiJpIiwic3ViIjoiYWxpY2UifQ.2"
	for _, r := range []request{
		callOf(alice, "weather", "1", "t").as("header.eyJpc3MiOiJpIiwic3ViIjoiYWxpY2UifQ.1"),
		callOf(bob, "weather", "1", "t").as("header.eyJpc3MiOiJpIiwic3ViIjoiYm9iIn0.1"),
	} {
		wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{"did":"tools/call"}}`, f.do(r).body)
	}
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"level":"info"}}`,
		`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`,
	} {
		f.do(request{session: alice, body: body}.as(aliceNow))
	}
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":7,"result":{"n":9007199254740993}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`,
	} {
		a := f.do(request{session: alice, server: "weather", body: body}.as(aliceNow))
		assert.Equal(t, http.StatusAccepted, a.status, a.body)
	}
	weather.await(t, "notifications/roots/list_changed", 1)
	assert.Equal(t, http.StatusNoContent, f.do(request{method: http.MethodDelete, session: alice}.as(aliceNow)).status)
	weather.await(t, "DELETE", 1)

	tokens := map[string]map[string]bool{} // of backend sessions
	for _, did := range []string{
		"notifications/initialized", "tools/call", "logging/setLevel", "notifications/roots/list_changed", "POST", "notifications/cancelled", "DELETE",
	} {
		for _, r := range weather.await(t, did, 1) {
			if tokens[r.session] == nil {
				tokens[r.session] = map[string]bool{}
			}
			tokens[r.session][r.header.Get("Authorization")] = true
		}
	}
	assert.Equal(t, map[string]map[string]bool{
		"s-1": {"Bearer for-header.eyJpc3MiOiJpIiwic3ViIjoiYWxpY2UifQ.1": true, "Bearer for-" + aliceNow: true},
		"s-2": {"Bearer for-header.eyJpc3MiOiJpIiwic3ViIjoiYm9iIn0.1": true},
	}, tokens)
	wantBytes(t, `{"jsonrpc":"2.0","id":7,"result":{"n":9007199254740993}}`, weather.requests("POST")[0].body)
}

// A session with a server is the caller's who opened it, even where nothing but the token tells callers of one session apart.
func TestBackendSessionOfAnotherCaller(t *testing.T) {
	weather := newScript()
	f, _ := exchanging(t, weather, nil)
	token := f.initializeAs("one")
	for _, who := range []string{"one", "one", "two", "two"} {
		f.do(callOf(token, "weather", "1", "t").as(who))
	}
	var used []string
	for _, r := range weather.requests("tools/call") {
		used = append(used, r.session+" "+r.header.Get("Authorization"))
	}
	assert.Equal(t, []string{"s-1 Bearer for-one", "s-1 Bearer for-one", "s-2 Bearer for-two", "s-2 Bearer for-two"}, used)
	a := f.do(request{session: token, server: "weather", body: `{"jsonrpc":"2.0","method":"notifications/cancelled"}`}.as("one"))
	wantError(t, a, http.StatusBadRequest, "", jsonrpc.CodeInvalidRequest, "has ended")
}

func TestNoTokenForACall(t *testing.T) {
	weather := newScript()
	f, x := exchanging(t, weather, func(o *broker.Options) {
		o.Challenge = func(int, string) string { return `Bearer resource_metadata="here"` }
	})
	token := f.initialize()
	for _, tt := range []struct {
		err          error
		status, code int
		words        string
	}{
		{credential.ErrNoSubject, 401, 401, "a bearer token is needed"},
		{&credential.Error{Server: "https://idp", Code: "invalid_grant"}, 403, 403, "log in again, or ask for access to it (invalid_grant)"},
		{&credential.Error{Server: "https://idp", Code: "invalid_target"}, 403, 403, "log in again"},
		{&credential.Error{Server: "https://idp", Code: "invalid_client"}, 502, jsonrpc.CodeInternalError, `cannot be called now: no token from "https://idp"`},
		{&credential.Error{Server: "https://idp"}, 502, jsonrpc.CodeInternalError, "cannot be called now"},
		{errors.New("whatever"), 502, jsonrpc.CodeInternalError, "opened no session"},
	} {
		x.fail(tt.err)
		a := f.do(callOf(token, "weather", hugeID, "t").as("one"))
		wantError(t, a, tt.status, hugeID, tt.code, tt.words)
		assert.Equal(t, tt.status == http.StatusUnauthorized, a.header.Get("WWW-Authenticate") != "")
	}
	assert.Empty(t, weather.requests("initialize"), "nothing reaches the server")

	x.fail(nil)
	f.do(callOf(token, "weather", "1", "t").as("one"))
	x.fail(&credential.Error{Code: "invalid_grant"})
	wantError(t, f.do(callOf(token, "weather", hugeID, "t").as("one")), 403, hugeID, 403, "log in again")
	a := f.do(request{session: token, server: "weather", body: `{"jsonrpc":"2.0","method":"notifications/cancelled"}`}.as("one"))
	wantError(t, a, 403, "", 403, "log in again")
	x.fail(nil)
	weather.does("tools/call", status(http.StatusForbidden, "text/plain", "no"))
	wantError(t, f.do(callOf(token, "weather", hugeID, "t").as("one")), 403, hugeID, 403, "did not accept this caller's token")
}

// A client that lost the stream of a call which was carried gets the rest of it by the broker.
func TestResumeCarried(t *testing.T) {
	weather := newScript().does("tools/call", func(w http.ResponseWriter, _ *http.Request, _ *jsonrpc.Message) {
		event(w, "ev-1", `{"jsonrpc":"2.0","method":"notifications/message","params":{}}`)
	}).does("GET", func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		event(w, "ev-2", `{"jsonrpc":"2.0","id":1,"result":{"after":"`+r.Header.Get("Last-Event-Id")+`"}}`)
	})
	f, _ := exchanging(t, weather, nil)
	token := f.initializeAs("one")
	lost := f.stream(callOf(token, "weather", "1", "t").as("one")).next()
	s, err := f.sessions.Lookup(token)
	require.NoError(t, err)
	kind, server, raw, ok := s.Unseal(lost.ID)
	assert.True(t, ok)
	assert.Equal(t, session.SealCallEvent, kind)
	assert.Equal(t, "weather ev-1", server+" "+string(raw))

	again := request{method: http.MethodGet, session: token}.as("one")
	again.header.Set("Last-Event-ID", lost.ID)
	resumed := f.stream(again)
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{"after":"ev-1"}}`, string(resumed.next().Data))
	resumed.ended()
	got := weather.requests("GET")[0]
	assert.Equal(t, "s-1 Bearer for-one", got.session+" "+got.header.Get("Authorization"))

	weather.does("GET", status(http.StatusNotFound, "", ""))
	wantError(t, f.do(again), http.StatusBadGateway, "", jsonrpc.CodeInternalError, "does not know the stream")
}
