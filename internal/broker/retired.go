package broker

import (
	"context"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// This file is about servers that are reached in another way now, or not any more. What was opened with them as they were is used by calls in flight, and
// ended after these: a server should not keep for hours what nobody comes back to.

const (
	// retireSlack is how long routers, and other replicas, may take to use a server as it is now.
	retireSlack = 5 * time.Second
	// retireTime bounds how long the ends of sessions are told to one server, retireAtOnce at how many of them at a time, and deletesAtOnce how many to each.
	retireTime    = time.Minute
	retireAtOnce  = 16
	deletesAtOnce = 4
	// maxWays is how many former ways to reach one server are known at a time. What is open with it in yet another one is left to its own timeout.
	maxWays = 64
)

// Retired is a server as it was reached before.
type Retired struct {
	Server, Fingerprint string
	Endpoint            *upstream.Endpoint
	// Calls is how long a call to it may take.
	Calls time.Duration
}

// retired are the former ways to reach servers, by server, the oldest first.
type retired struct {
	mu   sync.Mutex
	ways map[string][]*way
}

// way is one of them.
type way struct {
	Retired

	replaced []released // which no session has any more
}

// released is a backend session that is to be ended, with the client that can do it.
type released struct {
	ep *upstream.Endpoint
	be session.Backend
}

func (r *retired) add(w *way) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ways == nil {
		r.ways = map[string][]*way{}
	}
	r.ways[w.Server] = append(r.ways[w.Server], w)
	if all := r.ways[w.Server]; len(all) > maxWays {
		r.ways[w.Server] = all[1:]
	}
}

// of is the last way with a fingerprint, nil if there is none.
func (r *retired) of(server, fingerprint string) *way {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.ways[server]
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Fingerprint == fingerprint {
			return all[i]
		}
	}
	return nil
}

// replace notes a backend session of a way, and tells whether it is still known.
func (r *retired) replace(w *way, one released) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, known := range r.ways[w.Server] {
		if known == w {
			w.replaced = append(w.replaced, one)
			return true
		}
	}
	return false
}

// remove forgets ways, and returns what was replaced of each.
func (r *retired) remove(gone []*way) map[*way][]released {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[*way][]released, len(gone))
	for _, w := range gone {
		var kept []*way
		for _, known := range r.ways[w.Server] {
			if known != w {
				kept = append(kept, known)
			}
		}
		if r.ways[w.Server] = kept; len(kept) == 0 {
			delete(r.ways, w.Server)
		}
		out[w], w.replaced = w.replaced, nil
	}
	return out
}

// all are the known ways.
func (r *retired) all() (out []*way) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ways := range r.ways {
		out = append(out, ways...)
	}
	return out
}

// fingerprintOf is the server's part of what a backend session stands under.
func fingerprintOf(be session.Backend) string {
	fingerprint, _, _ := strings.Cut(be.Fingerprint, "/")
	return fingerprint
}

// reached is the client of a server as it is, or was, with a fingerprint; nil if it is not known.
func (b *Broker) reached(server, fingerprint string) *upstream.Endpoint {
	if ep := b.opts.Endpoint(server); ep != nil && ep.Fingerprint() == fingerprint {
		return ep
	}
	if w := b.retired.of(server, fingerprint); w != nil {
		return w.Endpoint
	}
	return nil
}

// endpointOf is the client of a server as the snapshot has it: what is configured now may not be there yet.
func (b *Broker) endpointOf(server *catalog.Server) *upstream.Endpoint {
	if w := b.retired.of(server.Name, server.Fingerprint); w != nil {
		return w.Endpoint
	}
	return b.opts.Endpoint(server.Name)
}

// Retire is told of servers before they are reached in another way, or not any more. What sessions have with them as they are is ended when calls in
// flight must have ended. It does not wait.
func (b *Broker) Retire(servers []Retired) {
	after := map[time.Duration][]*way{}
	for _, s := range servers {
		wait := s.Calls + retireSlack
		w := &way{Retired: s}
		b.retired.add(w)
		after[wait] = append(after[wait], w)
	}
	for wait, ways := range after {
		b.endAfter(wait, ways)
	}
}

