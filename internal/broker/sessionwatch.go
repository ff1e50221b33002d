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
	kick chan struct{} // the servers are others now

	mu            sync.Mutex // makes one change of it at a time
	sub           *subscription
	wanted        map[watchedURI]bool // false for what no server tells of since it is reached in another way
	authorization config.Secret       // that the client came with last
	ended         bool
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
	sw.authorization = config.NewSecret(r.Header.Get("Authorization"))
	key := watchedURI{server.Name, own}
	switch {
	case sw.ended:
		b.fail(w, unknownSession(m.ID.Of(m.Body)))
		return
	case m.MethodName() == "resources/unsubscribe":
		if err := s.SetWatch(r.Context(), session.Watch{Server: key.server, URI: key.uri}, false); err != nil {
			b.fail(w, sessionFault(m.ID.Of(m.Body), err))
			return
		}
		delete(sw.wanted, key)
		b.unwatchOne(sw.sub, key)
	case sw.wanted[key]:
	case len(sw.wanted) >= maxURIs:
		b.fail(w, badParams(m, "this session has too many subscriptions"))
		return
	default:
		if !b.watchOne(r.Context(), sw, server, own) {
			delete(sw.wanted, key)
			b.fail(w, badParams(m, "the server does not tell of changes of this resource"))
			return
		}
		sw.wanted[key] = true
		if err := b.shareWatch(r.Context(), s, sw, key); err != nil {
			b.fail(w, sessionFault(m.ID.Of(m.Body), err))
			return
		}
	}
	b.result(w, m, []byte("{}"))
}

// shareWatch has the replica watch that the client listens at. The lock is held.
func (b *Broker) shareWatch(ctx context.Context, s *session.Session, sw *sessionWatch, key watchedURI) error {
	if !s.Shared() {
		return nil
	}
	err := s.SetWatch(ctx, session.Watch{Server: key.server, URI: key.uri}, true)
	if err != nil || !b.listensHere(s) {
		b.unwatchOne(sw.sub, key)
		sw.wanted[key] = false
	}
	if err != nil {
		delete(sw.wanted, key)
	}
	return err
}

// syncWatches makes a session's subscriptions those that the replicas know of, as long as its client listens here.
func (b *Broker) syncWatches(s *session.Session, authorization string) {
	if !s.Shared() || !b.listensHere(s) {
		return
	}
	if len(s.Watches()) == 0 && b.knownWatch(s) == nil {
		return // most sessions want to know nothing
	}
	sw := b.sessionWatchOf(s)
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if authorization != "" {
		sw.authorization = config.NewSecret(authorization)
	}
	wanted := map[watchedURI]bool{}
	for _, w := range s.Watches() {
		key := watchedURI{w.Server, w.URI}
		wanted[key] = sw.wanted[key]
	}
	for key := range sw.wanted {
		if _, still := wanted[key]; !still {
			b.unwatchOne(sw.sub, key)
		}
	}
	sw.wanted = wanted
	signal(sw.kick)
}

// restWatches ends what is watched for a session whose client listens here no more: another replica may go on.
func (b *Broker) restWatches(s *session.Session) {
	if !s.Shared() {
		return
	}
	sw := b.knownWatch(s)
	if sw == nil {
		return
	}
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if b.listensHere(s) {
		return // again
	}
	b.unwatch(sw.sub)
	for key := range sw.wanted {
		sw.wanted[key] = false
	}
}

// knownWatch is what a session wants to know, nil if it has never wanted anything here.
func (b *Broker) knownWatch(s *session.Session) *sessionWatch {
	b.watches.mu.Lock()
	defer b.watches.mu.Unlock()
	return b.watches.all[s]
}

func (b *Broker) listensHere(s *session.Session) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hubs[s] != nil
}

// watchOne asks a server to tell of one resource. The lock is held.
func (b *Broker) watchOne(ctx context.Context, sw *sessionWatch, server *catalog.Server, own string) bool {
	ctx, cancel := context.WithTimeout(ctx, watchPatience)
	defer cancel()
	return len(b.watchServer(ctx, sw.sub, server, sw.authorization, map[string]string{own: server.PublicURI(own)})) > 0
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
		if !b.endUnneeded(w) {
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
	sw := &sessionWatch{kick: make(chan struct{}, 1), wanted: map[watchedURI]bool{}, sub: sessionSubscription(s)}
	b.watches.all[s] = sw
	go b.tellSession(s, sw)
	return sw
}

func sessionSubscription(s *session.Session) *subscription {
	return &subscription{stream: newStream(), virtualServer: s.VirtualServer(), ended: make(chan struct{})}
}

// wakeSessionWatches has all sessions ask again for what no server tells them of.
func (b *Broker) wakeSessionWatches() {
	b.watches.mu.Lock()
	defer b.watches.mu.Unlock()
	for _, sw := range b.watches.all {
		signal(sw.kick)
	}
}

// tellSession passes changes on to a session's client, if it listens, until the session ends.
func (b *Broker) tellSession(s *session.Session, sw *sessionWatch) {
	defer b.endSessionWatch(s, sw)
	sub := sw.sub // nobody else changes it
	for {
		select {
		case <-sub.more:
			if event := sub.next(); event != nil {
				b.sendTo(s, event)
			}
		case <-sub.ended:
			sub = b.renewSessionWatch(s, sw)
			b.watchMissing(s, sw)
		case <-sub.cut: // more has changed at once than could wait
			sub = b.renewSessionWatch(s, sw)
			b.watchMissing(s, sw)
		case <-sw.kick:
			b.watchMissing(s, sw)
		case <-s.Done():
			return
		case <-b.ctx.Done():
			return
		}
	}
}

// sendTo gives an event to a session's client, where it listens.
func (b *Broker) sendTo(s *session.Session, event []byte) {
	if !b.sendHere(s, event) {
		b.share(s, tellEvent, event)
	}
}

// sendHere is sendTo for a client that listens here, and tells whether it does.
func (b *Broker) sendHere(s *session.Session, event []byte) bool {
	b.mu.Lock()
	h := b.hubs[s]
	b.mu.Unlock()
	if h != nil {
		h.send(event)
	}
	return h != nil
}

// renewSessionWatch begins a session's subscription anew, since one of the servers is reached in another way now or is gone.
func (b *Broker) renewSessionWatch(s *session.Session, sw *sessionWatch) *subscription {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	b.unwatch(sw.sub)
	sw.sub = sessionSubscription(s)
	for key := range sw.wanted {
		sw.wanted[key] = false
	}
	return sw.sub
}

// watchMissing asks the servers for what a session wants to know and is not told of. It may have changed meanwhile, so that it is told to have.
func (b *Broker) watchMissing(s *session.Session, sw *sessionWatch) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if s.Shared() && !b.listensHere(s) {
		return // who is listened at watches
	}
	snap := b.opts.Snapshot()
	for key, told := range sw.wanted {
		server := snap.Server(key.server)
		if told || server == nil || !server.Watchable() || !b.watchOne(b.ctx, sw, server, key.uri) {
			continue
		}
		sw.wanted[key] = true
		b.sendTo(s, sw.sub.notification("notifications/resources/updated", server.PublicURI(key.uri)))
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
