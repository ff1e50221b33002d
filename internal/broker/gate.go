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

// letIn looks whether a call may be made of a server, by its caller and now; else it has been refused.
func (b *Broker) letIn(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, snap *catalog.Snapshot, server *catalog.Server, access Access) (leave func(), ok bool) {
	id := m.ID.Of(m.Body)
	if !access.Allows(carried(snap, server, m)) {
		b.challenge(w, r, forbidden(id))
		return nil, false
	}
	if leave = b.gates.enter(server); leave == nil {
		b.fail(w, badGateway(id, http.StatusServiceUnavailable, server.Name,
			fmt.Sprintf("has %d calls open, as many as the configuration allows (maxCalls): try again later", server.MaxCalls)))
		return nil, false
	}
	return leave, true
}
