package router

import (
	"encoding/base64"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about requests of the revisions without sessions, which tell in _meta and in headers what a session would know. Headers that repeat
// the body are believed only where they agree with it (MCP 2026-07-28, Streamable HTTP, "Server Validation").

// isModern tells whether a message is of a revision without sessions: its header says so, or it tells of a revision where only those do.
func (x *exchange) isModern() (bool, *jsonrpc.Error) {
	if wire.IsModernRevision(x.req.protocolVersion) {
		return true, nil
	}
	meta := x.m.Param("_meta")
	if !meta.Present() {
		return false, nil
	}
	span, err := jsonrpc.Lookup(x.m.Body, meta, wire.MetaProtocolVersion)
	if err != nil {
		return false, x.ambiguous(err)
	}
	if !span.Present() {
		return false, nil
	}
	version, err := jsonrpc.Unquote(span.Of(x.m.Body))
	return err != nil || !wire.IsSessionRevision(version), nil //nolint:nilerr // what is no revision is not one with sessions
}

// ambiguous is the error for what two readers could read differently.
func (x *exchange) ambiguous(err error) *jsonrpc.Error {
	return invalid(x.id, http.StatusBadRequest, messageOf(err))
}

func (x *exchange) modern() *jsonrpc.Error {
	x.stateless = true
	x.beginModern()
	if x.m.Kind == jsonrpc.Response {
		return invalid(nil, http.StatusBadRequest, "there is no request that a response could answer; answers to input requests belong into the repeated request")
	}
	method := x.m.MethodName()
	if len(method) > maxMethod {
		return invalid(x.id, http.StatusBadRequest, "the method's name is too long")
	}
	x.d.fact(wire.HeaderMethod, wire.KeyMethod, method)
	x.traced()
	if x.m.Kind == jsonrpc.Notification {
		x.broker()
		return nil
	}
	if err := x.checkMeta(); err != nil {
		return err
	}
	switch got, ok := x.req.mirrored(wire.HeaderMCPMethod); {
	case x.req.twice != "":
		return mismatch(x.id, "the header "+x.req.twice+" came more than once")
	case !ok:
		return mismatch(x.id, "the header Mcp-Method is missing")
	case got != method:
		return mismatch(x.id, "the header Mcp-Method says "+quote(got)+" and the body "+quote(method))
	}
	x.d.Metadata = append(x.d.Metadata, Header{wire.KeyRevision, x.req.protocolVersion})
	return x.routeModern(method)
}

// beginModern is what becomes of any request without a session: no stream can be resumed.
func (x *exchange) beginModern() {
	if x.req.seen&seenLastEvent != 0 {
		x.d.Remove = append(x.d.Remove, wire.HeaderLastEventID)
	}
}

func (x *exchange) routeModern(method string) *jsonrpc.Error {
	switch method {
	case "tools/call":
		if err := x.checkName("name"); err != nil {
			return err
		}
		return x.named(catalog.Tool, wire.HeaderTool, wire.KeyTool)
	case "prompts/get":
		if err := x.checkName("name"); err != nil {
			return err
		}
		return x.named(catalog.Prompt, wire.HeaderPrompt, wire.KeyPrompt)
	case "resources/read":
		if err := x.checkName("uri"); err != nil {
			return err
		}
		return x.resource()
	case "completion/complete":
		return x.completion()
	case "tasks/get", "tasks/update", "tasks/cancel":
		return x.task()
	case "server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "subscriptions/listen":
		x.broker()
		return nil
	}
	return &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Status: http.StatusNotFound, ID: x.id, Message: "unknown method " + quote(method)}
}

// checkMeta checks that a request tells what each has to. What its header says is a revision that is spoken here.
func (x *exchange) checkMeta() *jsonrpc.Error {
	missing := func(what string) *jsonrpc.Error {
		return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Status: http.StatusBadRequest, ID: x.id, Message: what}
	}
	meta := x.m.Param("_meta")
	version, err := jsonrpc.Lookup(x.m.Body, meta, wire.MetaProtocolVersion)
	if err != nil {
		return x.ambiguous(err)
	}
	raw := version.Of(x.m.Body)
	if len(raw) == 0 || raw[0] != '"' {
		return missing("params._meta must have " + quote(wire.MetaProtocolVersion) + ", a string")
	}
	requested, err := jsonrpc.Unquote(raw)
	if err != nil {
		return missing("params._meta: " + quote(wire.MetaProtocolVersion) + ": " + err.Error())
	}
	switch header := x.req.protocolVersion; {
	case header == "":
		return mismatch(x.id, "the header MCP-Protocol-Version is missing")
	case header != requested:
		return mismatch(x.id, "the header MCP-Protocol-Version says "+quote(header)+" and the body "+quote(requested))
	}
	capabilities, err := jsonrpc.Lookup(x.m.Body, meta, wire.MetaClientCapabilities)
	if err != nil {
		return x.ambiguous(err)
	}
	if raw := capabilities.Of(x.m.Body); len(raw) == 0 || raw[0] != '{' {
		return missing("params._meta must have " + quote(wire.MetaClientCapabilities) + ", an object")
	}
	return nil
}

