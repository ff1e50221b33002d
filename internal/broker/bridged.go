package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/bridge"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/tally"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// This file is about one call that a modern client makes of a server that speaks only revisions with sessions, and about the server's side of it.
// The client's side is in rounds.go.

const (
	// queueItems and queueBytes bound what waits for a client that reads slowly, and what is kept for one that is away.
	queueItems = 64
	queueBytes = 256 << 10
	// maxAwayAnswer is the largest answer that is kept for a client that was asked for input and is not back yet.
	maxAwayAnswer = 1 << 20
	// maxAsked is how many requests of a server may be open in one call, maxAskedBytes how large they may be together, maxEarlyBytes one that waits
	// for a call.
	maxAsked      = 16
	maxAskedBytes = 4 << 20
	maxEarlyBytes = 64 << 10
)

// bridged is one call at a server.
type bridged struct {
	b      *Broker
	asker  asker
	server *catalog.Server
	tool   *tally.Counter // of the one that is called, if it is one
	method string
	body   []byte // for the server
	// key is what the call is known by to its client, id what it is known by to the server.
	key    [16]byte
	id     string
	ctx    context.Context
	cancel context.CancelFunc

	wake, room chan struct{} // something is in the queue; something was taken
	less       chan struct{} // fewer requests of the server's are open

	mu       sync.Mutex // guards the rest
	pooled   *pooled    // nil until there is one
	queue    []item
	size     int
	attached bool // a client waits
	done     bool // the last item is in the queue, or nobody will come for it
	asked    []asked
	asks     int // so far
	round    uint16
	expiry   *time.Timer

	told sync.Once // what became of it
}

// asked is an open request of the server's.
type asked struct {
	id  []byte // raw
	ask bridge.Ask
}

// item is something for the client.
type item struct {
	// begin tells that the server has begun a stream.
	begin bool
	// notification is one that may be for the client: whether it is, the request decides that is open when it is given.
	notification *jsonrpc.Message
	// answer is the server's response, fault what there is instead of one. Either is the last item.
	answer *jsonrpc.Message
	status int // of HTTP
	fault  error
}

func (i item) last() bool { return i.answer != nil || i.fault != nil }

// newBridged begins a call, in the trace of the request's context. It is made by run.
func (b *Broker) newBridged(ctx context.Context, a asker, server *catalog.Server, m *jsonrpc.Message) (*bridged, error) {
	c := &bridged{
		b: b, asker: a, server: server, tool: b.counterOf(server, m), method: m.MethodName(), attached: true,
		id:   b.callPrefix + strconv.FormatUint(b.lastCall.Add(1), 10),
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), less: make(chan struct{}, 1),
	}
	_, _ = rand.Read(c.key[:]) // it never fails
	var err error
	id := jsonrpc.AppendQuote(nil, c.id)
	if c.body, err = bridge.ToLegacy(m, id, id); err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(upstream.SameTrace(b.ctx, ctx))
	return c, nil
}

// ended tells what became of the call. Only the first word counts.
func (c *bridged) ended(outcome string) {
	c.told.Do(func() { c.b.opts.Observer.Translated(eraSessions, outcome) })
}

// run makes the call and sees to all that the server says, until its answer. A session that the server has forgotten is replaced once: a server
// that does not know the session has not begun the call.
func (c *bridged) run() {
	defer c.cancel()
	c.b.calling(c.ctx, c.server.Name, c.tool, func() int {
		err := c.attempt()
		if errors.Is(err, upstream.ErrSessionUnknown) || errors.Is(err, errOutdated) {
			err = c.attempt()
		}
		switch {
		case err == nil:
			return http.StatusOK
		case lacksCredential(c.server, err):
			c.push(item{fault: err}, true)
			return 0 // the call is still to be made
		}
		c.push(item{fault: err}, true)
		return http.StatusBadGateway
	})
}

