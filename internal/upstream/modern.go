package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about revisions without sessions.

const (
	methodDiscover = "server/discover"
	methodListen   = "subscriptions/listen"
	// probeTimeout bounds the question whether a server speaks such a revision. Some servers of the others leave it unanswered.
	probeTimeout = 5 * time.Second
)

// Discovered is what a server says of itself without a session.
type Discovered struct {
	// Modern is the newest revision without sessions that both sides speak, empty if there is none.
	Modern string
	// Sessions tells whether the server names a session-based revision that the gateway speaks.
	Sessions bool
	// Result is that of server/discover, as the server wrote it; nil if the server refused the question in the way of a revision without sessions.
	Result json.RawMessage
}

// Discover asks a server which revisions it speaks, as the specification tells (MCP 2026-07-28, Streamable HTTP, "Backward Compatibility"). A server that
// knows nothing of such a question speaks session-based revisions alone; that is no error, and neither is one that answers with what is no MCP.
func (e *Endpoint) Discover(ctx context.Context) (Discovered, error) {
	s := Session{Revision: wire.ModernRevisions()[0]}
	result, err := e.Call(ctx, s, methodDiscover, nil)
	var (
		rpc       *jsonrpc.Error
		transport *transportError
		status    *StatusError
	)
	switch {
	case err == nil:
		d := spoken(result, "supportedVersions")
		d.Result = bytes.Clone(result)
		return d, nil
	case errors.As(err, &rpc) && rpc.Code == jsonrpc.CodeUnsupportedVersion:
		d := spoken(rpc.Data, "supported")
		d.Modern = "" // it has just refused the only one that the gateway speaks
		return d, nil
	case errors.As(err, &transport):
		return Discovered{}, err
	case errors.As(err, &status) && status.Status >= http.StatusInternalServerError && status.Status != http.StatusNotImplemented:
		return Discovered{Sessions: true}, nil // many servers fail so at what they do not know
	case isModernError(rpc):
		return Discovered{}, err
	}
	return Discovered{Sessions: true}, nil
}

// isModernError tells an error that only servers without sessions give.
func isModernError(rpc *jsonrpc.Error) bool {
	return rpc != nil && (rpc.Code == jsonrpc.CodeHeaderMismatch || rpc.Code == jsonrpc.CodeMissingCapability)
}

// spoken reads which revisions a server names.
func spoken(object json.RawMessage, member string) (d Discovered) {
	var versions []string
	raw, err := memberOf(object, member)
	if err != nil || json.Unmarshal(raw, &versions) != nil {
		return Discovered{Sessions: true}
	}
	for _, v := range wire.ModernRevisions() {
		if d.Modern == "" && slices.Contains(versions, v) {
			d.Modern = v
		}
	}
	d.Sessions = slices.ContainsFunc(versions, wire.IsSessionRevision)
	return d
}

// withMeta adds what each request tells of its client where there is no session.
func (e *Endpoint) withMeta(s Session, capabilities string, params json.RawMessage) (json.RawMessage, error) {
	meta := jsonrpc.AppendQuote([]byte(`"_meta":{"`+wire.MetaProtocolVersion+`":`), s.Revision)
	meta = jsonrpc.AppendQuote(append(meta, `,"`+wire.MetaClientInfo+`":{"name":"mcp-gateway","version":`...), e.opts.Version)
	meta = append(append(append(meta, `},"`+wire.MetaClientCapabilities+`":`...), capabilities...), '}')
	if len(params) == 0 {
		return slices.Concat([]byte("{"), meta, []byte("}")), nil
	}
	out, err := jsonrpc.Splice(append([]byte{' '}, params...), jsonrpc.Edit{Span: jsonrpc.Span{Start: 2, End: 2}, New: append(meta, ',')})
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", e.name, err)
	}
	return out, nil
}

// aboutModern is what the result of server/discover says of a server.
func aboutModern(result json.RawMessage) about {
	a := aboutOf(result)
	a.serverInfo = nil
	if info, err := memberOf(result, "_meta", wire.MetaServerInfo); err == nil {
		a.serverInfo = bytes.Clone(info)
	}
	for i := range a.problems {
		a.problems[i] = methodDiscover + a.problems[i][len(methodInitialize):]
	}
	if err := checkResult(result); err != nil {
		a.problems = append(a.problems, methodDiscover+": "+err.Error())
	}
	return a
}

// checkResult tells what a result lacks of what the revision demands of all.
func checkResult(result json.RawMessage) error {
	kind, err := textOf(result, "resultType")
	switch {
	case err != nil:
		return err
	case kind == "":
		return errors.New(`the result has no "resultType"; it is taken for a complete one`)
	case kind != "complete":
		return &fault{fmt.Sprintf("the result is of the type %q", brief(kind, maxSnippet))}
	}
	return nil
}

