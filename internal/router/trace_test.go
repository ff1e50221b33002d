package router

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// TestTrace: the client's span is the one that its message names, else its header; what is too long for one is none.
func TestTrace(t *testing.T) {
	w := newWorld(t)
	asked := ""
	r := New(Options{BrokerKey: testBrokerKey, Trace: func(parent string) string {
		asked = parent
		return "own"
	}}, w.sessions, func() *catalog.Snapshot { return w.snap })
	for name, tt := range map[string]struct{ header, meta, want string }{
		"neither": {}, "the header": {"h", "", "h"}, "the message": {"", `"m"`, "m"}, "both": {"h", `"m"`, "m"}, "no text": {"h", "1", "h"},
		"too long": {strings.Repeat("x", 200), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var req Request
			var d Decision
			req.Reset()
			for k, v := range map[string]string{":method": "POST", ":path": "/mcp", "content-type": "application/json", "accept": "*/*"} {
				req.Add(k, v)
			}
			if tt.header != "" {
				req.Add("traceparent", tt.header)
			}
			meta := ""
			if tt.meta != "" {
				meta = `"_meta":{"traceparent":` + tt.meta + `}`
			}
			r.Route(&req, []byte(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{`+meta+`}}`), &d)
			assert.Equal(t, tt.want, asked)
			assert.Contains(t, d.Set, Header{"traceparent", "own"})
			assert.Contains(t, d.Metadata, Header{wire.KeyTrace, "own"})
			assert.Equal(t, tt.want != "", strings.Contains(join(d.Metadata), wire.KeyTraceParent+"="+tt.want))
			assert.Nil(t, d.Body, "the message stays as it is (Invariant 1)")
		})
	}
}

func join(list []Header) string {
	var b strings.Builder
	for _, h := range list {
		b.WriteString(h.Name + "=" + h.Value + "\n")
	}
	return b.String()
}
