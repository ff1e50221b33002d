package bridge

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Header is one header field of a modern request.
type Header struct{ Name, Value string }

// Param is an argument of a tool that its calls repeat in a header.
type Param struct {
	// Header is the header's whole name in lower case.
	Header string
	// Path leads to the argument from the params of the call.
	Path []string
}

// Headers are those that a modern request must have beside the revision. Params are those of the tool that it calls.
func Headers(m *jsonrpc.Message, params []Param) []Header {
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
	for _, p := range params {
		span, err := m.Lookup(p.Path...)
		if err != nil || !span.Present() {
			continue // what is there twice is the server's to refuse
		}
		if value, ok := plainText(span.Of(m.Body)); ok {
			out = append(out, Header{p.Header, HeaderValue(value)})
		}
	}
	return out
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
