package scale_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// workers is how many requests are made at once.
const workers = 32

// patience bounds each request.
const patience = 30 * time.Second

// errAnswer begins every complaint about an answer.
var errAnswer = errors.New("wrong answer")

// loader is clients of one endpoint. They speak just as much HTTP/1.1 as they need, so that ten thousand of them fit beside what they measure.
type loader struct {
	address string

	mu       sync.Mutex
	idle     []*conn
	failures int
	first    error
	ids      atomic.Int64
	calls    atomic.Int64
}

func newLoader(t testing.TB, base string) *loader {
	t.Helper()
	l := &loader{address: strings.TrimPrefix(base, "http://")}
	t.Cleanup(func() {
		for _, c := range l.idle {
			_ = c.Close()
		}
	})
	return l
}

// failed counts what went wrong.
func (l *loader) failed(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures++
	if l.first == nil {
		l.first = err
	}
}

// check fails the test if anything has gone wrong.
func (l *loader) check(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failures > 0 {
		t.Fatalf("%d failures beside %d calls; the first: %v", l.failures, l.calls.Load(), l.first)
	}
}

type conn struct {
	net.Conn
	r *bufio.Reader
}

func (l *loader) dial() (*conn, error) {
	c, err := net.DialTimeout("tcp", l.address, patience)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 1<<10)}, nil
}

// borrow gives out a connection that nobody uses, or a new one.
func (l *loader) borrow() (*conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle); n > 0 {
		c := l.idle[n-1]
		l.idle = l.idle[:n-1]
		return c, nil
	}
	return l.dial()
}

func (l *loader) giveBack(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = append(l.idle, c)
}

// session is one client session.
type session struct {
	token  string
	stream *conn
	events atomic.Int32 // that tell of a changed list
	cut    atomic.Bool  // the stream ended
}

// do makes one request over a connection that is kept.
func (l *loader) do(verb, token, body string) (answer, error) {
	c, err := l.borrow()
	if err != nil {
		return answer{}, err
	}
	a, err := c.do(l.address, verb, token, body)
	if err != nil {
		_ = c.Close()
		return a, err
	}
	l.giveBack(c)
	return a, nil
}

