package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// ErrSessionUnknown means that the server does not know the session, or no longer: a new one must be opened.
var ErrSessionUnknown = errors.New("the server does not know the session")

const (
	redacted = "[redacted]"
	// maxSnippet is how much of an answer an error quotes.
	maxSnippet = 200
	// maxRefusal is how much of a refusal is read.
	maxRefusal = 16 << 10
)

// StatusError is an HTTP status other than the one hoped for.
type StatusError struct {
	Server  string
	Request string // what was asked for
	Status  int
	// Code is that of the JSON-RPC error that came with it, without an id; 0 if there was none.
	Code int
	// Location is where a redirect leads, without its query.
	Location string
	// Body is the start of what the server said, on one line and without secrets.
	Body string
}

// Error implements error.
func (e *StatusError) Error() string {
	if e.Location != "" {
		return fmt.Sprintf("server %q: %s: redirects (HTTP %d) to %q: put the final URL into the configuration",
			e.Server, e.Request, e.Status, e.Location)
	}
	text := fmt.Sprintf("server %q: %s: HTTP %d", e.Server, e.Request, e.Status)
	if e.Body != "" {
		text += " " + strconv.Quote(e.Body)
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		text += ": check the server's credential in the configuration"
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		text += ": check that the url and path in the configuration are those of an MCP endpoint"
	}
	return text
}

// answerError is an answer that breaks the protocol.
type answerError struct {
	server, request, fault string
	err                    error
}

func (e *answerError) Error() string {
	return fmt.Sprintf("server %q: %s: %s", e.server, e.request, e.fault)
}

func (e *answerError) Unwrap() error { return e.err }

func (e *Endpoint) broken(s Session, what, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &answerError{server: e.name, request: what, fault: e.redact(s, err.Error()), err: errors.Unwrap(err)}
}

// transportError is a failure of the connection.
type transportError struct {
	server, request, text string
	err                   error
}

func (e *transportError) Error() string {
	return fmt.Sprintf("server %q: %s: %s", e.server, e.request, e.text)
}

func (e *transportError) Unwrap() error { return e.err }

// failed names the server and the request in an error of the connection.
func (e *Endpoint) failed(what string, err error) error {
	return &transportError{server: e.name, request: what, text: e.redact(Session{}, explain(err)), err: err}
}

// explain words a failure of the connection for who operates the gateway: without our own port, which would
// make each error a new one.
func explain(err error) string {
	var (
		asOp    *net.OpError
		record  tls.RecordHeaderError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &unknown):
		return unknown.Error() + ": give the CA's file in the server's tls configuration"
	case errors.As(err, &record):
		return "the server does not speak TLS on this port: is its url meant to be http?"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the server closed the connection before the end of its answer"
	case errors.As(err, &asOp) && asOp.Op == "dial" && asOp.Addr != nil:
		return "cannot connect to " + asOp.Addr.String() + ": " + asOp.Err.Error()
	case errors.As(err, &asOp):
		return asOp.Op + ": " + asOp.Err.Error()
	}
	return err.Error()
}

// Refused reads an answer to Post that is not one of success, closes it and says what it means: ErrSessionUnknown, a
// *jsonrpc.Error that the server gave, or a *StatusError. It returns nil for a success, which it leaves alone.
func (e *Endpoint) Refused(s Session, resp *http.Response) error {
	return e.refused(s, "request", resp)
}

func (e *Endpoint) refused(s Session, what string, resp *http.Response) error {
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	// What is read before a failure is as good as what there is.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	fault := e.answeredError(s, body, resp.StatusCode)
	status := &StatusError{Server: e.name, Request: what, Status: resp.StatusCode, Body: brief(e.redact(s, string(body)), maxSnippet)}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		status.Location = e.location(s, resp)
	case s.ID != "" && forgotten(resp.StatusCode, fault, body):
		return fmt.Errorf("server %q: %s: HTTP %d: %w", e.name, what, resp.StatusCode, ErrSessionUnknown)
	case fault != nil && len(fault.ID) > 0:
		return e.serverError(what, fault)
	case fault != nil:
		status.Code, status.Body = fault.Code, brief(fault.Message, maxSnippet)
	}
	return status
}

// forgotten tells whether a refusal means that the session is gone. The specification wants 404 for that. Many servers
// made after the examples of the TypeScript SDK answer 400 and say in words that it is about the session.
func forgotten(status int, fault *jsonrpc.Error, body []byte) bool {
	switch status {
	case http.StatusNotFound:
		return fault == nil || fault.Code != jsonrpc.CodeMethodNotFound
	case http.StatusBadRequest:
		text := bytes.ToLower(body)
		return bytes.Contains(text, []byte("session")) || bytes.Contains(text, []byte("not initialized"))
	}
	return false
}

// answeredError reads a body as a JSON-RPC error; nil if it is none.
func (e *Endpoint) answeredError(s Session, body []byte, status int) *jsonrpc.Error {
	m, err := jsonrpc.Parse(body, jsonrpc.Limits{})
	if err == nil && m.Kind == jsonrpc.Response && m.Error.Present() {
		return e.fault(s, &m, status)
	}
	return nil
}

// fault makes an error of a response that has one. Code and message are the server's; a secret that it repeats is not
// handed on.
func (e *Endpoint) fault(s Session, m *jsonrpc.Message, status int) *jsonrpc.Error {
	out := &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: status, ID: bytes.Clone(m.ID.Of(m.Body))}
	if code, err := jsonrpc.Lookup(m.Body, m.Error, "code"); err == nil {
		if n, err := strconv.Atoi(string(code.Of(m.Body))); err == nil {
			out.Code = n
		}
	}
	if text, err := jsonrpc.Lookup(m.Body, m.Error, "message"); err == nil {
		message, _ := jsonrpc.Unquote(text.Of(m.Body)) // what is no string is an empty message
		out.Message = e.redact(s, message)
	}
	if data, err := jsonrpc.Lookup(m.Body, m.Error, "data"); err == nil && data.Present() {
		if raw := data.Of(m.Body); e.redact(s, string(raw)) == string(raw) {
			out.Data = bytes.Clone(raw)
		}
	}
	return out
}

func (e *Endpoint) serverError(what string, fault *jsonrpc.Error) error {
	return fmt.Errorf("server %q: %s: %w", e.name, what, fault)
}

// location is where a redirect leads. A query is cut off: it may hold what nobody else shall see.
func (e *Endpoint) location(s Session, resp *http.Response) string {
	to, err := resp.Location()
	if err != nil {
		return "nowhere"
	}
	to.RawQuery, to.Fragment, to.User = "", "", nil
	return e.redact(s, to.String())
}

// redact hides the configured secrets and the session's id in what a server said.
func (e *Endpoint) redact(s Session, text string) string {
	for _, secret := range e.secrets {
		text = strings.ReplaceAll(text, secret, redacted)
	}
	for _, token := range e.used.all() {
		text = strings.ReplaceAll(text, token, redacted)
	}
	if s.ID != "" {
		text = strings.ReplaceAll(text, s.ID, redacted)
	}
	return text
}

// brief makes one line of a text and cuts it down to what an error can hold.
func brief(text string, size int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\ufffd"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	if len(text) <= size {
		return text
	}
	cut := size
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
