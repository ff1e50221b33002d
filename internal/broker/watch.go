package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// This file is about changes of single resources: what all subscriptions want to know of one server's is asked of it in one stream.

const (
	// watchPatience is how long a server may take to agree before a client is told that it did not.
	watchPatience = 5 * time.Second
	// watchGather is how long a watcher waits for more to ask for, so that clients that come together cost one stream.
	watchGather = 20 * time.Millisecond
	// maxWatched bounds how many resources of one server are watched.
	maxWatched = 10_000
)

// watchKey tells which subscriptions can share a stream: those whose requests reach the server with the same credential.
type watchKey struct{ server, fingerprint, caller string }

// watcher is one server's stream, over all its connections.
type watcher struct {
	b        *Broker
	key      watchKey
	endpoint *upstream.Endpoint
	revision string // without sessions; empty for a server with them
	cancel   context.CancelFunc
	kick     chan struct{} // what is wanted is another

	mu      sync.Mutex                          // guards the rest
	wanted  map[string]map[*subscription]string // by the server's own URI: who wants to know, under which URI
	version int                                 // of wanted
	settled int                                 // the version that the server was last asked for, with whatever outcome
	waiting []chan struct{}                     // closed when settled has changed
	agreed  map[string]bool
}

// watch asks for the changes of resources, and returns those URIs of the client's that their servers agree to tell of.
func (b *Broker) watch(ctx context.Context, sub *subscription, authorization config.Secret, uris []string, access Access, view *catalog.View) []string {
	byServer := map[*catalog.Server]map[string]string{} // own URIs to public ones
	for _, uri := range uris {
		it := view.FindResource(uri)
		if it == nil || !it.Server.Watchable() || it.Kind != catalog.Resource && catalog.Climbs(uri) {
			continue
		}
		own := it.Server.OwnURI(uri)
		request := requestOf(it)
		request.Name, request.PublicName = own, uri
		if !access.Allows(request) {
			continue
		}
		if byServer[it.Server] == nil {
			byServer[it.Server] = map[string]string{}
		}
		byServer[it.Server][own] = uri
	}
	ctx, cancel := context.WithTimeout(ctx, watchPatience)
	defer cancel()
	var (
		mu     sync.Mutex
		agreed []string
		wait   sync.WaitGroup
	)
	for server, wanted := range byServer {
		wait.Go(func() {
			got := b.watchServer(ctx, sub, server, authorization, wanted)
			mu.Lock()
			defer mu.Unlock()
			agreed = append(agreed, got...)
		})
	}
	wait.Wait()
	slices.Sort(agreed)
	return agreed
}

func (b *Broker) watchServer(ctx context.Context, sub *subscription, server *catalog.Server, authorization config.Secret, wanted map[string]string) []string {
	w := b.watcherOf(sub, server, authorization, wanted) //nolint:contextcheck // a watcher outlives the request that it is made for
	if w == nil {
		return nil
	}
	agreed := w.settle(ctx)
	var out []string
	w.mu.Lock()
	defer w.mu.Unlock()
	for own, uri := range wanted {
		if agreed[own] {
			out = append(out, uri)
		} else { // what the client is told that it will not hear of, it does not
			w.drop(sub, own)
		}
	}
	return out
}

