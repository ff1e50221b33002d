package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/bridge"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about tasks, as the extension io.modelcontextprotocol/tasks has them: results that a server has not made yet, which clients ask for by an id. The
// id that a client gets names the server and the tool, and is good for that caller alone.

// maxTaskAnswer bounds what is held of an answer that may have the id of a task.
const maxTaskAnswer = 32 << 20

func isTaskMethod(method string) bool {
	return method == "tasks/get" || method == "tasks/update" || method == "tasks/cancel"
}

// task asks a server of one of its tasks, if the caller may still call the tool.
func (b *Broker) task(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, server *catalog.Server, access Access) {
	id, span := m.ID.Of(m.Body), m.Param("taskId")
	text, _ := jsonrpc.Unquote(span.Of(m.Body)) // what is no string is no task
	task, ok := b.tasks.Open(text, session.SubjectOf(r.Header.Get("Authorization")))
	view := b.viewOf(r)
	if !ok || task.Server != server.Name || view == nil {
		b.fail(w, badParams(m, "unknown task"))
		return
	}
	it := view.Find(catalog.Tool, task.Tool)
	if it == nil || it.Server.Name != server.Name {
		b.fail(w, badParams(m, "unknown task"))
		return
	}
	if !access.Allows(requestOf(it)) {
		b.challenge(w, r, forbidden(id))
		return
	}
	body, err := jsonrpc.Splice(m.Body, jsonrpc.Edit{Span: span, New: jsonrpc.AppendQuote(nil, task.ID)})
	if err != nil {
		b.fail(w, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusInternalServerError, ID: id, Message: err.Error()})
		return
	}
	r.Header.Set(wire.HeaderMCPName, bridge.HeaderValue(task.ID))
	b.callModern(w, r, m, server, body, b.sealer(r, server, task.Tool, false))
}

// sealer makes the ids of tasks in answers to a caller those that it can use; a message without any comes back as it is. Some results have one only if they say that
// they are tasks.
func (b *Broker) sealer(r *http.Request, server *catalog.Server, tool string, ifTask bool) func(message []byte) []byte {
	caller := session.SubjectOf(r.Header.Get("Authorization"))
	return func(message []byte) []byte {
		m, fault := jsonrpc.Parse(message, jsonrpc.Limits{})
		if fault != nil || m.Kind != jsonrpc.Response {
			return message
		}
		kind, err := jsonrpc.Lookup(message, m.Result, "resultType")
		if err != nil || ifTask && string(kind.Of(message)) != `"task"` {
			return message
		}
		span, err := jsonrpc.Lookup(message, m.Result, "taskId")
		if err != nil || !span.Present() {
			return message
		}
		id, err := jsonrpc.Unquote(span.Of(message))
		if err != nil {
			return message
		}
		sealed := b.tasks.Seal(session.Task{Server: server.Name, Tool: tool, ID: id}, caller)
		out, err := jsonrpc.Splice(message, jsonrpc.Edit{Span: span, New: jsonrpc.AppendQuote(nil, sealed)})
		if err != nil {
			return message
		}
		return out
	}
}

// sealed is an answer with each of its messages changed.
func sealed(resp *http.Response, seal func([]byte) []byte) error {
	if verdict, _ := relay.Judge(resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding"), false); verdict == relay.Stream {
		resp.Body = changed(resp.Body, maxTaskAnswer, seal)
		return nil
	}
	whole, err := io.ReadAll(io.LimitReader(resp.Body, maxTaskAnswer+1))
	if err == nil && len(whole) > maxTaskAnswer {
		err = fmt.Errorf("more than %d bytes", maxTaskAnswer)
	}
	if err != nil {
		return fmt.Errorf("gave an answer that cannot be read: %w", err)
	}
	body := resp.Body
	resp.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(seal(whole)), body}
	return nil
}

// changed is an event stream with each of its messages changed as it comes, and those left out for which there is nothing. No event may be longer than most.
func changed(stream io.ReadCloser, most int, change func(message []byte) []byte) io.ReadCloser {
	return &changedStream{ReadCloser: stream, splitter: sse.Splitter{Max: most}, message: change}
}

type changedStream struct {
	io.ReadCloser

	splitter sse.Splitter
	message  func([]byte) []byte
	buf      []byte
	ready    []byte
	err      error
}

// Read implements io.Reader.
func (s *changedStream) Read(p []byte) (int, error) {
	if s.buf == nil {
		s.buf = make([]byte, 32<<10)
	}
	for len(s.ready) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		n, err := s.ReadCloser.Read(s.buf)
		s.splitter.Push(s.buf[:n])
		s.ready = s.ready[:0]
		fault := s.change()
		switch {
		case fault != nil:
			s.err = fault
		case errors.Is(err, io.EOF):
			s.ready, s.err = append(s.ready, s.splitter.Rest()...), io.EOF
		case err != nil:
			s.err = fmt.Errorf("read event stream: %w", err)
		}
	}
	n := copy(p, s.ready)
	s.ready = s.ready[n:]
	return n, nil
}

// change takes the events that are complete.
func (s *changedStream) change() error {
	for {
		block, ok, err := s.splitter.Next()
		if err != nil || !ok {
			return err //nolint:wrapcheck // it says all
		}
		event := sse.Parse(block)
		if len(event.Data) == 0 {
			s.ready = append(s.ready, block...)
			continue
		}
		switch changed := s.message(event.Data); {
		case changed == nil:
		case bytes.Equal(changed, event.Data):
			s.ready = append(s.ready, block...)
		default:
			s.ready = sse.Rewrite(s.ready, block, nil, changed)
		}
	}
}