func (c *bridged) attempt() error {
	p, err := c.b.sessionFor(c.ctx, c.asker, c.server)
	if err != nil {
		return openError{err}
	}
	defer c.b.pool.release(p)
	c.mu.Lock()
	c.pooled = p
	c.mu.Unlock()
	early := p.begin(c)
	defer p.end(c)
	if len(early) > 0 && !c.settle(p, early) {
		return nil
	}
	p.raise(c.ctx, c.asker.client.LogLevel)
	resp, err := p.endpoint().Post(c.ctx, p.session, c.body, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	verdict, why := relay.Judge(resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding"), resp.ContentLength == 0)
	switch verdict {
	case relay.Stream:
		c.push(item{begin: true}, true)
		return c.stream(p, resp.Body)
	case relay.Message:
		return c.document(p, resp)
	case relay.Plain:
		return faultf("took the request without an answer (HTTP status %d)", resp.StatusCode)
	case relay.Forgotten:
		return c.forgotten(p)
	default:
		if refusesCaller(resp.StatusCode) && c.server.PerCaller {
			return refusedStatus(resp.StatusCode)
		}
		return faultf("%s", why)
	}
}

// settle has the client answer what the server wanted to know before the call. It reports false if the call ended in between.
func (c *bridged) settle(p *pooled, early []*jsonrpc.Message) bool {
	for _, m := range early {
		c.request(p, m)
	}
	for {
		c.mu.Lock()
		open := len(c.asked) > 0
		c.mu.Unlock()
		if !open {
			return true
		}
		select {
		case <-c.less:
		case <-c.ctx.Done():
			return false
		}
	}
}

// forgotten is the error of a call whose session the server does not know any more.
func (c *bridged) forgotten(p *pooled) error {
	if p.session.ID == "" {
		return faultf("answered as if it did not know the session, though it keeps none; its url should be that of an MCP endpoint")
	}
	c.b.forgetPooled(p)
	return upstream.ErrSessionUnknown
}

// document reads an answer that is one message.
func (c *bridged) document(p *pooled, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, relay.MaxEvent+1))
	switch {
	case err != nil:
		return faultf("broke off its answer: %w", err)
	case len(body) > relay.MaxEvent:
		return faultf("answered with more than %d bytes", relay.MaxEvent)
	}
	verdict, why := relay.CheckMessage(resp.StatusCode, body)
	switch verdict {
	case relay.Message:
	case relay.Forgotten:
		return c.forgotten(p)
	default:
		return faultf("%s", why)
	}
	m, fault := jsonrpc.Parse(body, jsonrpc.Limits{MaxDepth: maxAnswerDepth})
	if fault != nil {
		return faultf("answered with what is no message: %s", fault.Message)
	}
	c.push(item{answer: &m, status: resp.StatusCode}, true)
	return nil
}

// maxAnswerDepth is how deep an answer may be nested: how deep is its client's concern.
const maxAnswerDepth = 10_000

// message sees to one message of the server's that belongs to the call, and tells whether it is the answer. If wait, it may take as long as the
// client takes to read.
func (c *bridged) message(p *pooled, m *jsonrpc.Message, wait bool) (answered bool) {
	switch m.Kind {
	case jsonrpc.Response:
		if !relay.SameID(m.ID.Of(m.Body), jsonrpc.AppendQuote(nil, c.id)) {
			return false
		}
		own := clone(m)
		c.push(item{answer: &own, status: http.StatusOK}, wait)
		return true
	case jsonrpc.Request:
		c.request(p, m)
	default:
		c.notification(m, wait)
	}
	return false
}

func (c *bridged) notification(m *jsonrpc.Message, wait bool) {
	switch m.MethodName() {
	case "notifications/cancelled":
		c.withdraw(m.Param("requestId").Of(m.Body))
	case "notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed":
		c.b.opts.Poke(c.server.Name)
	case "notifications/resources/updated", "notifications/elicitation/complete":
		// Modern has no place for them in a call.
	default:
		own := clone(m)
		c.push(item{notification: &own}, wait)
	}
}

// clone is a message with bytes of its own.
func clone(m *jsonrpc.Message) jsonrpc.Message {
	own, _ := jsonrpc.Parse(bytes.Clone(m.Body), jsonrpc.Limits{MaxDepth: maxAnswerDepth}) // it was parsed before
	return own
}