func (b *Broker) endAfter(wait time.Duration, ways []*way) {
	time.AfterFunc(wait, func() {
		var gone, shown []*way
		for _, w := range ways {
			s := b.opts.Snapshot().Server(w.Server)
			now := b.opts.Endpoint(w.Server)
			if s != nil && s.Fingerprint == w.Fingerprint && (now == nil || now.Fingerprint() != w.Fingerprint) && s.State.Listing != nil {
				shown = append(shown, w) // since it cannot be called yet as it is to be
				continue
			}
			gone = append(gone, w)
		}
		b.endWays(gone)
		if len(shown) > 0 && b.ctx.Err() == nil {
			b.endAfter(retireSlack, shown)
		}
	})
}

// endWays ends what sessions have with servers as they were. It does not wait.
func (b *Broker) endWays(ways []*way) {
	if len(ways) == 0 {
		return
	}
	b.background(func() {
		open := b.openedBy(ways)
		replaced := b.retired.remove(ways)
		var servers errgroup.Group
		servers.SetLimit(retireAtOnce)
		for _, w := range ways {
			servers.Go(func() error {
				ctx, cancel := context.WithTimeout(b.ctx, retireTime)
				defer cancel()
				b.endWay(ctx, w, open[w], replaced[w])
				return nil
			})
		}
		_ = servers.Wait()
	})
}

// openedBy are the sessions that have something with servers as they were, and do not have it as they are.
func (b *Broker) openedBy(ways []*way) map[*way][]*session.Session {
	known := make(map[[2]string]*way, len(ways))
	for _, w := range ways {
		if ep := b.opts.Endpoint(w.Server); ep == nil || ep.Fingerprint() != w.Fingerprint {
			known[[2]string{w.Server, w.Fingerprint}] = w
		}
	}
	out := map[*way][]*session.Session{}
	b.opts.Sessions.All(func(s *session.Session) bool {
		for name, be := range s.Backends() {
			if w := known[[2]string{name, fingerprintOf(be)}]; w != nil {
				out[w] = append(out[w], s)
			}
		}
		return b.ctx.Err() == nil
	})
	return out
}

func (b *Broker) endWay(ctx context.Context, w *way, open []*session.Session, replaced []released) {
	var deletes errgroup.Group
	deletes.SetLimit(deletesAtOnce)
	for _, one := range replaced {
		deletes.Go(func() error {
			b.deleteBackend(ctx, one)
			return nil
		})
	}
	for _, s := range open {
		deletes.Go(func() error {
			b.release(ctx, w, s)
			return nil
		})
	}
	_ = deletes.Wait()
}

// release ends what a session has with a server as it was. Where replicas share the session, one of them does.
func (b *Broker) release(ctx context.Context, w *way, s *session.Session) {
	be, ok := s.BackendNow(w.Server)
	if !ok || fingerprintOf(be) != w.Fingerprint || ctx.Err() != nil {
		return
	}
	ep := forCaller(w.Endpoint, func() (config.Secret, bool) { return b.tokens.of(s, w.Server, be) })
	mine, err := s.Release(ctx, w.Server, be.ID)
	if err != nil || !mine {
		return // who cannot reach the store leaves it to others
	}
	b.unfollow(s, w.Server, be.ID)
	b.deleteBackend(ctx, released{ep, be})
}

// replacedBackend ends what a session had with a server as it was, for a caller who has opened another now, when calls in flight have ended.
func (b *Broker) replacedBackend(c caller, server string, be session.Backend) {
	if be.ID == "" {
		return
	}
	w := b.retired.of(server, fingerprintOf(be))
	if w == nil {
		return // nobody here knows how to reach it
	}
	ep := forCaller(w.Endpoint, func() (config.Secret, bool) {
		return c.authorization, c.BackendKey(w.Fingerprint, true, c.authorization.Reveal()) == be.Fingerprint
	})
	if !b.retired.replace(w, released{ep, be}) {
		b.closeBackend(ep, be)
	}
}

// deleteBackend tells a server that a session has ended. There may be nobody who can.
func (b *Broker) deleteBackend(ctx context.Context, one released) {
	if one.ep == nil || one.be.ID == "" || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	if err := one.ep.Delete(ctx, upstreamSession(one.be)); err != nil {
		b.opts.Logger.DebugContext(ctx, "could not close a backend session", "server", one.ep.Name(), "error", err)
	}
}
