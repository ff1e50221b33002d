package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// carry makes a call for a client whose session has none with the server yet. The router found the owner and put the
// server's own names into the message.
func (b *Broker) carry(w http.ResponseWriter, r *http.Request, s *session.Session, m *jsonrpc.Message, name string, access Access) {
	snap := b.opts.Snapshot()
	server := snap.Server(name)
	id := m.ID.Of(m.Body)
	if server == nil {
		b.fail(w, badGateway(id, http.StatusServiceUnavailable, name, "is no longer configured"))
		return
	}
	leave, ok := b.letIn(w, r, m, snap, server, access)
	if !ok {
		return
	}
	defer leave()
	if server.Revision() == "" && server.Modern() != "" {
		if watchesMethod(m.MethodName()) {
			b.watchForSession(w, r, s, m, server)
		} else {
			b.carryToModern(w, r, s, m, server)
		}
		return
	}
	b.calling(r.Context(), name, b.counterOf(server, m), func() int { return b.carryInSession(w, r, s, m, server) })
}

// carryInSession makes a call in the session's backend session, and returns the status of its answer.
func (b *Broker) carryInSession(w http.ResponseWriter, r *http.Request, s *session.Session, m *jsonrpc.Message, server *catalog.Server) int {
	id, name := m.ID.Of(m.Body), server.Name
	defer s.BeginCall(id, name)()
	resp, err := b.call(r.Context(), callerOf(s, r.Header.Get("Authorization")), server, id, m.Body) //nolint:bodyclose // who hands it on closes it
	if err != nil {
		var fault *jsonrpc.Error
		if !errors.As(err, &fault) {
			fault = badGateway(id, http.StatusBadGateway, name, err.Error())
		}
		b.refuse(w, r, fault)
		return statusOf(fault)
	}
	b.hand(w, resp)
	return resp.StatusCode
}

// hand gives a server's answer to the client.
func (b *Broker) hand(w http.ResponseWriter, resp *http.Response) {
	defer func() { _ = resp.Body.Close() }()
	if ct := resp.Header.Get("Content-Type"); ct != "" {
		w.Header().Set("Content-Type", ct)
	}
	w.WriteHeader(resp.StatusCode)
	if resp.ContentLength < 0 {
		// It may be long until a stream has its first event, and the client can tell that it has begun.
		_ = http.NewResponseController(w).Flush()
	}
	pour(w, resp.Body)
}

// pour copies a body as it comes. What stops it is the client's leaving or the server's: both end the answer here.
func pour(w http.ResponseWriter, body io.Reader) {
	flush := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			_ = flush.Flush() // the response writer of net/http always can
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler) //nolint:forbidigo // the way of net/http to cut an answer, so that nobody takes it for whole
		}
	}
}

// Replay makes a call again that a server refused because it had forgotten the session. A nil access is that of a caller who may have
// everything. The answer's body streams.
func (b *Broker) Replay(ctx context.Context, s *session.Session, server *catalog.Server, access Access, authorization string, body []byte) (*http.Response, error) {
	m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
	if fault != nil {
		return nil, fault
	}
	if access != nil && !access.Allows(carried(b.opts.Snapshot(), server, &m)) {
		return nil, forbidden(m.ID.Of(body))
	}
	tool, ended := b.counterOf(server, &m), b.opts.Observer.Called(server.Name, nil)
	tool.Opened(1)
	over := func(status int) { // whether it has failed is told by whom the answer is handed to, as of any call that the broker did not begin
		tool.Opened(-1)
		ended(status)
	}
	resp, err := b.call(ctx, callerOf(s, authorization), server, m.ID.Of(body), body)
	if fault := (*jsonrpc.Error)(nil); errors.As(err, &fault) {
		over(statusOf(fault))
	} else if err != nil {
		over(http.StatusBadGateway)
	}
	if err != nil {
		return nil, err
	}
	resp.Body = &counted{ReadCloser: resp.Body, over: sync.OnceFunc(func() { over(resp.StatusCode) })}
	return resp, nil
}

// counted is the body of an answer that is over when it is closed.
type counted struct {
	io.ReadCloser

	over func()
}

// Close implements io.Closer.
func (c *counted) Close() error {
	c.over()
	return c.ReadCloser.Close()
}

// Forgotten asks a server whether it has forgotten a backend session. Many servers refuse a call in one with status 400,
// which may as well be about the call.
func (b *Broker) Forgotten(ctx context.Context, server, authorization string, be session.Backend) bool {
	ep := b.opts.Endpoint(server)
	if ep == nil {
		return false
	}
	ep = ep.For(config.NewSecret(authorization))
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	_, err := ep.Call(ctx, upstreamSession(be), "ping", nil)
	return errors.Is(err, upstream.ErrSessionUnknown)
}

// call sends a message in the session's backend session with a server. One that the server has forgotten is replaced once:
// a server that does not know the session has not begun the call. The error is a *jsonrpc.Error.
func (b *Broker) call(ctx context.Context, c caller, server *catalog.Server, id, body []byte) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		resp, err := b.attempt(ctx, c, server, id, body)
		if !errors.Is(err, upstream.ErrSessionUnknown) {
			return resp, err
		}
		if attempt > 0 {
			return nil, badGateway(id, http.StatusBadGateway, server.Name, "does not know the session that it has just opened")
		}
	}
}

