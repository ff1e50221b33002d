package router

import (
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// maxTraceparent is more than a traceparent has, of this version or a later one.
const maxTraceparent = 128

// traced puts the gateway's own span between the client's and the server's. The client's is what the message itself says, else what the header
// does: a proxy in between may have made the header its own. The message stays as it is.
func (x *exchange) traced() {
	if !x.traces.On {
		x.traceparent = x.req.traceparent // which passes by
		return
	}
	parent := x.req.traceparent
	if span, err := x.m.Lookup("_meta", "traceparent"); err == nil && span.Present() {
		if said := string(span.Of(x.m.Body)); strings.HasPrefix(said, `"`) {
			parent = strings.Trim(said, `"`)
		}
	}
	if len(parent) > maxTraceparent {
		parent = ""
	}
	span, follows := x.traces.Begin(parent)
	x.traceparent = span.String()
	x.d.set(wire.HeaderTraceparent, x.traceparent)
	if !span.Kept {
		return // nobody makes a span of it
	}
	x.d.Metadata = append(x.d.Metadata, Header{wire.KeyTrace, x.traceparent})
	if follows {
		x.d.Metadata = append(x.d.Metadata, Header{wire.KeyTraceParent, parent})
	}
}
