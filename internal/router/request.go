package router

import (
	"strconv"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Request is the head of one HTTP request, as far as routing reads it. An adapter feeds it header by header with Add
// and may reuse it after Reset.
type Request struct {
	Method, Path string
	// Unsure says that nobody can tell now whether there is a session that the router does not know.
	Unsure bool

	contentType, accept, origin  string
	authorization, sessionID     string
	protocolVersion, lastEventID string
	virtualServer, traceparent   string
	contentLength                int64 // -1: not told
	repeated                     string
	seen                         uint32
	hasVirtualServer             bool
	badContentLength             bool
	encoded                      bool // with a Content-Encoding
	forged                       []string
	mcpMethod, mcpName           string   // the headers that repeat the body
	params                       []Header // those that repeat arguments
	twice                        string   // one of these that came twice
}

// Reset makes r ready for the next request.
func (r *Request) Reset() {
	*r = Request{contentLength: -1, forged: r.forged[:0], params: r.params[:0]}
}

// ContentLength is the announced size of the body, -1 if there is none.
func (r *Request) ContentLength() int64 { return r.contentLength }

// SessionID is the token of the session that the request says it belongs to.
func (r *Request) SessionID() string { return r.sessionID }

// Bits of Request.seen for the headers that must not come twice.
const (
	seenContentType = 1 << iota
	seenOrigin
	seenAuthorization
	seenSession
	seenVersion
	seenLastEvent
	seenVirtualServer
	seenLength
	seenMCPMethod
	seenMCPName
)

// Add takes one header. Its name must be in lower case, as HTTP/2 and Envoy have it.
func (r *Request) Add(name, value string) {
	switch name {
	case ":method":
		r.Method = value
	case ":path":
		r.Path = value
	case "content-type":
		r.once(seenContentType, name, &r.contentType, value)
	case "accept":
		if r.accept != "" {
			value = r.accept + "," + value
		}
		r.accept = value
	case "origin":
		r.once(seenOrigin, name, &r.origin, value)
	case "authorization":
		r.once(seenAuthorization, name, &r.authorization, value)
		if isTokenList(value) {
			r.repeated = name
		}
	case "content-encoding":
		r.encoded = r.encoded || value != "" && !strings.EqualFold(value, "identity")
	case "content-length":
		var text string
		r.once(seenLength, name, &text, value)
		n, err := strconv.ParseInt(text, 10, 64)
		r.contentLength, r.badContentLength = n, err != nil || n < 0
	case wire.HeaderTraceparent:
		r.traceparent = value
	case wire.HeaderSessionID:
		r.once(seenSession, name, &r.sessionID, value)
	case wire.HeaderProtocolVersion:
		r.once(seenVersion, name, &r.protocolVersion, value)
	case wire.HeaderLastEventID:
		r.once(seenLastEvent, name, &r.lastEventID, value)
	case wire.HeaderVirtualServer:
		r.hasVirtualServer = true
		r.once(seenVirtualServer, name, &r.virtualServer, value)
		r.forged = append(r.forged, name)
	case wire.HeaderMCPMethod:
		r.mirror(seenMCPMethod, name, &r.mcpMethod, value)
	case wire.HeaderMCPName:
		r.mirror(seenMCPName, name, &r.mcpName, value)
	default:
		if strings.HasPrefix(name, wire.HeaderMCPParamPrefix) {
			r.param(name, value)
		}
		if internal(name) {
			r.forged = append(r.forged, name)
		}
	}
}

// isTokenList tells whether a value is that of two headers or more, which Envoy joins: no bearer token has a comma.
func isTokenList(authorization string) bool {
	return len(authorization) > 7 && strings.EqualFold(authorization[:7], "bearer ") && strings.Contains(authorization, ",")
}

func (r *Request) once(bit uint32, name string, field *string, value string) {
	if r.seen&bit != 0 {
		r.repeated = name
	}
	r.seen |= bit
	*field = value
}

// mirror takes a header that repeats the body. It is taken off: what is not checked, nobody must see. One that is checked is set anew.
func (r *Request) mirror(bit uint32, name string, field *string, value string) {
	if r.seen&bit != 0 {
		r.twice = name
	}
	r.seen |= bit
	*field = strings.Trim(value, " \t")
	r.forged = append(r.forged, name)
}

// mirrored is the value of a header that repeats the body.
func (r *Request) mirrored(name string) (value string, ok bool) {
	switch name {
	case wire.HeaderMCPMethod:
		return r.mcpMethod, r.seen&seenMCPMethod != 0
	case wire.HeaderMCPName:
		return r.mcpName, r.seen&seenMCPName != 0
	}
	for i := range r.params {
		if r.params[i].Name == name {
			return r.params[i].Value, true
		}
	}
	return "", false
}

// param takes a header that repeats an argument.
func (r *Request) param(name, value string) {
	if _, ok := r.mirrored(name); ok {
		r.twice = name
	}
	r.params = append(r.params, Header{name, strings.Trim(value, " \t")})
}

// internal tells whether a header is one that only the gateway may set: its own, Envoy's orders, and those by which a
// newer revision repeats arguments, which are not believed unless they are checked.
func internal(name string) bool {
	switch {
	case strings.HasPrefix(name, wire.InternalPrefix), strings.HasPrefix(name, wire.EnvoyPrefix):
		return true
	}
	return strings.HasPrefix(name, wire.HeaderMCPParamPrefix)
}

// accepts tells whether an Accept header allows a media type. One that is absent allows all.
func accepts(accept, mediaType string) bool {
	if accept == "" {
		return true
	}
	major, _, _ := strings.Cut(mediaType, "/")
	for rng := range strings.SplitSeq(accept, ",") {
		rng, params, _ := strings.Cut(rng, ";")
		rng = strings.TrimSpace(rng)
		if !strings.EqualFold(rng, mediaType) && rng != "*/*" && !strings.EqualFold(rng, major+"/*") {
			continue
		}
		if !weightless(params) {
			return true
		}
	}
	return false
}

// weightless tells whether the parameters of a media range take it back with q=0.
func weightless(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if v = strings.TrimSpace(v); strings.EqualFold(strings.TrimSpace(k), "q") {
			return strings.HasPrefix(v, "0") && strings.Trim(v, ".0") == ""
		}
	}
	return false
}

// isJSON tells whether a Content-Type is that of a JSON-RPC message.
func isJSON(contentType string) bool {
	mediaType, params, _ := strings.Cut(contentType, ";")
	if !strings.EqualFold(strings.TrimSpace(mediaType), "application/json") {
		return false
	}
	for p := range strings.SplitSeq(params, ";") {
		k, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), "charset") && !strings.EqualFold(strings.Trim(strings.TrimSpace(v), `"`), "utf-8") {
			return false
		}
	}
	return true
}
