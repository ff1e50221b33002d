package router

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// exchange is the deciding of one POST.
type exchange struct {
	*Router
	req  *Request
	d    *Decision
	m    jsonrpc.Message
	id   []byte
	snap *catalog.Snapshot
	view *catalog.View // what the request's endpoint shows of the snapshot
	sess *session.Session
	// traceparent is what the server gets.
	traceparent string
	// stateless tells that the message is of a revision without sessions.
	stateless bool
	// unwrapped tells that the message was the argument of wire.ToolCall.
	unwrapped bool
}

func (r *Router) post(req *Request, body []byte, d *Decision) {
	if req.contentLength > r.maxBody || int64(len(body)) > r.maxBody {
		r.TooLarge(d)
		return
	}
	x := exchange{Router: r, req: req, d: d}
	m, syntax := jsonrpc.Parse(body, jsonrpc.Limits{})
	if syntax == nil {
		x.m = m
		if m.Kind == jsonrpc.Request { // the id of a response is the server's: no error may answer it
			x.id = m.ID.Of(body)
			d.Metadata = append(d.Metadata, Header{wire.KeyID, string(x.id)})
		}
	} else {
		x.id = syntax.ID
	}
	x.snap = r.snapshot()
	view, err := r.checkHead(req, x.id, x.snap, d)
	x.view = view
	switch {
	case err != nil:
	case !isJSON(req.contentType):
		err = invalid(x.id, http.StatusUnsupportedMediaType, "Content-Type must be application/json")
	case req.encoded:
		err = invalid(x.id, http.StatusUnsupportedMediaType, "a request with Content-Encoding is not accepted")
	case !accepts(req.accept, "application/json") || !accepts(req.accept, "text/event-stream"):
		err = invalid(x.id, http.StatusNotAcceptable, "Accept must allow both application/json and text/event-stream")
	case syntax != nil:
		err = syntax
	default:
		err = x.route()
	}
	if err != nil {
		d.refuse(err)
	}
}

func (x *exchange) route() *jsonrpc.Error {
	if modern, err := x.isModern(); err != nil {
		return err
	} else if modern {
		return x.modern()
	}
	if x.m.Kind == jsonrpc.Response {
		return x.response()
	}
	method := x.m.MethodName()
	if len(method) > maxMethod {
		return invalid(x.id, http.StatusBadRequest, "the method's name is too long")
	}
	x.d.fact(wire.HeaderMethod, wire.KeyMethod, method)
	x.traced()
	if method == "initialize" && x.m.Kind == jsonrpc.Request {
		x.d.Remove = append(x.d.Remove, wire.HeaderSessionID)
		x.broker()
		return nil
	}
	if err := x.findSession(); err != nil {
		return err
	}
	if x.m.Kind == jsonrpc.Notification {
		return x.notification(method)
	}
	switch method {
	case "tools/call":
		return x.named(catalog.Tool, wire.HeaderTool, wire.KeyTool)
	case "prompts/get":
		return x.named(catalog.Prompt, wire.HeaderPrompt, wire.KeyPrompt)
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		return x.resource()
	case "completion/complete":
		return x.completion()
	case "ping", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "logging/setLevel":
		x.broker()
		return nil
	}
	return &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Status: http.StatusOK, ID: x.id, Message: "unknown method " + quote(method)}
}

// maxMethod and maxURI are the longest values, in bytes, that a request may have put in a header. Names of tools and
// prompts need no limit, since they are the catalog's.
const (
	maxMethod = 256
	maxURI    = 8 << 10
)

func (x *exchange) findSession() (err *jsonrpc.Error) {
	x.sess, err = x.session(x.req, x.id, x.view)
	return err
}

// broker leaves the request to the broker itself.
func (x *exchange) broker() {
	x.d.fact(wire.HeaderServer, wire.KeyServer, wire.BrokerServer)
	x.d.toBroker(x.key)
}

// named routes a call of a tool or prompt by its name.
func (x *exchange) named(kind catalog.Kind, header, key string) *jsonrpc.Error {
	span := x.m.Param("name")
	name, err := x.text(span, "name")
	if err != nil {
		return err
	}
	if kind == catalog.Tool && x.ownTool(name) {
		return x.own(name)
	}
	it := x.view.Find(kind, name)
	if it == nil {
		return x.nobodys(kind, name, badParams(x.id, "unknown "+kind.String()+" "+quote(name)+"; "+kind.String()+"s/list gives those on offer"))
	}
	x.facts(it, header, key, it.Name, name)
	if it.Name != name {
		if err := x.splice(span, it.Name); err != nil {
			return err
		}
	}
	return x.call(it, it.Name)
}

// nobodys is the error of a request for what no server is known to offer.
func (x *exchange) nobodys(kind catalog.Kind, name string, unknown *jsonrpc.Error) *jsonrpc.Error {
	server := x.snap.Awaited(kind, name)
	if server == nil {
		return unknown
	}
	return &jsonrpc.Error{
		Code: jsonrpc.CodeInternalError, Status: http.StatusServiceUnavailable, ID: x.id,
		Message: "no server is known to offer " + quote(name) + ", but what server " + quote(server.Name) + " offers is not known yet: try again",
	}
}

