package replica

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"math"
	"net"
	"sync"
	"sync/atomic"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

const (
	// batch is how many sessions go into one message.
	batch = 500
	// partSize is about how many bytes of the catalog do. Both sides hold a message whole, beside what is made of it, and keep as much memory for the next.
	partSize = 128 << 10
)

// peer is one mirror, on the hub's side.
type peer struct {
	hub     *Hub
	conn    net.Conn
	wake    chan struct{}
	synced  atomic.Bool
	lagging atomic.Bool
	sent    [sha256.Size]byte        // of the catalog; belongs to the writer
	open    map[*tally.Counter]int64 // calls that go on there; belongs to the reader
	calls   callreport.Reader        // belongs to the reader
	asked   sync.WaitGroup

	mu        sync.Mutex // guards what follows
	dirty     map[string]bool
	catalog   bool
	answers   []answered
	syncs     []*syncing // in the order of their numbers, those that have been sent first
	lastSync  uint64
	sentSync  uint64
	questions map[uint64]context.CancelFunc
}

func (p *peer) update(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	p.poke()
}

func (p *peer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *peer) mark(token string) { p.update(func() { p.dirty[token] = true }) }

// syncing is somebody's waiting for a mirror to have taken what is true now.
type syncing struct {
	peer   *peer
	number uint64
	done   chan struct{}
}

func (p *peer) sync() *syncing {
	s := &syncing{peer: p, done: make(chan struct{})}
	p.update(func() {
		p.lastSync++
		s.number = p.lastSync
		p.syncs = append(p.syncs, s)
	})
	return s
}

// taken ends the waiting for what has a number up to this one.
func (p *peer) taken(number uint64) {
	p.lagging.Store(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.syncs) > 0 && p.syncs[0].number <= number {
		close(p.syncs[0].done)
		p.syncs = p.syncs[1:]
	}
}

// gone ends all waiting for the mirror.
func (p *peer) gone() { p.taken(math.MaxUint64) }

// answer is sent behind all that is true now.
func (p *peer) answer(a answered) { p.update(func() { p.answers = append(p.answers, a) }) }

// write pushes everything, and then what changes, until the context ends.
func (p *peer) write(ctx context.Context) error {
	buffer := bufio.NewWriterSize(p.conn, 64<<10)
	encoder := gob.NewEncoder(buffer)
	send := func(m *push) error {
		if err := encoder.Encode(m); err != nil {
			return err
		}
		return buffer.Flush()
	}
	if err := p.everything(send); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		m, err := p.changes()
		switch {
		case err != nil || m == nil:
		case m.Catalog != nil:
			err = sendCatalog(send, m.Catalog, m)
		default:
			err = send(m)
		}
		if err != nil {
			return err
		}
	}
}

// everything sends all that there is. What changes meanwhile is marked, and sent afterwards.
func (p *peer) everything(send func(*push) error) error {
	model, sum, err := p.hub.current()
	if err != nil {
		return err
	}
	p.sent = sum
	if err := send(&push{Settings: &p.hub.opts.Settings}); err != nil {
		return err
	}
	if err := sendCatalog(send, model, &push{}); err != nil {
		return err
	}
	var tokens []string
	p.hub.opts.Sessions.All(func(s *session.Session) bool {
		tokens = append(tokens, s.Token())
		return true
	})
	for len(tokens) > 0 {
		n := min(len(tokens), batch)
		m := &push{}
		p.sessions(m, tokens[:n])
		if err := send(m); err != nil {
			return err
		}
		tokens = tokens[n:]
	}
	return send(&push{Complete: true})
}

// sendCatalog sends a catalog in parts, the last one with what follows it.
func sendCatalog(send func(*push) error, model *catalog.Portable, then *push) error {
	for part, more := range model.Parts(partSize) {
		m := &push{Catalog: part, More: more}
		if !more {
			m, then.Catalog = then, part
		}
		if err := send(m); err != nil {
			return err
		}
	}
	return nil
}

// changes is what has to be sent now, nil if it is nothing. A catalog in it is whole.
func (p *peer) changes() (*push, error) {
	p.mu.Lock()
	tokens := make([]string, 0, len(p.dirty))
	for token := range p.dirty {
		tokens = append(tokens, token)
	}
	clear(p.dirty)
	m := &push{Answers: p.answers}
	if p.lastSync != p.sentSync {
		m.Sync, p.sentSync = p.lastSync, p.lastSync
	}
	changed := p.catalog
	p.answers, p.catalog = nil, false
	p.mu.Unlock()
	p.sessions(m, tokens)
	if changed {
		model, sum, err := p.hub.current()
		if err != nil {
			return nil, err
		}
		if sum != p.sent {
			p.sent, m.Catalog = sum, model
		}
	}
	if m.Catalog == nil && len(tokens) == 0 && len(m.Answers) == 0 && m.Sync == 0 {
		return nil, nil
	}
	return m, nil
}

