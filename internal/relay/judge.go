package relay

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// Verdict is what kind of answer a server gave, by its status and headers.
type Verdict uint8

// The verdicts.
const (
	// Bad is an answer that no client must see, such as a redirect or a page of HTML.
	Bad Verdict = iota
	// Plain is one whose body means nothing, such as that to a notification.
	Plain
	// Message is one JSON-RPC message, which CheckMessage judges further.
	Message
	// Stream is an event stream.
	Stream
	// Forgotten says that the server no longer knows the session.
	Forgotten
)

// Judge judges an answer. Where it is Bad, why says in which way, to follow the server's name in a sentence.
func Judge(status int, contentType, encoding string, bodiless bool) (v Verdict, why string) {
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	switch {
	case status == http.StatusNotFound:
		return Forgotten, ""
	case status >= 300 && status < 400:
		return Bad, fmt.Sprintf("answered with a redirect (HTTP status %d), which is not followed; its configured url should be the final one", status)
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired:
		return Bad, fmt.Sprintf("did not accept the gateway's own credential (HTTP status %d)", status)
	case status == http.StatusMethodNotAllowed:
		return Bad, "does not take this HTTP method at its configured url (HTTP status 405)"
	case encoding != "" && !strings.EqualFold(encoding, "identity"):
		return Bad, fmt.Sprintf("answered in the encoding %.60q, though it was asked for none", encoding)
	case mediaType == "text/event-stream" && status == http.StatusOK:
		return Stream, ""
	case (mediaType == "application/json" || status == http.StatusBadRequest) && !bodiless:
		// With status 400, many servers say in words of any type that they do not know the session.
		return Message, ""
	case status > http.StatusOK && status < 300:
		return Plain, ""
	}
	return Bad, fmt.Sprintf("answered with HTTP status %d and content type %.60q", status, contentType)
}

// MaxDepth is the deepest nesting of an answer: far beyond what is sensible, since it is the client's to judge.
const MaxDepth = 10_000

// CheckMessage judges a whole JSON answer. It returns Message if it is the answer to a request, Forgotten if it says that
// the server no longer knows the session (many say so with status 400, in words), else Bad.
func CheckMessage(status int, body []byte) (v Verdict, why string) {
	if status == http.StatusBadRequest {
		text := bytes.ToLower(body)
		if bytes.Contains(text, []byte("session")) || bytes.Contains(text, []byte("not initialized")) {
			return Forgotten, ""
		}
	}
	m, err := jsonrpc.Parse(body, jsonrpc.Limits{MaxDepth: MaxDepth})
	switch {
	case err != nil:
		return Bad, fmt.Sprintf("answered with HTTP status %d and what is no JSON-RPC message: %s", status, err.Message)
	case m.Kind != jsonrpc.Response:
		return Bad, fmt.Sprintf("answered with HTTP status %d and a JSON-RPC message that is no response", status)
	}
	return Message, ""
}

// CheckLimit is the largest JSON answer, in bytes, that is held back to be checked; a larger one streams through.
const CheckLimit = 256 << 10
