package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// The upstream is an MCP server that costs as little as one can: what is measured is what stands before it. At one path it keeps no
// sessions, at the other it demands them.
const (
	pathSessionless = "/sessionless/mcp"
	pathSessionful  = "/sessionful/mcp"

	toolName = "echo"
	revision = "2025-11-25"
)

const (
	initializeResult = `{"protocolVersion":"` + revision + `","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1.0.0"}}`
	listResult       = `{"tools":[{"name":"` + toolName + `","description":"Answers always the same.","inputSchema":{"type":"object"}}]}`
	callResult       = `{"content":[{"type":"text","text":"The forecast for Sao Paulo: 18 degrees, light rain from noon."}]}`
)

// callBegin and callMiddle are how the load generator's calls look, so that they need not be parsed.
const (
	callBegin  = `{"jsonrpc":"2.0","id":`
	callMiddle = `,"method":"tools/call","params":{"name":"` + toolName + `",`
)

type upstream struct {
	mu       sync.Mutex
	sessions map[string]bool
}

func newUpstream() *upstream { return &upstream{sessions: map[string]bool{}} }

// serve answers connections until the listener is closed.
func (u *upstream) serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go u.connection(c)
	}
}

// connection answers one connection's requests. A peer that leaves, or that speaks no HTTP, ends it.
func (u *upstream) connection(c net.Conn) {
	defer func() { _ = c.Close() }()
	conn := newWireConn(c)
	out := make([]byte, 0, 4<<10)
	for {
		m, err := conn.next()
		if err != nil {
			return
		}
		if out = u.answer(out[:0], &m); len(out) == 0 {
			return
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// answer appends the whole response to a request.
func (u *upstream) answer(out []byte, m *message) []byte {
	method, path := m.target()
	sessionful := string(path) == pathSessionful
	switch {
	case !sessionful && string(path) != pathSessionless:
		return appendEmpty(out, "404 Not Found")
	case string(method) == "DELETE" && sessionful:
		u.forget(m.session)
		return appendEmpty(out, "200 OK")
	case string(method) != "POST":
		return appendEmpty(out, "405 Method Not Allowed")
	}
	if id := quickCall(m.body); id != nil {
		if sessionful && !u.knows(m.session) {
			return appendEmpty(out, "404 Not Found")
		}
		return appendResult(out, id, callResult, "")
	}
	return u.message(out, m, sessionful)
}

// quickCall is the raw id of a call that looks as the load generator's do; nil if it does not.
func quickCall(body []byte) []byte {
	rest, ok := bytes.CutPrefix(body, []byte(callBegin))
	if !ok {
		return nil
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	if digits == 0 || !bytes.HasPrefix(rest[digits:], []byte(callMiddle)) {
		return nil
	}
	return rest[:digits:digits]
}

// message answers everything that is not on the quick way.
func (u *upstream) message(out []byte, m *message, sessionful bool) []byte {
	msg, fault := jsonrpc.Parse(m.body, jsonrpc.Limits{})
	if fault != nil {
		return appendJSON(out, "400 Bad Request", fault.AppendResponse(nil), "")
	}
	method := msg.MethodName()
	if sessionful && method != "initialize" && !u.knows(m.session) {
		return appendEmpty(out, "404 Not Found")
	}
	if msg.Kind != jsonrpc.Request {
		return appendEmpty(out, "202 Accepted")
	}
	id := msg.ID.Of(m.body)
	switch method {
	case "initialize":
		session := ""
		if sessionful {
			session = u.open()
		}
		return appendResult(out, id, initializeResult, session)
	case "ping":
		return appendResult(out, id, "{}", "")
	case "tools/list":
		return appendResult(out, id, listResult, "")
	case "tools/call":
		if name := msg.Param("name").Of(m.body); string(name) == strconv.Quote(toolName) {
			return appendResult(out, id, callResult, "")
		}
		fault = &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, ID: id, Message: "the only tool is " + strconv.Quote(toolName)}
	default:
		fault = &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, ID: id, Message: "unknown method " + strconv.Quote(method)}
	}
	return appendJSON(out, "200 OK", fault.AppendResponse(nil), "")
}

func (u *upstream) open() string {
	id := rand.Text()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sessions[id] = true
	return id
}

func (u *upstream) forget(id []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.sessions, string(id))
}

func (u *upstream) knows(id []byte) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sessions[string(id)]
}

func appendEmpty(out []byte, status string) []byte {
	out = append(append(out, "HTTP/1.1 "...), status...)
	return append(out, "\r\nContent-Length: 0\r\n\r\n"...)
}

const resultBegin, resultMiddle, resultEnd = `{"jsonrpc":"2.0","id":`, `,"result":`, `}`

// appendResult appends a response with a result, without building its body first.
func appendResult(out, id []byte, result, session string) []byte {
	out = appendHead(out, "200 OK", len(resultBegin)+len(id)+len(resultMiddle)+len(result)+len(resultEnd), session)
	out = append(append(out, resultBegin...), id...)
	return append(append(append(out, resultMiddle...), result...), resultEnd...)
}

func appendJSON(out []byte, status string, body []byte, session string) []byte {
	return append(appendHead(out, status, len(body), session), body...)
}

func appendHead(out []byte, status string, length int, session string) []byte {
	out = append(append(out, "HTTP/1.1 "...), status...)
	out = append(out, "\r\nContent-Type: application/json\r\n"...)
	if session != "" {
		out = append(append(append(out, "Mcp-Session-Id: "...), session...), "\r\n"...)
	}
	out = strconv.AppendInt(append(out, "Content-Length: "...), int64(length), 10)
	return append(out, "\r\n\r\n"...)
}

// upstreamMain is the upstream's process. It prints its address and serves until standard input ends.
func upstreamMain(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, l.Addr()); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // its end is all that counts
		_ = l.Close()
	}()
	return newUpstream().serve(l)
}
