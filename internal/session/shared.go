package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/guicassolato/mcp-gateway/internal/store"
	"github.com/guicassolato/mcp-gateway/internal/strongbox"
)

// This file is about sessions that several replicas share: a record of each is in a store, every replica that meets a session has a copy of it, and all
// are told what one of them changes.

var (
	// ErrElsewhere is the error of Lookup for a token that is truly ours and is not known here: Find asks the store.
	ErrElsewhere = fmt.Errorf("%w: this replica does not know it", ErrUnknown)
	// ErrStore is the error where the store has to be asked and cannot be.
	ErrStore = errors.New("the store of sessions cannot be reached")
	// ErrTooMany is the error of Create and Find where there are as many sessions as there may be.
	ErrTooMany = errors.New("too many sessions are open")
)

const (
	// recordSlack is how much longer than MaxIdle a record lives after the last sign of its use, which comes with a sweep.
	recordSlack = 3 * sweepInterval
	// copySlack is how much longer a copy does, so that who still has one when the record is gone knows that nobody uses the session.
	copySlack = recordSlack + 2*sweepInterval
	// maxFetches bounds how often a record that changes while it is read is read again.
	maxFetches = 5
	// extendAtOnce is how many records are extended by one operation, fetchAtOnce how many are read at a time after messages may have been missed.
	extendAtOnce = 1000
	fetchAtOnce  = 16
)

// The fields of a record.
const (
	fieldStart   = "start"
	fieldLevel   = "level"
	fieldBackend = "backend:" // and the server's name
	fieldWatch   = "watch:"   // and what tells it from others
)

// sharing is what a registry has only where there is a store.
type sharing struct {
	ctx   context.Context // of what outlives a request; the store bounds how long it takes
	store store.Store
	// box seals what a field or a message holds: ids of servers' sessions are secrets, and nobody can put one in another's place.
	box     strongbox.Box
	self    string // tells this process's messages apart
	flights singleflight.Group
	tokens  sync.Map // of the sessions here, by their ids

	mu         sync.Mutex
	fetching   map[string]*fetching // by id
	generation string               // of the store's content
}

// fetching is the reading of a record.
type fetching struct{ stale bool } // it was changed meanwhile

// shared is what a session has only where there is a store. The session's lock guards it.
type shared struct {
	registry *Registry
	fields   map[string]string // of the record, as they are there
}

func newSharing(o Options) *sharing {
	if o.Store == nil {
		return nil
	}
	var self [8]byte
	_, _ = rand.Read(self[:]) // never fails since Go 1.24
	return &sharing{ctx: context.Background(), store: o.Store, box: o.Key.Box("session-store"), self: hex.EncodeToString(self[:]), fetching: map[string]*fetching{}}
}

// ID names a session to operators and to other replicas. It is no secret: a token needs more.
func (s *Session) ID() string { return hex.EncodeToString(s.id[:]) }

func recordKey(id string) string { return "session:" + id }

// storedStart is the field of what does not change.
type storedStart struct {
	VirtualServer string          `json:"virtualServer,omitempty"`
	Revision      string          `json:"revision"`
	InitParams    json.RawMessage `json:"initParams,omitempty"`
}

func unreachable(err error) error { return fmt.Errorf("%w: %w", ErrStore, err) }