func (b *Broker) attempt(ctx context.Context, c caller, server *catalog.Server, id, body []byte) (*http.Response, error) {
	be, err := b.open(ctx, c, server)
	if errors.Is(err, errEnded) {
		return nil, unknownSession(id)
	}
	if errors.Is(err, session.ErrStore) {
		return nil, sessionFault(id, err) // it is not the server's fault
	}
	if errors.Is(err, errOutdated) {
		return nil, fmt.Errorf("server %q: %w", server.Name, upstream.ErrSessionUnknown)
	}
	if err != nil {
		if fault := b.lacking(ctx, c, server, id, err); fault != nil {
			return nil, fault
		}
		if fault := tokenFault(id, server, err); fault != nil {
			return nil, fault
		}
		if status := (*upstream.StatusError)(nil); server.PerCaller && errors.As(err, &status) && refusesCaller(status.Status) {
			return nil, b.refusedCaller(ctx, c, server, id, status.Status)
		}
		return nil, badGateway(id, http.StatusBadGateway, server.Name, "opened no session: "+err.Error())
	}
	ep := b.endpointOf(server)
	if ep == nil {
		return nil, badGateway(id, http.StatusServiceUnavailable, server.Name, "is no longer configured")
	}
	resp, err := ep.For(c.authorization).Post(ctx, upstreamSession(be), body, nil)
	if err != nil {
		if fault := b.lacking(ctx, c, server, id, err); fault != nil {
			return nil, fault
		}
		if fault := tokenFault(id, server, err); fault != nil {
			return nil, fault
		}
		return nil, badGateway(id, http.StatusServiceUnavailable, server.Name, "could not be reached: "+err.Error())
	}
	verdict, why := relay.Judge(resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding"), resp.ContentLength == 0)
	switch verdict {
	case relay.Stream:
		resp.Body = b.stream(resp.Body, c.Session, server.Name, id)
		return resp, nil
	case relay.Plain:
		verdict, why = relay.Bad, fmt.Sprintf("took the request without an answer (HTTP status %d)", resp.StatusCode)
	case relay.Message:
		verdict, why = check(resp, server, id)
		if verdict == relay.Message {
			return resp, nil
		}
	default:
	}
	_ = resp.Body.Close() // nothing of it is used
	if verdict == relay.Forgotten {
		c.DropBackend(server.Name, be.ID)
		return nil, fmt.Errorf("server %q: %w", server.Name, upstream.ErrSessionUnknown)
	}
	if server.PerCaller && refusesCaller(resp.StatusCode) {
		return nil, b.refusedCaller(ctx, c, server, id, resp.StatusCode)
	}
	return nil, badGateway(id, http.StatusBadGateway, server.Name, why)
}

// check holds a JSON answer back until it is known to be one, to the request with that id unless it is nil. One that is too large for that is passed on
// unread, but for that of a server that is not trusted.
func check(resp *http.Response, server *catalog.Server, id []byte) (relay.Verdict, string) {
	limit := relay.CheckLimit
	if server.Untrusted {
		limit = relay.MaxEvent
	}
	held, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		return relay.Bad, "broke off its answer: " + err.Error()
	}
	rest := resp.Body
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(held), rest), rest}
	if len(held) > limit {
		if server.Untrusted {
			return relay.Bad, fmt.Sprintf("is not trusted, and answered with more than the %d bytes that are read of an answer", limit)
		}
		return relay.Message, ""
	}
	verdict, why := relay.CheckMessage(resp.StatusCode, held)
	if verdict != relay.Message || id == nil {
		return verdict, why
	}
	if m, err := jsonrpc.Parse(held, jsonrpc.Limits{MaxDepth: relay.MaxDepth}); err == nil && m.ID.Present() && !relay.SameID(m.ID.Of(held), id) {
		return relay.Bad, "answered another request than the one it was sent"
	}
	return verdict, why
}

func badGateway(id []byte, status int, server, what string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: status, ID: id, Message: fmt.Sprintf("server %q %s", server, what)}
}

// stream rewrites an event stream while it is read.
func (b *Broker) stream(body io.ReadCloser, s *session.Session, server string, id []byte) *rewritten {
	st := &rewritten{body: body, server: server, id: id}
	st.rewriter = relay.New(s, server, relay.Options{
		Kind:     session.SealCallEvent,
		ID:       id,
		Resumed:  id == nil,
		Answered: func(got []byte) { st.answered = st.answered || relay.SameID(got, id) },
		Event:    func(string) { st.resumable = true },
	})
	return st
}

type rewritten struct {
	body                io.ReadCloser
	rewriter            *relay.Rewriter
	server              string
	id                  []byte
	answered, resumable bool
	buf, ready          []byte
	err                 error
}

// Read implements io.Reader.
func (st *rewritten) Read(p []byte) (int, error) {
	if st.buf == nil {
		st.buf = make([]byte, 32<<10)
	}
	for len(st.ready) == 0 {
		if st.err != nil {
			return 0, st.err
		}
		n, err := st.body.Read(st.buf)
		ready, fault := st.rewriter.Push(st.ready[:0], st.buf[:n])
		st.ready = ready
		if fault != nil {
			st.end(fault)
		} else if err != nil {
			st.end(err)
		}
	}
	n := copy(p, st.ready)
	st.ready = st.ready[n:]
	return n, nil
}

// end finishes a stream. A call left without an answer, in a stream that nobody can resume, gets an error.
func (st *rewritten) end(err error) {
	st.err = err
	if st.answered || st.resumable {
		if errors.Is(err, io.EOF) {
			st.ready = st.rewriter.Rest(st.ready)
		}
		return
	}
	// What the server did not finish is left out: with more behind it, a client would take it for an event.
	what := "closed the stream before it had answered"
	if !errors.Is(err, io.EOF) {
		what, st.err = "broke off the stream before it had answered: "+err.Error(), io.EOF
	}
	fault := badGateway(st.id, http.StatusBadGateway, st.server, what)
	st.ready = sse.AppendEvent(st.ready, sse.Event{Name: "message", Data: fault.AppendResponse(nil), HasData: true})
}

// Close implements io.Closer.
func (st *rewritten) Close() error { return st.body.Close() }