// request sees to a request of the server's. What the client can be asked waits for it, anything else is answered here, so that the call goes on.
func (c *bridged) request(p *pooled, m *jsonrpc.Message) {
	id, method := m.ID.Of(m.Body), m.MethodName()
	if method == "ping" {
		c.b.reply(c.ctx, p, jsonrpc.AppendResult(nil, id, []byte("{}")))
		return
	}
	lack := c.asker.client.Lacks(method, m.Params.Of(m.Body))
	if lack == nil && !mayAsk(c.method) {
		lack = &bridge.Lack{Method: true, Name: method + " in " + c.method}
	}
	if lack != nil {
		refusal := jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, ID: id, Message: "the client of this call did not declare the capability " + lack.Name}
		if !lack.Method {
			refusal.Code = jsonrpc.CodeInvalidParams
		}
		c.b.reply(c.ctx, p, refusal.AppendResponse(nil))
		return
	}
	c.mu.Lock()
	size := len(m.Body)
	for _, one := range c.asked {
		size += len(one.ask.Params)
	}
	full := len(c.asked) >= maxAsked || size > maxAskedBytes || c.done
	if !full {
		c.asks++
		own := clone(m)
		c.asked = append(c.asked, asked{own.ID.Of(own.Body), bridge.AskOf(&own, "input-"+strconv.Itoa(c.asks))})
	}
	c.mu.Unlock()
	if full {
		refusal := jsonrpc.Error{Code: jsonrpc.CodeInternalError, ID: id, Message: "too many requests of this call wait for an answer, or too large ones"}
		c.b.reply(c.ctx, p, refusal.AppendResponse(nil))
		return
	}
	signal(c.wake)
}

// mayAsk tells whether the answer to a method may be a modern result that asks for input.
func mayAsk(method string) bool {
	return method == "tools/call" || method == "prompts/get" || method == "resources/read"
}

// withdraw forgets a request that the server does not want to have answered any more.
func (c *bridged) withdraw(id []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.asked {
		if relay.SameID(c.asked[i].id, id) {
			c.asked = append(c.asked[:i:i], c.asked[i+1:]...)
			signal(c.less)
			return
		}
	}
}

// push gives the client an item. Of what does not fit, a client that is there has to make room first, and one that is away misses notifications.
func (c *bridged) push(i item, wait bool) {
	for {
		c.mu.Lock()
		full := len(c.queue) >= queueItems || c.size >= queueBytes
		away := !c.attached
		switch {
		case c.done:
			c.mu.Unlock()
			return
		case i.last() || !full:
			if i.answer != nil && away && len(i.answer.Body) > maxAwayAnswer {
				i = item{fault: faultf("answered before it had the input that it had asked for, with more than %d bytes", maxAwayAnswer)}
			}
			c.done = i.last()
			c.queue = append(c.queue, i)
			if i.notification != nil {
				c.size += len(i.notification.Body)
			}
			c.mu.Unlock()
			signal(c.wake)
			return
		}
		c.mu.Unlock()
		if away || !wait {
			return
		}
		select {
		case <-c.room:
		case <-c.ctx.Done():
			return
		}
	}
}

// take returns what has come, and whether requests of the server's are open.
func (c *bridged) take() (items []item, asked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items, c.queue, c.size = c.queue, nil, 0
	signal(c.room)
	return items, len(c.asked) > 0
}

// abort ends a call that nobody waits for any more, and tells the server so.
func (c *bridged) abort(reason string) {
	c.ended(outcomeAbandoned)
	c.mu.Lock()
	p, over := c.pooled, c.done
	c.done, c.queue = true, nil
	c.mu.Unlock()
	c.b.held.remove(c)
	if p == nil || over {
		c.cancel()
		return
	}
	params := jsonrpc.AppendQuote([]byte(`{"requestId":`), c.id)
	params = append(jsonrpc.AppendQuote(append(params, `,"reason":`...), reason), '}')
	c.b.background(func() {
		defer c.cancel() // after the word: a server may take the end of the connection for anything
		ctx, cancel := context.WithTimeout(c.ctx, answerTimeout)
		defer cancel()
		_ = p.endpoint().Notify(ctx, p.session, "notifications/cancelled", json.RawMessage(params)) // that it may not get through is in the nature of it
	})
}

// signal wakes who waits on a channel of one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
