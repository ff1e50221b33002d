package jsonrpc

import (
	"bytes"
	"fmt"
	"net/http"
)

// DefaultMaxDepth is how deep arrays and objects may be nested if Limits does not say.
const DefaultMaxDepth = 512

// Limits bounds what Parse accepts.
type Limits struct {
	MaxDepth int // of arrays and objects, the message itself being 1; 0 or less is DefaultMaxDepth
}

// Parse reads one message. It keeps body and the message's spans are of it: body must not change as long as the message
// is used.
//
// A document that is not JSON is refused with CodeParseError: one that is empty, cut off, not UTF-8, opens with a byte
// order mark or goes on after its end. All else that is wrong is CodeInvalidRequest:
//
//   - a document that is not an object; an array is told that batches are not supported;
//   - jsonrpc other than the string "2.0";
//   - an id other than a string or an integer, which may have any size but neither fraction nor exponent. The null id is
//     right in one place, a response with an error, and means that it is absent;
//   - a method that is not a string, params that is not an object (JSON-RPC itself allows arrays, MCP does not), an error
//     that is not an object;
//   - a mixture of request and response, or neither;
//   - a key that is there twice, in the message or directly in params, and one that differs from a known key in case
//     alone. Keys are compared decoded;
//   - a key, id or method with half a surrogate pair, which each reader replaces by something else;
//   - more than 1024 members in the message or directly in params;
//   - nesting beyond the limit.
//
// The status is 400 always. The whole document is read even if a fault was found, so that a document that is not JSON is
// always called that, and so that the error has the request's id wherever in the document that is. It has none if the id
// is wrong itself, is there twice or has a look-alike.
func Parse(body []byte, lim Limits) (Message, *Error) {
	if lim.MaxDepth <= 0 {
		lim.MaxDepth = DefaultMaxDepth
	}
	p := parser{scanner: scanner{b: body, maxDepth: lim.MaxDepth}, m: Message{Body: body}}
	if err := p.parse(); err != nil {
		return Message{}, err
	}
	return p.m, nil
}

type parser struct {
	scanner

	m       Message
	top     members
	version bool // jsonrpc was there
	nullID  bool
	noID    bool   // an error cannot carry the id
	invalid string // the first fault that is not one of grammar
}

func (p *parser) parse() *Error {
	if len(p.b) == 0 {
		return &Error{Code: CodeParseError, Status: http.StatusBadRequest, Message: "not JSON: the body is empty"}
	}
	start := space(p.b, 0)
	isObject := start < len(p.b) && p.b[start] == '{'
	var end int
	if isObject {
		end = p.object(start, false)
	} else {
		end = p.skip(start, 0)
	}
	if end >= 0 {
		if end = space(p.b, end); end < len(p.b) {
			end = p.fail(end, "something follows the end of the document")
		}
	}
	switch {
	case end < 0:
		return p.syntaxError()
	case !isObject && p.b[start] == '[':
		p.invalid = "JSON-RPC batches are not supported: send each message as an HTTP POST of its own"
	case !isObject:
		p.invalid = "a message must be a JSON object"
	default:
		p.envelope()
	}
	if p.invalid == "" {
		return nil
	}
	err := &Error{Code: CodeInvalidRequest, Status: http.StatusBadRequest, Message: "invalid request: " + p.invalid}
	if !p.noID {
		err.ID = bytes.Clone(p.m.ID.Of(p.b))
	}
	return err
}

func (p *parser) syntaxError() *Error {
	fault := p.fault
	if p.faultAt == 0 && bytes.HasPrefix(p.b, []byte("\xef\xbb\xbf")) {
		fault = "a byte order mark must not be there"
	}
	return &Error{
		Code: CodeParseError, Status: http.StatusBadRequest,
		Message: fmt.Sprintf("not JSON: %s (byte %d)", fault, p.faultAt),
	}
}

// refuse notes what is wrong with a document that is JSON; the first fault stays.
func (p *parser) refuse(format string, args ...any) {
	if p.invalid == "" {
		p.invalid = fmt.Sprintf(format, args...)
	}
}

// object reads the message that opens at i, or its params, and returns the index behind it or -1.
func (p *parser) object(i int, params bool) int {
	b, set, depth := p.b, &p.top, 1
	if params {
		set, depth = &p.m.params, 2
	}
	if depth > p.maxDepth && p.deepAt == 0 {
		p.deepAt = i
	}
	if i = space(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return p.fail(i, "expected a member's key in double quotes")
		}
		key := Span{Start: i}
		var flags int
		if key.End, flags = skipString(b, i+1); key.End < 0 {
			return p.failString(^key.End)
		}
		if i = space(b, key.End); i >= len(b) || b[i] != ':' {
			return p.fail(i, `expected ":"`)
		}
		value := Span{Start: space(b, i+1)}
		added, which := p.addKey(set, key, flags, params)
		if which == keyParams && value.Start < len(b) && b[value.Start] == '{' {
			i = p.object(value.Start, true)
		} else {
			i = p.skip(value.Start, depth)
		}
		if i < 0 {
			return -1
		}
		value.End = i
		if added {
			set.setLast(value)
		}
		if which != other {
			p.take(which, value)
		}
		if i = space(b, i); i < len(b) && b[i] == ',' {
			i = space(b, i+1)
			continue
		}
		if i >= len(b) || b[i] != '}' {
			return p.fail(i, `expected "," or "}"`)
		}
		return i + 1
	}
}