const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"scale","version":"1"}}}`

// open begins a session.
func (l *loader) open() (*session, error) {
	a, err := l.do("POST", "", hello)
	if err == nil && (a.status != 200 || a.session == "") {
		err = fmt.Errorf("%w: initialize: %v", errAnswer, a)
	}
	if err != nil {
		return nil, err
	}
	s := &session{token: a.session}
	a, err = l.do("POST", s.token, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	if err == nil && a.status != 202 {
		err = fmt.Errorf("%w: notifications/initialized: %v", errAnswer, a)
	}
	return s, err
}

// call calls a tool and checks that the answer is its own.
func (l *loader) call(s *session, tool string) error {
	a, err := l.tryCall(s, tool)
	if err == nil && !a.ok {
		err = fmt.Errorf("%w: tools/call %s: %v", errAnswer, tool, a.answer)
	}
	return err
}

type callAnswer struct {
	answer
	ok bool
}

func (l *loader) tryCall(s *session, tool string) (callAnswer, error) {
	id := strconv.FormatInt(l.ids.Add(1)+1000, 10)
	a, err := l.do("POST", s.token, `{"jsonrpc":"2.0","id":`+id+`,"method":"tools/call","params":{"name":"`+tool+`","arguments":{}}}`)
	if err != nil {
		return callAnswer{}, fmt.Errorf("tools/call %s: %w", tool, err)
	}
	l.calls.Add(1)
	return callAnswer{a, a.status == 200 && strings.Contains(a.body, `"id":`+id+`,`) && strings.Contains(a.body, `"text":"done"`)}, nil
}

// listen opens the session's event stream and counts what comes.
func (l *loader) listen(s *session) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err = io.WriteString(c, head("GET", l.address, s.token)+"\r\n"); err != nil {
		return err
	}
	a, err := c.readHead()
	if err == nil && a.status != 200 {
		err = fmt.Errorf("%w: event stream: %v", errAnswer, a)
	}
	if err != nil {
		return fmt.Errorf("event stream: %w", err)
	}
	_ = c.SetDeadline(time.Time{})
	s.stream = c
	go s.count()
	return nil
}

// count reads the stream to its end.
func (s *session) count() {
	defer s.cut.Store(true)
	for {
		line, err := s.stream.r.ReadSlice('\n')
		if err != nil {
			return
		}
		if bytes.Contains(line, []byte("list_changed")) {
			s.events.Add(1)
		}
	}
}

// end ends the session, as a client that behaves does.
func (l *loader) end(s *session) error {
	a, err := l.do("DELETE", s.token, "")
	if err == nil && a.status != 204 {
		err = fmt.Errorf("%w: end of a session: %v", errAnswer, a)
	}
	if s.stream != nil {
		_ = s.stream.Close()
	}
	return err
}

// each does something for all sessions, some at once, and counts what fails.
func (l *loader) each(sessions []*session, do func(*session) error) {
	work := make(chan *session)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for s := range work {
				l.failed(do(s))
			}
		})
	}
	for _, s := range sessions {
		work <- s
	}
	close(work)
	group.Wait()
}

// openMany begins sessions, each of which calls a tool twice: the broker carries the first call, Envoy the second.
func (l *loader) openMany(n int, tool string) []*session {
	out := make([]*session, n)
	for i := range out {
		out[i] = &session{}
	}
	l.each(out, func(s *session) error {
		opened, err := l.open()
		if err != nil {
			return err
		}
		s.token = opened.token
		return errors.Join(l.call(s, tool), l.call(s, tool))
	})
	return out
}

// answer is a whole answer, or the head of one.
type answer struct {
	status  int
	session string
	body    string
	length  int
	chunked bool
}

func head(verb, host, token string) string {
	out := verb + " /mcp HTTP/1.1\r\nHost: " + host + "\r\nAccept: application/json, text/event-stream\r\n"
	if token != "" {
		out += "Mcp-Session-Id: " + token + "\r\nMcp-Protocol-Version: 2025-11-25\r\n"
	}
	return out
}

func (c *conn) do(host, verb, token, body string) (answer, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	request := head(verb, host, token)
	if verb == "POST" {
		request += "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"+body); err != nil {
		return answer{}, err
	}
	a, err := c.readHead()
	if err != nil {
		return a, err
	}
	err = c.readBody(&a)
	return a, err
}

func (c *conn) readLine() (string, error) {
	line, err := c.r.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

func (c *conn) readHead() (a answer, err error) {
	line, err := c.readLine()
	if err != nil {
		return a, err
	}
	if len(line) < 12 {
		return a, fmt.Errorf("%w: %q", errAnswer, line)
	}
	if a.status, err = strconv.Atoi(line[9:12]); err != nil {
		return a, err
	}
	for {
		if line, err = c.readLine(); err != nil || line == "" {
			return a, err
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "mcp-session-id":
			a.session = value
		case "content-length":
			if a.length, err = strconv.Atoi(value); err != nil {
				return a, err
			}
		case "transfer-encoding":
			a.chunked = value == "chunked"
		}
	}
}

func (c *conn) readBody(a *answer) error {
	var body []byte
	read := func(n int) error {
		at := len(body)
		body = append(body, make([]byte, n)...)
		_, err := io.ReadFull(c.r, body[at:])
		return err
	}
	defer func() { a.body = string(body) }()
	if !a.chunked {
		return read(a.length)
	}
	for {
		line, err := c.readLine()
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(line, 16, 32)
		if err != nil {
			return err
		}
		if err := read(int(n)); err != nil {
			return err
		}
		if _, err := c.readLine(); err != nil || n == 0 {
			return err
		}
	}
}
