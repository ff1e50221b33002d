package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

const (
	openTimeout   = 30 * time.Second
	notifyTimeout = 10 * time.Second
	closeTimeout  = 5 * time.Second
	// levelPatience is how long a client waits for slow servers to take a log level.
	levelPatience = 2 * time.Second
	maxClosing    = 64
)

var (
	errEnded = errors.New("the session has ended")
	// errOutdated means that what was opened must not be used any more.
	errOutdated = errors.New("the caller's credential changed while a session was opened with it")
)

// open returns the session's backend session with a server, and opens it if need be: once, however many calls race.
func (b *Broker) open(ctx context.Context, c caller, server *catalog.Server) (session.Backend, error) {
	if server.PerCaller {
		b.tokens.remember(c, server)
	}
	key := c.key(server)
	if have, ok := c.Backend(server.Name, key); ok {
		return have, nil
	}
	//nolint:contextcheck // the opening outlives the call that asked for it: others may wait for it too
	opening := b.flights.DoChan(c.Token()+"\x00"+server.Name+"\x00"+key, func() (any, error) {
		if have, ok := c.Backend(server.Name, key); ok {
			return have, nil
		}
		ctx, cancel := context.WithTimeout(b.ctx, openTimeout)
		defer cancel()
		return b.openNow(ctx, c, server)
	})
	select {
	case res := <-opening:
		if res.Err != nil {
			return session.Backend{}, res.Err
		}
		return res.Val.(session.Backend), nil
	case <-ctx.Done():
		return session.Backend{}, ctx.Err()
	}
}

func (b *Broker) openNow(ctx context.Context, c caller, server *catalog.Server) (session.Backend, error) {
	ep := b.endpointOf(server)
	if ep == nil {
		return session.Backend{}, fmt.Errorf("server %q is no longer configured", server.Name)
	}
	ep = ep.For(c.authorization)
	changes := b.changes.Load()
	opened, err := ep.Open(ctx, c.InitParams())
	if err != nil {
		return session.Backend{}, err
	}
	level := c.LogLevel()
	b.sendLevel(ctx, ep, opened.Session, server, level)
	be := session.Backend{ID: opened.ID, Revision: opened.Revision, Fingerprint: c.key(server)}
	if be, err = b.agree(ctx, c, ep, server.Name, be); err != nil {
		return session.Backend{}, err
	}
	if server.PerUser && b.changes.Load() != changes {
		c.DropBackend(server.Name, be.ID) // it may have been opened with a credential that is no longer the caller's
		return session.Backend{}, errOutdated
	}
	if now := c.LogLevel(); string(now) != string(level) { // set meanwhile, when this session was not known yet
		b.sendLevel(ctx, ep, opened.Session, server, now)
	}
	b.follow(c.Session, server.Name, be) //nolint:contextcheck // the stream outlives this call
	return be, nil
}

func (b *Broker) sendLevel(ctx context.Context, ep *upstream.Endpoint, us upstream.Session, server *catalog.Server, level json.RawMessage) {
	if level != nil && server.Offers("logging") {
		_, _ = ep.Call(ctx, us, "logging/setLevel", level) // a server that refuses logs as it likes
	}
}

// SessionEnded closes what was opened for a session. It does not wait.
func (b *Broker) SessionEnded(s *session.Session) {
	b.endHub(s)
	for name, be := range s.Backends() {
		b.closeBackend(b.endpointFor(s, name, be), be)
	}
	b.tokens.forget(s)
}

// closeBackend ends a session with the server that the endpoint is of. There may be none any more.
func (b *Broker) closeBackend(ep *upstream.Endpoint, be session.Backend) {
	if ep == nil || be.ID == "" {
		return
	}
	b.background(func() {
		select {
		case b.closing <- struct{}{}:
			defer func() { <-b.closing }()
		case <-b.ctx.Done():
			return
		}
		b.deleteBackend(b.ctx, released{ep, be})
	})
}

func upstreamSession(be session.Backend) upstream.Session {
	return upstream.Session{ID: be.ID, Revision: be.Revision}
}

// everyBackend calls f for all open backend sessions at once. It does not wait for that; what it returns is closed then.
func (b *Broker) everyBackend(s *session.Session, f func(context.Context, *upstream.Endpoint, upstream.Session, *catalog.Server)) <-chan struct{} {
	snap, done := b.opts.Snapshot(), make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(b.ctx, notifyTimeout)
		defer cancel()
		var wait sync.WaitGroup
		defer wait.Wait()
		for name, be := range s.Backends() {
			if server, ep := snap.Server(name), b.endpointFor(s, name, be); server != nil && ep != nil {
				wait.Go(func() { f(ctx, ep, upstreamSession(be), server) })
			}
		}
	}()
	return done
}

// setLevel sets the log level at all servers that log, those with a session now and those that get one later.
func (b *Broker) setLevel(w http.ResponseWriter, r *http.Request, s *session.Session, m *jsonrpc.Message) {
	level, err := jsonrpc.Unquote(m.Param("level").Of(m.Body))
	if err != nil || !isLogLevel(level) {
		b.fail(w, badParams(m, "params.level must be one of debug, info, notice, warning, error, critical, alert, emergency"))
		return
	}
	params := json.RawMessage(m.Params.Of(m.Body))
	if err := s.SetLogLevel(r.Context(), params); err != nil {
		b.fail(w, sessionFault(m.ID.Of(m.Body), err))
		return
	}
	//nolint:contextcheck // what servers are told outlives the request
	done := b.everyBackend(s, func(ctx context.Context, ep *upstream.Endpoint, us upstream.Session, server *catalog.Server) {
		b.sendLevel(ctx, ep, us, server, params)
	})
	select {
	case <-done:
	case <-time.After(levelPatience): // a slow server costs the others nothing (Invariant 12)
	}
	b.result(w, m, []byte("{}"))
}

func isLogLevel(level string) bool {
	switch level {
	case "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency":
		return true
	}
	return false
}
