package dataplane_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// This file is the clients of the matrix: they send what the table says, in the way of their own revision, and answer what they are asked.

// matrixClient is a client of one revision that calls one server.
type matrixClient struct {
	*testbed.Client
	t        *testing.T
	revision string
	server   *matrixServer
	task     string
	ids      int
	row      *rowTranscript
}

func newMatrixClient(t *testing.T, endpoint, revision string, server *matrixServer) *matrixClient {
	t.Helper()
	c := &matrixClient{Client: testbed.NewClient(t, endpoint), t: t, revision: revision, server: server, task: "none", row: &rowTranscript{}}
	c.Name = "matrix"
	return c
}

func (c *matrixClient) modern() bool { return c.revision == modernRevision }

// family is the client's in the table.
func (c *matrixClient) family() string {
	if c.modern() {
		return "stateless"
	}
	return "session"
}

// capabilities are all that the client's revision has of what servers of this table ask for.
func (c *matrixClient) capabilities() string {
	switch c.revision {
	case "2025-06-18":
		return `{"elicitation":{},"sampling":{},"roots":{"listChanged":true}}`
	case legacyRevision:
		return `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{"listChanged":true}}`
	default:
		return `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}`
	}
}

// run does one row, and returns what is to be seen of it.
func (c *matrixClient) run(r row) *rowTranscript {
	c.t.Helper()
	c.row = &rowTranscript{}
	do := r.does
	if do == nil {
		do = func(c *matrixClient, r row) { c.converse(r, nil) }
	}
	do(c, r)
	if last := r.until[c.family()+" "+c.server.name]; last != "" {
		c.server.await(c.t, last)
	}
	c.row.received = slices.DeleteFunc(c.server.take(), func(a arrival) bool { return a.verb == http.MethodGet && !r.listens })
	return c.row
}

