package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/sse"
)

// maxAnswerDepth is how deep an answer may be nested: as deep as it likes, for how deep one item goes is no reason to
// refuse all of them.
const maxAnswerDepth = 1 << 30

// maxRetry bounds how long a server can make us wait before a stream is opened again.
const maxRetry = 5 * time.Minute

// feed reads the messages of one event stream, which may go over several connections.
type feed struct {
	e    *Endpoint
	s    Session
	what string
	// lastID is the last event's id; with it the stream can be resumed.
	lastID string
	// retry is how long the server wants us to wait before that.
	retry time.Duration
	// events counts what was read.
	events int
	// reader is of the current connection.
	reader *sse.Reader
	// lenient passes over what is no message.
	lenient bool
	// onResponse is told the responses; it returns true for the last one that is wanted.
	onResponse func(*jsonrpc.Message) bool
	// onNotification, if there is one, is told the notifications first; it returns true for one that is no more of anybody's concern.
	onNotification func(*jsonrpc.Message) bool
}

func (e *Endpoint) feed(s Session, what string) *feed { return &feed{e: e, s: s, what: what} }

// read goes over the messages of a connection until the wanted one, for which it returns nil, or the end, which is io.EOF.
func (f *feed) read(ctx context.Context, body io.Reader) error {
	f.reader = sse.NewReader(body, f.e.opts.MaxMessage)
	return f.next(ctx)
}

// linger reads what comes behind the wanted message. A stream that ends at once leaves its connection for the next
// request; one that does not is closed.
func (f *feed) linger(ctx context.Context, cancel context.CancelFunc) {
	timer := time.AfterFunc(lingering, cancel)
	defer timer.Stop()
	f.onResponse, f.lenient = nil, true
	_ = f.next(ctx) // the answer is there: how the rest ends is nobody's concern
}

// next is read on a connection that was begun.
func (f *feed) next(ctx context.Context) error {
	for {
		ev, err := f.reader.Next()
		switch {
		case errors.Is(err, sse.ErrTooLarge):
			return f.e.broken(f.s, f.what, "sent an event of more than %d bytes: %w", f.e.opts.MaxMessage, err)
		case err == io.EOF: //nolint:errorlint // a wrapped one is a connection that broke
			return io.EOF
		case err != nil:
			return f.e.failed(f.what, err)
		}
		f.events++
		if ev.HasID {
			f.lastID = ev.ID
		}
		if ms, err := strconv.Atoi(ev.Retry); err == nil {
			f.retry = min(time.Duration(min(ms, int(maxRetry/time.Millisecond)))*time.Millisecond, maxRetry)
		}
		if len(ev.Data) == 0 || ev.Name != "" && ev.Name != "message" {
			continue
		}
		if done, err := f.data(ctx, ev.Data); done || err != nil {
			return err
		}
	}
}

// data handles what one event holds: a message, or several in revision 2025-03-26.
func (f *feed) data(ctx context.Context, data []byte) (done bool, err error) {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) {
		return f.message(ctx, data)
	}
	var batch []json.RawMessage
	if err := json.Unmarshal(data, &batch); err != nil && !f.lenient {
		return false, f.e.broken(f.s, f.what, "sent an event that is not a message: %w", err)
	}
	for _, one := range batch {
		ended, err := f.message(ctx, one)
		if err != nil {
			return false, err
		}
		done = done || ended
	}
	return done, nil
}

func (f *feed) message(ctx context.Context, data []byte) (done bool, err error) {
	m, fault := jsonrpc.Parse(data, jsonrpc.Limits{MaxDepth: maxAnswerDepth})
	if fault != nil {
		if f.lenient {
			return false, nil
		}
		return false, f.e.broken(f.s, f.what, "sent an event that is not a message: %s", fault.Message)
	}
	switch m.Kind {
	case jsonrpc.Response:
		return f.onResponse != nil && f.onResponse(&m), nil
	case jsonrpc.Request:
		if !f.s.modern() { // else the server must not ask, and there is no way to answer
			f.e.answer(ctx, f.s, &m)
		}
	default:
		if f.onNotification != nil && f.onNotification(&m) {
			return false, nil
		}
		if f.e.opts.OnNotification != nil {
			f.e.opts.OnNotification(m.MethodName(), m.Params.Of(m.Body))
		}
	}
	return false, nil
}

// answer answers a request of the server. A ping is answered, all else refused: who calls here has nobody to ask.
func (e *Endpoint) answer(ctx context.Context, s Session, m *jsonrpc.Message) {
	id := m.ID.Of(m.Body)
	var body []byte
	if m.MethodName() == "ping" {
		body = jsonrpc.AppendResult(nil, id, []byte("{}"))
	} else {
		refusal := jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, ID: id, Message: "the gateway offers no client features on this connection"}
		body = refusal.AppendResponse(nil)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	// A server that cannot be answered finds out by itself; the call or stream that it asked on goes on.
	if resp, err := e.post(ctx, s, "answer", body, nil); err == nil {
		discard(resp)
	}
}

// contentType is the media type of an answer, without parameters.
func contentType(resp *http.Response) string {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")) // what is no media type is an empty one
	return kind
}

// listen opens the session's event stream and reads it until it ends, which is io.EOF, or fails. It calls opened once
// the server has agreed, for which it has the given time.
func (f *feed) listen(ctx context.Context, within time.Duration, opened func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(within, func() { cancel(context.DeadlineExceeded) })
	defer timer.Stop()
	resp, err := f.e.Get(ctx, f.s, f.lastID)
	if err != nil {
		if ctx.Err() != nil {
			return f.e.failed(f.what, context.Cause(ctx))
		}
		return err
	}
	if err := f.e.refused(f.s, f.what, resp); err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if kind := contentType(resp); kind != typeStream {
		return f.e.broken(f.s, f.what, "answered with content type %q, not %q", kind, typeStream)
	}
	if !timer.Stop() {
		return f.e.failed(f.what, context.DeadlineExceeded)
	}
	opened()
	return f.read(ctx, resp.Body)
}