// watcherOf is the watcher that a subscription's wishes belong to, with these added.
func (b *Broker) watcherOf(sub *subscription, server *catalog.Server, authorization config.Secret, wanted map[string]string) *watcher {
	ep := b.opts.Endpoint(server.Name)
	if ep == nil {
		return nil
	}
	key := watchKey{server: server.Name, fingerprint: server.Fingerprint}
	if server.PerCaller {
		key.caller = authorization.Reveal()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.watchers[key]
	if w == nil {
		if b.closed {
			return nil
		}
		w = &watcher{
			b: b, key: key, endpoint: ep.For(authorization), revision: server.Modern(),
			kick: make(chan struct{}, 1), wanted: map[string]map[*subscription]string{},
		}
		var ctx context.Context
		ctx, w.cancel = context.WithCancel(b.ctx)
		b.watchers[key] = w
		defer func() { go w.run(ctx) }() // once it knows what is wanted
	}
	w.add(sub, wanted)
	if !slices.Contains(sub.watchers, w) {
		sub.watchers = append(sub.watchers, w)
	}
	return w
}

func (w *watcher) add(sub *subscription, wanted map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	more := false
	for own, uri := range wanted {
		if w.wanted[own] == nil {
			if len(w.wanted) == maxWatched {
				continue
			}
			w.wanted[own] = map[*subscription]string{}
			more = more || !w.agreed[own]
		}
		w.wanted[own][sub] = uri
	}
	if more {
		w.version++
		signal(w.kick)
	}
}

// drop forgets a wish. The stream stays as it is: what nobody wants to know goes no further. The lock is held.
func (w *watcher) drop(sub *subscription, own string) {
	if subs := w.wanted[own]; subs != nil {
		delete(subs, sub)
		if len(subs) == 0 {
			delete(w.wanted, own)
		}
	}
}

// unwatch ends what a subscription wants to know of resources. A watcher that nobody needs ends.
func (b *Broker) unwatch(sub *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range sub.watchers {
		w.mu.Lock()
		for own := range w.wanted {
			w.drop(sub, own)
		}
		b.endUnneeded(w)
		w.mu.Unlock()
	}
	sub.watchers = nil
}

// endUnneeded ends a watcher from which nobody wants to know anything, and tells whether it did. Both locks are held.
func (b *Broker) endUnneeded(w *watcher) bool {
	if len(w.wanted) > 0 {
		return false
	}
	b.retire(w)
	w.cancel()
	return true
}

// retire makes that who comes next gets another watcher. The lock is held.
func (b *Broker) retire(w *watcher) {
	if b.watchers[w.key] == w {
		delete(b.watchers, w.key)
	}
}

// settle waits until the server has been asked for what is wanted now, and returns what it agreed to.
func (w *watcher) settle(ctx context.Context) map[string]bool {
	w.mu.Lock()
	version := w.version
	for w.settled < version {
		settled := make(chan struct{})
		w.waiting = append(w.waiting, settled)
		w.mu.Unlock()
		select {
		case <-settled:
		case <-ctx.Done():
			return nil
		}
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	return w.agreed
}

// settledAs notes what the server agreed to of a version.
func (w *watcher) settledAs(version int, agreed map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settled, w.agreed = max(w.settled, version), agreed
	for _, waiting := range w.waiting {
		close(waiting)
	}
	w.waiting = nil
}

// run keeps a stream open for what is wanted. The stream for more takes the place of the one before only once the server has agreed to it, so that
// nothing is missed in between.
func (w *watcher) run(ctx context.Context) {
	defer w.cancel()
	var current *watching // the last that has begun
	defer func() { current.stop() }()
	wait := reopenFirst
	for ctx.Err() == nil {
		next, began := w.open(ctx, current), time.Now()
		select {
		case <-next.agreed:
		case <-next.ended:
		case <-ctx.Done():
		}
		if isClosed(next.agreed) { // even if it has ended since
			current.stop()
			current = next
			if w.hold(ctx, current) {
				continue
			}
			if time.Since(began) > reopenMost {
				wait = reopenFirst
			}
		} else {
			next.stop()
			w.settledAs(next.version, current.covered())
		}
		select {
		case <-w.kick:
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, reopenMost)
	}
}

// hold waits as long as a stream is what is wanted. It returns false if it has ended by itself.
func (w *watcher) hold(ctx context.Context, s *watching) bool {
	for {
		select {
		case <-s.ended:
			w.lost()
			return false
		case <-w.kick:
			select {
			case <-time.After(watchGather):
			case <-ctx.Done():
			}
			if w.revision != "" {
				return true
			}
			w.extend(ctx, s) // in a session, more can be asked for
		case <-ctx.Done():
			return true
		}
	}
}

// lost notes that nothing is told of until the next stream, for which who comes now waits.
func (w *watcher) lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.agreed = nil
	w.version++
}

// endWatchers ends the subscriptions at servers that are gone or are reached in another way. Clients without sessions ask anew; for sessions the gateway does.
func (b *Broker) endWatchers(now *catalog.Snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, w := range b.watchers {
		server := now.Server(key.server)
		if server != nil && server.Fingerprint == key.fingerprint && (server.Modern() == w.revision || server.State.Listing == nil) {
			continue
		}
		b.retire(w)
		w.mu.Lock()
		for _, subs := range w.wanted {
			for sub := range subs {
				b.finish(sub)
			}
		}
		w.mu.Unlock()
	}
}
