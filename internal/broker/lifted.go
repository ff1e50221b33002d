package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/bridge"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// This file is about calls that clients with sessions make of servers that speak only revisions without: what such a server asks for in a result
// becomes requests on the call's stream, and the client's answers the next request to the server.

const (
	// inputLife is how long a client may take to answer what it is asked.
	inputLife = 5 * time.Minute
	// lostLife is how long a call goes on, and its answer is kept, for a client that has lost its connection.
	lostLife = 5 * time.Minute
	// doneLife is how long a stream is kept that was given to its client to the end.
	doneLife = time.Minute
	// maxLost bounds the calls that are kept so, maxLostSession those of one session.
	maxLost        = 1024
	maxLostSession = 32
	// firstRetry and lastRetry bound the time before a server is asked again that wants to be asked again without input.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// lifted is one such call.
type lifted struct {
	b      *Broker
	s      *session.Session
	server *catalog.Server
	m      *jsonrpc.Message
	id     []byte // the client's, raw
	caller caller
	client bridge.Client
	params []bridge.Param
	key    string
	trail  *trail
	ctx    context.Context
	cancel context.CancelFunc
	lost   *time.Timer // guarded by the lifts' mutex
	told   sync.Once   // what became of it
}

// lifts are the calls that run or are kept, and what their clients were asked.
type lifts struct {
	mu        sync.Mutex // guards the rest
	calls     map[string]*lifted
	lost      map[*session.Session]int
	lostAll   int
	inquiries map[inquiryID]chan *jsonrpc.Message
}

// inquiryID is one question to the client of a session.
type inquiryID struct {
	s  *session.Session
	id string
}

// carryToModern makes a call of a client with a session at a server that keeps none. That the client's connection is lost ends nothing
// (Invariant 11): the client can resume the stream.
func (b *Broker) carryToModern(w http.ResponseWriter, r *http.Request, s *session.Session, m *jsonrpc.Message, server *catalog.Server) {
	c := &lifted{
		b: b, s: s, server: server, m: m, id: m.ID.Of(m.Body), caller: callerOf(s, r.Header.Get("Authorization")),
		client: bridge.ReadInitialize(s.InitParams()), params: b.paramsOf(server, m),
	}
	if server.PerCaller {
		b.tokens.remember(c.caller, server)
	}
	if server.Offers("logging") {
		c.client.LogLevel = levelOf(s.LogLevel())
	}
	var key [16]byte
	_, _ = rand.Read(key[:]) // it never fails
	c.key = hex.EncodeToString(key[:])
	c.trail = newTrail(func(n int) string {
		return s.Seal(session.SealBridgeEvent, server.Name, []byte(c.key+"."+strconv.Itoa(n)+"."+b.home.name))
	})
	c.ctx, c.cancel = context.WithCancel(upstream.SameTrace(b.ctx, r.Context()))
	b.lifts.add(c)
	go c.untilEnd()
	go c.run()
	c.serve(w, r, 0)
}

// serve gives the client what comes of the call.
func (c *lifted) serve(w http.ResponseWriter, r *http.Request, next int) {
	life := lostLife
	if c.trail.serve(w, r, next, c.ctx.Done()) {
		life = doneLife // its connection may have been lost without anybody noticing
	}
	if (life == doneLife && !c.trail.small()) || !c.b.lifts.lose(c, life) {
		c.b.lifts.remove(c)
		c.cancel()
	}
}

// untilEnd ends the call with its session.
func (c *lifted) untilEnd() {
	select {
	case <-c.s.Done():
		c.end("the session has ended")
	case <-c.ctx.Done():
		c.end("the gateway is stopping") // if nobody has said anything before
	}
}

// ended tells what became of the call. Only the first word counts.
func (c *lifted) ended(outcome string) {
	c.told.Do(func() { c.b.opts.Observer.Translated(eraStateless, outcome) })
}

// end ends a call that nobody waits for any more.
func (c *lifted) end(why string) {
	c.ended(outcomeAbandoned)
	fault := jsonrpc.Error{Code: jsonrpc.CodeInternalError, ID: c.id, Message: why}
	c.trail.abandon(fault.AppendResponse(nil))
	c.b.lifts.remove(c)
	c.cancel()
}

// paramsOf are the arguments that a call has to repeat in headers.
func (b *Broker) paramsOf(server *catalog.Server, m *jsonrpc.Message) []bridge.Param {
	it := b.tool(server, m)
	if it == nil {
		return nil
	}
	out := make([]bridge.Param, 0, len(it.Params))
	for _, p := range it.Params {
		out = append(out, bridge.Param(p))
	}
	return out
}

// levelOf reads the level of the params of logging/setLevel; empty if there is none.
func levelOf(params json.RawMessage) string {
	span, err := jsonrpc.Lookup(params, jsonrpc.Span{End: len(params)}, "level")
	if err != nil {
		return ""
	}
	level, _ := jsonrpc.Unquote(span.Of(params)) // what is no string is no level
	return level
}

// run makes the call, as often as the server wants to be asked with more input. That its context has ended by then says nothing of it: its client may have left with
// the answer.
func (c *lifted) run() {
	over, status := c.b.opts.Observer.Called(c.server.Name, c.b.counterOf(c.server, c.m)), http.StatusBadGateway
	defer func() { over(status) }()
	status = c.make()
}

// make returns the HTTP status that the call counts as.
func (c *lifted) make() (status int) {
	retry := bridge.Retry{}
	for round := 0; ; round++ {
		m, status, fault := c.send(retry)
		switch {
		case c.ctx.Err() != nil:
			return 0
		case fault != nil:
			c.refuse(fault)
			return statusOf(fault)
		}
		required, more, err := bridge.ReadRequired(m)
		switch {
		case err != nil:
			c.fail("gave a result that cannot be understood: " + err.Error())
			return http.StatusBadGateway
		case !more:
			c.answer(m, status)
			return status
		case round == maxRounds:
			c.fail("asked for input too often in one call")
			return http.StatusBadGateway
		}
		retry = bridge.Retry{ID: jsonrpc.AppendQuote(nil, c.b.callPrefix+strconv.FormatUint(c.b.lastCall.Add(1), 10)), State: required.State}
		if len(required.Asks) == 0 {
			if !upstream.Sleep(c.ctx, min(firstRetry<<min(round, 10), lastRetry)) {
				return 0
			}
			continue
		}
		if retry.Responses, fault = c.inquire(required.Asks); fault != nil {
			c.refuse(fault)
			return statusOf(fault)
		}
		if retry.Responses == nil {
			return 0 // nobody waits any more
		}
	}
}

func (c *lifted) fail(what string) {
	c.refuse(badGateway(c.id, http.StatusBadGateway, c.server.Name, what))
}

// refuse answers in the server's place.
func (c *lifted) refuse(fault *jsonrpc.Error) {
	c.ended(outcomeFailed)
	c.trail.finish(c.id, fault.Status, fault.AppendResponse(nil))
}

// answer gives the client the server's last word.
func (c *lifted) answer(m *jsonrpc.Message, status int) {
	switch bridge.ErrorCode(m) {
	case jsonrpc.CodeUnsupportedVersion, jsonrpc.CodeHeaderMismatch:
		c.b.opts.Poke(c.server.Name) // it is not what it was
	}
	if kind := bridge.ResultType(m); kind != "complete" {
		c.fail("gave a result of a type that the client's revision does not have: " + strconv.Quote(kind[:min(len(kind), 60)]))
		return
	}
	out, err := bridge.Answer{ID: c.id, Method: c.m.MethodName()}.ToLegacy(m)
	if err != nil {
		c.fail(err.Error())
		return
	}
	if status == http.StatusBadRequest || status == http.StatusNotFound {
		status = http.StatusOK // which mean something else to a client with a session
	}
	c.ended(outcomeAnswered)
	c.trail.finish(c.id, status, out)
}

// send makes one request of the server, and returns its response.
func (c *lifted) send(retry bridge.Retry) (m *jsonrpc.Message, status int, fault *jsonrpc.Error) {
	ep := c.b.opts.Endpoint(c.server.Name)
	if ep == nil {
		return nil, 0, badGateway(c.id, http.StatusServiceUnavailable, c.server.Name, errGone.Error())
	}
	body, err := bridge.ToModern(c.m, c.client, retry)
	if err != nil {
		return nil, 0, badParams(c.m, err.Error())
	}
	header := http.Header{}
	for _, h := range bridge.Headers(c.m, c.params) {
		header.Set(h.Name, h.Value)
	}
	resp, err := ep.For(c.authorization()).Post(c.ctx, upstream.Session{Revision: c.server.Modern()}, body, header)
	if err != nil {
		return nil, 0, c.unreached(err)
	}
	defer func() { _ = resp.Body.Close() }()
	sent := retry.ID
	if sent == nil {
		sent = c.id
	}
	if _, why := judgeModern(resp, c.server, sent); why != "" {
		if c.server.PerCaller && refusesCaller(resp.StatusCode) {
			return nil, 0, c.b.refusedCaller(c.ctx, c.caller, c.server, c.id, resp.StatusCode)
		}
		return nil, 0, badGateway(c.id, http.StatusBadGateway, c.server.Name, why)
	}
	if m, err = c.receive(resp, sent); err != nil {
		return nil, 0, badGateway(c.id, http.StatusBadGateway, c.server.Name, err.Error())
	}
	return m, resp.StatusCode, nil
}

// authorization is that of the caller's latest request: between two of a call's, a token may be exchanged for another.
func (c *lifted) authorization() config.Secret {
	if latest, ok := c.b.tokens.of(c.s, c.server.Name, session.Backend{Fingerprint: c.caller.key(c.server)}); ok {
		return latest
	}
	return c.caller.authorization
}

func (c *lifted) unreached(err error) *jsonrpc.Error {
	if fault := c.b.lacking(c.ctx, c.caller, c.server, c.id, err); fault != nil {
		return fault
	}
	if fault := tokenFault(c.id, c.server, err); fault != nil {
		return fault
	}
	return badGateway(c.id, http.StatusServiceUnavailable, c.server.Name, "could not be reached: "+err.Error())
}

// receive reads the response to the request with an id, and passes on what comes before it.
func (c *lifted) receive(resp *http.Response, id []byte) (*jsonrpc.Message, error) {
	if mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream") {
		body, err := io.ReadAll(io.LimitReader(resp.Body, relay.MaxEvent+1))
		switch {
		case err != nil:
			return nil, faultf("broke off its answer: %w", err)
		case len(body) > relay.MaxEvent:
			return nil, faultf("answered with more than %d bytes", relay.MaxEvent)
		}
		m, fault := jsonrpc.Parse(body, jsonrpc.Limits{MaxDepth: maxAnswerDepth})
		if fault != nil || m.Kind != jsonrpc.Response {
			return nil, faultf("answered with what is no response")
		}
		return &m, nil
	}
	c.trail.begin()
	var answer *jsonrpc.Message
	err := (&source{}).read(resp.Body, func(m *jsonrpc.Message) bool {
		switch {
		case m.Kind == jsonrpc.Response && relay.SameID(m.ID.Of(m.Body), id):
			own := clone(m)
			answer = &own
		case m.Kind == jsonrpc.Notification && passes(m.MethodName()):
			c.trail.add(m.Body, c.ctx.Done())
		}
		return answer != nil
	})
	if err != nil {
		return nil, cut(err)
	}
	return answer, nil
}

// passes tells whether a notification may be about a call.
func passes(method string) bool {
	return !strings.HasSuffix(method, "/list_changed") && method != "notifications/cancelled" && method != "notifications/resources/updated"
}