// resource routes what is done to a resource by its URI.
func (x *exchange) resource() *jsonrpc.Error {
	span := x.m.Param("uri")
	uri, err := x.text(span, "uri")
	if err != nil {
		return err
	}
	if len(uri) > maxURI {
		return badParams(x.id, "params.uri is longer than "+strconv.Itoa(maxURI)+" bytes")
	}
	it := x.view.FindResource(uri)
	if it == nil {
		return x.nobodys(catalog.Resource, uri, x.noResource(uri))
	}
	if it.Kind != catalog.Resource && catalog.Climbs(uri) {
		return leadsOut(x.id, "params.uri")
	}
	if method := x.m.MethodName(); method == "resources/subscribe" && it.Server.Mute() {
		return badParams(x.id, "server "+quote(it.Server.Name)+" keeps no sessions, and cannot tell of changes")
	}
	own := it.Server.OwnURI(uri)
	x.facts(it, wire.HeaderResource, wire.KeyResource, own, uri)
	if own != uri {
		if err := x.splice(span, own); err != nil {
			return err
		}
	}
	return x.call(it, own)
}

func leadsOut(id []byte, member string) *jsonrpc.Error {
	return badParams(id, member+" has a segment that leads out of its folder (\".\" or \"..\", encoded or not), which a policy could not judge")
}

// codeResourceNotFound is what the session-based revisions answer for a resource that is not there.
const codeResourceNotFound = -32002

// completion routes by what the argument to complete belongs to.
func (x *exchange) completion() *jsonrpc.Error {
	_, refType, err := x.ref("type")
	if err != nil {
		return err
	}
	member := "name"
	if refType == "ref/resource" {
		member = "uri"
	} else if refType != "ref/prompt" {
		return badParams(x.id, `params.ref.type must be "ref/prompt" or "ref/resource"`)
	}
	span, name, err := x.ref(member)
	if err != nil {
		return err
	}
	if len(name) > maxURI {
		return badParams(x.id, "params.ref."+member+" is longer than "+strconv.Itoa(maxURI)+" bytes")
	}
	it, own := x.completed(refType, name)
	if it == nil {
		return badParams(x.id, "no server behind this gateway offers "+quote(name))
	}
	if refType == "ref/resource" && it.Kind != catalog.Resource && catalog.Climbs(name) {
		return leadsOut(x.id, "params.ref.uri")
	}
	if refType == "ref/prompt" {
		x.facts(it, wire.HeaderPrompt, wire.KeyPrompt, own, name)
	} else {
		x.facts(it, wire.HeaderResource, wire.KeyResource, own, name)
	}
	if own != name {
		if err := x.splice(span, own); err != nil {
			return err
		}
	}
	return x.call(it, own)
}

// ref reads a member of params.ref that must be a string.
func (x *exchange) ref(member string) (jsonrpc.Span, string, *jsonrpc.Error) {
	span, err := x.m.Lookup("ref", member)
	if err != nil {
		return span, "", x.ambiguous(err)
	}
	text, refusal := x.text(span, "ref."+member)
	return span, text, refusal
}

func (x *exchange) completed(refType, name string) (it *catalog.Item, own string) {
	if refType == "ref/prompt" {
		if it = x.view.Find(catalog.Prompt, name); it == nil {
			return nil, ""
		}
		return it, it.Name
	}
	if it = x.view.Find(catalog.Template, name); it == nil {
		if it = x.view.FindResource(name); it == nil {
			return nil, ""
		}
	}
	return it, it.Server.OwnURI(name)
}

// facts tells policies whose item is used, under which names.
func (x *exchange) facts(it *catalog.Item, header, key, own, public string) {
	x.d.fact(wire.HeaderServer, wire.KeyServer, it.Server.Name)
	x.d.fact(header, key, own)
	x.d.fact(wire.HeaderPublicName, wire.KeyPublicName, public)
	x.d.Tool = it.Calls
	if it.Hints != "" {
		x.d.fact(wire.HeaderHints, wire.KeyHints, it.Hints)
	}
}

// call sends a request to the server that owns an item, whose own name for it is given: straight there in an open session, else by the broker,
// which opens one, or speaks with a server that knows no sessions.
func (x *exchange) call(it *catalog.Item, own string) *jsonrpc.Error {
	if x.stateless {
		return x.callModern(it, own)
	}
	server := it.Server
	if server.Revision() == "" && server.Modern() != "" {
		x.carried(it.Timeout)
		return nil
	}
	if !server.Sessions() && !server.Carried {
		x.send(it, session.Backend{})
		return nil
	}
	backend, open := x.sess.Backend(server.Name, x.backendKey(server))
	if !open || server.Carried {
		x.carried(it.Timeout)
		return nil
	}
	if backend.ID != "" {
		c := &Call{
			Session: x.sess, Server: server, Backend: backend, ID: x.id, Body: x.d.Body, Authorization: x.req.authorization, Traceparent: x.traceparent,
			Replayable: it.Replayable,
		}
		if c.Body == nil {
			c.Body = x.m.Body
		}
		x.d.watch(c)
		x.d.Track = c
	}
	x.send(it, backend)
	return nil
}

