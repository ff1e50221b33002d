package broker

import (
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about virtual servers. The router has found the one that a request is for.

// viewOf is what the endpoint of a request shows, nil where the router has just found a virtual server that is gone now.
func (b *Broker) viewOf(r *http.Request) *catalog.View {
	snap := b.opts.Snapshot()
	if name := r.Header.Get(wire.HeaderVirtualServer); name != "" {
		return snap.VirtualServer(name)
	}
	return snap.All()
}

// see calls f with what the endpoint of a request shows.
func (b *Broker) see(w http.ResponseWriter, r *http.Request, id []byte, f func(*catalog.View)) {
	view := b.viewOf(r)
	if view == nil {
		b.fail(w, invalid(id, http.StatusNotFound, wire.NoVirtualServer))
		return
	}
	f(view)
}

// challengeFor is what a client that is refused finds in WWW-Authenticate; empty for nothing.
func (b *Broker) challengeFor(r *http.Request, e *jsonrpc.Error) string {
	if b.opts.Challenge == nil {
		return ""
	}
	segment := ""
	if view := b.viewOf(r); view != nil {
		segment = view.Segment()
	}
	return b.opts.Challenge(e.Status, segment)
}

// SnapshotChanged tells clients which lists are different now, and ends the sessions of virtual servers that are gone (Invariant 5).
func (b *Broker) SnapshotChanged(old, now *catalog.Snapshot) {
	if old == nil {
		return
	}
	b.endOrphans(old, now)
	b.endSubscriptions(now)
	b.endWatchers(now)
	b.wakeSessionWatches()
	b.tell(old, now, catalog.Tool)
	b.tell(old, now, catalog.Prompt)
	b.tell(old, now, catalog.Resource, catalog.Template)
}

// tell notifies the clients of those endpoints at which one of the lists is different now. The kinds have one notification.
func (b *Broker) tell(old, now *catalog.Snapshot, kinds ...catalog.Kind) {
	method := upstream.ChangedMethod(kinds[0])
	known := map[string]bool{}
	changed := func(name string) bool {
		changed, ok := known[name]
		if !ok {
			changed = differs(old, now, name, kinds)
			known[name] = changed
		}
		return changed
	}
	b.broadcast(method, func(s *session.Session) bool { return changed(s.VirtualServer()) })
	b.publish(method, kinds[0], changed)
}

func differs(old, now *catalog.Snapshot, name string, kinds []catalog.Kind) bool {
	before, after := old.VirtualServer(name), now.VirtualServer(name)
	for _, kind := range kinds {
		switch {
		case name == "":
			if old.Sum(kind) != now.Sum(kind) {
				return true
			}
		case before == nil || after == nil:
			return after != nil
		case !before.Same(after, kind):
			return true
		}
	}
	return false
}

func (b *Broker) endOrphans(old, now *catalog.Snapshot) {
	gone := map[string]bool{}
	for _, view := range old.VirtualServers() {
		if now.VirtualServer(view.Name()) == nil {
			gone[view.Name()] = true
		}
	}
	if len(gone) == 0 {
		return
	}
	b.background(func() {
		b.opts.Sessions.All(func(s *session.Session) bool {
			if gone[s.VirtualServer()] {
				_ = b.opts.Sessions.Delete(b.ctx, s) // one that cannot be ended is of no use: requests for a virtual server that is gone are refused
			}
			return b.ctx.Err() == nil
		})
	})
}
