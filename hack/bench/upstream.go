package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// The upstream is MCP servers that cost as little as they can: what is measured is what stands before them. See server.go for which there are.

const initializeResult = `{"protocolVersion":"` + revision + `","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1.0.0"}}`

// callBegin and callMiddle are how the load generator's calls look, so that they need not be parsed.
const (
	callBegin  = `{"jsonrpc":"2.0","id":`
	callMiddle = `,"method":"tools/call","params":{"name":"`
)

// pathCounts tells what the upstream has been asked so far.
const pathCounts = "/counts"

// counts is how often the upstream was asked.
type counts struct {
	Calls    int `json:"calls"`
	Openings int `json:"openings"` // requests that only lead up to calls: to discover, and to open a session
}

type upstream struct {
	mu       sync.Mutex
	sessions map[string]bool
	servers  map[string]*mcpServer // by path, once they have been asked
	counts   counts
}

func newUpstream() *upstream {
	return &upstream{sessions: map[string]bool{}, servers: map[string]*mcpServer{}}
}

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
	out, cuts := make([]byte, 0, 4<<10), make([]int, 0, eventsPerAnswer)
	for {
		m, err := conn.next()
		if err != nil {
			return
		}
		out, cuts = u.answer(out[:0], cuts[:0], &m)
		begin := 0
		for _, end := range append(cuts, len(out)) {
			if begin == end {
				continue
			}
			if _, err := c.Write(out[begin:end]); err != nil {
				return
			}
			begin = end
		}
	}
}

// answer appends the whole response to a request, and the places at which it is cut if it is sent in pieces.
func (u *upstream) answer(out []byte, cuts []int, m *message) ([]byte, []int) {
	method, path := m.target()
	if string(path) == pathCounts {
		text, _ := json.Marshal(u.count(nil)) // numbers can be written
		return appendJSON(out, "200 OK", text), cuts
	}
	s := u.server(path)
	switch {
	case s == nil:
		return appendEmpty(out, "404 Not Found"), cuts
	case string(method) == "DELETE" && s.sessions:
		u.forget(m.session)
		return appendEmpty(out, "200 OK"), cuts
	case string(method) != "POST":
		return appendEmpty(out, "405 Method Not Allowed"), cuts
	}
	id, tool := quickCall(m.body)
	if id == nil {
		return u.message(out, m, s), cuts
	}
	if s.sessions && !u.knows(m.session) {
		return appendEmpty(out, "404 Not Found"), cuts
	}
	if s.compares() && (string(m.mcpMethod) != "tools/call" || !bytes.Equal(m.mcpName, tool)) {
		return u.message(out, m, s), cuts
	}
	switch string(tool) {
	case toolName:
		u.count(func(c *counts) { c.Calls++ })
		return appendResult(out, id, s.called, ""), cuts
	case eventsTool:
		u.count(func(c *counts) { c.Calls++ })
		return s.appendEvents(out, id, cuts)
	}
	return u.message(out, m, s), cuts
}

// server is that of a path, nil if there is none.
func (u *upstream) server(path []byte) *mcpServer {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s := u.servers[string(path)]; s != nil {
		return s
	}
	s, err := newServer(string(path))
	if err != nil {
		return nil
	}
	u.servers[string(path)] = s
	return s
}

func (u *upstream) count(change func(*counts)) counts {
	u.mu.Lock()
	defer u.mu.Unlock()
	if change != nil {
		change(&u.counts)
	}
	return u.counts
}

// quickCall is the raw id and the tool of a call that looks as the load generator's do; nil if it does not.
func quickCall(body []byte) (id, tool []byte) {
	rest, ok := bytes.CutPrefix(body, []byte(callBegin))
	if !ok {
		return nil, nil
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	name, ok := bytes.CutPrefix(rest[digits:], []byte(callMiddle))
	end := bytes.IndexByte(name, '"')
	if digits == 0 || !ok || end < 0 || !bytes.HasPrefix(name[end:], []byte(`",`)) {
		return nil, nil
	}
	return rest[:digits:digits], name[:end]
}

// message answers everything that is not on the quick way.
func (u *upstream) message(out []byte, m *message, s *mcpServer) []byte {
	msg, fault := jsonrpc.Parse(m.body, jsonrpc.Limits{})
	if fault != nil {
		return appendJSON(out, "400 Bad Request", fault.AppendResponse(nil))
	}
	method := msg.MethodName()
	switch method {
	case "initialize", "notifications/initialized", "server/discover":
		u.count(func(c *counts) { c.Openings++ })
	case "tools/call":
		u.count(func(c *counts) { c.Calls++ })
	}
	opens := method == "initialize" || method == "server/discover"
	if s.sessions && !opens && !u.knows(m.session) {
		return appendEmpty(out, "404 Not Found")
	}
	if msg.Kind != jsonrpc.Request {
		return appendEmpty(out, "202 Accepted")
	}
	id, name := msg.ID.Of(m.body), msg.Param("name").Of(m.body)
	if s.compares() && (string(m.mcpMethod) != method || method == "tools/call" && string(name) != strconv.Quote(string(m.mcpName))) {
		fault = &jsonrpc.Error{Code: jsonrpc.CodeHeaderMismatch, ID: id, Message: "header mismatch: headers and body name different things"}
		return appendJSON(out, "400 Bad Request", fault.AppendResponse(nil))
	}
	result, session := u.result(s, method, name, msg.Param("cursor").Of(m.body))
	if result == "" {
		fault = &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, ID: id, Message: "unknown method " + strconv.Quote(method)}
		if method == "tools/call" || method == "tools/list" {
			fault.Code, fault.Message = jsonrpc.CodeInvalidParams, "the only tool that is called so is "+strconv.Quote(toolName)
		}
		return appendJSON(out, "200 OK", fault.AppendResponse(nil))
	}
	return appendResult(out, id, result, session)
}

// result is that of a request which is not on the quick way, empty if there is none. The name and the cursor are raw.
func (u *upstream) result(s *mcpServer, method string, name, cursor []byte) (result, session string) {
	switch method {
	case "initialize":
		if !s.legacy {
			return "", ""
		}
		if s.sessions {
			session = u.open()
		}
		return initializeResult, session
	case "server/discover":
		return s.discovered, ""
	case "ping":
		return "{}", ""
	case "tools/list":
		result, _ = s.page(cursor)
		return result, ""
	case "tools/call":
		if string(name) == strconv.Quote(toolName) {
			return s.called, ""
		}
	}
	return "", ""
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

func appendJSON(out []byte, status string, body []byte) []byte {
	return append(appendHead(out, status, len(body), ""), body...)
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
