package upstream

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

const (
	// lingering is how long a stream that has given its answer may take to end, so that the connection can be used again.
	lingering = 50 * time.Millisecond
	// minResume is the least time between two attempts at resuming a stream, and fruitlessResumes how many attempts in a
	// row may bring nothing.
	minResume        = 100 * time.Millisecond
	fruitlessResumes = 5
)

// Call makes one request and returns its raw result. The error is a *jsonrpc.Error if the server answered with one. What
// the server asks while it works is answered: a ping rightly, all else by a refusal.
//
// When the context ends, the server is told that nobody waits any more.
func (e *Endpoint) Call(ctx context.Context, s Session, method string, params json.RawMessage) (json.RawMessage, error) {
	x := e.exchange(s, method)
	if err := x.do(ctx, params); err != nil {
		if ctx.Err() != nil && !s.modern() { // there the end of the connection says it
			go e.cancelled(ctx, s, x.id)
		}
		return nil, err
	}
	return x.result, nil
}

// Notify sends one notification.
func (e *Endpoint) Notify(ctx context.Context, s Session, method string, params json.RawMessage) error {
	resp, err := e.post(ctx, s, method, appendMessage(nil, nil, method, params), nil)
	if err != nil {
		return err
	}
	if err := e.refused(s, method, resp); err != nil {
		return err
	}
	discard(resp)
	return nil
}

// cancelled tells the server that the answer to a request is no longer waited for. That it may not get through is in the
// nature of it.
func (e *Endpoint) cancelled(ctx context.Context, s Session, id []byte) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)() //nolint:contextcheck // Close ends it too
	_ = e.Notify(ctx, s, "notifications/cancelled", append(append([]byte(`{"requestId":`), id...), '}'))
}

// appendMessage appends a request, or a notification if id is nil.
func appendMessage(dst, id []byte, method string, params json.RawMessage) []byte {
	dst = append(dst, `{"jsonrpc":"2.0",`...)
	if id != nil {
		dst = append(append(append(dst, `"id":`...), id...), ',')
	}
	dst = jsonrpc.AppendQuote(append(dst, `"method":`...), method)
	if len(params) > 0 {
		dst = append(append(dst, `,"params":`...), params...)
	}
	return append(dst, '}')
}

// exchange is one request on its way to its answer.
type exchange struct {
	e      *Endpoint
	s      Session
	method string
	id     []byte // raw
	want   string // id decoded: servers may write it with other escapes

	capabilities string      // that are declared in a revision without sessions; empty for none
	extra        http.Header // that repeat the body there; nil for those that say the truth

	header http.Header // of the answer
	result json.RawMessage
	fault  *jsonrpc.Error
}

func (e *Endpoint) exchange(s Session, method string) *exchange {
	id := e.idPrefix + strconv.FormatUint(e.lastID.Add(1), 10)
	return &exchange{e: e, s: s, method: method, id: jsonrpc.AppendQuote(nil, id), want: id}
}

// do makes the request and waits for its answer.
func (x *exchange) do(ctx context.Context, params json.RawMessage) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := x.send(ctx, params)
	if err != nil {
		return err
	}
	x.header = resp.Header
	if err := x.e.refused(x.s, x.method, resp); err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch kind := contentType(resp); {
	case resp.StatusCode == http.StatusAccepted || resp.StatusCode == http.StatusNoContent:
		return x.broken("took the request without an answer (HTTP %d)", resp.StatusCode)
	case kind == typeJSON:
		err = x.document(resp)
	case kind == typeStream:
		err = x.stream(ctx, cancel, resp.Body)
	default:
		return x.broken("answered with content type %q, not %q or %q: check that the url and path in the configuration are those of an MCP endpoint",
			kind, typeJSON, typeStream)
	}
	if err == nil && x.fault != nil {
		return x.e.serverError(x.method, x.fault)
	}
	return err
}

