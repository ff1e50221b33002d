package upstream

import (
	"context"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// tracing is the key under which a context has the headers of a trace.
type tracing struct{}

// WithTrace is a context whose requests belong to the trace that a client's headers name, if they name one.
func WithTrace(ctx context.Context, client http.Header) context.Context {
	parent := client.Get(wire.HeaderTraceparent)
	if parent == "" {
		return ctx
	}
	return context.WithValue(ctx, tracing{}, [2]string{parent, client.Get(wire.HeaderTracestate)})
}

// WithTraceparent is a context whose requests belong to the trace of a traceparent, if that is not empty.
func WithTraceparent(ctx context.Context, parent string) context.Context {
	return WithTrace(ctx, http.Header{http.CanonicalHeaderKey(wire.HeaderTraceparent): {parent}})
}

// SameTrace is a context whose requests belong to the trace of another, which it may outlive.
func SameTrace(ctx, other context.Context) context.Context {
	if trace := other.Value(tracing{}); trace != nil {
		return context.WithValue(ctx, tracing{}, trace)
	}
	return ctx
}

// addTrace makes a request one of its context's trace.
func addTrace(req *http.Request) {
	trace, ok := req.Context().Value(tracing{}).([2]string)
	if !ok {
		return
	}
	req.Header.Set(wire.HeaderTraceparent, trace[0])
	if trace[1] != "" {
		req.Header.Set(wire.HeaderTracestate, trace[1])
	}
}
