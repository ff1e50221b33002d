package broker_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// Tokens may be exchanged for others while users are asked for input: what goes on then goes on with the new one.
const (
	aliceThen = "header.eyJpc3MiOiJpIiwic3ViIjoiYWxpY2UifQ.1"
	aliceNow  = "header.eyJpc3MiOiJpIiwic3ViIjoiYWxpY2UifQ.2"
)

func TestRenewedTokenHeld(t *testing.T) {
	q := newInquirer(func(ask func(...string) []string, _ *http.Request) string {
		return `{"heard":` + ask(rootsAsk)[0] + `}`
	})
	f, _ := exchanging(t, q.script, nil)
	client := modern{capabilities: everyInput}
	with := func(token string) request {
		r := client.request()
		r.header.Set("Authorization", "Bearer "+token)
		return r
	}
	state, _ := inputOf(t, f.do(with(aliceThen)).body)
	client.params = retryOf(state, `"input-1":{"roots":[]}`)
	assert.Contains(t, lastEvent(f.do(with(aliceNow)).body), `"heard"`)
	assert.Equal(t, "Bearer for-"+aliceThen, q.requests("tools/call")[0].header.Get("Authorization"))
	assert.Equal(t, "Bearer for-"+aliceNow, q.requests(http.MethodPost)[0].header.Get("Authorization"))
}

func TestRenewedTokenLifted(t *testing.T) {
	weather := newScript()
	weather.knows("")
	weather.does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		if m.Param("inputResponses").Present() {
			answerJSON(w, m, `{"resultType":"complete"}`)
			return
		}
		answerJSON(w, m, input(`"a":{"method":"roots/list"}`, "s"))
	})
	f, _ := exchanging(t, weather, nil)
	state := f.states["weather"]
	state.Listing = &catalog.Listing{Modern: "2026-07-28", Capabilities: json.RawMessage(`{"tools":{}}`)}
	f.states["weather"] = state
	f.rebuild()
	token := f.initializeAs(aliceThen)
	e := f.stream(callOf(token, "weather", "1", "t").as(aliceThen))
	m, fault := jsonrpc.Parse(e.next().Data, jsonrpc.Limits{})
	require.Nil(t, fault)
	answer := request{session: token, server: "weather", body: `{"jsonrpc":"2.0","id":` + string(m.ID.Of(m.Body)) + `,"result":{"roots":[]}}`}.as(aliceNow)
	assert.Equal(t, http.StatusAccepted, f.do(answer).status)
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, string(e.next().Data))
	calls := weather.requests("tools/call")
	assert.Equal(t, "Bearer for-"+aliceThen, calls[0].header.Get("Authorization"))
	assert.Equal(t, "Bearer for-"+aliceNow, calls[1].header.Get("Authorization"))
}
