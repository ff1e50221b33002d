package dataplane_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// TestStatelessConsent: a client without a session is asked for a key by a result that wants input, and calls again when its user has given one.
func TestStatelessConsent(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		server := testbed.NewStatelessServer(t, `[{"name":"whoami","inputSchema":{"type":"object"}}]`, func(w http.ResponseWriter, r *http.Request) {
			var m struct{ ID json.RawMessage }
			_ = json.NewDecoder(r.Body).Decode(&m)
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[{"type":"text","text":"key=%s"}]}}`, m.ID, r.Header.Get("X-Api-Key"))
		})
		b := newConsentBedFor(t, mode, server.URL)
		c := testbed.NewStateless(t, b.Endpoint)
		c.Authorization = b.issuer.Token(t, "ann", nil)
		const call = `{"name":"acme_whoami","arguments":{}}`
		a := c.Ask(t, "tools/call", call)
		require.Equal(t, http.StatusBadRequest, a.Status, a)
		assert.Equal(t, -32021, a.Error(t).Code)

		asks := func(params string) *testbed.Answer {
			body, headers := c.Message("tools/call", params)
			return c.Post(t, strings.Replace(body, `clientCapabilities":{}`, `clientCapabilities":`+opensURLs, 1), headers...)
		}
		var result struct {
			ResultType    string
			InputRequests map[string]struct {
				Method string
				Params elicitation
			}
		}
		require.NoError(t, json.Unmarshal([]byte(asks(call).Result(t)), &result))
		assert.Equal(t, "input_required", result.ResultType)
		require.Len(t, result.InputRequests, 1)
		for key, asked := range result.InputRequests {
			assert.Equal(t, "elicitation/create", asked.Method)
			asked.Params.ElicitationID = path.Base(asked.Params.URL)
			newPerson(t, "ann").give(asked.Params, "anns-key")
			retry := strings.TrimSuffix(call, "}") + `,"inputResponses":{"` + key + `":{"action":"accept"}}}`
			assert.Equal(t, "key=anns-key", asks(retry).Text(t))
		}
		assert.Equal(t, "key=anns-key", c.Ask(t, "tools/call", call).Text(t))
	})
}