// message is the row's message with the headers that belong to it. A client of 2026-07-28 that was asked for something answers in extra members.
func (c *matrixClient) message(r row, extra string) (body string, headers []string) {
	params, own := r.session, []string(nil)
	if c.modern() {
		params, own = c.statelessParams(r, extra), append(slices.Clone(r.headers), "Mcp-Protocol-Version", modernRevision, "Mcp-Method", r.method)
		switch r.method {
		case "tools/call", "prompts/get":
			own = append(own, "Mcp-Name", "${name}")
		case "resources/read":
			own = append(own, "Mcp-Name", c.uriOf(r))
		}
	}
	expand := strings.NewReplacer("${name}", c.server.name+"_"+r.item, "${uri}", c.server.name+"://"+r.item, "${server}", c.server.name,
		"${task}", c.task, "${revision}", c.revision, "${capabilities}", c.capabilities())
	for i := range own {
		own[i] = expand.Replace(own[i])
	}
	body = fmt.Sprintf(`{"jsonrpc":"2.0","method":%q`, r.method)
	if !strings.HasPrefix(r.method, "notifications/") {
		c.ids++
		body = fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q`, c.ids, r.method)
	}
	if params != "" {
		body += `,"params":` + expand.Replace(params)
	}
	return body + "}", own
}

func (c *matrixClient) uriOf(r row) string {
	var params struct{ URI string }
	_ = json.Unmarshal([]byte(r.session), &params) // the table's own
	return params.URI
}

// statelessParams are params with what every request of 2026-07-28 has.
func (c *matrixClient) statelessParams(r row, extra string) string {
	params := r.stateless
	if params == "" {
		params = r.session
	}
	capabilities, more := c.capabilities(), r.meta
	if more == takesTasks {
		capabilities, more = strings.Replace(capabilities, "{", "{"+takesTasks+",", 1), ""
	}
	meta := fmt.Sprintf(`{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"matrix","version":"1"},`+
		`"io.modelcontextprotocol/clientCapabilities":%s`, capabilities)
	if more != "" {
		meta += "," + more
	}
	meta += "}" + extra
	if rest := strings.TrimPrefix(params, "{"); rest != "" && rest != "}" {
		return meta + "," + rest
	}
	return meta + "}"
}

// converse sends the row's message, answers what is asked, and reads to the end. What is seen of the stream may stop it early.
func (c *matrixClient) converse(r row, seen func(event string) (stop bool)) {
	c.t.Helper()
	for extra, round := "", 0; ; round++ {
		require.Less(c.t, round, 5, "the server asks and asks")
		body, headers := c.message(r, extra)
		final := readMessage(c.exchange(http.MethodPost, body, headers, seen))
		var result struct {
			ResultType, RequestState, TaskID string
			InputRequests                    map[string]json.RawMessage
		}
		_ = json.Unmarshal(final.Result, &result) // an error has none
		if result.TaskID != "" {
			c.task = result.TaskID
		}
		if !c.modern() && strings.Contains(string(final.Error), "-32042") {
			continue // the user has opened the page
		}
		if !c.modern() || result.ResultType != "input_required" {
			return
		}
		var answers []string
		for _, key := range slices.Sorted(maps.Keys(result.InputRequests)) {
			answers = append(answers, fmt.Sprintf("%q:%s", key, answerTo(readMessage(string(result.InputRequests[key])))))
		}
		extra = fmt.Sprintf(`,"requestState":%q,"inputResponses":{%s}`, result.RequestState, strings.Join(answers, ","))
	}
}

// answerTo is what a client answers a server's request with.
func answerTo(m message) string {
	switch m.Method {
	case "elicitation/create":
		if m.Params.Mode == "url" {
			return `{"action":"accept"}`
		}
		return `{"action":"accept","content":{"name":"eve"}}`
	case "sampling/createMessage":
		return `{"role":"assistant","model":"m","content":{"type":"text","text":"9007199254740993"}}`
	case "roots/list":
		return `{"roots":[{"uri":"file:///home"}]}`
	default:
		return `{}`
	}
}

// exchange makes one HTTP request and notes both sides of it. What is returned is the last message of the answer.
func (c *matrixClient) exchange(verb, body string, headers []string, seen func(event string) bool) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), testbed.Patience)
	defer cancel()
	if !c.modern() && c.Session != "" {
		headers = append([]string{"Mcp-Protocol-Version", c.revision}, headers...)
	}
	req, err := c.Request(ctx, verb, strings.NewReader(body), headers...)
	require.NoError(c.t, err)
	e := c.row.begin(verb, body, req.Header)
	resp, err := c.HTTP.Do(req)
	require.NoError(c.t, err, body)
	defer func() { _ = resp.Body.Close() }()
	if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
		c.Session = id
	}
	e.status, e.answered = resp.StatusCode, resp.Header
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		all, err := io.ReadAll(resp.Body)
		require.NoError(c.t, err)
		e.events = append(e.events, string(all))
		return string(all)
	}
	return c.stream(e, resp.Body, seen)
}

// stream reads a stream, and answers the server's requests on it.
func (c *matrixClient) stream(e *exchanged, body io.Reader, seen func(event string) bool) (last string) {
	c.t.Helper()
	lines := bufio.NewReader(body)
	var event []string
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return last
		}
		require.NoError(c.t, err, "%s\n%s", e.body, e.events)
		switch line = strings.TrimRight(line, "\r\n"); {
		case strings.HasPrefix(line, ":"): // a comment, by the clock
		case line != "":
			event = append(event, line)
			if data, ok := strings.CutPrefix(line, "data:"); ok {
				last = strings.TrimSpace(data)
			}
		case len(event) > 0:
			e.events, event = append(e.events, strings.Join(event, "\n")), nil
			if seen != nil && seen(last) {
				return last
			}
			if m := readMessage(last); m.Method != "" && m.ID != nil {
				if token := m.Params.Meta.ProgressToken; token != nil {
					c.exchange(http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, token), nil, nil)
				}
				c.exchange(http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, answerTo(m)), nil, nil)
				if c.row.exchanges[len(c.row.exchanges)-1].status != http.StatusAccepted {
					return last // nothing more will come
				}
			}
		}
	}
}

// open opens a session of which nothing is noted.
func (c *matrixClient) open() {
	c.t.Helper()
	c.row, c.Session = &rowTranscript{}, ""
	for _, r := range openings() {
		if r.method == "initialize" || r.method == "notifications/initialized" {
			c.run(r)
		}
	}
}

// cancel ends a call in the way of the client's revision as soon as it has begun.
func (c *matrixClient) cancel(r row) {
	c.t.Helper()
	begun := false
	c.converse(r, func(string) bool {
		if !c.modern() && !begun {
			begun = true
			c.exchange(http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, c.ids), nil, nil)
		}
		// A server that keeps no sessions cannot tell two clients' ids apart, so that it is not told of the one that is cancelled.
		return c.modern() || c.server.name == "plain"
	})
}

// subscribe has the client's event stream open while it subscribes, until it is told of a change, if the server can tell of any.
func (c *matrixClient) subscribe(r row) {
	c.t.Helper()
	if c.modern() {
		c.converse(r, nil)
		return
	}
	if c.server.name == "plain" {
		c.converse(r, nil)
		return
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), testbed.Patience)
	defer cancel()
	req, err := c.Request(ctx, http.MethodGet, nil, "Mcp-Protocol-Version", c.revision)
	require.NoError(c.t, err)
	e := c.row.begin(http.MethodGet, "", req.Header)
	resp, err := c.HTTP.Do(req)
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	e.status, e.answered = resp.StatusCode, resp.Header
	if c.server.name == "legacy" {
		c.server.await(c.t, http.MethodGet)
	}
	c.converse(r, nil)
	c.stream(e, resp.Body, func(event string) bool { return strings.Contains(event, "notifications/resources/updated") })
}

// listen listens until it is told of a change of a resource, if the server can tell of any.
func (c *matrixClient) listen(r row) {
	c.t.Helper()
	last := "notifications/resources/updated"
	if c.server.name == "plain" {
		last = "notifications/subscriptions/acknowledged"
	}
	c.converse(r, func(event string) bool { return strings.Contains(event, last) })
}

// leave ends the session.
func (c *matrixClient) leave(row) {
	c.t.Helper()
	var headers []string
	if c.modern() {
		headers = []string{"Mcp-Protocol-Version", modernRevision}
	}
	c.exchange(http.MethodDelete, "", headers, nil)
}

// rowTranscript is what is to be seen of a row from both ends.
type rowTranscript struct {
	exchanges []*exchanged
	received  []arrival
}

// exchanged is one HTTP request of a client and its answer.
type exchanged struct {
	verb, body     string
	sent, answered http.Header
	status         int
	events         []string // one, if the answer is no stream
}

func (t *rowTranscript) begin(verb, body string, header http.Header) *exchanged {
	e := &exchanged{verb: verb, body: body, sent: header}
	t.exchanges = append(t.exchanges, e)
	return e
}

// outcome is what became of a request, in the words of the guide: it was passed on if the server got it with the client's id.
func (t *rowTranscript) outcome(method string) string {
	last := t.exchanges[len(t.exchanges)-1]
	if strings.Contains(strings.Join(last.events, ""), `"code":-32601`) {
		return "unknown"
	}
	id := string(readMessage(last.body).ID)
	if slices.ContainsFunc(t.received, func(a arrival) bool { return a.method == method && string(readMessage(a.body).ID) == id }) {
		return "passed to its server"
	}
	return "answered by the gateway"
}

// unshown are headers that are the same in all requests of a kind, or of HTTP's own.
var unshown = regexp.MustCompile(`^(Accept|Accept-Encoding|Content-Length|Content-Type|Date|Server|Cache-Control|User-Agent|Vary|X-Request-Id)$`)

func renderHeaders(b *strings.Builder, h http.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			if !unshown.MatchString(name) {
				fmt.Fprintf(b, "%s: %s\n", name, value)
			}
		}
	}
}

// sent, got and seen show the three sides of a row. Where there are several requests, they have numbers.
func (t *rowTranscript) sent() string {
	return t.each(func(b *strings.Builder, e *exchanged) {
		fmt.Fprintf(b, "%s\n", e.verb)
		renderHeaders(b, e.sent)
		if e.body != "" {
			fmt.Fprintf(b, "\n%s\n", e.body)
		}
	})
}

func (t *rowTranscript) got() string {
	return t.each(func(b *strings.Builder, e *exchanged) {
		fmt.Fprintf(b, "%d\n", e.status)
		if ct := e.answered.Get("Content-Type"); ct != "" {
			fmt.Fprintf(b, "Content-Type: %s\n", ct)
		}
		renderHeaders(b, e.answered)
		for _, event := range e.events {
			if event != "" {
				fmt.Fprintf(b, "\n%s\n", event)
			}
		}
	})
}

func (t *rowTranscript) each(show func(b *strings.Builder, e *exchanged)) string {
	var b strings.Builder
	for i, e := range t.exchanges {
		if len(t.exchanges) > 1 {
			if i > 0 {
				b.WriteString("\n")
			}
			fmt.Fprintf(&b, "[%d] ", i+1)
		}
		show(&b, e)
	}
	return b.String()
}

func (t *rowTranscript) seen() string {
	var b strings.Builder
	for i, r := range t.received {
		if i > 0 {
			b.WriteString("\n")
		}
		if len(t.received) > 1 {
			fmt.Fprintf(&b, "[%d] ", i+1)
		}
		if r.method == closed {
			fmt.Fprintln(&b, closed)
			continue
		}
		fmt.Fprintf(&b, "%s %s\n", r.verb, r.path)
		fmt.Fprintf(&b, "User-Agent: %s\n", r.header.Get("User-Agent"))
		renderHeaders(&b, r.header)
		if r.body != "" {
			fmt.Fprintf(&b, "\n%s\n", r.body)
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}
