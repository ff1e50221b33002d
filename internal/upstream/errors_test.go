package upstream

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// TestRefused is what who posts raw messages makes of an answer.
func TestRefused(t *testing.T) {
	s := newScript()
	e := serve(t, s, EndpointOptions{})
	session := Session{ID: "s-1"}
	post := func(answer reply) (*http.Response, error) {
		s.set(func() { s.on["tools/call"] = answer })
		resp, err := e.Post(t.Context(), session, []byte(`{"jsonrpc":"2.0","id":7,"method":"tools/call"}`), nil)
		require.NoError(t, err)
		return resp, e.Refused(session, resp)
	}
	resp, err := post(func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) { answerJSON(w, m, verbatim) })
	require.NoError(t, err)
	body := make([]byte, 18)
	_, err = resp.Body.Read(body)
	require.NoError(t, err, "a success is left for the caller to read")
	assert.Equal(t, raw(`{"jsonrpc":"2.0","`), raw(string(body)))
	require.NoError(t, resp.Body.Close())

	_, err = post(answerStatus(404, "")) //nolint:bodyclose // Refused has
	require.ErrorIs(t, err, ErrSessionUnknown)
	_, err = post(answerStatus(307, "")) //nolint:bodyclose // Refused has
	require.EqualError(t, err, `server "weather": request: redirects (HTTP 307) to "nowhere": put the final URL into the configuration`)
	_, err = post(answerStatus(429, `{"jsonrpc":"2.0","id":7,"error":{"code":429,"message":"slow down"}}`)) //nolint:bodyclose // Refused has
	var as *jsonrpc.Error
	require.ErrorAs(t, err, &as)
	assert.Equal(t, jsonrpc.Error{Code: 429, Message: "slow down", Status: 429, ID: []byte("7")}, *as)
}

func TestBrief(t *testing.T) {
	assert.Equal(t, "a b c \ufffd", brief(" a\n\tb\x00c \xff", 200))
	assert.Equal(t, "ab…", brief("abé", 3), "no half letters")
	long := brief(strings.Repeat("é", 1000), 200)
	assert.LessOrEqual(t, len(long), 203)
	assert.True(t, utf8.ValidString(long))
}

// TestBadSelfDescription is reported, and what can be offered is.
func TestBadSelfDescription(t *testing.T) {
	for name, tc := range map[string]struct {
		result   string
		tools    []string
		problems []string
	}{
		"no capabilities":       {`{"protocolVersion":"2025-11-25"}`, nil, []string{`initialize: the result has no object "capabilities": nothing of the server is offered`}},
		"null capabilities":     {`{"protocolVersion":"2025-11-25","capabilities":null}`, nil, []string{`initialize: the result has no object "capabilities": nothing of the server is offered`}},
		"null for a capability": {`{"protocolVersion":"2025-11-25","capabilities":{"tools":null}}`, nil, nil},
		"instructions":          {`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"instructions":7}`, []string{"a"}, []string{`initialize: "instructions": not a JSON string`}},
		"two server infos": {
			`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{},"serverInfo":{}}`,
			[]string{"a"},
			[]string{`initialize: "serverInfo" at byte 76 is in its object twice`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBench(t, nil, func(b *bench) {
				t := b.t
				s := newScript()
				s.known = "s-1"
				s.on["initialize"] = initializeResult(tc.result)
				b.net.listen("weather:80", s)
				b.Apply(configOfNames("weather"))
				synctest.Wait()
				st, _ := b.board.last("weather")
				require.Equal(t, catalog.HealthReady, st.Health)
				assert.Equal(t, tc.tools, names(st, catalog.Tool))
				assert.Equal(t, tc.problems, st.Listing.Problems)
			})
		})
	}
}
