package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/bridge"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about the sessions with servers that the broker keeps for modern clients, which have none of their own.

const (
	// poolIdle is how long a session rests without a call before it is closed.
	poolIdle = 5 * time.Minute
	// maxPooled bounds the sessions, maxPooledCaller those of one caller. The one that has rested longest makes room for another.
	maxPooled       = 4096
	maxPooledCaller = 128
	// streamPatience is how long the first call of a session waits for the server's own stream, on which it may ask what belongs to the call.
	streamPatience = 500 * time.Millisecond
)

var errCrowded = errors.New("too many sessions with servers are in use; try again later")

// callPrefix begins the ids by which servers know calls that are made between the eras. Nobody can guess it.
func callPrefix() string {
	var nonce [6]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	return "mcp-gateway/" + hex.EncodeToString(nonce[:]) + "/"
}

// asker is who makes a modern request.
type asker struct {
	// who tells callers apart: those with a token that names a subject by that, others by the token itself. All callers without a token are one.
	who           string
	authorization config.Secret
	client        bridge.Client
	virtualServer string
}

// askerOf reads from a request who makes it.
func askerOf(authorization, virtualServer string, client bridge.Client) asker {
	a := asker{authorization: config.NewSecret(authorization), client: client, virtualServer: virtualServer}
	switch subject := session.SubjectOf(authorization); {
	case subject != session.Subject{}:
		a.who = "subject " + hex.EncodeToString(subject[:])
	case authorization != "":
		sum := sha256.Sum256([]byte(authorization))
		a.who = "token " + hex.EncodeToString(sum[:])
	}
	return a
}

// key is what the asker's session with a server stands under. Two clients of one caller share one only if the server cannot tell them apart.
func (a asker) key(server *catalog.Server) string {
	sum := sha256.New()
	for _, part := range []string{a.who, server.Name, server.Fingerprint, string(a.client.Capabilities), string(a.client.Info)} {
		_, _ = fmt.Fprintf(sum, "%d:%s", len(part), part) // a hash takes everything
	}
	return string(sum.Sum(nil))
}

// pool holds the sessions.
type pool struct {
	mu       sync.Mutex // guards the rest
	sessions map[string]*pooled
	closed   bool
}

// pooled is one session, or what stands for one where the server keeps none.
type pooled struct {
	key, who string
	server   *catalog.Server
	session  upstream.Session
	stop     context.CancelFunc // of the server's own stream
	client   bridge.Client

	mu    sync.Mutex // guards the rest; the pool's is taken first
	ep    *upstream.Endpoint
	calls map[string]*bridged // in flight, by the decoded id at the server
	last  []*bridged          // the same in the order of their beginning
	// early are requests of the server's that came while no call was in flight, with which the next one begins.
	early []*jsonrpc.Message
	users int
	idle  *time.Timer
	since time.Time // it rests

	levels sync.Mutex
	level  int // the least severity that the server was told to log from; −1 for none
}

func newPooled(key string, a asker, server *catalog.Server, ep *upstream.Endpoint, us upstream.Session) *pooled {
	return &pooled{key: key, who: a.who, client: a.client, server: server, session: us, ep: ep, calls: map[string]*bridged{}, level: -1, stop: func() {}}
}