func (x *exchange) send(ctx context.Context, params json.RawMessage) (*http.Response, error) {
	if x.s.modern() {
		params, err := x.e.withMeta(x.s, cmp.Or(x.capabilities, "{}"), params)
		if err != nil {
			return nil, err
		}
		extra := x.extra
		if extra == nil {
			extra = http.Header{wire.HeaderMCPMethod: {x.method}}
		}
		return x.e.post(ctx, x.s, x.method, appendMessage(nil, x.id, x.method, params), extra)
	}
	return x.e.post(ctx, x.s, x.method, appendMessage(nil, x.id, x.method, params), nil)
}

func (x *exchange) broken(format string, args ...any) error {
	return x.e.broken(x.s, x.method, format, args...)
}

// document reads an answer that is one message.
func (x *exchange) document(resp *http.Response) error {
	limit := int64(x.e.opts.MaxMessage)
	if resp.ContentLength > limit {
		return x.broken("answered with %d bytes, more than the %d that are allowed", resp.ContentLength, limit)
	}
	var buf bytes.Buffer
	if resp.ContentLength > 0 {
		buf.Grow(int(resp.ContentLength) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return x.e.failed(x.method, err)
	case n > limit:
		return x.broken("answered with more than the %d bytes that are allowed", limit)
	}
	m, fault := jsonrpc.Parse(buf.Bytes(), jsonrpc.Limits{MaxDepth: maxAnswerDepth})
	switch {
	case fault != nil:
		return x.broken("answered with what is not a message: %s", fault.Message)
	case m.Kind != jsonrpc.Response:
		return x.broken("answered with a message that is no response")
	case !x.take(&m):
		return x.broken("answered a request that was not made")
	}
	return nil
}

// take keeps the response if it is the one waited for. An error that could not be given an id is taken for it.
func (x *exchange) take(m *jsonrpc.Message) bool {
	if m.ID.Present() {
		if id, err := jsonrpc.Unquote(m.ID.Of(m.Body)); err != nil || id != x.want {
			return false
		}
	}
	if m.Error.Present() {
		x.fault = x.e.fault(x.s, m, http.StatusOK)
	} else {
		x.result = m.Result.Of(m.Body)
	}
	return true
}

// stream reads an answer that comes as events. If the connection ends before it, the stream is resumed where the server
// made that possible.
func (x *exchange) stream(ctx context.Context, cancel context.CancelFunc, body io.ReadCloser) error {
	f := x.e.feed(x.s, x.method)
	f.onResponse = func(m *jsonrpc.Message) bool {
		if !x.take(m) {
			return false
		}
		x.result = bytes.Clone(x.result)
		return true
	}
	defer func() { _ = body.Close() }() // the last one
	for fruitless := 0; ; {
		before := f.events
		err := f.read(ctx, body)
		if err == nil {
			f.linger(ctx, cancel)
			return nil
		}
		if fruitless++; f.events > before {
			fruitless = 0
		}
		if ctx.Err() != nil || !wasCut(err) {
			return err
		}
		if f.lastID == "" || x.s.modern() || fruitless == fruitlessResumes {
			return x.cut(err)
		}
		next, err := x.resume(ctx, f)
		if err != nil {
			return err
		}
		_ = body.Close()
		body = next
	}
}

// wasCut tells an end of the connection from an answer that is wrong.
func wasCut(err error) bool {
	var lost *transportError
	return errors.Is(err, io.EOF) || errors.As(err, &lost)
}

func (x *exchange) cut(err error) error {
	if err == io.EOF { //nolint:errorlint // a wrapped one names the server already
		return x.broken("ended the event stream before the answer: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// resume opens the stream of the request again behind the last event.
func (x *exchange) resume(ctx context.Context, f *feed) (io.ReadCloser, error) {
	if !Sleep(ctx, max(f.retry, minResume)) {
		return nil, x.e.failed(x.method, ctx.Err())
	}
	resp, err := x.e.Get(ctx, x.s, f.lastID)
	if err != nil {
		return nil, err
	}
	if err := x.e.refused(x.s, x.method+" (resumed)", resp); err != nil {
		return nil, err
	}
	if kind := contentType(resp); kind != typeStream {
		_ = resp.Body.Close()
		return nil, x.broken("ended the event stream before the answer and resumed it with content type %q", kind)
	}
	return resp.Body, nil
}

// Sleep waits and tells whether the context lasted.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
