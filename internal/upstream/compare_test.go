package upstream

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// comparing answers calls like a server that compares the headers named with the body; the error bears the id, or none.
func comparing(method, name bool, id func(m *jsonMessage) string) reply {
	return func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
		named := string(m.Param("name").Of(m.Body)) + string(m.Param("uri").Of(m.Body))
		if method && r.Header.Get("Mcp-Method") != m.MethodName() || name && named != `"`+r.Header.Get("Mcp-Name")+`"` {
			answerStatus(http.StatusBadRequest, `{"jsonrpc":"2.0",`+id(m)+`"error":{"code":-32020,"message":"header mismatch"}}`)(w, r, m)
			return
		}
		answerStatus(http.StatusOK, `{"jsonrpc":"2.0","id":`+string(m.ID.Of(m.Body))+`,"error":{"code":-32602,"message":"unknown"}}`)(w, r, m)
	}
}

// TestCompares: a server is believed to compare headers with bodies where it was seen to, with methods and with names, and is not asked unless that is
// wanted.
func TestCompares(t *testing.T) {
	own := func(m *jsonMessage) string { return `"id":` + string(m.ID.Of(m.Body)) + `,` }
	none := func(*jsonMessage) string { return `"id":null,` }
	for name, tt := range map[string]struct {
		calls, reads reply
		off          bool
		want         []string
	}{
		"all":                  {calls: comparing(true, true, own), reads: comparing(true, true, none), want: []string{"tools/call", "resources/read"}},
		"names of tools alone": {calls: comparing(false, true, own), reads: comparing(false, false, own)},
		"methods alone":        {calls: comparing(true, false, own), reads: comparing(true, true, own), want: []string{"resources/read"}},
		"nothing":              {calls: comparing(false, false, own), reads: comparing(false, false, own)},
		"not wanted":           {calls: comparing(true, true, own), reads: comparing(true, true, own), off: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBench(t, func(o *ManagerOptions) { o.CompareHeaders = !tt.off }, func(b *bench) {
				s := withoutSessions()
				s.on["server/discover"] = answers(discovery(`{"tools":{},"resources":{}}`, "2026-07-28"))
				s.on["tools/call"], s.on["resources/read"] = tt.calls, tt.reads
				b.net.listen("weather:80", s)
				b.Apply(configOfNames("weather"))
				pass(time.Second)
				st, _ := b.board.last("weather")
				assert.Equal(b.t, tt.want, st.Listing.Compares)
				if tt.off {
					assert.Empty(b.t, s.requests("tools/call"))
				}
			})
		})
	}
}
