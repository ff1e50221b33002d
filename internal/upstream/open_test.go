package upstream

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

func initializeResult(result string) reply {
	return func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
		w.Header().Set("Mcp-Session-Id", "s-1")
		answerJSON(w, m, result)
	}
}

func TestOpen(t *testing.T) {
	for _, revision := range []string{"2025-03-26", "2025-06-18", "2025-11-25"} {
		for _, session := range []string{"s-1", ""} {
			s := newScript()
			result := `{"protocolVersion":"` + revision + `","capabilities":{},"x-unknown":9007199254740993}`
			s.on["initialize"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
				if session != "" {
					w.Header().Set("Mcp-Session-Id", session)
				}
				s.set(func() { s.known = session })
				answerEvents(w, response(m, result))
			}
			params := `{"protocolVersion":"2025-11-25","capabilities":{"x":1.10},"clientInfo":{}}`
			o, err := serve(t, s, EndpointOptions{}).Open(t.Context(), raw(params))
			require.NoError(t, err)
			assert.Equal(t, Opened{Session: Session{ID: session, Revision: revision}, Result: raw(result)}, o)

			got := s.requests("")
			require.Len(t, got, 2)
			assert.Contains(t, got[0].Body, `"params":`+params+`}`)
			assert.NotContains(t, got[0].Header, "Mcp-Protocol-Version")
			assert.Equal(t, raw(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), raw(got[1].Body))
			assert.Equal(t, session, got[1].Session)
			assert.Equal(t, revision, got[1].Header.Get("Mcp-Protocol-Version"))
		}
	}
}

// TestOpenFails: a session that cannot be used is ended at once.
func TestOpenFails(t *testing.T) {
	good := `{"protocolVersion":"2025-11-25","capabilities":{}}`
	for name, tc := range map[string]struct {
		on      map[string]reply
		want    string
		deleted bool
	}{
		"revision of another transport": {
			map[string]reply{"initialize": initializeResult(`{"protocolVersion":"2024-11-05"}`)},
			`initialize: the server wants protocol revision "2024-11-05"; the gateway speaks 2025-11-25, 2025-06-18, 2025-03-26`, true,
		},
		"no revision": {map[string]reply{"initialize": initializeResult(`{}`)}, `initialize: its result has no "protocolVersion"`, true},
		"two revisions": {
			map[string]reply{"initialize": initializeResult(`{"protocolVersion":"2025-11-25","protocolVersion":"2024-11-05"}`)},
			`initialize: its result: "protocolVersion" at byte 32 is in its object twice`, true,
		},
		"revision is no string": {
			map[string]reply{"initialize": initializeResult(`{"protocolVersion":1}`)},
			`initialize: its result: "protocolVersion": not a JSON string`, true,
		},
		"result is no object": {map[string]reply{"initialize": initializeResult(`[]`)}, `initialize: its result has no "protocolVersion"`, true},
		"initialized refused": {
			map[string]reply{"initialize": initializeResult(good), "notifications/initialized": answerStatus(500, "oh")},
			`notifications/initialized: HTTP 500 "oh"`, true,
		},
		"initialize refused": {map[string]reply{"initialize": answerStatus(503, "")}, `initialize: HTTP 503`, false},
		"bad session id": {map[string]reply{"initialize": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			w.Header().Set("Mcp-Session-Id", "s 1")
			answerJSON(w, m, good)
		}}, `initialize: gave a session id that is longer than 4096 bytes or not visible ASCII`, false},
		"long session id": {map[string]reply{"initialize": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			w.Header().Set("Mcp-Session-Id", strings.Repeat("s", 4097))
			answerJSON(w, m, good)
		}}, `initialize: gave a session id that is longer than 4096 bytes or not visible ASCII`, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript()
			s.set(func() { s.known = "s-1" })
			for method, do := range tc.on {
				s.on[method] = do
			}
			_, err := serve(t, s, EndpointOptions{}).Open(t.Context(), raw(`{}`))
			require.EqualError(t, err, `server "weather": `+tc.want)
			assert.Equal(t, tc.deleted, len(s.requests("DELETE")) == 1)
		})
	}
}

// TestOpenFailsByTheServersWord keeps the code and the message of the server.
func TestOpenFailsByTheServersWord(t *testing.T) {
	s := newScript()
	s.on["initialize"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
		refusal := jsonrpc.Error{Code: -32602, Message: "Unsupported protocol version", ID: m.ID.Of(m.Body), Data: []byte(`{"supported":["2024-11-05"]}`)}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(refusal.AppendResponse(nil))
	}
	_, err := serve(t, s, EndpointOptions{}).Open(t.Context(), raw(`{}`))
	var as *jsonrpc.Error
	require.ErrorAs(t, err, &as)
	assert.Equal(t, raw(`{"supported":["2024-11-05"]}`), raw(string(as.Data)))
}
