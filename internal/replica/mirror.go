package replica

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

const (
	// firstRetry and lastRetry are how soon the hub is dialled again.
	firstRetry = 20 * time.Millisecond
	lastRetry  = time.Second
	// reporting is how often what has been counted is told, using how often sessions in use are.
	reporting = 200 * time.Millisecond
	using     = 10 * time.Second
)

// State is all that a decision needs. It is never modified; the sessions in it change.
type State struct {
	Router   *router.Router
	sessions *session.Replica
	settings *Settings
}

// Sure tells whether it is known here if there is a session of this token.
func (s *State) Sure(token string) bool {
	_, err := s.sessions.Lookup(token)
	return !errors.Is(err, session.ErrUnsure)
}

// Calls tells whether the hub wants to know of calls that have ended.
func (s *State) Calls() bool { return s.settings.Calls }

// Mirror is the copy. Its methods do not wait, and are safe for concurrent use.
type Mirror struct {
	socket, version string
	log             func(message string)

	state    atomic.Pointer[State]
	snapshot atomic.Pointer[catalog.Snapshot]
	next     *State           // until it is complete; belongs to the reader
	coming   catalog.Portable // as far as its parts have come; belongs to the reader

	counters
	ended    ended
	tools    tally.Set
	tokens   tokenHeads
	pending  pending
	lastUsed time.Time // belongs to the writer
}

// NewMirror makes a mirror of the hub at a socket, empty as long as it does not run. What operators should know goes to log.
func NewMirror(socket, version string, log func(message string)) *Mirror {
	m := &Mirror{socket: socket, version: version, log: log}
	m.pending.wake = make(chan struct{}, 1)
	m.pending.waiters = map[uint64]*waiter{}
	return m
}

// State is what there is, nil if nothing has come yet. The last state stays in force while the hub is away.
func (m *Mirror) State() *State { return m.state.Load() }

// Run keeps the mirror connected until the context ends.
func (m *Mirror) Run(ctx context.Context) {
	retry, lost := firstRetry, false
	for ctx.Err() == nil {
		began := time.Now()
		err := m.connected(ctx)
		m.pending.disconnect()
		if time.Since(began) > lastRetry {
			retry = firstRetry
		}
		if !lost && ctx.Err() == nil && m.State() != nil {
			m.log(fmt.Sprintf("the router module has lost the broker, and goes on with what it knows: %v", err))
		}
		lost = time.Since(began) < lastRetry // it is said once
		timer := time.NewTimer(retry)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		retry = min(2*retry, lastRetry)
	}
}

// connected is one connection, from its beginning to its end.
func (m *Mirror) connected(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: lastRetry}).DialContext(ctx, "unix", m.socket)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	written := make(chan error, 1)
	go func() {
		written <- m.contained(func() error { return m.write(ctx, conn) })
		cancel()
	}()
	err = m.contained(func() error { return m.read(conn) })
	cancel()
	return errors.Join(err, <-written)
}

// contained makes an error of a panic: the process that it would end is not ours.
func (m *Mirror) contained(f func() error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			m.Fault()
			err = fmt.Errorf("contained a fault in the router module: %v\n%s", fault, debug.Stack())
			m.log(err.Error())
		}
	}()
	return f()
}

func (m *Mirror) read(conn net.Conn) error {
	decoder := gob.NewDecoder(bufio.NewReaderSize(conn, 64<<10))
	for {
		p := &push{}
		if err := decoder.Decode(p); err != nil {
			return err
		}
		m.take(p)
	}
}

// take makes what is pushed our own.
func (m *Mirror) take(p *push) {
	if p.Settings != nil {
		m.begin(p.Settings)
	}
	if p.Catalog != nil {
		m.coming.Append(p.Catalog)
		if !p.More {
			m.snapshot.Store(m.coming.Snapshot(catalog.Counting{Set: &m.tools, Before: m.snapshot.Load()}))
			m.coming = catalog.Portable{}
		}
	}
	if m.next == nil {
		return
	}
	for i := range p.Sessions {
		m.next.sessions.Put(p.Sessions[i])
	}
	for _, token := range p.Ended {
		m.next.sessions.End(token)
	}
	if p.Complete {
		m.next.sessions.Complete()
		m.state.Store(m.next)
		m.pending.connect()
	}
	for _, a := range p.Answers {
		m.pending.answer(m.next, a)
	}
	if p.Sync != 0 {
		m.pending.tell(tell{Taken: p.Sync})
	}
}

// begin prepares to take everything anew. Sessions stay what they are, with the calls that go through here, where they can still be theirs.
func (m *Mirror) begin(s *Settings) {
	sessions := session.NewReplica(s.Keys, s.MaxIdle)
	if m.next != nil && reflect.DeepEqual(m.next.settings.Keys, s.Keys) && m.next.settings.MaxIdle == s.MaxIdle {
		sessions = m.next.sessions
	}
	sessions.Begin()
	m.coming = catalog.Portable{} // of a hub that has gone meanwhile
	m.next = &State{Router: router.New(s.Router, sessions, m.snapshot.Load), sessions: sessions, settings: s}
}

