package extproc

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// answer is a server's answer on its way to the client. Envoy shows its headers, and then, until the stream ends, its body
// chunk by chunk: each is answered once, and what Envoy has not shown when the stream ends passes unchanged.
type answer struct {
	*exchange
	call     *router.Call
	status   int
	mode     mode
	stream   *relay.Rewriter
	held     []byte // of a refusal that has not been judged yet
	answered bool
	events   bool // the stream has event ids: a client can resume it
}

// mode is what is done with the chunks of an answer.
type mode uint8

const (
	pass    mode = iota
	judge        // a refusal, held until it can be judged
	rewrite      // an event stream
)

func (a *answer) headers(h *extprocv3.HttpHeaders) error {
	local := true
	var contentType, encoding string
	for _, f := range h.GetHeaders().GetHeaders() {
		switch f.Key {
		case ":status":
			a.status, _ = strconv.Atoi(value(f))
		case "content-type":
			contentType = value(f)
		case "content-encoding":
			encoding = value(f)
		case wire.HeaderAnswered:
			local = false
		}
	}
	if local {
		return a.only(responseHeaders(nil))
	}
	if a.status == http.StatusUnauthorized && a.p.opts.Unauthorized != nil {
		a.p.opts.Unauthorized(a.call)
	}
	if a.call.Server.PerCaller && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden) {
		return a.refusedCaller()
	}
	verdict, why := relay.Judge(a.status, contentType, encoding, h.EndOfStream)
	switch verdict {
	case relay.Forgotten:
		return a.forgotten()
	case relay.Stream:
		if h.EndOfStream {
			return a.fail("closed the stream before it had answered")
		}
		return a.eventStream()
	case relay.Message:
		if a.status == http.StatusBadRequest && a.p.opts.Forgotten != nil && a.p.opts.Forgotten(a.exchange.stream.Context(), a.call) {
			return a.forgotten()
		}
		if a.status == http.StatusBadRequest {
			a.mode = judge // whatever it turns out to be, the client gets a JSON-RPC error
			return a.send(responseHeaders([]router.Header{{Name: "content-type", Value: "application/json"}}, "content-length"))
		}
		// One message holds no request of the server, and its headers were all there is to see of it.
		return a.only(responseHeaders(nil))
	case relay.Plain:
		if a.call.ID != nil {
			return a.fail(fmt.Sprintf("took the request without an answer (HTTP status %d)", a.status))
		}
		return a.only(responseHeaders(nil))
	default:
		return a.fail(why)
	}
}

// only sends the last message of an exchange.
func (a *answer) only(r *extprocv3.ProcessingResponse) error {
	if err := a.send(r); err != nil {
		return err
	}
	return errDone
}

// fail answers the client in the server's place.
func (a *answer) fail(what string) error {
	return a.only(failure(http.StatusBadGateway, a.error(what)))
}

// refusedCaller tells a client that it is its own token that the server does not accept.
func (a *answer) refusedCaller() error {
	e := a.error(fmt.Sprintf("did not accept this caller's token for the call (HTTP status %d)", a.status))
	e.Code = http.StatusForbidden
	return a.only(failure(http.StatusForbidden, e))
}

func (a *answer) eventStream() error {
	a.mode = rewrite
	a.stream = relay.New(a.call.Session, a.call.Server.Name, relay.Options{
		Kind:     session.SealCallEvent,
		Answered: func(id []byte) { a.answered = a.answered || relay.SameID(id, a.call.ID) },
		Event:    func(string) { a.events = true },
	})
	return a.send(responseHeaders(nil, "content-length"))
}

// maxReplay is the largest answer of a repeated call, in bytes. Envoy takes it in one piece.
const maxReplay = 16 << 20

// forgotten deals with a session that its server has forgotten. The client keeps its own: the next call opens another.
func (a *answer) forgotten() error {
	a.call.Session.DropBackend(a.call.Server.Name, a.call.Backend.ID)
	if !a.call.Replayable || a.p.opts.Replay == nil {
		return a.fail(forgot)
	}
	resp, err := a.p.opts.Replay(a.exchange.stream.Context(), a.call)
	if err != nil {
		var fault *jsonrpc.Error
		if errors.As(err, &fault) && fault.Status != 0 {
			return a.only(failure(fault.Status, fault))
		}
		return a.fail("has forgotten its session, and no new one could be opened: " + err.Error())
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReplay+1))
	if err != nil {
		return a.fail("broke off the answer to the repeated call: " + err.Error())
	}
	if len(body) > maxReplay {
		return a.fail(fmt.Sprintf("gave more than %d bytes of answer to a call that had to be repeated; call again", maxReplay))
	}
	return a.only(immediate(resp.StatusCode, []router.Header{{Name: "content-type", Value: resp.Header.Get("Content-Type")}}, body, a.decision.Metadata))
}

const forgot = "has forgotten its session; call again, and the gateway opens a new one"

func (a *answer) chunk(data []byte, end bool) error {
	switch a.mode {
	case judge:
		return a.judged(data, end)
	case rewrite:
		return a.rewritten(data, end)
	default:
		return a.only(responseChunk(data))
	}
}

// judged holds a refusal back, if it is not too long, until it can be told whether it is about a forgotten session.
func (a *answer) judged(data []byte, end bool) error {
	a.held = append(a.held, data...)
	if !end && len(a.held) <= relay.CheckLimit {
		return a.send(responseChunk(nil))
	}
	if end {
		switch verdict, why := relay.CheckMessage(a.status, a.held); verdict {
		case relay.Forgotten:
			a.call.Session.DropBackend(a.call.Server.Name, a.call.Backend.ID)
			return a.only(responseChunk(a.error(forgot).AppendResponse(nil)))
		case relay.Bad:
			return a.only(responseChunk(a.error(why).AppendResponse(nil)))
		default:
		}
	}
	return a.only(responseChunk(a.held))
}

func (a *answer) error(what string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, ID: a.call.ID, Message: fmt.Sprintf("server %q %s", a.call.Server.Name, what)}
}

func (a *answer) rewritten(data []byte, end bool) error {
	out, err := a.stream.Push(nil, data)
	if err != nil {
		return fmt.Errorf("stream of server %q: %w", a.call.Server.Name, err)
	}
	if !end {
		return a.send(responseChunk(out))
	}
	return a.only(responseChunk(a.tail(out)))
}

// tail ends a stream. A call that the server left without an answer, in a stream that nobody can resume, gets an error.
func (a *answer) tail(out []byte) []byte {
	if a.answered || a.events || a.call.ID == nil {
		return a.stream.Rest(out)
	}
	// What the server did not finish is left out: with more behind it, a client would take it for an event.
	e := a.error("closed the stream before it had answered")
	return sse.AppendEvent(out, sse.Event{Name: "message", Data: e.AppendResponse(nil), HasData: true})
}
