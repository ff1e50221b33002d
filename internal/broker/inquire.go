package broker

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/bridge"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file asks clients with sessions for what servers without sessions want to know.

// question is one request to the client, with the id that it has there.
type question struct {
	ask    bridge.Ask
	sealed string
	answer chan *jsonrpc.Message
}

// inquire asks the client, and returns the raw answers; nil without a fault if nobody waits for the call any more.
func (c *lifted) inquire(asks []bridge.Ask) ([]byte, *jsonrpc.Error) {
	var questions []question
	for _, ask := range asks {
		if what := c.lacks(ask); what != "" {
			return nil, badGateway(c.id, http.StatusBadGateway, c.server.Name, "asked for what this client did not declare that it can do: "+what)
		}
	}
	defer func() { c.b.lifts.forget(c.s, questions) }()
	for _, ask := range asks {
		q := c.b.lifts.question(c.s, c.server.Name, ask)
		questions = append(questions, q)
		request, err := ask.Request(jsonrpc.AppendQuote(nil, q.sealed), q.sealed)
		if err != nil {
			return nil, badGateway(c.id, http.StatusBadGateway, c.server.Name, "asked for input in a way that cannot be understood: "+err.Error())
		}
		if !c.trail.add(request, c.ctx.Done()) {
			return nil, nil
		}
	}
	answers := map[string]json.RawMessage{}
	timer := time.NewTimer(inputLife)
	defer timer.Stop()
	for i, q := range questions {
		select {
		case m := <-q.answer:
			answer, ok := q.ask.Answered(m)
			if !ok {
				c.withdraw(questions[i+1:])
				return nil, &jsonrpc.Error{
					Code: jsonrpc.CodeInternalError, Status: http.StatusOK, ID: c.id,
					Message: "the server needed an answer to " + q.ask.Method + ", and the client gave an error: " + errorText(m),
				}
			}
			answers[q.ask.Key] = answer
		case <-timer.C:
			c.withdraw(questions[i:])
			return nil, &jsonrpc.Error{
				Code: jsonrpc.CodeInternalError, Status: http.StatusOK, ID: c.id,
				Message: "the server needed an answer to " + q.ask.Method + ", and the client did not give it in time",
			}
		case <-c.ctx.Done():
			return nil, nil
		}
	}
	return bridge.AppendResponses(nil, asks, answers), nil
}

// lacks tells what the client did not declare; empty if it can be asked.
func (c *lifted) lacks(ask bridge.Ask) string {
	if lack := c.client.Lacks(ask.Method, ask.Params); lack != nil {
		return lack.Name
	}
	if ask.Opens() && c.s.Revision() != wire.Revision20251125 {
		return "elicitation.url"
	}
	return ""
}

// withdraw tells the client that some questions need no answer any more.
func (c *lifted) withdraw(questions []question) {
	for _, q := range questions {
		data := jsonrpc.AppendQuote([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`), q.sealed)
		if !c.trail.add(append(data, "}}"...), c.ctx.Done()) {
			return
		}
	}
}

func errorText(m *jsonrpc.Message) string {
	span, err := jsonrpc.Lookup(m.Body, m.Error, "message")
	if err != nil {
		return ""
	}
	text, _ := jsonrpc.Unquote(span.Of(m.Body)) // what is no string says nothing
	const most = 500
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// question makes an id that leads back to a question from this session alone.
func (l *lifts) question(s *session.Session, server string, ask bridge.Ask) question {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	q := question{ask: ask, sealed: s.Seal(session.SealInput, server, []byte(hex.EncodeToString(nonce[:]))), answer: make(chan *jsonrpc.Message, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inquiries == nil {
		l.inquiries = map[inquiryID]chan *jsonrpc.Message{}
	}
	l.inquiries[inquiryID{s, q.sealed}] = q.answer
	return q
}

func (l *lifts) forget(s *session.Session, questions []question) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range questions {
		delete(l.inquiries, inquiryID{s, q.sealed})
	}
}

// answered takes a client's answer to a question. It reports false if there is none that it answers, or not any more.
func (l *lifts) answered(s *session.Session, m *jsonrpc.Message) bool {
	id, err := jsonrpc.Unquote(m.ID.Of(m.Body))
	if err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := inquiryID{s, id}
	answer := l.inquiries[key]
	if answer == nil {
		return false
	}
	delete(l.inquiries, key) // one answer counts
	answer <- m
	return true
}

func (l *lifts) add(c *lifted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls == nil {
		l.calls, l.lost = map[string]*lifted{}, map[*session.Session]int{}
	}
	l.calls[c.key] = c
}

func (l *lifts) remove(c *lifted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found(c)
	delete(l.calls, c.key)
}

// lose keeps a call for a while for a client that has lost its connection, or may have. It reports false if there are too many such.
func (l *lifts) lose(c *lifted, life time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls[c.key] != c || c.ctx.Err() != nil {
		return false
	}
	if c.lost != nil || c.trail.read() {
		return true // by another connection of the client's
	}
	if l.lostAll >= maxLost || l.lost[c.s] >= maxLostSession {
		return false
	}
	l.lostAll++
	l.lost[c.s]++
	c.lost = time.AfterFunc(life, func() {
		l.remove(c)
		c.cancel()
	})
	return true
}

// found takes back lose. The lock is held.
func (l *lifts) found(c *lifted) {
	if c.lost == nil {
		return
	}
	c.lost.Stop()
	c.lost = nil
	l.lostAll--
	if l.lost[c.s]--; l.lost[c.s] == 0 {
		delete(l.lost, c.s)
	}
}

// splitEvent reads what an event's id says: the call, the event's number there, and the replica's name.
func splitEvent(raw []byte) (key string, number int, home string) {
	key, rest, _ := strings.Cut(string(raw), ".")
	text, home, _ := strings.Cut(rest, ".")
	number, _ = strconv.Atoi(text) // it is sealed: only a number can be there
	return key, number, home
}

// resumed finds the call whose stream a client wants to go on with, and the number of the event that comes next.
func (l *lifts) resumed(s *session.Session, lastEventID string) (c *lifted, next int) {
	kind, _, raw, ok := s.Unseal(lastEventID)
	if !ok || kind != session.SealBridgeEvent {
		return nil, 0
	}
	key, n, _ := splitEvent(raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	if c = l.calls[key]; c == nil || c.s != s {
		return nil, 0
	}
	l.found(c)
	return c, n + 1
}

// cancelled ends the calls with an id that the client of a session does not wait for any more.
func (l *lifts) cancelled(s *session.Session, id []byte) {
	l.mu.Lock()
	var found []*lifted
	for _, c := range l.calls {
		if c.s == s && relay.SameID(c.id, id) {
			found = append(found, c)
		}
	}
	l.mu.Unlock()
	for _, c := range found {
		c.end("the client has cancelled the request")
	}
}