// What may be done about a call that did not get through: sent once more if nobody can have begun it, and also if the connection broke under it.
const (
	retryUnsent = "connect-failure,refused-stream"
	retryBroken = "reset," + retryUnsent
)

// send labels the call of an item for its server, and says when Envoy may send it again.
func (x *exchange) send(it *catalog.Item, backend session.Backend) {
	x.direct(x.d, it.Server, backend, it.Timeout)
	switch {
	case it.Replayable:
		x.d.set(wire.HeaderEnvoyRetry, retryBroken)
	case it.Server.Retries:
		x.d.set(wire.HeaderEnvoyRetry, retryUnsent)
	}
}

// backendKey is what the caller's backend session with a server stands under.
func (x *exchange) backendKey(server *catalog.Server) string {
	return x.sess.BackendKey(server.Fingerprint, server.PerCaller, x.req.authorization)
}

// carried leaves a message for a server to the broker.
func (x *exchange) carried(timeout time.Duration) {
	x.d.toBroker(x.key)
	if timeout > 0 {
		x.d.set(wire.HeaderEnvoyTimeout, milliseconds(timeout))
	}
}

// response takes a client's answer to a server's request back to that server.
func (x *exchange) response() *jsonrpc.Error {
	if err := x.findSession(); err != nil {
		return err
	}
	id := x.m.ID.Of(x.m.Body)
	if name, _, ok := relay.Unseal(x.sess, session.SealInput, id); ok { // the broker asked it for a server without sessions
		x.d.fact(wire.HeaderServer, wire.KeyServer, name)
		x.d.toBroker(x.key)
		return nil
	}
	name, raw, ok := relay.Unseal(x.sess, session.SealRequest, id)
	if !ok {
		return invalid(nil, http.StatusBadRequest, "this response answers no request of this session")
	}
	return x.back(name, x.m.ID, raw)
}

// back sends a message that answers or follows one of a server to that server, with the server's own value restored.
func (x *exchange) back(name string, span jsonrpc.Span, raw []byte) *jsonrpc.Error {
	server := x.snap.Server(name)
	if server == nil || !server.Programmed || server.Revision() == "" { // without a revision with sessions, none of these can be for it
		return invalid(nil, http.StatusBadRequest, "the server that this message is for is no longer there")
	}
	backend, open := x.sess.Backend(name, x.backendKey(server))
	if !open && !span.Present() {
		return invalid(nil, http.StatusBadRequest, "the session with the server that this message is for has ended")
	}
	if span.Present() {
		body, err := jsonrpc.Splice(x.m.Body, jsonrpc.Edit{Span: span, New: raw})
		if err != nil {
			return invalid(nil, http.StatusBadRequest, err.Error())
		}
		x.d.Body = body
	}
	x.d.fact(wire.HeaderServer, wire.KeyServer, name)
	if server.Carried || !open { // whether it has ended, or this router has not heard of it yet, the broker knows
		x.carried(server.Timeout)
	} else {
		x.direct(x.d, server, backend, server.Timeout)
	}
	return nil
}

// notification routes what a client tells: to the server it is for, else to the broker, which also has the calls for
// which it is still opening a session.
func (x *exchange) notification(method string) *jsonrpc.Error {
	switch method {
	case "notifications/cancelled":
		if name, ok := x.sess.CallOwner(x.m.Param("requestId").Of(x.m.Body)); ok && x.back(name, jsonrpc.Span{}, nil) == nil {
			return nil
		}
	case "notifications/progress":
		span := x.m.Param("progressToken")
		if name, raw, ok := relay.Unseal(x.sess, session.SealToken, span.Of(x.m.Body)); ok && x.back(name, span, raw) == nil {
			return nil
		}
	}
	x.broker()
	return nil
}

// text reads a member that must be a string.
func (x *exchange) text(span jsonrpc.Span, member string) (string, *jsonrpc.Error) {
	raw := span.Of(x.m.Body)
	if len(raw) == 0 || raw[0] != '"' {
		return "", badParams(x.id, "params."+member+" must be a string")
	}
	text, err := jsonrpc.Unquote(raw)
	if err != nil {
		return "", badParams(x.id, "params."+member+": "+err.Error())
	}
	return text, nil
}

func (x *exchange) splice(span jsonrpc.Span, value string) *jsonrpc.Error {
	body, err := jsonrpc.Splice(x.m.Body, jsonrpc.Edit{Span: span, New: jsonrpc.AppendQuote(nil, value)})
	if err != nil {
		return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusInternalServerError, ID: x.id, Message: err.Error()}
	}
	x.d.Body = body
	return nil
}

// quote shows foreign text in a message, cut where it is long.
func quote(s string) string {
	const most = 120
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return `"` + s + `"`
}
