package broker

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/bridge"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/sse"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about a modern client whose call a server makes that speaks only revisions with sessions: what that server asks in the middle of the
// call becomes a result that asks for input, and the call is held open until the client comes back with it.

const (
	// heldLife is how long a call waits for its client to come back.
	heldLife = 5 * time.Minute
	// gatherWindow is how long further requests of the server's are waited for once there is one, to ask for all of them at once.
	gatherWindow = 50 * time.Millisecond
	// maxRounds is how often one call may ask its client.
	maxRounds = 32
)

// visit is one request of a modern client: the first of a call, or one that comes back with input.
type visit struct {
	b      *Broker
	w      http.ResponseWriter
	r      *http.Request
	m      *jsonrpc.Message
	id     []byte
	server *catalog.Server
	asker  asker
	bound  bridge.Binding
	token  []byte // raw, of progress
	stream bool   // the answer is one that has begun
}

// carryToLegacy makes a modern client's call of a server that speaks only revisions with sessions.
func (b *Broker) carryToLegacy(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, server *catalog.Server) {
	virtualServer := r.Header.Get(wire.HeaderVirtualServer)
	client, err := bridge.ReadClient(m)
	if err != nil {
		b.fail(w, badParams(m, err.Error()))
		return
	}
	v := &visit{b: b, w: w, r: r, m: m, id: m.ID.Of(m.Body), server: server, asker: askerOf(r.Header.Get("Authorization"), virtualServer, client), token: bridge.Token(m)}
	v.bound = bridge.Binding{Caller: []byte(v.asker.who), VirtualServer: virtualServer, Server: server.Name, Request: bridge.Digest(m)}
	answers, state, retry, err := bridge.Responses(m)
	switch {
	case err != nil:
		b.fail(w, badParams(m, err.Error()))
	case retry && state != "":
		v.again(state, answers)
	default:
		v.first(0) // answers without a state answer nothing that was asked
	}
}

// first begins a call.
func (v *visit) first(round uint16) {
	c, err := v.b.newBridged(v.r.Context(), v.asker, v.server, v.m)
	if err != nil {
		v.b.fail(v.w, badParams(v.m, err.Error()))
		return
	}
	c.round = round
	go c.run()
	v.pump(c)
}

// again goes on with a call whose client comes back.
func (v *visit) again(text string, answers map[string]json.RawMessage) {
	state, err := bridge.OpenState(v.b.stateKey, text, v.bound, time.Now())
	if err != nil {
		v.b.fail(v.w, badParams(v.m, err.Error()))
		return
	}
	if state.Kind == bridge.StateURL {
		for _, answer := range answers {
			if !bridge.Accepts(answer) {
				v.finish(&jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusOK, ID: v.id, Message: "the user did not agree to open the page that the server needs to have opened"})
				return
			}
		}
		v.first(state.Round)
		return
	}
	c := v.b.held.find(state.Call)
	if c == nil && v.b.handOver(v.w, v.r, v.m.Body, state.Home) {
		return
	}
	if c == nil {
		v.b.fail(v.w, badParams(v.m, "the call that this requestState belongs to is over: make it again without requestState and inputResponses"))
		return
	}
	if !c.comeBack(state.Round) {
		v.b.fail(v.w, badParams(v.m, "this requestState was used before; the call goes on in the request that came first"))
		return
	}
	p := c.session()
	if ep := v.b.opts.Endpoint(v.server.Name); ep != nil {
		p.use(ep.For(v.asker.authorization))
	}
	p.raise(c.ctx, v.asker.client.LogLevel)
	err = v.deliver(c, answers)
	if v.r.Context().Err() != nil {
		c.abort("the client closed the stream")
		return
	}
	if err != nil {
		c.ended(outcomeFailed)
		c.abort("the input could not be delivered")
		v.finish(badGateway(v.id, http.StatusBadGateway, v.server.Name, "did not take the input: "+err.Error()))
		return
	}
	v.pump(c)
}

// comeBack has the call belong to one more request of its client, the only one with the state of this round.
func (c *bridged) comeBack(round uint16) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attached || c.round != round || !c.expiry.Stop() {
		return false
	}
	c.attached = true
	return true
}

func (c *bridged) session() *pooled {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pooled
}

// over tells whether the server has answered.
func (c *bridged) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

