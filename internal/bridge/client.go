package bridge

import (
	"encoding/json"
	"errors"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Client is what a client says of itself: with each request if it is modern, once for a session if it is legacy.
type Client struct {
	// Info and Capabilities are raw JSON objects, nil if the client did not give them.
	Info, Capabilities json.RawMessage
	// LogLevel is the least level of messages that the client wants, empty if it wants none.
	LogLevel string
}

// errLevel is the fault of a log level that is none.
var errLevel = errors.New("params._meta[\"" + wire.MetaLogLevel + "\"] must be one of debug, info, notice, warning, error, critical, alert, emergency")

// ReadClient reads what a modern request says of its client.
func ReadClient(m *jsonrpc.Message) (Client, error) {
	var c Client
	meta := m.Param("_meta")
	for member, into := range map[string]*json.RawMessage{wire.MetaClientInfo: &c.Info, wire.MetaClientCapabilities: &c.Capabilities} {
		span, err := jsonrpc.Lookup(m.Body, meta, member)
		if err != nil {
			return Client{}, err
		}
		if raw := span.Of(m.Body); len(raw) > 0 && raw[0] == '{' {
			*into = raw
		}
	}
	span, err := jsonrpc.Lookup(m.Body, meta, wire.MetaLogLevel)
	if err != nil {
		return Client{}, err
	}
	if span.Present() {
		c.LogLevel, err = jsonrpc.Unquote(span.Of(m.Body))
		if err != nil || Severity(c.LogLevel) < 0 {
			return Client{}, errLevel
		}
	}
	return c, nil
}

// ReadInitialize reads what the params of a legacy client's initialize request say of it.
func ReadInitialize(params json.RawMessage) Client {
	var c Client
	object := jsonrpc.Span{End: len(params)}
	for member, into := range map[string]*json.RawMessage{"clientInfo": &c.Info, "capabilities": &c.Capabilities} {
		// What is ambiguous counts as not given: nothing is asked of such a client.
		if span, err := jsonrpc.Lookup(params, object, member); err == nil {
			if raw := span.Of(params); len(raw) > 0 && raw[0] == '{' {
				*into = raw
			}
		}
	}
	return c
}

// Initialize are the params of the initialize request with which a session is opened for a modern client.
func (c Client) Initialize(revision, version string) json.RawMessage {
	out := jsonrpc.AppendQuote([]byte(`{"protocolVersion":`), revision)
	out = append(append(out, `,"capabilities":`...), orEmpty(c.Capabilities)...)
	out = append(out, `,"clientInfo":`...)
	if c.Info == nil {
		out = jsonrpc.AppendQuote(append(out, `{"name":"mcp-gateway","version":`...), version)
		return append(out, "}}"...)
	}
	return append(append(out, c.Info...), '}')
}

func orEmpty(object json.RawMessage) json.RawMessage {
	if object == nil {
		return json.RawMessage("{}")
	}
	return object
}

// Severity orders the log levels; −1 is for what is none.
func Severity(level string) int {
	for i, known := range [...]string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"} {
		if level == known {
			return i
		}
	}
	return -1
}

// Logs tells whether a log message is for a client that asked for a level. One without a known level counts as the highest.
func (c Client) Logs(notification *jsonrpc.Message) bool {
	if c.LogLevel == "" {
		return false
	}
	level, _ := jsonrpc.Unquote(notification.Param("level").Of(notification.Body)) // what is no string is no level
	s := Severity(level)
	return s < 0 || s >= Severity(c.LogLevel)
}