// sessionFor finds or opens the session in which an asker's call is made. What it returns must be released. Without sessions at the server it is
// the call's own.
func (b *Broker) sessionFor(ctx context.Context, a asker, server *catalog.Server) (*pooled, error) {
	ep := b.opts.Endpoint(server.Name)
	if ep == nil {
		return nil, errGone
	}
	ep = ep.For(a.authorization)
	if !server.Sessions() {
		p := newPooled("", a, server, ep, upstream.Session{Revision: server.Revision()})
		p.users = 1
		return p, nil
	}
	key := a.key(server)
	for {
		if p := b.pool.take(key, ep); p != nil {
			return p, nil
		}
		//nolint:contextcheck // the opening outlives the call that asked for it: others may wait for it too
		opening := b.flights.DoChan("pool\x00"+key, func() (any, error) {
			ctx, cancel := context.WithTimeout(b.ctx, openTimeout)
			defer cancel()
			return nil, b.openPooled(ctx, key, a, server, ep)
		})
		select {
		case res := <-opening:
			if res.Err != nil {
				return nil, res.Err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// errGone means that a server is not configured any more.
var errGone = errors.New("is no longer configured")

func (b *Broker) openPooled(ctx context.Context, key string, a asker, server *catalog.Server, ep *upstream.Endpoint) error {
	if b.pool.has(key) {
		return nil // another call was faster
	}
	if !b.makeRoom(a.who) {
		return errCrowded
	}
	changes := b.changes.Load()
	opened, err := ep.Open(ctx, a.client.Initialize(wire.LatestSession, b.opts.Version))
	if err != nil {
		return err
	}
	p := newPooled(key, a, server, ep, opened.Session)
	if server.PerUser && b.changes.Load() != changes {
		b.closePooled(p)
		return errOutdated
	}
	b.followPooled(p) //nolint:contextcheck // the stream lives as long as the session
	if !b.pool.add(p, func() { b.closePooled(p) }) {
		b.closePooled(p)
		return errCrowded
	}
	return nil
}

// take finds a session for one more call.
func (l *pool) take(key string, ep *upstream.Endpoint) *pooled {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.sessions[key]
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle.Stop()
	p.users++
	p.ep = ep // with the token that the caller has now
	return p
}

func (l *pool) has(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions[key] != nil
}

// add takes a new session in, which rests.
func (l *pool) add(p *pooled, expired func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if l.sessions == nil {
		l.sessions = map[string]*pooled{}
	}
	p.since = time.Now()
	p.idle = time.AfterFunc(poolIdle, func() {
		if l.remove(p, true) {
			expired()
		}
	})
	l.sessions[p.key] = p
	return true
}

// release ends a use of a session.
func (l *pool) release(p *pooled) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users--; p.users == 0 && l.sessions[p.key] == p {
		p.since = time.Now()
		p.idle.Reset(poolIdle)
	}
}

// remove forgets a session and tells whether it was known; if idle, only one that rests.
func (l *pool) remove(p *pooled, idle bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.sessions[p.key] != p || idle && p.users > 0 {
		return false
	}
	p.idle.Stop()
	delete(l.sessions, p.key)
	return true
}

// makeRoom sees to it that one more session of a caller may be opened.
func (b *Broker) makeRoom(who string) bool {
	for {
		oldest, full := b.pool.oldest(who)
		if !full {
			return true
		}
		if oldest == nil {
			return false
		}
		if b.pool.remove(oldest, true) {
			b.closePooled(oldest)
		}
	}
}

// oldest is the session that has to go before one more of a caller's is opened, nil if none rests; full is false if there is room.
func (l *pool) oldest(who string) (oldest *pooled, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := 0
	for _, p := range l.sessions {
		if p.who == who {
			own++
		}
	}
	if own < maxPooledCaller && len(l.sessions) < maxPooled {
		return nil, false
	}
	for _, p := range l.sessions {
		p.mu.Lock()
		rests := p.users == 0 && (own < maxPooledCaller || p.who == who)
		p.mu.Unlock()
		if rests && (oldest == nil || p.since.Before(oldest.since)) {
			oldest = p
		}
	}
	return oldest, true
}

// all are the sessions that f accepts, which are forgotten.
func (l *pool) all(f func(*pooled) bool, last bool) []*pooled {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = l.closed || last
	var out []*pooled
	for key, p := range l.sessions {
		if f(p) {
			p.idle.Stop()
			delete(l.sessions, key)
			out = append(out, p)
		}
	}
	return out
}

// forgetPooled drops a session that its server has forgotten.
func (b *Broker) forgetPooled(p *pooled) {
	if b.pool.remove(p, false) {
		p.stop()
	}
}

// closePooled ends a session that the pool does not have any more.
func (b *Broker) closePooled(p *pooled) {
	p.stop()
	b.closeBackend(p.endpoint(), session.Backend{ID: p.session.ID, Revision: p.session.Revision})
}

// dropPooled forgets the sessions that were opened with a credential of a caller's that is another now.
func (b *Broker) dropPooled(subject session.Subject, server string) {
	who := "subject " + hex.EncodeToString(subject[:])
	for _, p := range b.pool.all(func(p *pooled) bool { return p.who == who && p.server.Name == server }, false) {
		p.stop()
	}
}

// use takes the token that the caller has now.
func (p *pooled) use(ep *upstream.Endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ep = ep
}

func (p *pooled) endpoint() *upstream.Endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ep
}

// begin makes a call known to the session, and returns what the server wanted to know before. end forgets it.
func (p *pooled) begin(c *bridged) (early []*jsonrpc.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[c.id] = c
	p.last = append(p.last, c)
	if mayAsk(c.method) {
		early, p.early = p.early, nil
	}
	return early
}

// keep has a request of the server's wait for the next call, if the client can be asked at all.
func (p *pooled) keep(m *jsonrpc.Message) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.last) > 0 || len(p.early) >= maxAsked || len(m.Body) > maxEarlyBytes || p.client.Lacks(m.MethodName(), m.Params.Of(m.Body)) != nil {
		return false
	}
	own := clone(m)
	p.early = append(p.early, &own)
	return true
}

// unkeep forgets a request that the server does not want to have answered any more.
func (p *pooled) unkeep(id []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.early = slices.DeleteFunc(p.early, func(m *jsonrpc.Message) bool { return relay.SameID(m.ID.Of(m.Body), id) })
}

func (p *pooled) end(c *bridged) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, c.id)
	for i := range p.last {
		if p.last[i] == c {
			p.last = append(p.last[:i:i], p.last[i+1:]...)
			return
		}
	}
}

// raise has the server log from a level on. It never asks for less: other calls may want more, and what a call did not ask for is kept from it.
func (p *pooled) raise(ctx context.Context, level string) {
	severity := bridge.Severity(level)
	if level == "" || p.session.ID == "" || !p.server.Offers("logging") {
		return
	}
	p.levels.Lock()
	defer p.levels.Unlock()
	if p.level >= 0 && p.level <= severity {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, levelPatience)
	defer cancel()
	if _, err := p.endpoint().Call(ctx, p.session, "logging/setLevel", json.RawMessage(`{"level":"`+level+`"}`)); err == nil {
		p.level = severity // a server that refuses logs as it likes
	}
}
