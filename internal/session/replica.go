package session

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"
)

// Record is what must be known of a session to route for it. What its token says is left out.
type Record struct {
	Token                   string
	VirtualServer, Revision string
	Backends                map[string]Backend
	// Calls are those in flight, with their servers, by their raw ids.
	Calls map[string]string
}

// Record tells of a live session of the registry.
func (r *Registry) Record(token string) (Record, bool) {
	v, ok := r.sessions.Load(token)
	if !ok {
		return Record{}, false
	}
	s := v.(*Session)
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := Record{Token: s.token, VirtualServer: s.start.VirtualServer, Revision: s.start.Revision, Backends: s.Backends()}
	if len(s.calls) > 0 {
		rec.Calls = make(map[string]string, len(s.calls))
		for id, owner := range s.calls {
			rec.Calls[id] = owner.server
		}
	}
	return rec, true
}

// Keys are what a Replica needs to know tokens and sealed ids of a registry.
type Keys struct{ Token, Seal []byte }

// Format keeps the keys out of logs, whatever the verb.
func (Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// Keys are those of the registry, for another process of this gateway.
func (r *Registry) Keys() Keys { return Keys{Token: r.tokenKey, Seal: r.sealKey} }

// ErrUnsure says that only the registry knows whether there is a session of this token, which is well signed.
var ErrUnsure = errors.New("only the registry knows of this session")

// replicated is what a session has only in a Replica.
type replicated struct {
	elsewhere map[string]string // calls in flight that others carry, with their servers
	dropped   map[string]bool   // ids of backend sessions that were forgotten here, before the registry did so
	round     int               // the last one in which it was put
	told      int64             // when lastUsed was last told of; belongs to who calls Used
}

// Replica is a copy of a registry in another process. Lookup, Bury and Drop are safe for concurrent use; all else belongs to one goroutine that
// is told what the registry knows.
type Replica struct {
	keys     Keys
	maxIdle  time.Duration
	sessions sync.Map // token → *Session
	now      func() time.Time
	round    int

	mu     sync.Mutex
	buried map[string]bool // tokens that must not come back
}

// NewReplica makes an empty replica.
func NewReplica(keys Keys, maxIdle time.Duration) *Replica {
	if maxIdle <= 0 {
		maxIdle = DefaultMaxIdle
	}
	return &Replica{keys: keys, maxIdle: maxIdle, now: time.Now, buried: map[string]bool{}}
}

// Lookup finds the live session of a token. Where that is not sure, the error is ErrUnsure.
func (r *Replica) Lookup(token string) (*Session, error) {
	now := r.now()
	v, ok := r.sessions.Load(token)
	if !ok {
		if _, err := verify(r.keys.Token, token, now); err != nil {
			return nil, err
		}
		return nil, ErrUnsure
	}
	s := v.(*Session)
	if !now.Before(s.expires) {
		return nil, ErrUnknown
	}
	second := now.Unix()
	if last := s.lastUsed.Load(); last != second {
		if second-last > int64(r.maxIdle/time.Second) {
			return nil, ErrUnsure // a stream of it may be open, of which the registry knows
		}
		s.lastUsed.Store(second)
	}
	return s, nil
}

// Put takes what the registry knows of a session.
func (r *Replica) Put(rec Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buried[rec.Token] {
		return
	}
	if v, ok := r.sessions.Load(rec.Token); ok {
		v.(*Session).take(rec, r.round)
		return
	}
	c, err := verify(r.keys.Token, rec.Token, r.now())
	if err != nil {
		return
	}
	s := &Session{
		id: c.id, token: rec.Token, expires: c.expires, sealKey: r.keys.Seal, done: make(chan struct{}),
		start: Start{Subject: c.subject, VirtualServer: rec.VirtualServer, Revision: rec.Revision},
	}
	s.backends.Store(&backends{})
	s.lastUsed.Store(r.now().Unix())
	s.take(rec, r.round)
	r.sessions.Store(rec.Token, s)
}

// take makes the session what the record says. Calls that go through this process stay.
func (s *Session) take(rec Record, round int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round, s.elsewhere = round, rec.Calls
	next, still := rec.Backends, map[string]bool{}
	for server, be := range rec.Backends {
		if s.dropped[be.ID] { // the registry has not heard of it yet
			if len(still) == 0 {
				next = maps.Clone(next)
			}
			still[be.ID] = true
			delete(next, server)
		}
	}
	s.dropped = still
	s.backends.Store(backendsOf(next))
}

// Touch says that the registry still knows the session.
func (r *Replica) Touch(token string) {
	if v, ok := r.sessions.Load(token); ok {
		v.(*Session).lastUsed.Store(r.now().Unix())
	}
}

// End says that the registry no longer knows a session.
func (r *Replica) End(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.buried, token)
	r.sessions.Delete(token)
}

// Bury ends a session here, before the registry says so: what it says of it until then is older.
func (r *Replica) Bury(token string) {
	if _, ok := r.sessions.Load(token); !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buried[token] = true
	r.sessions.Delete(token)
}

// Drop forgets a backend session that its server forgot, before the registry does so.
func (r *Replica) Drop(s *Session, server, id string) {
	s.mu.Lock()
	if s.dropped == nil {
		s.dropped = map[string]bool{}
	}
	s.dropped[id] = true
	s.mu.Unlock()
	s.DropBackend(server, id)
}

// Begin says that everything will now be put anew, Complete that it has been: what was not put meanwhile is gone.
func (r *Replica) Begin() { r.round++ }

// Complete ends what Begin began.
func (r *Replica) Complete() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.buried)
	r.sessions.Range(func(token, v any) bool {
		if v.(*Session).round != r.round {
			r.sessions.Delete(token)
		}
		return true
	})
}

// Used are the tokens of the sessions that were used since it was last called.
func (r *Replica) Used() []string {
	var tokens []string
	r.sessions.Range(func(token, v any) bool {
		s := v.(*Session)
		if last := s.lastUsed.Load(); last != s.told {
			s.told = last
			tokens = append(tokens, token.(string))
		}
		return true
	})
	return tokens
}

// Format keeps keys and tokens out of logs, whatever the verb.
func (r *Replica) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "replica [redacted]") }
