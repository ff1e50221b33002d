package router

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/tracecontext"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// TestTrace: the client's span is the one that its message names, else its header; what is none, or is too long for one, is none.
func TestTrace(t *testing.T) {
	const header, meta = "00-11111111111111111111111111111111-1111111111111111-01", "00-22222222222222222222222222222222-2222222222222222-00"
	w := newWorld(t)
	for name, tt := range map[string]struct{ header, meta, want string }{
		"neither": {}, "the header": {header, "", header}, "the message": {"", `"` + meta + `"`, meta}, "both": {header, `"` + meta + `"`, meta},
		"no text": {header, "1", header}, "nonsense": {header, `"x"`, ""}, "too long": {"01-" + header[3:] + "-" + strings.Repeat("x", 100), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := w.traced(t, tracecontext.Sampling{On: true, FollowParent: true, Ratio: 1}, tt.header, tt.meta)
			own, ok := tracecontext.Parse(value(d.Set, wire.HeaderTraceparent))
			require.True(t, ok, d.Set)
			parent, follows := tracecontext.Parse(tt.want)
			assert.Equal(t, follows, parent.Trace == own.Trace)
			assert.Equal(t, !follows || parent.Kept, own.Kept)
			assert.NotEqual(t, parent.Span, own.Span)
			if own.Kept {
				assert.Equal(t, own.String(), value(d.Metadata, wire.KeyTrace))
				assert.Equal(t, tt.want, value(d.Metadata, wire.KeyTraceParent))
			} else {
				assert.Empty(t, value(d.Metadata, wire.KeyTrace)+value(d.Metadata, wire.KeyTraceParent), "nobody makes a span of it")
			}
			assert.Nil(t, d.Body, "the message stays as it is (Invariant 1)")
		})
	}
	t.Run("nobody wants traces", func(t *testing.T) {
		d := w.traced(t, tracecontext.Sampling{Ratio: 1}, header, `"`+meta+`"`)
		assert.Empty(t, value(d.Metadata, wire.KeyTrace))
		assert.False(t, d.Sets(wire.HeaderTraceparent), "the client's passes by")
	})
}

// traced decides on an initialize with what a client says of its trace.
func (w *world) traced(t *testing.T, traces tracecontext.Sampling, header, meta string) (d Decision) {
	t.Helper()
	var req Request
	r := New(Options{BrokerKey: testBrokerKey, Traces: traces}, w.sessions, func() *catalog.Snapshot { return w.snap })
	req.Reset()
	for k, v := range map[string]string{":method": "POST", ":path": "/mcp", "content-type": "application/json", "accept": "*/*"} {
		req.Add(k, v)
	}
	if header != "" {
		req.Add(wire.HeaderTraceparent, header)
	}
	if meta != "" {
		meta = `"_meta":{"traceparent":` + meta + `}`
	}
	r.Route(&req, []byte(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{`+meta+`}}`), &d)
	return d
}

func value(of []Header, name string) string {
	for _, h := range of {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}
