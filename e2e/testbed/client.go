package testbed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Client speaks MCP with nothing between the test and the wire.
type Client struct {
	Endpoint string
	// Name is the clientInfo.name, by which a scripted server tells whose session is whose.
	Name string
	// Session is the token that initialize was answered with.
	Session string
	// Authorization is sent with every request, if it is not empty.
	Authorization string
	HTTP          *http.Client
	lastID        atomic.Int64
}

// NewClient makes a client without a session.
func NewClient(t testing.TB, endpoint string) *Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32}
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{
		Endpoint: endpoint,
		Name:     strings.ReplaceAll(t.Name(), "/", "."),
		HTTP: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Connect makes a client and opens its session.
func Connect(t testing.TB, endpoint string) *Client {
	t.Helper()
	c := NewClient(t, endpoint)
	c.Initialize(t, "{}")
	return c
}

// ConnectAs makes a client with a token and opens its session. The name is that of the client at the servers.
func ConnectAs(t testing.TB, endpoint, name, authorization string) *Client {
	t.Helper()
	c := NewClient(t, endpoint)
	c.Name, c.Authorization = name, authorization
	c.Initialize(t, "{}")
	return c
}

// Initialize opens a session with capabilities in raw JSON. The headers come in pairs of name and value.
func (c *Client) Initialize(t testing.TB, capabilities string, headers ...string) *Answer {
	t.Helper()
	a := c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":%s,`+
		`"clientInfo":{"name":%q,"version":"1"}}}`, capabilities, c.Name), headers...)
	c.Session = a.Header.Get("Mcp-Session-Id")
	if a.Status != http.StatusOK || c.Session == "" {
		t.Fatalf("initialize was answered with %s", a)
	}
	if a := c.Post(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, headers...); a.Status != http.StatusAccepted {
		t.Fatalf("notifications/initialized was answered with %s", a)
	}
	return a
}

// At is a client of the same session that calls another URL.
func (c *Client) At(url string) *Client {
	return &Client{Endpoint: url, Name: c.Name, Session: c.Session, Authorization: c.Authorization, HTTP: c.HTTP}
}

// Answer is a whole answer.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// String shows an answer in a failure.
func (a *Answer) String() string { return fmt.Sprintf("%d %v %s", a.Status, a.Header, a.Body) }

// Message is the JSON-RPC message of the answer: its document, or the last event of its stream that holds a response.
func (a *Answer) Message(t testing.TB) string {
	t.Helper()
	if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") {
		return a.Body
	}
	last := ""
	r := bufio.NewReader(strings.NewReader(a.Body))
	for {
		ev, err := readEvent(r)
		if err != nil {
			break
		}
		if strings.Contains(ev.Data, `"result"`) || strings.Contains(ev.Data, `"error"`) {
			last = ev.Data
		}
	}
	if last == "" {
		t.Fatalf("no response in %s", a)
	}
	return last
}

// Result is the raw result of the answer.
func (a *Answer) Result(t testing.TB) string {
	t.Helper()
	var m struct{ Result json.RawMessage }
	if err := json.Unmarshal([]byte(a.Message(t)), &m); err != nil || a.Status != http.StatusOK || m.Result == nil {
		t.Fatalf("want a result, got %s (%v)", a, err)
	}
	return string(m.Result)
}

// Text is the text that a tool said.
func (a *Answer) Text(t testing.TB) string {
	t.Helper()
	var r struct{ Content []struct{ Text string } }
	if err := json.Unmarshal([]byte(a.Result(t)), &r); err != nil || len(r.Content) == 0 {
		t.Fatalf("want a text, got %s", a)
	}
	return r.Content[0].Text
}

// RPCError is a JSON-RPC error as it stands in an answer.
type RPCError struct {
	ID      string // raw, empty if there is none
	Code    int
	Message string
}

// Error is the error of the answer. Anything that is not a well-formed one ends the test (Invariant 7).
func (a *Answer) Error(t testing.TB) RPCError {
	t.Helper()
	var m struct {
		JSONRPC string
		ID      json.RawMessage
		Result  json.RawMessage
		Error   *struct {
			Code    int
			Message string
		}
	}
	dec := json.NewDecoder(strings.NewReader(a.Message(t)))
	if err := dec.Decode(&m); err != nil || m.JSONRPC != "2.0" || m.Error == nil || m.Result != nil || m.Error.Message == "" {
		t.Fatalf("want a JSON-RPC error, got %s (%v)", a, err)
	}
	if ct := a.Header.Get("Content-Type"); ct != "application/json" && ct != "text/event-stream" {
		t.Fatalf("want a JSON-RPC error with a content type of MCP, got %s", a)
	}
	return RPCError{ID: string(m.ID), Code: m.Error.Code, Message: m.Error.Message}
}

// Request makes a request of the session. The headers come in pairs of name and value; a value that is empty takes a
// header off, and the name "Host" sets the host.
func (c *Client) Request(ctx context.Context, method string, body io.Reader, headers ...string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Endpoint, body)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("User-Agent", "testbed")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Authorization != "" {
		req.Header.Set("Authorization", c.Authorization)
	}
	if c.Session != "" {
		req.Header.Set("Mcp-Session-Id", c.Session)
		req.Header.Set("Mcp-Protocol-Version", "2025-11-25")
	}
	given := map[string]bool{}
	for i := 0; i < len(headers); i += 2 {
		name, value := http.CanonicalHeaderKey(headers[i]), headers[i+1]
		switch {
		case name == "Host":
			req.Host = value
		case value == "":
			req.Header.Del(name)
		case given[name]:
			req.Header.Add(name, value)
		default:
			req.Header.Set(name, value)
		}
		given[name] = true
	}
	return req, nil
}