// deliver takes the client's answers to the server. What the client has left out stays open, and is asked for again.
func (v *visit) deliver(c *bridged, answers map[string]json.RawMessage) error {
	c.mu.Lock()
	var given, open []asked
	for _, one := range c.asked {
		if answers[one.ask.Key] != nil {
			given = append(given, one)
		} else {
			open = append(open, one)
		}
	}
	c.asked = open
	p, over := c.pooled, c.done
	c.mu.Unlock()
	if over {
		return nil // the server did not wait
	}
	for _, one := range given {
		err := v.b.deliver(v.r.Context(), p, jsonrpc.AppendResult(nil, one.id, answers[one.ask.Key]))
		if err != nil && !c.over() {
			return err
		}
	}
	signal(c.less)
	return nil
}

// pump gives the client what comes of its call, until the answer or a request for input.
func (v *visit) pump(c *bridged) {
	var gather <-chan time.Time
	for {
		items, asked := c.take()
		for _, i := range items {
			if !v.give(c, i) {
				c.abort("the client closed the stream")
				return
			}
			if i.last() {
				c.b.held.remove(c)
				return
			}
		}
		switch {
		case !asked:
			gather = nil
		case gather == nil:
			gather = time.After(gatherWindow)
		}
		select {
		case <-c.wake:
		case <-gather:
			if v.ask(c) {
				return
			}
			gather = nil
		case <-v.r.Context().Done(): // closing the stream cancels the call (Invariant 11)
			c.abort("the client closed the stream")
			return
		case <-v.b.ctx.Done():
			c.ended(outcomeFailed)
			v.finish(&jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusServiceUnavailable, ID: v.id, Message: "the gateway is stopping"})
			return
		}
	}
}

// give writes one item and tells whether the client takes it.
func (v *visit) give(c *bridged, i item) bool {
	switch {
	case i.begin:
		return v.begin()
	case i.fault != nil && lacksCredential(c.server, i.fault):
		return v.askCredential() // the call is still to be made
	case i.fault != nil:
		c.ended(outcomeFailed)
		return v.finish(bridgeFault(c.server, v.id, i.fault))
	case i.answer != nil:
		return v.answer(c, i)
	}
	return v.notification(c, i.notification)
}

// notification gives the client what it asked to be told: progress if it gave a token, log messages from its level on.
func (v *visit) notification(c *bridged, m *jsonrpc.Message) bool {
	out := m.Body
	switch m.MethodName() {
	case "notifications/progress":
		span := m.Param("progressToken")
		if v.token == nil || !relay.SameID(span.Of(m.Body), jsonrpc.AppendQuote(nil, c.id)) {
			return true
		}
		edited, err := jsonrpc.Splice(m.Body, jsonrpc.Edit{Span: span, New: v.token})
		if err != nil {
			return true // it is of the message: this cannot be
		}
		out = edited
	case "notifications/message":
		if !v.asker.client.Logs(m) {
			return true
		}
	}
	return v.begin() && v.event(out)
}

// answer gives the client the server's answer.
func (v *visit) answer(c *bridged, i item) bool {
	if asks := bridge.URLElicitations(i.answer); asks != nil {
		return v.askURLs(c, asks) // likewise
	}
	out, err := bridge.Answer{ID: v.id, Method: c.method, ServerInfo: v.serverInfo()}.ToModern(i.answer)
	if err != nil {
		c.ended(outcomeFailed)
		return v.finish(badGateway(v.id, http.StatusBadGateway, v.server.Name, err.Error()))
	}
	c.ended(outcomeAnswered)
	status := i.status
	if bridge.ErrorCode(i.answer) == jsonrpc.CodeMethodNotFound {
		status = http.StatusNotFound
	}
	return v.message(status, out)
}

func (v *visit) serverInfo() json.RawMessage {
	if l := v.server.State.Listing; l != nil && len(l.ServerInfo) > 0 && l.ServerInfo[0] == '{' {
		return l.ServerInfo
	}
	return nil
}

