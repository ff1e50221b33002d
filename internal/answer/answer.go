// Package answer decides what becomes of a server's answer that the router has to look at, whichever adapter shows it: it passes, it is
// rewritten event by event, or an error takes its place. It must not know Envoy, and it opens no connection: what it wants to know, it asks
// the adapter for.
package answer

import (
	"fmt"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
)

// Head is what routing reads of the head of an answer.
type Head struct {
	Status                int
	ContentType, Encoding string
	// Local tells that Envoy made the answer itself: it has no wire.HeaderAnswered.
	Local bool
	// End tells that there is no body.
	End bool
	// Stateless tells that the request was of a revision without sessions.
	Stateless bool
}

// Verb says what an adapter has to do next.
type Verb uint8

// The verbs.
const (
	// Pass: let the rest pass, and look no more.
	Pass Verb = iota
	// Reply: give the reply in the answer's place.
	Reply
	// Rewrite: show each chunk. The length is another one than the server said.
	Rewrite
	// Hold: show each chunk. The length is another one, and the type is JSON.
	Hold
	// Ask: ask the server whether it has forgotten the session, and say so to Told.
	Ask
	// Replay: make the call again and reply what Repeated makes of it.
	Replay
)

// Step is what becomes of an answer next.
type Step struct {
	Verb  Verb
	Reply *router.Reply
}

// Options are what an adapter can do.
type Options struct {
	// Asks and Replays tell that the adapter can do so.
	Asks, Replays bool
	// Drop forgets the backend session of a call.
	Drop func(*router.Call)
	// Unauthorized is told of a call that its server refused with status 401, so that it did nothing. Nil means that nobody asks.
	Unauthorized func(*router.Call)
}

// Answer is one answer on its way to the client.
type Answer struct {
	call     *router.Call
	opts     Options
	status   int
	holds    bool
	stream   *relay.Rewriter
	held     []byte // of a refusal that has not been judged yet
	answered bool
	events   bool // the stream has event ids: a client can resume it
}

// New makes the answer to a call that is not there yet.
func New(call *router.Call, o Options) *Answer { return &Answer{call: call, opts: o} }

// Head decides by the head.
func (a *Answer) Head(h Head) Step {
	a.status = h.Status
	if h.Local {
		return Step{}
	}
	if h.Status == http.StatusUnauthorized && a.opts.Unauthorized != nil {
		a.opts.Unauthorized(a.call)
	}
	if a.call.Server.PerCaller && (h.Status == http.StatusUnauthorized || h.Status == http.StatusForbidden) {
		return a.refusedCaller()
	}
	verdict, why := relay.Judge(h.Status, h.ContentType, h.Encoding, h.End)
	switch verdict {
	case relay.Forgotten:
		return a.forgotten()
	case relay.Stream:
		if h.End {
			return a.fail("closed the stream before it had answered")
		}
		return a.eventStream()
	case relay.Message:
		switch {
		case h.Status == http.StatusBadRequest && a.opts.Asks:
			return Step{Verb: Ask}
		case h.Status == http.StatusBadRequest:
			return a.hold()
		}
		// One message holds no request of the server, and its headers were all there is to see of it.
		return Step{}
	case relay.Plain:
		if a.call.ID != nil {
			return a.fail(fmt.Sprintf("took the request without an answer (HTTP status %d)", h.Status))
		}
		return Step{}
	default:
		return a.fail(why)
	}
}

// Told goes on once it is known whether the server has forgotten the session.
func (a *Answer) Told(forgotten bool) Step {
	if forgotten {
		return a.forgotten()
	}
	return a.hold()
}

// hold waits for the body: whatever it turns out to be, the client gets a JSON-RPC error.
func (a *Answer) hold() Step {
	a.holds = true
	return Step{Verb: Hold}
}

// fail answers the client in the server's place.
func (a *Answer) fail(what string) Step { return replyWith(http.StatusBadGateway, fault(a.call, what)) }

// refusedCaller tells a client that it is its own token that the server does not accept.
func (a *Answer) refusedCaller() Step {
	e := fault(a.call, fmt.Sprintf("did not accept this caller's token for the call (HTTP status %d)", a.status))
	e.Code = http.StatusForbidden
	return replyWith(http.StatusForbidden, e)
}

func (a *Answer) eventStream() Step {
	a.stream = relay.New(a.call.Session, a.call.Server.Name, relay.Options{
		Kind:     session.SealCallEvent,
		ID:       a.call.ID,
		Resumed:  a.call.ID == nil,
		Answered: func(id []byte) { a.answered = a.answered || relay.SameID(id, a.call.ID) },
		Event:    func(string) { a.events = true },
	})
	return Step{Verb: Rewrite}
}

// forgotten deals with a session that its server has forgotten. The client keeps its own: the next call opens another.
func (a *Answer) forgotten() Step {
	a.opts.Drop(a.call)
	if !a.call.Replayable || !a.opts.Replays {
		return a.fail(forgot)
	}
	return Step{Verb: Replay}
}

const forgot = "has forgotten its session; call again, and the gateway opens a new one"

// Chunk takes a chunk of an answer that is rewritten or held, and gives what takes its place. It tells whether it has to see more.
func (a *Answer) Chunk(data []byte, end bool) (out []byte, more bool, err error) {
	if a.holds {
		out, more = a.judged(data, end)
		return out, more, nil
	}
	if a.stream == nil {
		return data, false, nil
	}
	if out, err = a.stream.Push(nil, data); err != nil {
		return nil, false, fmt.Errorf("stream of server %q: %w", a.call.Server.Name, err)
	}
	if end {
		out = a.tail(out)
	}
	return out, !end, nil
}

// judged holds a refusal back, if it is not too long, until it can be told whether it is about a forgotten session.
func (a *Answer) judged(data []byte, end bool) (out []byte, more bool) {
	a.held = append(a.held, data...)
	if !end {
		if len(a.held) <= relay.CheckLimit {
			return nil, true
		}
		return a.held, false
	}
	switch verdict, why := relay.CheckMessage(a.status, a.held); verdict {
	case relay.Forgotten:
		a.opts.Drop(a.call)
		return fault(a.call, forgot).AppendResponse(nil), false
	case relay.Bad:
		return fault(a.call, why).AppendResponse(nil), false
	default:
	}
	return a.held, false
}

// tail ends a stream. A call that the server left without an answer, in a stream that nobody can resume, gets an error.
func (a *Answer) tail(out []byte) []byte {
	if a.answered || a.events || a.call.ID == nil {
		return a.stream.Rest(out)
	}
	// What the server did not finish is left out: with more behind it, a client would take it for an event.
	e := fault(a.call, "closed the stream before it had answered")
	return sse.AppendEvent(out, sse.Event{Name: "message", Data: e.AppendResponse(nil), HasData: true})
}

func fault(c *router.Call, what string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, ID: c.ID, Message: fmt.Sprintf("server %q %s", c.Server.Name, what)}
}

func replyWith(status int, e *jsonrpc.Error) Step {
	return Step{Verb: Reply, Reply: Failure(status, e)}
}