// addKey remembers a key unless it is refused, and tells which member of the envelope it is.
func (p *parser) addKey(set *members, key Span, flags int, params bool) (added bool, which known) {
	name := p.b[key.Start+1 : key.End-1]
	escaped := flags&hasEscape != 0
	decoded := ""
	if escaped {
		var err error
		if decoded, err = Unquote(key.Of(p.b)); err != nil {
			p.refuse("key at byte %d: %v", key.Start, err)
			return false, other
		}
		name = []byte(decoded)
	}
	lookAlike, where := "", "the message"
	if params {
		where = "params"
		if !isParam(name) {
			lookAlike = paramLookAlike(name)
		}
	} else if which = envelopeKey(name); which == other {
		lookAlike = envelopeLookAlike(name)
	}
	switch {
	case lookAlike != "":
		p.refuse("%q at byte %d in %s differs from %q in case alone, and a reader that ignores case would take it for that",
			brief(name), key.Start, where, lookAlike)
		p.noID = p.noID || lookAlike == "id" && !params
	case set.n == maxMembers:
		p.refuse("%s has more than %d members", where, maxMembers)
		p.noID = p.noID || which == keyID // it may be the second one: from here on nobody remembers
	case set.has(p.b, key, decoded, escaped):
		p.refuse("%q at byte %d is in %s twice", brief(name), key.Start, where)
		p.noID = p.noID || which == keyID
	default:
		set.add(key, escaped)
		return true, which
	}
	return false, other
}

// brief cuts a name down to what an error message can hold.
func brief(name []byte) []byte {
	const most = 64
	if len(name) > most {
		return append(name[:most:most], "…"...)
	}
	return name
}

// take remembers the value of one of the envelope's members.
func (p *parser) take(which known, value Span) {
	raw := value.Of(p.b)
	switch which {
	case keyJSONRPC:
		p.version = true
		if string(raw) == `"2.0"` {
			return
		}
		if version, err := Unquote(raw); err != nil || version != "2.0" { // it may be written with escapes
			p.refuse(`"jsonrpc" must be the string "2.0"`)
		}
	case keyID:
		p.takeID(value)
	case keyMethod:
		p.m.Method = value
		if raw[0] != '"' {
			p.refuse(`"method" must be a string`)
		} else if err := checkSurrogates(raw); err != nil {
			p.refuse(`"method": %v`, err)
		}
	case keyParams:
		p.m.Params = value
		if raw[0] != '{' {
			p.refuse(`"params" must be an object or left out`)
		}
	case keyResult:
		p.m.Result = value
	case keyError:
		p.m.Error = value
		if raw[0] != '{' {
			p.refuse(`"error" must be an object`)
		}
	default: // members that the envelope does not know pass
	}
}

func (p *parser) takeID(value Span) {
	raw := value.Of(p.b)
	switch c := raw[0]; {
	case c == '"':
		if err := checkSurrogates(raw); err != nil {
			p.refuse(`"id": %v`, err)
			return
		}
	case c == 'n':
		p.nullID = true
		return
	case c != '-' && c-'0' > 9, bytes.ContainsAny(raw, ".eE"):
		p.refuse(`"id" must be a string or an integer`)
		return
	}
	p.m.ID = value
}

// checkSurrogates refuses a scanned string that Unquote could not read.
func checkSurrogates(raw []byte) error {
	if bytes.IndexByte(raw, '\\') < 0 {
		return nil
	}
	_, err := Unquote(raw)
	return err
}

// envelope finds out what the members together are.
func (p *parser) envelope() {
	m := &p.m
	method, result, failure := m.Method.Present(), m.Result.Present(), m.Error.Present()
	if p.deepAt > 0 {
		p.refuse("nested deeper than %d levels (byte %d)", p.maxDepth, p.deepAt)
	}
	if !p.version {
		p.refuse(`"jsonrpc" is missing: it must be the string "2.0"`)
	}
	if p.nullID && (method || !failure) {
		p.refuse(`"id" must be a string or an integer, not null`)
	}
	switch {
	case method && (result || failure):
		p.refuse(`"method" together with "result" or "error": a message is a request or a response`)
	case result && failure:
		p.refuse(`"result" together with "error": a response has one of them`)
	case !method && !result && !failure:
		p.refuse(`none of "method", "result" and "error" is there`)
	case !method && m.Params.Present():
		p.refuse(`"params" in a response`)
	case method && m.ID.Present():
		m.Kind = Request
	case method:
		m.Kind = Notification
	case !m.ID.Present() && !failure:
		p.refuse(`"id" is missing in a response`)
	default:
		m.Kind = Response
	}
}