// record is what the store is to keep of a session.
func (h *sharing) record(s *Session) map[string]string {
	id := s.ID()
	start, _ := json.Marshal(storedStart{s.start.VirtualServer, s.start.Revision, s.start.InitParams}) // it came as JSON
	fields := map[string]string{fieldStart: h.box.Close(id+fieldStart, start)}
	for server, b := range s.Backends() {
		fields[fieldBackend+server] = h.closeBackend(id, server, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.level != nil {
		fields[fieldLevel] = h.box.Close(id+fieldLevel, s.level)
	}
	for field, sealed := range s.shared.fields {
		if strings.HasPrefix(field, fieldWatch) {
			fields[field] = sealed
		}
	}
	s.shared.fields = fields
	return fields
}

func (h *sharing) closeBackend(id, server string, b Backend) string {
	plain, _ := json.Marshal(b) // strings can be written
	return h.box.Close(id+fieldBackend+server, plain)
}

// Find is Lookup with a look into the store, and makes a session that another replica began known here.
func (r *Registry) Find(ctx context.Context, token string) (*Session, error) {
	s, err := r.Lookup(token)
	if !errors.Is(err, ErrElsewhere) {
		return s, err
	}
	return r.fetch(ctx, token)
}

// fetch reads a session's record. Those who want the same wait for one reading, which goes on if one of them leaves.
func (r *Registry) fetch(ctx context.Context, token string) (*Session, error) {
	reading := r.sharing.flights.DoChan(token, func() (any, error) {
		return r.fetchNow(context.WithoutCancel(ctx), token) // the store bounds how long it takes
	})
	select {
	case got := <-reading:
		if got.Err != nil {
			return nil, got.Err
		}
		return got.Val.(*Session), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *Registry) fetchNow(ctx context.Context, token string) (*Session, error) {
	c, err := r.verify(token)
	if err != nil {
		return nil, err
	}
	id := hex.EncodeToString(c.id[:])
	for range maxFetches {
		reading := r.sharing.begin(id)
		s, err := r.read(ctx, token, c)
		if stale := r.sharing.ends(id, reading); err != nil || !stale {
			return s, err
		}
	}
	return nil, unreachable(errors.New("the session's record changes all the time"))
}

func (r *Registry) read(ctx context.Context, token string, c claims) (*Session, error) {
	fields, err := r.sharing.store.Load(ctx, recordKey(hex.EncodeToString(c.id[:])))
	if err != nil {
		return nil, unreachable(err)
	}
	if fields != nil {
		return r.adopt(token, c, fields)
	}
	if v, ok := r.sessions.Load(token); ok {
		r.leave(v.(*Session))
	}
	return nil, ErrGone
}

// begin notes that a record is read, so that what is said of it meanwhile is not missed.
func (h *sharing) begin(id string) *fetching {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &fetching{}
	h.fetching[id] = f
	return f
}

func (h *sharing) ends(id string, f *fetching) (stale bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.fetching, id)
	return f.stale
}

// adopt makes a session what its record says.
func (r *Registry) adopt(token string, c claims, fields map[string]string) (*Session, error) {
	id := hex.EncodeToString(c.id[:])
	var start storedStart
	if err := r.sharing.read(id, fieldStart, fields[fieldStart], &start); err != nil {
		return nil, unreachable(err)
	}
	backends := map[string]Backend{}
	for field, sealed := range fields {
		if server, ok := strings.CutPrefix(field, fieldBackend); ok {
			var b Backend
			if err := r.sharing.read(id, field, sealed, &b); err != nil {
				return nil, unreachable(err)
			}
			backends[server] = b
		}
	}
	var level json.RawMessage
	if sealed := fields[fieldLevel]; sealed != "" {
		plain, err := r.sharing.box.Open(id+fieldLevel, sealed)
		if err != nil {
			return nil, unreachable(err)
		}
		level = plain
	}
	v, known := r.sessions.Load(token)
	if !known {
		if r.count.Add(1) > int64(r.opts.Max) {
			r.count.Add(-1)
			return nil, ErrTooMany
		}
		v = r.make(token, c, Start{Subject: c.subject, VirtualServer: start.VirtualServer, Revision: start.Revision, InitParams: start.InitParams})
	}
	s := v.(*Session)
	s.mu.Lock()
	s.backends.Store(backendsOf(backends))
	s.level, s.shared.fields = level, fields
	s.mu.Unlock()
	s.lastUsed.Store(r.now().Unix())
	if !known {
		r.keep(s)
		if r.opts.OnAdopted != nil {
			r.opts.OnAdopted(s)
		}
	}
	s.change()
	if known && r.opts.OnRenewed != nil {
		r.opts.OnRenewed(s)
	}
	return s, nil
}

func (h *sharing) read(id, field, sealed string, into any) error {
	plain, err := h.box.Open(id+field, sealed)
	if err == nil {
		err = json.Unmarshal(plain, into)
	}
	if err != nil {
		return fmt.Errorf("a session's record has a field %q that was not written with this gateway's key: %w", field, err)
	}
	return nil
}

// share has the other replicas know what a field of the record is; nil means that it is not there.
func (s *Session) share(ctx context.Context, field string, plain []byte) error {
	if s.shared == nil {
		return nil
	}
	sealed := ""
	if plain != nil {
		sealed = s.shared.registry.sharing.box.Close(s.ID()+field, plain)
	}
	for range maxFetches {
		s.mu.Lock()
		old := s.shared.fields[field]
		s.mu.Unlock()
		now, err := s.swap(ctx, field, old, sealed)
		if err != nil {
			return err
		}
		if now == sealed {
			s.changedShared(ctx)
			return nil
		}
	}
	return unreachable(errors.New("the session's record changes all the time"))
}

// Watch is a resource of which the client wants to be told when it changes, by the server's own URI.
type Watch struct {
	Server string `json:"server"`
	URI    string `json:"uri"`
}

func (w Watch) field() string {
	sum := sha256.Sum256([]byte(w.Server + "\x00" + w.URI))
	return fieldWatch + hex.EncodeToString(sum[:16])
}

// SetWatch has the other replicas know what the client wants to be told of, or no longer does. The error is ErrStore or ErrUnknown.
func (s *Session) SetWatch(ctx context.Context, w Watch, wanted bool) error {
	if !wanted {
		return s.share(ctx, w.field(), nil)
	}
	plain, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return s.share(ctx, w.field(), plain)
}

// Watches are what SetWatch was last told, by any replica.
func (s *Session) Watches() []Watch {
	if s.shared == nil {
		return nil
	}
	s.mu.Lock()
	fields := s.shared.fields
	s.mu.Unlock()
	var all []Watch
	for field, sealed := range fields {
		var w Watch
		if strings.HasPrefix(field, fieldWatch) && s.shared.registry.sharing.read(s.ID(), field, sealed, &w) == nil {
			all = append(all, w)
		}
	}
	return all
}

// Messages between replicas that are about the sessions themselves.
const (
	messageChanged = "changed"
	messageEnded   = "ended"
)

// message is what one replica tells the others.
type message struct {
	From    string `json:"from"`
	Kind    string `json:"kind"`
	Session string `json:"session"`
	Body    []byte `json:"body,omitempty"`
}

const messagePlace = "message"

// Tell says something about a session to the other replicas, which get it by OnMessage where they know the session. It may be lost.
func (s *Session) Tell(ctx context.Context, kind string, body []byte) error {
	if s.shared == nil {
		return nil
	}
	return s.tell(ctx, kind, body)
}

// Shared tells whether other replicas may know the session.
func (s *Session) Shared() bool { return s.shared != nil }

func (s *Session) tell(ctx context.Context, kind string, body []byte) error {
	h := s.shared.registry.sharing
	plain, err := json.Marshal(message{From: h.self, Kind: kind, Session: s.ID(), Body: body})
	if err != nil {
		return err
	}
	if err := h.store.Publish(ctx, []byte(h.box.Close(messagePlace, plain))); err != nil {
		return unreachable(err)
	}
	return nil
}

// changedShared has the other replicas read the record. Who does not hear of it does so when messages come again.
func (s *Session) changedShared(ctx context.Context) { _ = s.tell(ctx, messageChanged, nil) }

// heard takes a message.
func (r *Registry) heard(sealed []byte) {
	plain, err := r.sharing.box.Open(messagePlace, string(sealed))
	var m message
	if err != nil || json.Unmarshal(plain, &m) != nil || m.From == r.sharing.self {
		return // one of another gateway's is not for us
	}
	if m.Kind == messageChanged || m.Kind == messageEnded {
		r.sharing.mu.Lock()
		if f := r.sharing.fetching[m.Session]; f != nil {
			f.stale = true
		}
		r.sharing.mu.Unlock()
	}
	token, ok := r.sharing.tokens.Load(m.Session)
	if !ok {
		return
	}
	v, ok := r.sessions.Load(token)
	if !ok {
		return
	}
	s := v.(*Session)
	switch m.Kind {
	case messageEnded:
		r.leave(s)
	case messageChanged:
		go func() { _, _ = r.fetch(r.sharing.ctx, s.token) }() // until it is known, what it was is tried
	default:
		if r.opts.OnMessage != nil {
			r.opts.OnMessage(m.Kind, s, m.Body)
		}
	}
}

// leave forgets a session that lives on in other replicas, or was ended by one of them: nothing is closed at servers.
func (r *Registry) leave(s *Session) {
	if r.forget(s) && r.opts.OnLeave != nil {
		r.opts.OnLeave(s)
	}
}

// LeaveAll forgets all sessions, for a process that ends while others go on. Where there is no store, they end.
func (r *Registry) LeaveAll() {
	r.All(func(s *Session) bool {
		if r.sharing == nil {
			r.end(s)
		} else {
			r.leave(s)
		}
		return true
	})
}

const generationKey = "generation"

// connected is called when messages come from now on. What was said before has been missed: all that is known here is read again. A store that has lost
// its records gets those of the sessions that are known here.
func (r *Registry) connected(ctx context.Context) {
	emptied, err := r.sharing.renewGeneration(ctx)
	if err != nil {
		return // it is connected no more, and will be again
	}
	places := make(chan struct{}, fetchAtOnce)
	var wait sync.WaitGroup
	defer wait.Wait()
	r.All(func(s *Session) bool {
		places <- struct{}{}
		wait.Go(func() {
			defer func() { <-places }()
			if emptied {
				_ = r.sharing.store.Create(ctx, recordKey(s.ID()), r.sharing.record(s), r.recordLife()) // if it fails, the store is lost again
			} else {
				_, _ = r.fetch(ctx, s.token) // likewise
			}
		})
		return ctx.Err() == nil
	})
}

// renewGeneration tells whether the store has lost its content since it was last asked.
func (h *sharing) renewGeneration(ctx context.Context) (emptied bool, err error) {
	const field = "id"
	fields, err := h.store.Load(ctx, generationKey)
	if err != nil {
		return false, err
	}
	now := fields[field]
	if now == "" {
		now = rand.Text()
		if err := h.store.Create(ctx, generationKey, map[string]string{field: now}, generationLife); err != nil {
			return false, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	emptied = h.generation != "" && h.generation != now
	h.generation = now
	return emptied, nil
}

const generationLife = 30 * 24 * time.Hour

func (r *Registry) recordLife() time.Duration { return r.opts.MaxIdle + recordSlack }

// sweepShared keeps the records of sessions in use, and decides about those that rest.
func (r *Registry) sweepShared(ctx context.Context, now time.Time) {
	used := []string{generationKey}
	extend := func() {
		_, _ = r.sharing.store.Extend(ctx, r.recordLife(), used...) // next time, if it fails
		used = used[:0]
	}
	r.All(func(s *Session) bool {
		rest := time.Duration(now.Unix()-s.lastUsed.Load()) * time.Second
		switch {
		case !now.Before(s.expires):
			r.end(s)
		case s.streams.Load() > 0 || rest <= sweepInterval+sweepInterval/2:
			if used = append(used, recordKey(s.ID())); len(used) >= extendAtOnce {
				extend()
			}
		case rest > r.opts.MaxIdle+copySlack:
			switch fields, err := r.sharing.store.Load(ctx, recordKey(s.ID())); {
			case err != nil: // next time
			case fields == nil:
				r.end(s)
			default: // others use it
				r.leave(s)
			}
		}
		return true
	})
	extend()
}