// checkName checks that Mcp-Name is what the body names.
func (x *exchange) checkName(member string) *jsonrpc.Error {
	name, err := x.text(x.m.Param(member), member)
	if err != nil {
		err.Status = http.StatusBadRequest
		return err
	}
	header, ok := x.req.mirrored(wire.HeaderMCPName)
	if !ok {
		return mismatch(x.id, "the header Mcp-Name is missing")
	}
	got, ok := decodeValue(header)
	if !ok {
		return mismatch(x.id, "the header Mcp-Name has a value that cannot be read")
	}
	if got != name {
		return mismatch(x.id, "the header Mcp-Name says "+quote(got)+" and params."+member+" "+quote(name))
	}
	return nil
}

// checkParams checks the headers by which a call repeats arguments of its own.
func (x *exchange) checkParams(params []catalog.Param) *jsonrpc.Error {
	for i := range params {
		p := &params[i]
		span, err := x.m.Lookup(p.Path...)
		if err != nil {
			return x.ambiguous(err)
		}
		raw := span.Of(x.m.Body)
		header, ok := x.req.mirrored(p.Header)
		argument := "params." + strings.Join(p.Path, ".")
		switch {
		case !given(raw) && ok:
			return mismatch(x.id, "the header "+p.Header+" repeats "+argument+", which has no value that it could")
		case !given(raw):
		case !ok:
			return mismatch(x.id, "the header "+p.Header+" is missing, which must repeat "+argument)
		case !repeats(header, raw):
			return mismatch(x.id, "the header "+p.Header+" does not say what "+argument+" does")
		}
	}
	return nil
}

// given tells whether an argument has a value that a header can repeat.
func given(raw []byte) bool {
	return len(raw) > 0 && raw[0] != 'n' && raw[0] != '{' && raw[0] != '['
}

// repeats tells whether a header's value is that of an argument in raw JSON.
func repeats(header string, raw []byte) bool {
	got, ok := decodeValue(header)
	if !ok {
		return false
	}
	if raw[0] == '"' {
		text, err := jsonrpc.Unquote(raw)
		return err == nil && text == got
	}
	return got == string(raw) || raw[0] != 't' && raw[0] != 'f' && sameInteger(got, string(raw))
}

// sameInteger tells whether two ways of writing mean one integer that every reader has exactly.
func sameInteger(a, b string) bool {
	if strings.Trim(a, "+-.eE0123456789") != "" { // what only some readers take for a number
		return false
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y && x == math.Trunc(x) && math.Abs(x) < 1<<53
}

const (
	sentinelStart = "=?base64?"
	sentinelEnd   = "?="
)

// decodeValue reads a header's value as the specification has values encoded (as above, "Value Encoding").
func decodeValue(v string) (string, bool) {
	for i := range len(v) {
		if c := v[i]; (c < 0x20 || c > 0x7e) && c != '\t' {
			return "", false
		}
	}
	encoded, ok := strings.CutPrefix(v, sentinelStart)
	if !ok {
		return v, true
	}
	if encoded, ok = strings.CutSuffix(encoded, sentinelEnd); !ok {
		return v, true
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(encoded)
	return string(decoded), err == nil
}

// callModern sends a call to the server that owns the item: straight there where it speaks the client's revision, else by the broker.
func (x *exchange) callModern(it *catalog.Item, own string) *jsonrpc.Error {
	if x.unwrapped {
		x.repeatParams(it.Params)
	} else if err := x.checkParams(it.Params); err != nil {
		return err
	}
	x.mirror(x.m.MethodName(), own)
	server := it.Server
	if server.Modern() == "" || server.Carried || x.takesTasks(server) {
		x.carried(it.Timeout)
		return nil
	}
	x.send(it, session.Backend{Revision: x.req.protocolVersion})
	return nil
}

// mirror repeats in headers what the body names, by the server's own name.
func (x *exchange) mirror(method, own string) {
	d := x.d
	d.set(wire.HeaderMCPMethod, method)
	if method != "completion/complete" {
		d.set(wire.HeaderMCPName, headerValue(own))
	}
	// What no schema here tells of may be of one that the server has since: it is the server's to judge, and policies are told to heed only what is checked.
	d.Set = append(d.Set, x.req.params...)
}

func mismatch(id []byte, message string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeHeaderMismatch, Status: http.StatusBadRequest, ID: id, Message: "header mismatch: " + message}
}

// noResource is the error for a resource that is nobody's.
func (x *exchange) noResource(uri string) *jsonrpc.Error {
	err := &jsonrpc.Error{Code: codeResourceNotFound, Status: http.StatusOK, ID: x.id, Message: "no server behind this gateway offers the resource " + quote(uri)}
	err.Data = append(jsonrpc.AppendQuote([]byte(`{"uri":`), uri), '}')
	if x.stateless {
		err.Code = jsonrpc.CodeInvalidParams
	}
	return err
}

// messageOf is what an error says to a client.
func messageOf(err error) string {
	if known := (*jsonrpc.Error)(nil); errors.As(err, &known) {
		return known.Message
	}
	return err.Error()
}
