package bridge

import (
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

func isModernMeta(key string) bool {
	switch key {
	case wire.MetaProtocolVersion, wire.MetaClientInfo, wire.MetaClientCapabilities, wire.MetaLogLevel:
		return true
	}
	return false
}

func isRetryMember(key string) bool { return key == memberResponses || key == memberState }

// The members of params by which a modern client answers a request for input.
const (
	memberResponses = "inputResponses"
	memberState     = "requestState"
)

// Token is the raw progress token of a request; nil if it has none.
func Token(m *jsonrpc.Message) []byte {
	span, err := m.Lookup("_meta", "progressToken")
	if err != nil {
		return nil // there twice: neither is believed
	}
	return span.Of(m.Body)
}

// ToLegacy makes a modern client's request into one of a session. The raw id and progress token are those to use there; a request without a token
// gets none.
func ToLegacy(m *jsonrpc.Message, id, token []byte) ([]byte, error) {
	edits := []jsonrpc.Edit{{Span: m.ID, New: id}}
	edits = append(edits, jsonrpc.Change(m.Body, m.Params, isRetryMember, nil)...)
	meta := m.Param("_meta")
	edits = append(edits, jsonrpc.Change(m.Body, meta, isModernMeta, nil)...)
	if span, err := jsonrpc.Lookup(m.Body, meta, "progressToken"); err != nil {
		return nil, err
	} else if span.Present() {
		edits = append(edits, jsonrpc.Edit{Span: span, New: token})
	}
	return jsonrpc.Splice(m.Body, edits...)
}

// Retry is what the second and later requests of a modern call have beyond the first. The zero Retry is for the first.
type Retry struct {
	// ID is the raw id, nil for the client's own.
	ID []byte
	// Responses is the raw object of the client's answers, State the server's own state. Either may be nil.
	Responses, State []byte
}

// ToModern makes a legacy client's request into a modern one, which says itself what the session knows of the client.
func ToModern(m *jsonrpc.Message, c Client, retry Retry) ([]byte, error) {
	var edits []jsonrpc.Edit
	if retry.ID != nil {
		edits = append(edits, jsonrpc.Edit{Span: m.ID, New: retry.ID})
	}
	own, members := modernMeta(c), []byte(nil)
	meta := m.Param("_meta")
	switch raw := meta.Of(m.Body); {
	case len(raw) == 0:
		members = append(append(append(members, `"_meta":{`...), own...), '}')
	case raw[0] == '{':
		edits = append(edits, jsonrpc.Change(m.Body, meta, isModernMeta, own)...)
	default:
		edits = append(edits, jsonrpc.Edit{Span: meta, New: append(append([]byte{'{'}, own...), '}')})
	}
	members = appendMember(members, memberResponses, retry.Responses)
	members = appendMember(members, memberState, retry.State)
	if m.Params.Present() {
		edits = append(edits, jsonrpc.Change(m.Body, m.Params, isRetryMember, members)...)
	} else {
		behind := jsonrpc.Span{Start: m.Method.End, End: m.Method.End}
		edits = append(edits, jsonrpc.Edit{Span: behind, New: append(append([]byte(`,"params":{`), members...), '}')})
	}
	return jsonrpc.Splice(m.Body, edits...)
}

func modernMeta(c Client) []byte {
	out := appendMember(nil, wire.MetaProtocolVersion, jsonrpc.AppendQuote(nil, wire.Revision20260728))
	out = appendMember(out, wire.MetaClientInfo, c.Info)
	out = appendMember(out, wire.MetaClientCapabilities, orEmpty(c.Capabilities))
	if c.LogLevel != "" {
		out = appendMember(out, wire.MetaLogLevel, jsonrpc.AppendQuote(nil, c.LogLevel))
	}
	return out
}

// appendMember appends a member, with a comma if one stands before it, and nothing if it has no value.
func appendMember(dst []byte, key string, value []byte) []byte {
	if value == nil {
		return dst
	}
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	return append(append(jsonrpc.AppendQuote(dst, key), ':'), value...)
}
