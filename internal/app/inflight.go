package app

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// inFlight counts the requests that a handler is answering.
type inFlight struct {
	handler http.Handler
	calls   atomic.Int64
	streams atomic.Int64 // those that a client listens on, which end only when someone ends them
}

// ServeHTTP implements http.Handler.
func (f *inFlight) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := &f.calls
	if r.Method == http.MethodGet || r.Header.Get(wire.HeaderMethod) == "subscriptions/listen" {
		n = &f.streams
	}
	n.Add(1)
	defer n.Add(-1)
	f.handler.ServeHTTP(w, r)
}

// untilNone waits until count is nothing, or the context ends.
func untilNone(ctx context.Context, count func() int64) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for count() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
