package router

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/tally"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Header is one header field, or one entry of the dynamic metadata.
type Header struct{ Name, Value string }

// Reply is an answer that the router gives itself.
type Reply struct {
	Status  int
	Headers []Header
	Body    []byte
}

// Kind is the value of wire.KeyReply for it.
func (r *Reply) Kind() string {
	for _, h := range r.Headers {
		if h.Name == "content-type" && strings.HasPrefix(h.Value, "text/event-stream") {
			return wire.ReplyStream
		}
	}
	return wire.ReplyMessage
}

// Call is what an adapter must know of a call whose answer it has to look at.
type Call struct {
	Session *session.Session
	Server  *catalog.Server
	Backend session.Backend
	// ID is the request's raw id, nil for a resumed stream.
	ID []byte
	// Body is the message as sent to the server.
	Body []byte
	// Authorization is the client's own, by which what it may have is judged again when the call is made again.
	Authorization string
	// Traceparent is the one that the server got, empty if it got none.
	Traceparent string
	// Replayable tells that the call may be made again when the server has forgotten the session.
	Replayable bool
}

// Decision is what becomes of one request. An adapter may reuse it after Reset.
type Decision struct {
	// Reply, if not nil, is the answer; nothing else of the decision counts then but Metadata.
	Reply *Reply
	// Set are the headers to set, Remove those to take off first.
	Set    []Header
	Remove []string
	// Body is the message to send on, nil if it is the one that came.
	Body []byte
	// Metadata are the entries of the dynamic metadata in wire.MetadataNamespace.
	Metadata []Header
	// Watch, if not nil, says that the answer has to be looked at on its way back.
	Watch *Call
	// Track, if not nil, says that the call must be known as in flight until it has been answered.
	Track *Call
	// Tool counts a call of a tool, where the decision is to let it go on.
	Tool *tally.Counter
}

// Outcome is what metrics call it: "server", "broker" or "reply".
func (d *Decision) Outcome() string {
	if d.Reply != nil {
		return "reply"
	}
	for i := range d.Set {
		if d.Set[i].Name == wire.HeaderCluster && d.Set[i].Value == wire.BrokerCluster {
			return "broker"
		}
	}
	return "server"
}

// Sets tells whether a header is one of those to set, so that it need not be taken off before.
func (d *Decision) Sets(name string) bool {
	for i := range d.Set {
		if d.Set[i].Name == name {
			return true
		}
	}
	return false
}

// Reset makes d ready for the next request.
func (d *Decision) Reset() {
	*d = Decision{Set: d.Set[:0], Remove: d.Remove[:0], Metadata: d.Metadata[:0]}
}

func (d *Decision) set(name, value string) { d.Set = append(d.Set, Header{name, value}) }

// fact tells policies one thing, as header and as metadata.
func (d *Decision) fact(header, key, value string) {
	d.Metadata = append(d.Metadata, Header{key, value})
	d.set(header, headerValue(value))
}

// watch has the answer of a call looked at.
func (d *Decision) watch(c *Call) {
	d.Watch = c
	d.Metadata = append(d.Metadata, Header{wire.KeyWatched, "1"})
}

func (d *Decision) refuse(err *jsonrpc.Error, headers ...Header) {
	d.Reply = &Reply{
		Status:  err.Status,
		Headers: append(headers, Header{"content-type", "application/json"}),
		Body:    err.AppendResponse(nil),
	}
}

// headerValue encodes what is not plain printable ASCII by the specification's sentinel (MCP 2026-07-28, Streamable
// HTTP, "Value Encoding").
func headerValue(v string) string {
	if plain(v) {
		return v
	}
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(v)) + "?="
}

func plain(v string) bool {
	if v == "" {
		return true
	}
	if v[0] == ' ' || v[0] == '\t' || v[len(v)-1] == ' ' || v[len(v)-1] == '\t' {
		return false
	}
	for i := range len(v) {
		if c := v[i]; c < 0x20 || c > 0x7e {
			return false
		}
	}
	return len(v) < 9 || v[:9] != "=?base64?"
}

func invalid(id []byte, status int, message string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Status: status, ID: id, Message: message}
}

func badParams(id []byte, message string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Status: http.StatusOK, ID: id, Message: message}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

// toBroker labels the request for the broker.
func (d *Decision) toBroker(key string) {
	d.set(wire.HeaderCluster, wire.BrokerCluster)
	d.set(wire.HeaderRouterKey, key)
}