// ask gives the client the requests of the server's that are open, and leaves the call to wait for it. It reports false if there are none left.
func (v *visit) ask(c *bridged) bool {
	if !v.b.held.add(c) {
		c.ended(outcomeFailed)
		c.abort("too many calls wait for input")
		v.finish(&jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusServiceUnavailable, ID: v.id, Message: "too many calls wait for input of their clients; try again later"})
		return true
	}
	c.mu.Lock()
	if len(c.asked) == 0 || c.done {
		c.mu.Unlock()
		return false
	}
	c.round++
	round := c.round
	if round > maxRounds {
		c.mu.Unlock()
		c.ended(outcomeFailed)
		c.abort("it asked for input too often")
		v.finish(badGateway(v.id, http.StatusBadGateway, v.server.Name, "asked for input too often in one call"))
		return true
	}
	asks := make([]bridge.Ask, 0, len(c.asked))
	for _, one := range c.asked {
		asks = append(asks, one.ask)
	}
	state := bridge.State{Kind: bridge.StateHeld, Call: c.key, Round: round, Expires: time.Now().Add(heldLife), Home: v.b.home.name}
	c.attached = false
	c.expiry = time.AfterFunc(heldLife, func() { c.expire(round) })
	c.mu.Unlock()
	signal(c.room) // what waits to be pushed is for a client that is away now
	if !v.message(http.StatusOK, bridge.AppendInputRequired(nil, v.id, asks, state.Seal(v.b.stateKey, v.bound), v.serverInfo())) {
		c.abort("the client closed the stream")
	}
	return true
}

// expire ends a call whose client did not come back.
func (c *bridged) expire(round uint16) {
	c.mu.Lock()
	over := c.attached || c.round != round
	c.mu.Unlock()
	if !over {
		c.abort("the client did not come back with the input")
	}
}

// askURLs tells a client that its user has to open pages before the call can be made.
func (v *visit) askURLs(c *bridged, asks []bridge.Ask) bool {
	for _, ask := range asks {
		if lack := v.asker.client.Lacks(ask.Method, ask.Params); lack != nil {
			return v.finish(missing(v.id, lack, pageText(ask)))
		}
	}
	if c.round >= maxRounds {
		return v.finish(badGateway(v.id, http.StatusBadGateway, v.server.Name, "asked for input too often in one call"))
	}
	state := bridge.State{Kind: bridge.StateURL, Call: c.key, Round: c.round + 1, Expires: time.Now().Add(urlLife)}
	return v.message(http.StatusOK, bridge.AppendInputRequired(nil, v.id, asks, state.Seal(v.b.stateKey, v.bound), v.serverInfo()))
}

// askCredential asks the user for a credential that the server wants of each.
func (v *visit) askCredential() bool {
	answer := v.b.elicitModern(v.r.Context(), v.m, v.server, v.asker.authorization)
	if answer.fault != nil {
		return v.finish(answer.fault)
	}
	return v.message(http.StatusOK, jsonrpc.AppendResult(nil, v.id, answer.result))
}

// pageText is what a client can show that has not declared that it opens pages.
func pageText(ask bridge.Ask) string {
	var page struct{ URL, Message string }
	_ = json.Unmarshal(ask.Params, &page) // what cannot be read is not shown
	return page.Message + " The page is " + page.URL
}

// urlLife is how long a user may take to do what a page wants. No call is held open for that.
const urlLife = time.Hour

// missing is the error of a request whose client lacks a capability.
func missing(id []byte, lack *bridge.Lack, message string) *jsonrpc.Error {
	return &jsonrpc.Error{
		Code: jsonrpc.CodeMissingCapability, Status: http.StatusBadRequest, ID: id, Message: message,
		Data: append(append([]byte(`{"requiredCapabilities":`), lack.Required...), '}'),
	}
}

// begin begins a stream to the client, if none has.
func (v *visit) begin() bool {
	if v.stream {
		return true
	}
	v.stream = true
	return beginStream(v.w, http.NewResponseController(v.w))
}

func (v *visit) event(data []byte) bool {
	event := sse.AppendEvent(nil, sse.Event{Name: "message", HasData: true, Data: data})
	return write(v.w, http.NewResponseController(v.w), event)
}

// message writes the answer, in the stream if that has begun.
func (v *visit) message(status int, body []byte) bool {
	if v.stream {
		return v.event(body)
	}
	return writeMessage(v.w, status, body)
}

// finish answers with an error.
func (v *visit) finish(fault *jsonrpc.Error) bool {
	if v.stream {
		return v.event(fault.AppendResponse(nil))
	}
	v.b.refuse(v.w, v.r, fault)
	return true
}
