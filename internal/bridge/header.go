package bridge

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Header is one header field of a modern request.
type Header struct{ Name, Value string }

// Headers are those that a modern request must have beside the revision. Schema is the inputSchema of the tool that it calls, nil if it calls none.
func Headers(m *jsonrpc.Message, schema json.RawMessage) []Header {
	method := m.MethodName()
	out := []Header{{wire.HeaderMCPMethod, method}}
	member := ""
	switch method {
	case "tools/call", "prompts/get":
		member = "name"
	case "resources/read":
		member = "uri"
	}
	if member != "" {
		if name, err := jsonrpc.Unquote(m.Param(member).Of(m.Body)); err == nil {
			out = append(out, Header{wire.HeaderMCPName, HeaderValue(name)})
		}
	}
	if schema != nil && method == "tools/call" {
		p := paramHeaders{body: m.Body, out: out}
		p.walk(schema, m.Param("arguments"), 0)
		out = p.out
	}
	return out
}

// maxSchemaDepth is how deep properties are looked for.
const maxSchemaDepth = 32

// paramHeaders gathers what a tool's schema wants to have mirrored of the arguments.
type paramHeaders struct {
	body []byte
	out  []Header
}

// walk goes over one object of the arguments. Only properties of properties count: what is not there in the arguments has no header.
func (p *paramHeaders) walk(schema json.RawMessage, arguments jsonrpc.Span, depth int) {
	var properties map[string]json.RawMessage
	if depth > maxSchemaDepth || !memberOf(schema, "properties", &properties) {
		return
	}
	for _, member := range jsonrpc.Members(p.body, arguments) {
		key, err := jsonrpc.Unquote(member.Key.Of(p.body))
		property, known := properties[key]
		if err != nil || !known {
			continue
		}
		var name string
		if memberOf(property, "x-mcp-header", &name) && isToken(name) {
			if value, ok := plainText(member.Value.Of(p.body)); ok {
				p.out = append(p.out, Header{wire.HeaderMCPParamPrefix + name, HeaderValue(value)})
			}
		}
		p.walk(property, member.Value, depth+1)
	}
}

// memberOf reads one member of an object by its exact name.
func memberOf(object json.RawMessage, key string, into any) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return false // such as a schema that is true
	}
	raw, ok := members[key]
	return ok && json.Unmarshal(raw, into) == nil
}

// plainText is a string, an integer or a boolean as text. Anything else has no header.
func plainText(raw []byte) (string, bool) {
	switch c := raw[0]; {
	case c == '"':
		text, err := jsonrpc.Unquote(raw)
		return text, err == nil
	case c == 't' || c == 'f':
		return string(raw), true
	case c == '-' || c >= '0' && c <= '9':
		return integer(string(raw))
	}
	return "", false
}

// integer writes a number in decimal that is an integer, however it is written.
func integer(raw string) (string, bool) {
	if !strings.ContainsAny(raw, ".eE") {
		return raw, true
	}
	const safe = 1 << 53
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= safe {
		return "", false
	}
	return strconv.FormatInt(int64(f), 10), true
}

const (
	sentinelStart = "=?base64?"
	sentinelEnd   = "?="
)

// HeaderValue writes a value so that a header can hold it: in the specification's base64 form where it is not plain ASCII.
func HeaderValue(v string) string {
	if isPlain(v) {
		return v
	}
	return sentinelStart + base64.StdEncoding.EncodeToString([]byte(v)) + sentinelEnd
}

func isPlain(v string) bool {
	if v != strings.Trim(v, " \t") || strings.HasPrefix(v, sentinelStart) && strings.HasSuffix(v, sentinelEnd) {
		return false
	}
	for i := range len(v) {
		if c := v[i]; c < 0x20 && c != '\t' || c > 0x7e {
			return false
		}
	}
	return true
}

// isToken tells whether a text can be part of a header's name.
func isToken(s string) bool {
	const others = "!#$%&'*+-.^_`|~"
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return s != ""
}