// sessions puts what is true of them into a message.
func (p *peer) sessions(m *push, tokens []string) {
	for _, token := range tokens {
		if rec, ok := p.hub.opts.Sessions.Record(token); ok {
			m.Sessions = append(m.Sessions, rec)
		} else {
			m.Ended = append(m.Ended, token)
		}
	}
}

// read takes what the mirror tells, until it leaves.
func (p *peer) read(ctx context.Context, decoder *gob.Decoder) error {
	var calls []byte // whose memory is that of the largest report so far
	for {
		t := tell{Calls: calls[:0]}
		if err := decoder.Decode(&t); err != nil {
			if gone(err) {
				return nil
			}
			return err
		}
		switch {
		case t.Synced:
			p.synced.Store(true)
		case t.Taken != 0:
			p.taken(t.Taken)
		case t.Question != nil:
			p.question(ctx, t.Question)
		case t.Report != nil:
			p.report(t.Report)
		case len(t.Calls) > 0:
			calls = t.Calls
			if p.hub.opts.Ended != nil && !p.calls.Each(t.Calls, p.hub.opts.Ended) {
				return errors.New("the report of a call cannot be read")
			}
		case t.Cancel != 0:
			p.update(func() {
				if cancel := p.questions[t.Cancel]; cancel != nil {
					cancel()
				}
			})
		}
	}
}

func (p *peer) report(r *report) {
	for _, c := range r.Decisions {
		p.hub.opts.Counter.Count(c.Outcome, c.Status, c.N)
	}
	for i := range r.Tools {
		p.called(&r.Tools[i])
	}
	if r.Faults > 0 {
		p.hub.opts.Counter.Faults(r.Faults)
	}
	for _, token := range r.Used {
		_, _ = p.hub.opts.Sessions.Lookup(token) // which is a use; what has ended meanwhile is pushed
	}
}

// called takes what has been counted of one tool. What is not in the catalog any more is nobody's business.
func (p *peer) called(c *toolCount) {
	it := p.hub.opts.Snapshot().Tool(c.Server, c.Tool)
	if it == nil || it.Calls == nil {
		return
	}
	it.Calls.Called(c.Calls)
	it.Calls.Opened(c.Open - p.open[it.Calls])
	if p.open[it.Calls] = c.Open; c.Open == 0 {
		delete(p.open, it.Calls)
	}
}

// closed ends the calls that nobody tells of any more.
func (p *peer) closed() {
	for counter, n := range p.open {
		counter.Opened(-n)
	}
}

func (p *peer) question(ctx context.Context, q *question) {
	switch q.Kind {
	case lookup:
		if _, err := p.hub.opts.Sessions.Lookup(q.Token); errors.Is(err, session.ErrElsewhere) {
			p.asked.Go(func() { p.find(ctx, q) })
		} else {
			p.found(q, err)
		}
	case seen:
		if p.hub.opts.Token != nil {
			p.hub.opts.Token(q.Authorization)
		}
	case dropped, unauthorized:
		if c := p.call(q); c != nil && q.Kind == dropped {
			c.Session.DropBackend(c.Server.Name, c.Backend.ID)
		} else if c != nil && p.hub.opts.Unauthorized != nil {
			p.hub.opts.Unauthorized(c)
		}
	case forgotten, replay:
		p.work(ctx, q)
	}
}

// find looks for a session that another replica began.
func (p *peer) find(ctx context.Context, q *question) {
	_, err := p.hub.opts.Sessions.Find(ctx, q.Token)
	if err != nil && !errors.Is(err, session.ErrUnknown) {
		p.answer(answered{ID: q.ID, Unsure: true})
		return
	}
	p.found(q, err)
}

// found answers whether there is a session, once the mirror has been told what it is.
func (p *peer) found(q *question, err error) {
	p.mark(q.Token)
	p.answer(answered{ID: q.ID, Yes: err == nil})
}

// work answers a question for which a server has to be asked.
func (p *peer) work(ctx context.Context, q *question) {
	ctx, cancel := context.WithCancel(ctx)
	p.update(func() { p.questions[q.ID] = cancel })
	p.asked.Go(func() {
		defer p.update(func() { delete(p.questions, q.ID) })
		defer cancel()
		a := answered{ID: q.ID}
		if c := p.call(q); c != nil && q.Kind == forgotten {
			a.Yes = p.hub.opts.Forgotten(ctx, c)
		} else if c != nil {
			c.Session.DropBackend(c.Server.Name, c.Backend.ID)
			a.Reply = p.hub.opts.Replay(ctx, c)
		}
		p.answer(a)
	})
}

// call is the call that a question is about, nil if its session or its server is gone.
func (p *peer) call(q *question) *router.Call {
	s, err := p.hub.opts.Sessions.Lookup(q.Token)
	server := p.hub.opts.Snapshot().Server(q.Server)
	if err != nil || server == nil {
		return nil
	}
	return &router.Call{
		Session: s, Server: server, Backend: q.Backend, ID: q.CallID, Body: q.Body, Authorization: q.Authorization, Traceparent: q.Traceparent,
		Replayable: q.Replayable,
	}
}