// Do makes a request and reads the whole answer.
func (c *Client) Do(t testing.TB, method string, body io.Reader, headers ...string) *Answer {
	t.Helper()
	a, err := c.TryDo(t, method, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TryDo is Do where it may fail.
func (c *Client) TryDo(t testing.TB, method string, body io.Reader, headers ...string) (*Answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	req, err := c.Request(ctx, method, body, headers...)
	if err != nil {
		return nil, err
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	a := &Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(out)}
	if err != nil {
		return a, fmt.Errorf("%s: the answer broke off: %w", method, err)
	}
	return a, nil
}

// Post sends one message.
func (c *Client) Post(t testing.TB, body string, headers ...string) *Answer {
	t.Helper()
	return c.Do(t, http.MethodPost, strings.NewReader(body), headers...)
}

// NextID is an id that the client has not used.
func (c *Client) NextID() int64 { return c.lastID.Add(1) }

// ToolCall is the message that calls a tool with arguments in raw JSON, and the id that it has.
func (c *Client) ToolCall(tool, arguments string) (body string, id int64) {
	id = c.NextID()
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, tool, arguments), id
}

// Call calls a tool with arguments in raw JSON.
func (c *Client) Call(t testing.TB, tool, arguments string, headers ...string) *Answer {
	t.Helper()
	body, _ := c.ToolCall(tool, arguments)
	return c.Post(t, body, headers...)
}

// ToolNames are the names of all tools on offer.
func (c *Client) ToolNames(t testing.TB) []string {
	t.Helper()
	var names []string
	for cursor := ""; ; {
		var page struct {
			Tools      []struct{ Name string }
			NextCursor string
		}
		params := "{}"
		if cursor != "" {
			params = fmt.Sprintf(`{"cursor":%q}`, cursor)
		}
		result := c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/list","params":%s}`, c.NextID(), params)).Result(t)
		if err := json.Unmarshal([]byte(result), &page); err != nil {
			t.Fatal(err)
		}
		for _, tool := range page.Tools {
			names = append(names, tool.Name)
		}
		if cursor = page.NextCursor; cursor == "" {
			return names
		}
	}
}

// Event is one event of a stream.
type Event struct{ Name, ID, Data, Retry string }

// Stream is an answer that is read event by event.
type Stream struct {
	Status int
	Header http.Header
	events chan Event
	cancel context.CancelFunc
}

// Open makes a request and returns as soon as its answer begins.
func (c *Client) Open(t testing.TB, method, body string, headers ...string) *Stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := c.Request(ctx, method, content, headers...)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.AfterFunc(Patience, cancel)
	resp, err := c.HTTP.Do(req) //nolint:bodyclose // the stream does
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	begun.Stop()
	s := &Stream{Status: resp.StatusCode, Header: resp.Header, events: make(chan Event, 1024), cancel: cancel}
	go func() {
		defer close(s.events)
		defer func() { _ = resp.Body.Close() }()
		r := bufio.NewReader(resp.Body)
		for {
			ev, err := readEvent(r)
			if err != nil {
				return
			}
			select {
			case s.events <- ev:
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

// Listen opens the session's event stream.
func (c *Client) Listen(t testing.TB, headers ...string) *Stream {
	t.Helper()
	s := c.Open(t, http.MethodGet, "", headers...)
	if s.Status != http.StatusOK {
		t.Fatalf("the event stream was refused with %d", s.Status)
	}
	return s
}

// Close leaves the stream.
func (s *Stream) Close() { s.cancel() }

// Next is the next event.
func (s *Stream) Next(t testing.TB) Event {
	t.Helper()
	ev, ok := s.TryNext(t)
	if !ok {
		t.Fatal("the stream ended before the event that it should have had")
	}
	return ev
}

// TryNext is the next event, or false at the end of the stream.
func (s *Stream) TryNext(t testing.TB) (Event, bool) {
	t.Helper()
	select {
	case ev, ok := <-s.events:
		return ev, ok
	case <-time.After(Patience):
		t.Fatalf("no event came within %v", Patience)
		return Event{}, false
	}
}

// Find is the next event whose data contains a text.
func (s *Stream) Find(t testing.TB, text string) Event {
	t.Helper()
	for {
		if ev := s.Next(t); strings.Contains(ev.Data, text) {
			return ev
		}
	}
}

// FindWithin is Find where it may be in vain.
func (s *Stream) FindWithin(limit time.Duration, text string) (Event, bool) {
	deadline := time.After(limit)
	for {
		select {
		case ev, open := <-s.events:
			if !open {
				return Event{}, false
			}
			if strings.Contains(ev.Data, text) {
				return ev, true
			}
		case <-deadline:
			return Event{}, false
		}
	}
}

// readEvent reads the next event that is more than a comment.
func readEvent(r *bufio.Reader) (Event, error) {
	var ev Event
	var data []string
	some := false
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return ev, fmt.Errorf("stream: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if some {
				ev.Data = strings.Join(data, "\n")
				return ev, nil
			}
			continue
		}
		field, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			ev.Name, some = value, true
		case "id":
			ev.ID, some = value, true
		case "retry":
			ev.Retry, some = value, true
		case "data":
			data, some = append(data, value), true
		}
	}
}