// maxTTL is the longest time for which a server is believed that its lists stay as they are.
const maxTTL = 24 * time.Hour

// cacheOf reads what a server says of how long one page of a list stays as it is.
func cacheOf(result json.RawMessage) (catalog.Cache, error) {
	raw, err := memberOf(result, "ttlMs")
	if err != nil {
		return catalog.Cache{}, err
	}
	c := catalog.Cache{Told: true}
	if scope, err := textOf(result, "cacheScope"); err != nil || scope != "public" {
		c.Private = true // what is unclear is kept
	}
	var ms float64
	if json.Unmarshal(raw, &ms) != nil || ms < 0 {
		return c, errors.New(`the result has no "ttlMs" that is 0 or more; it is taken for 0`)
	}
	c.TTL = time.Duration(min(ms, float64(maxTTL.Milliseconds()))) * time.Millisecond
	return c, nil
}

// listenParams ask for all changes of the lists that a server has.
func listenParams(lists kindSet) json.RawMessage {
	asked := map[string]bool{}
	for _, kind := range allKinds() {
		if lists.has(kind) {
			asked[filterMember(kind)] = true
		}
	}
	params, _ := json.Marshal(map[string]any{"notifications": asked}) // flags can be written
	return params
}

// filterMember asks in a filter for the changes of a kind's list.
func filterMember(kind catalog.Kind) string {
	switch kind {
	case catalog.Tool:
		return "toolsListChanged"
	case catalog.Prompt:
		return "promptsListChanged"
	default:
		return "resourcesListChanged"
	}
}

// ErrEnded means that a server has ended a subscription in the way in which it should.
var ErrEnded = errors.New("the server has ended the subscription")

// Subscription is what a server is asked to tell of, and who is told.
type Subscription struct {
	// Params are those of subscriptions/listen, without _meta.
	Params json.RawMessage
	// Capabilities are those that the gateway declares as a client; empty for none.
	Capabilities string
	// Acknowledged is told the filter that the server agreed to. It must not block, and neither must Notified.
	Acknowledged func(filter json.RawMessage)
	// Notified is told each notification. What it is given is valid only until it returns.
	Notified func(method string, params []byte)
}

// Subscribe listens to a server in a revision without sessions until the context ends, or the server ends the stream: that is ErrEnded, or whatever went wrong.
// The server must agree within the given time.
func (e *Endpoint) Subscribe(ctx context.Context, s Session, within time.Duration, sub Subscription) error {
	f := e.feed(s, methodListen)
	f.lenient = true
	return f.subscribe(ctx, within, sub)
}

func (f *feed) subscribe(ctx context.Context, within time.Duration, sub Subscription) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(within, func() { cancel(context.DeadlineExceeded) })
	defer timer.Stop()
	x := f.e.exchange(f.s, methodListen)
	x.capabilities = sub.Capabilities
	resp, err := x.send(ctx, sub.Params)
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
	switch contentType(resp) {
	case typeStream:
	case typeJSON:
		if err := x.document(resp); err != nil {
			return err
		}
		if x.fault != nil {
			return f.e.serverError(f.what, x.fault)
		}
		return ErrEnded
	default:
		return f.e.broken(f.s, f.what, "answered with content type %q, not %q", contentType(resp), typeStream)
	}
	var ended error
	f.onResponse = func(m *jsonrpc.Message) bool {
		if !x.take(m) {
			return false
		}
		if ended = ErrEnded; x.fault != nil {
			ended = f.e.serverError(f.what, x.fault)
		}
		return true
	}
	agreed := false
	f.onNotification = func(m *jsonrpc.Message) bool {
		method := m.MethodName()
		if method == methodAcknowledged {
			if !agreed && timer.Stop() {
				agreed = true
				sub.Acknowledged(bytes.Clone(m.Param("notifications").Of(m.Body)))
			}
		} else if agreed { // before that, nothing may be sent
			sub.Notified(method, m.Params.Of(m.Body))
		}
		return true
	}
	if err := f.read(ctx, resp.Body); err != nil {
		if !agreed && ctx.Err() != nil {
			return f.e.failed(f.what, context.Cause(ctx))
		}
		return err
	}
	return ended
}

// Listen reads the event stream of a session until it ends, which is io.EOF, or fails. It calls opened once the server has agreed, for which it has the
// given time, and notified for each notification, with params that are valid only until it returns.
func (e *Endpoint) Listen(ctx context.Context, s Session, within time.Duration, opened func(), notified func(method string, params []byte)) error {
	f := e.feed(s, "event stream")
	f.lenient = true
	f.onNotification = func(m *jsonrpc.Message) bool {
		notified(m.MethodName(), m.Params.Of(m.Body))
		return true
	}
	return f.listen(ctx, within, opened)
}

const methodAcknowledged = "notifications/subscriptions/acknowledged"
