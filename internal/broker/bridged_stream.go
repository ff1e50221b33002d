package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/sse"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// This file reads the streams of servers for modern clients, whose own streams cannot be resumed: what breaks is resumed here.

const (
	// resumeFirst and resumeMost bound the time between two connections of one stream, maxFruitless how many in a row may bring nothing.
	resumeFirst  = 100 * time.Millisecond
	resumeMost   = time.Minute
	maxFruitless = 5
)

// upstreamFault is what a server did wrong, to follow its name in a sentence.
type upstreamFault struct{ err error }

func (f upstreamFault) Error() string { return f.err.Error() }
func (f upstreamFault) Unwrap() error { return f.err }

func faultf(format string, args ...any) error { return upstreamFault{fmt.Errorf(format, args...)} }

// source is a server's stream, over as many connections as it takes.
type source struct {
	ep      *upstream.Endpoint
	session upstream.Session
	lastID  string
	retry   time.Duration
	events  int
}

// read goes over the messages of one connection until f says that it was the last one. The error is io.EOF at its end.
func (s *source) read(body io.Reader, f func(*jsonrpc.Message) bool) error {
	reader := sse.NewReader(body, relay.MaxEvent)
	for {
		ev, err := reader.Next()
		if err != nil {
			return err
		}
		s.events++
		if ev.HasID {
			s.lastID = ev.ID
		}
		if ms, err := strconv.Atoi(ev.Retry); err == nil {
			s.retry = min(time.Duration(min(ms, int(resumeMost/time.Millisecond)))*time.Millisecond, resumeMost)
		}
		if len(ev.Data) == 0 || ev.Name != "" && ev.Name != "message" {
			continue
		}
		last := false
		for _, data := range messages(ev.Data) {
			m, fault := jsonrpc.Parse(data, jsonrpc.Limits{MaxDepth: maxAnswerDepth})
			last = fault == nil && f(&m) || last
		}
		if last {
			return nil
		}
	}
}

// messages are those of one event: several in revision 2025-03-26.
func messages(data []byte) []json.RawMessage {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) {
		return []json.RawMessage{data}
	}
	var batch []json.RawMessage
	_ = json.Unmarshal(data, &batch) // what cannot be read is no message
	return batch
}

// stream reads the stream of the call. One that breaks before the answer is resumed if the server says where it was.
func (c *bridged) stream(p *pooled, body io.ReadCloser) error {
	s := source{ep: p.endpoint(), session: p.session}
	defer func() { _ = body.Close() }()
	for fruitless := 0; ; {
		before := s.events
		err := s.read(body, func(m *jsonrpc.Message) bool { return c.message(p, m, true) })
		if err == nil || c.ctx.Err() != nil {
			return nil
		}
		if fruitless++; s.events > before {
			fruitless = 0
		}
		if errors.Is(err, sse.ErrTooLarge) {
			return faultf("sent an event of more than %d bytes", relay.MaxEvent)
		}
		if s.lastID == "" || fruitless == maxFruitless {
			return cut(err)
		}
		if !upstream.Sleep(c.ctx, max(s.retry, resumeFirst)) {
			return nil
		}
		resp, err := p.endpoint().Get(c.ctx, p.session, s.lastID)
		if err != nil {
			continue // body is at its end already, and so is the next try
		}
		verdict, _ := relay.Judge(resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding"), false)
		if verdict != relay.Stream {
			_ = resp.Body.Close() // nothing of it is used
			return faultf("broke off the stream before it had answered, and did not resume it (HTTP status %d)", resp.StatusCode)
		}
		_ = body.Close()
		body = resp.Body
	}
}

func cut(err error) error {
	if err == io.EOF { //nolint:errorlint // a wrapped one is a connection that broke
		return faultf("closed the stream before it had answered")
	}
	return faultf("broke off the stream before it had answered: %w", err)
}

// followPooled reads the stream of a session that belongs to no call: some servers send there what belongs to one. It waits a moment for the
// server to have taken note.
func (b *Broker) followPooled(p *pooled) {
	if p.session.ID == "" {
		return
	}
	ctx, cancel := context.WithCancel(b.ctx)
	p.stop = cancel
	open := make(chan struct{})
	go func() {
		defer cancel()
		b.readPooled(ctx, p, open)
	}()
	timer := time.NewTimer(streamPatience)
	defer timer.Stop()
	select {
	case <-open:
	case <-timer.C:
	}
}

// readPooled keeps the stream open until the session ends. It closes open when the server has agreed to the stream, or not.
func (b *Broker) readPooled(ctx context.Context, p *pooled, open chan struct{}) {
	s := source{session: p.session}
	told := false
	tell := func() {
		if !told {
			close(open)
			told = true
		}
	}
	defer tell()
	for wait := reopenFirst; ctx.Err() == nil; wait = min(2*wait, reopenMost) {
		resp, err := p.endpoint().Get(ctx, p.session, s.lastID)
		if err == nil {
			verdict, _ := relay.Judge(resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding"), false)
			if verdict != relay.Stream && resp.StatusCode < 500 {
				_ = resp.Body.Close() // nothing of it is used
				return                // the server has no such stream
			}
			tell()
			if verdict == relay.Stream {
				wait = reopenFirst
				_ = s.read(resp.Body, func(m *jsonrpc.Message) bool { // whatever ended it, it is opened again
					b.unattributed(p, m)
					return false
				})
			}
			_ = resp.Body.Close()
		}
		tell()
		if !upstream.Sleep(ctx, max(wait, s.retry)) {
			return
		}
	}
}

// unattributed finds the call that a message on a session's own stream belongs to. Progress names it. Anything else is for the one that began last:
// all calls of a session have one caller, and an answer finds the server's request by its id, through whichever call it comes. Callers without a
// token are not known to be one, so that nothing is guessed among theirs.
func (b *Broker) unattributed(p *pooled, m *jsonrpc.Message) {
	method := m.MethodName()
	switch {
	case m.Kind == jsonrpc.Response:
	case method == "ping":
		b.reply(b.ctx, p, jsonrpc.AppendResult(nil, m.ID.Of(m.Body), []byte("{}")))
	case strings.HasSuffix(method, "/list_changed"):
		b.opts.Poke(p.server.Name)
	case method == "notifications/cancelled":
		for _, c := range p.inFlight() {
			c.withdraw(m.Param("requestId").Of(m.Body))
		}
		p.unkeep(m.Param("requestId").Of(m.Body))
	default:
		if c := p.call(m); c != nil {
			c.message(p, m, false)
		} else if m.Kind == jsonrpc.Request && !p.keep(m) {
			refusal := jsonrpc.Error{Code: jsonrpc.CodeInternalError, ID: m.ID.Of(m.Body), Message: "the gateway cannot tell which call this request belongs to"}
			b.reply(b.ctx, p, refusal.AppendResponse(nil))
		}
	}
}

func (p *pooled) inFlight() []*bridged {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.last)
}

// call is the one that a message belongs to, nil if nobody can tell.
func (p *pooled) call(m *jsonrpc.Message) *bridged {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.MethodName() == "notifications/progress" {
		id, err := jsonrpc.Unquote(m.Param("progressToken").Of(m.Body))
		if err != nil {
			return nil
		}
		return p.calls[id]
	}
	if len(p.last) == 0 || len(p.last) > 1 && p.who == "" {
		return nil
	}
	return p.last[len(p.last)-1]
}
