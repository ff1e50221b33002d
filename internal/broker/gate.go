package broker

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// gates count the calls that are carried to each server at once, so that one which answers none of them cannot hold all that there is of anything.
type gates struct{ open sync.Map } // of *atomic.Int64 by the server's name; those of servers that have gone are small

// enter takes one more call of a server in, until leave is called. There is none where the server has as many as it may.
func (g *gates) enter(server *catalog.Server) (leave func()) {
	if server.MaxCalls == 0 {
		return func() {}
	}
	v, ok := g.open.Load(server.Name)
	if !ok {
		v, _ = g.open.LoadOrStore(server.Name, new(atomic.Int64))
	}
	n := v.(*atomic.Int64) //nolint:forcetypeassert // nothing else is stored
	if n.Add(1) > int64(server.MaxCalls) {
		n.Add(-1)
		return nil
	}
	return func() { n.Add(-1) }
}

// crowded is the error for a call that is one too many.
func crowded(id []byte, server *catalog.Server) *jsonrpc.Error {
	return badGateway(id, http.StatusServiceUnavailable, server.Name, fmt.Sprintf("has %d calls open, as many as the configuration allows (maxCalls): try again later", server.MaxCalls))
}
