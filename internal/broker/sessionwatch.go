package broker

import (
	"context"
	"net/http"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// This file is about clients with sessions that want to know of changes of resources of servers without: what all clients want to know of a server is
// one stream there, and comes on each client's own.

// sessionWatches are the subscriptions of sessions, one for all that a session wants to know.
type sessionWatches struct {
	mu  sync.Mutex // guards the rest
	all map[*session.Session]*sessionWatch
}

type sessionWatch struct {
	sub *subscription

	mu     sync.Mutex // makes one change of it at a time
	wanted map[watchedURI]bool
	ended  bool
}

type watchedURI struct{ server, uri string }

// watchesMethod tells whether a request is about changes of a resource.
func watchesMethod(method string) bool {
	return method == "resources/subscribe" || method == "resources/unsubscribe"
}

// watchForSession answers resources/subscribe and resources/unsubscribe.
func (b *Broker) watchForSession(w http.ResponseWriter, r *http.Request, s *session.Session, m *jsonrpc.Message, server *catalog.Server) {
	own, err := jsonrpc.Unquote(m.Param("uri").Of(m.Body))
	if err != nil {
		b.fail(w, badParams(m, "params.uri must be a string"))
		return
	}
	sw := b.sessionWatchOf(s)
	sw.mu.Lock()
	defer sw.mu.Unlock()
	key := watchedURI{server.Name, own}
	switch {
	case sw.ended:
		b.fail(w, unknownSession(m.ID.Of(m.Body)))
		return
	case m.MethodName() == "resources/unsubscribe":
		delete(sw.wanted, key)
		b.unwatchOne(sw.sub, key)
	case sw.wanted[key]:
	case len(sw.wanted) >= maxURIs:
		b.fail(w, badParams(m, "this session has too many subscriptions"))
		return
	default:
		if !b.watchOne(r, sw.sub, server, own) {
			b.fail(w, badParams(m, "the server does not tell of changes of this resource"))
			return
		}
		sw.wanted[key] = true
	}
	b.result(w, m, []byte("{}"))
}

func (b *Broker) watchOne(r *http.Request, sub *subscription, server *catalog.Server, own string) bool {
	ctx, cancel := context.WithTimeout(r.Context(), watchPatience)
	defer cancel()
	wanted := map[string]string{own: server.PublicURI(own)}
	return len(b.watchServer(ctx, sub, server, config.NewSecret(r.Header.Get("Authorization")), wanted)) > 0
}

// unwatchOne ends what a subscription wants to know of one resource.
func (b *Broker) unwatchOne(sub *subscription, key watchedURI) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := sub.watchers[:0:0]
	for _, w := range sub.watchers {
		w.mu.Lock()
		if w.key.server == key.server {
			w.drop(sub, key.uri)
		}
		if len(w.wanted) == 0 && b.watchers[w.key] == w {
			delete(b.watchers, w.key)
			w.cancel()
		} else {
			kept = append(kept, w)
		}
		w.mu.Unlock()
	}
	sub.watchers = kept
}

// sessionWatchOf is what a session wants to know, from its first wish to its end.
func (b *Broker) sessionWatchOf(s *session.Session) *sessionWatch {
	b.watches.mu.Lock()
	defer b.watches.mu.Unlock()
	if b.watches.all == nil {
		b.watches.all = map[*session.Session]*sessionWatch{}
	}
	if sw := b.watches.all[s]; sw != nil {
		return sw
	}
	sw := &sessionWatch{wanted: map[watchedURI]bool{}, sub: &subscription{
		stream: stream{events: make(chan []byte, streamBuffer), cut: make(chan struct{})}, virtualServer: s.VirtualServer(), ended: make(chan struct{}),
	}}
	b.watches.all[s] = sw
	go b.tellSession(s, sw)
	return sw
}

// tellSession passes changes on to a session's client, if it listens, until the session ends.
func (b *Broker) tellSession(s *session.Session, sw *sessionWatch) {
	defer b.endSessionWatch(s, sw)
	for {
		select {
		case event := <-sw.sub.events:
			b.mu.Lock()
			h := b.hubs[s]
			b.mu.Unlock()
			if h != nil {
				h.send(event)
			}
		case <-s.Done():
			return
		case <-b.ctx.Done():
			return
		}
	}
}

func (b *Broker) endSessionWatch(s *session.Session, sw *sessionWatch) {
	b.watches.mu.Lock()
	delete(b.watches.all, s)
	b.watches.mu.Unlock()
	sw.mu.Lock()
	defer sw.mu.Unlock()
	sw.ended = true
	b.unwatch(sw.sub)
}
