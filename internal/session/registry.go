package session

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/store"
)

// Options are the settings of a Registry.
type Options struct {
	Key Key
	// MaxAge is the longest life of a session, default 24 h.
	MaxAge time.Duration
	// MaxIdle is how long a session may rest without request or open stream, default 1 h.
	MaxIdle time.Duration
	// Max is the most sessions at once, default 100 000; a further one is refused.
	Max int
	// OnEnd is told of every session that was deleted or expired, once, with its backend sessions still listed.
	OnEnd func(*Session)
	// Store keeps sessions for several replicas, which have the same Key; nil for this process alone. It must not be closed before Run has returned.
	Store store.Store
	// OnLeave is told of every session that is no longer known here while it lives on in other replicas, or was ended by one of them; OnRenewed of one that
	// another replica has changed; OnMessage of what another replica says by Tell of a session that is known here. OnMessage must not wait.
	OnLeave, OnRenewed func(*Session)
	// OnAdopted is told of every session that another replica began and that is known here from now on.
	OnAdopted func(*Session)
	OnMessage func(kind string, s *Session, body []byte)
	// OnChange is told the token of every session that began, ended, or of which a Record would say something else. It is called on the hot path.
	OnChange func(token string)
}

// Defaults of Options.
const (
	DefaultMaxAge  = 24 * time.Hour
	DefaultMaxIdle = time.Hour
	DefaultMax     = 100_000
	sweepInterval  = time.Minute
)

// Registry holds the sessions of this process. Its methods are safe for concurrent use.
type Registry struct {
	opts     Options
	tokenKey []byte
	sealKey  []byte
	sessions sync.Map // token → *Session
	count    atomic.Int64
	now      func() time.Time
	sharing  *sharing // nil without a store
}

// NewRegistry makes an empty registry.
func NewRegistry(o Options) *Registry {
	if o.MaxAge <= 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.MaxIdle <= 0 {
		o.MaxIdle = DefaultMaxIdle
	}
	if o.Max <= 0 {
		o.Max = DefaultMax
	}
	return &Registry{opts: o, tokenKey: o.Key.Derive("session-token"), sealKey: o.Key.Derive("seal"), now: time.Now, sharing: newSharing(o)}
}

// Start is what a session is from its beginning to its end.
type Start struct {
	// Subject is the caller that it is bound to.
	Subject Subject
	// VirtualServer is the name of the one at which it was begun, empty at the gateway itself. It is bound to that too.
	VirtualServer string
	// Revision is the protocol revision negotiated with the client.
	Revision string
	// InitParams are the params of the client's initialize request, verbatim.
	InitParams json.RawMessage
}

// Create starts a session. The error is ErrTooMany or ErrStore.
func (r *Registry) Create(ctx context.Context, start Start) (*Session, error) {
	if r.count.Add(1) > int64(r.opts.Max) {
		r.count.Add(-1)
		return nil, ErrTooMany
	}
	now := r.now()
	c := claims{subject: start.Subject, expires: now.Add(r.opts.MaxAge)}
	_, _ = rand.Read(c.id[:]) // never fails since Go 1.24
	start.InitParams = append(json.RawMessage(nil), start.InitParams...)
	s := r.make(r.sign(c), c, start)
	if r.sharing != nil {
		if err := r.sharing.store.Create(ctx, recordKey(s.ID()), r.sharing.record(s), r.recordLife()); err != nil {
			r.count.Add(-1)
			return nil, unreachable(err)
		}
	}
	r.keep(s)
	s.change()
	return s, nil
}

func (r *Registry) make(token string, c claims, start Start) *Session {
	s := &Session{id: c.id, token: token, start: start, expires: c.expires, sealKey: r.sealKey, done: make(chan struct{}), changed: r.opts.OnChange}
	if r.sharing != nil {
		s.shared = &shared{registry: r, fields: map[string]string{}}
	}
	s.backends.Store(&backends{})
	s.lastUsed.Store(r.now().Unix())
	return s
}

// keep makes a session known here.
func (r *Registry) keep(s *Session) {
	r.sessions.Store(s.token, s)
	if r.sharing != nil {
		r.sharing.tokens.Store(s.ID(), s.token)
	}
}

// Lookup finds the live session of a token. A token in the registry needs no signature check: only Create puts it there.
func (r *Registry) Lookup(token string) (*Session, error) {
	v, ok := r.sessions.Load(token)
	if !ok {
		if _, err := r.verify(token); err != nil {
			return nil, err
		}
		if r.sharing != nil {
			return nil, ErrElsewhere
		}
		return nil, ErrGone
	}
	s := v.(*Session)
	now := r.now()
	if r.expired(s, now) {
		if r.sharing != nil && now.Before(s.expires) {
			return nil, ErrElsewhere // another replica may use it
		}
		r.end(s)
		return nil, ErrUnknown
	}
	s.lastUsed.Store(now.Unix())
	return s, nil
}

// Delete ends a session. From then on its token is unknown, to all replicas. The error is ErrStore; then nothing has ended.
func (r *Registry) Delete(ctx context.Context, s *Session) error {
	if r.sharing != nil {
		if _, err := r.sharing.store.Delete(ctx, recordKey(s.ID())); err != nil {
			return unreachable(err)
		}
		_ = s.tell(ctx, messageEnded, nil) // who does not hear of it asks when it is connected again
	}
	r.end(s)
	return nil
}

// Count is the number of live sessions.
func (r *Registry) Count() int { return int(r.count.Load()) }

// All calls f for every live session until f returns false.
func (r *Registry) All(f func(*Session) bool) {
	r.sessions.Range(func(_, v any) bool { return f(v.(*Session)) })
}

// Run ends expired sessions, and hears what other replicas say, until the context ends.
func (r *Registry) Run(ctx context.Context) {
	if r.sharing != nil {
		var wait sync.WaitGroup
		defer wait.Wait()
		wait.Go(func() { r.sharing.store.Subscribe(ctx, func() { go r.connected(ctx) }, r.heard) })
	}
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			r.Sweep()
		}
	}
}

// Sweep ends the sessions that have expired.
func (r *Registry) Sweep() {
	now := r.now()
	if r.sharing != nil {
		r.sweepShared(r.sharing.ctx, now)
		return
	}
	r.All(func(s *Session) bool {
		if r.expired(s, now) {
			r.end(s)
		}
		return true
	})
}

func (r *Registry) expired(s *Session, now time.Time) bool {
	if !now.Before(s.expires) {
		return true
	}
	return s.streams.Load() == 0 && now.Unix()-s.lastUsed.Load() > int64(r.opts.MaxIdle/time.Second)
}

func (r *Registry) end(s *Session) {
	// OnEnd may take its time, for which no other caller has to wait, and may ask us again.
	if r.forget(s) && r.opts.OnEnd != nil {
		r.opts.OnEnd(s)
	}
}

// forget makes a session unknown here, and tells whether it was known.
func (r *Registry) forget(s *Session) (first bool) {
	s.closed.Do(func() {
		r.sessions.Delete(s.token)
		if r.sharing != nil {
			r.sharing.tokens.Delete(s.ID())
		}
		r.count.Add(-1)
		s.mu.Lock()
		close(s.done)
		s.mu.Unlock()
		first = true
		s.change()
	})
	return first
}

// Format keeps keys and tokens out of logs, whatever the verb.
func (r *Registry) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "registry of %d sessions", r.Count())
}
