package replica

import (
	"time"

	"github.com/guicassolato/mcp-gateway/internal/router"
)

const (
	// lookupTime is how long a request waits to know whether there is its session, askTime how long an answer waits for its server to be asked.
	lookupTime = 5 * time.Second
	askTime    = 15 * time.Second
	// maxNotes is how much waits to be told while the hub is away.
	maxNotes = 1000
)

// waiter is one question without an answer.
type waiter struct {
	question question
	timer    *time.Timer // nil: it waits as long as it takes
	done     func(a answered, ok bool)
}

// Lookup asks whether there is a session of this token, and waits for the hub if it is away. Then it calls done, once, from another goroutine; ok
// says whether there was an answer. From then on the mirror knows what the hub knows.
func (m *Mirror) Lookup(token string, done func(ok bool)) (cancel func()) {
	return m.pending.ask(question{Kind: lookup, Token: token}, lookupTime, func(a answered, ok bool) { done(ok && !a.Unsure) })
}

// Forgotten asks whether the server of a call has forgotten its session, and then calls done, once, from another goroutine or at once.
func (m *Mirror) Forgotten(c *router.Call, done func(yes bool)) (cancel func()) {
	return m.pending.ask(about(forgotten, c), askTime, func(a answered, _ bool) { done(a.Yes) })
}

// Replay has a call made again, and then calls done, once, from another goroutine or at once. The reply is nil if there is none.
func (m *Mirror) Replay(c *router.Call, done func(r *router.Reply)) (cancel func()) {
	q := about(replay, c)
	q.Body = c.Body
	return m.pending.ask(q, 0, func(a answered, _ bool) { done(a.Reply) })
}

func (p *pending) ask(q question, limit time.Duration, done func(answered, bool)) (cancel func()) {
	p.mu.Lock()
	if !p.connected && q.Kind != lookup {
		p.mu.Unlock()
		done(answered{}, false)
		return func() {}
	}
	p.lastID++
	q.ID = p.lastID
	w := &waiter{question: q, done: done}
	p.waiters[q.ID] = w
	if p.connected {
		p.queue = append(p.queue, tell{Question: &q})
	}
	if limit > 0 {
		w.timer = time.AfterFunc(limit, func() { p.give(q.ID, true) })
	}
	p.mu.Unlock()
	p.poke()
	return func() { p.give(q.ID, false) }
}

// give gives a question up.
func (p *pending) give(id uint64, told bool) {
	w := p.remove(id)
	if w == nil {
		return
	}
	p.mu.Lock()
	if p.connected && w.question.Kind != lookup {
		p.queue = append(p.queue, tell{Cancel: id})
	}
	p.mu.Unlock()
	p.poke()
	if told {
		w.done(answered{}, false)
	}
}

func (p *pending) remove(id uint64) *waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.waiters[id]
	delete(p.waiters, id)
	if w != nil && w.timer != nil {
		w.timer.Stop()
	}
	return w
}

// note tells something that has no answer. While the hub is away, only so much is kept.
func (p *pending) note(q question) {
	p.mu.Lock()
	if p.connected || len(p.queue) < maxNotes {
		p.queue = append(p.queue, tell{Question: &q})
	}
	p.mu.Unlock()
	p.poke()
}

func (p *pending) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pending) tell(t tell) {
	p.mu.Lock()
	p.queue = append(p.queue, t)
	p.mu.Unlock()
	p.poke()
}

// take is what there is to tell.
func (p *pending) take() []tell {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.connected {
		return nil
	}
	out := p.queue
	p.queue = nil
	return out
}

// connect says that everything has come, and asks what has waited for that.
func (p *pending) connect() {
	p.mu.Lock()
	p.connected = true
	p.queue = append(p.queue, tell{Synced: true})
	for _, w := range p.waiters {
		p.queue = append(p.queue, tell{Question: &w.question})
	}
	p.mu.Unlock()
	p.poke()
}

// disconnect gives up what cannot be asked again: a call must not be made a third time.
func (p *pending) disconnect() {
	p.mu.Lock()
	p.connected = false
	var lost []uint64
	for id, w := range p.waiters {
		if w.question.Kind != lookup {
			lost = append(lost, id)
		}
	}
	kept := p.queue[:0]
	for _, t := range p.queue {
		if t.Question != nil && t.Question.ID == 0 {
			kept = append(kept, t)
		}
	}
	p.queue = kept
	p.mu.Unlock()
	for _, id := range lost {
		if w := p.remove(id); w != nil {
			w.done(answered{}, false)
		}
	}
}

func (p *pending) answer(s *State, a answered) {
	w := p.remove(a.ID)
	if w == nil {
		return
	}
	if w.question.Kind == lookup && a.Yes {
		s.sessions.Touch(w.question.Token)
	}
	w.done(a, true)
}