// write tells what there is to tell until the context ends.
func (m *Mirror) write(ctx context.Context, conn net.Conn) error {
	buffer := bufio.NewWriter(conn)
	encoder := gob.NewEncoder(buffer)
	ticker := time.NewTicker(reporting)
	defer ticker.Stop()
	var spare []byte
	if err := encoder.Encode(&tell{Version: m.version}); err != nil {
		return err
	}
	m.tellOpenAnew()
	for {
		if err := m.tellEnded(encoder, &spare); err != nil {
			return err
		}
		for _, t := range m.pending.take() {
			if t.Taken != 0 {
				if err := m.tellCounted(encoder, time.Now()); err != nil {
					return err
				}
			}
			if err := encoder.Encode(&t); err != nil {
				return err
			}
		}
		if err := buffer.Flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.pending.wake:
		case now := <-ticker.C:
			if err := m.tellCounted(encoder, now); err != nil {
				return err
			}
		}
	}
}

// tellEnded tells of the calls that have ended. They are read before what was counted is told to have come.
func (m *Mirror) tellEnded(encoder *gob.Encoder, spare *[]byte) error {
	for i := range m.ended.shelves {
		*spare = m.ended.shelves[i].take((*spare)[:0])
		if len(*spare) == 0 {
			continue
		}
		if err := encoder.Encode(&tell{Calls: *spare}); err != nil {
			return err
		}
	}
	return nil
}

// tellOpenAnew has the calls told that go on: a new hub does not know of them.
func (m *Mirror) tellOpenAnew() {
	snapshot := m.snapshot.Load()
	if snapshot == nil {
		return
	}
	for _, it := range snapshot.Items(catalog.Tool) {
		if it.Calls.Open() != 0 {
			it.Calls.Touch()
		}
	}
}

func (m *Mirror) tellCounted(encoder *gob.Encoder, now time.Time) error {
	if r := m.report(now); r != nil {
		return encoder.Encode(&tell{Report: r})
	}
	return nil
}

// report is what has to be told of this while, nil if it is nothing.
func (m *Mirror) report(now time.Time) *report {
	r := m.counters.take()
	m.tokens.forget(now)
	if state := m.State(); state != nil && now.Sub(m.lastUsed) >= min(using, state.settings.MaxIdle/4) {
		m.lastUsed = now
		r.Used = state.sessions.Used()
	}
	m.tools.Look(func(c *tally.Counter, calls uint64) {
		r.Tools = append(r.Tools, toolCount{Server: c.Server, Tool: c.Tool, Calls: calls, Open: c.Open()})
	})
	if len(r.Decisions) == 0 && r.Faults == 0 && len(r.Used) == 0 && len(r.Tools) == 0 {
		return nil
	}
	return r
}

// Bury ends a session whose DELETE was answered.
func (m *Mirror) Bury(token string) {
	if state := m.State(); state != nil {
		state.sessions.Bury(token)
	}
}

// Drop forgets the backend session of a call, here and at the hub.
func (m *Mirror) Drop(c *router.Call) {
	if state := m.State(); state != nil {
		state.sessions.Drop(c.Session, c.Server.Name, c.Backend.ID)
	}
	m.pending.note(about(dropped, c))
}

// Unauthorized tells of a call that its server refused with status 401.
func (m *Mirror) Unauthorized(c *router.Call) { m.pending.note(about(unauthorized, c)) }

// Teller tells of calls that have ended. One that is made for many of them keeps Envoy's workers apart.
type Teller struct {
	mirror *Mirror
	shelf  *shelf
	spare  []byte
}

// Teller makes one, which is for one goroutine at a time.
func (m *Mirror) Teller() *Teller { return &Teller{mirror: m, shelf: m.ended.place()} }

// Ended tells of a call, of which the facts have been written by callreport.AppendFact. It does not wait: while nobody takes them, calls are left out.
func (t *Teller) Ended(c *callreport.Call, facts []byte) {
	t.spare = callreport.Append(t.spare[:0], c, facts)
	if t.shelf.add(t.spare) {
		t.mirror.pending.poke()
	}
}

// Token tells of a token, where the hub wants to know.
func (m *Mirror) Token(authorization string) {
	if state := m.State(); state == nil || !state.settings.Tokens {
		return
	}
	if head, isNew := m.tokens.head(authorization); isNew {
		m.pending.note(question{Kind: seen, Authorization: head})
	}
}

func about(k kind, c *router.Call) question {
	return question{
		Kind: k, Token: c.Session.Token(), Server: c.Server.Name, Backend: c.Backend, CallID: c.ID, Authorization: c.Authorization,
		Traceparent: c.Traceparent, Replayable: c.Replayable,
	}
}

// pending is what several goroutines have to tell or ask, and the writer takes out.
type pending struct {
	wake chan struct{}

	mu        sync.Mutex // guards what follows
	connected bool
	lastID    uint64
	queue     []tell
	waiters   map[uint64]*waiter
}
