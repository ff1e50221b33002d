package dataplane_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// This file is the servers of the matrix: they answer what the table says, in their own revision, and keep what they receive.

// closed is what a server receives as the end of a connection.
const closed = "(the connection was closed)"

// matrixServer is one scripted server.
type matrixServer struct {
	name string // "legacy", "modern" or "plain"
	url  string
	rows []row
	// upstream is the one with a session that this one is; nil if it is of 2026-07-28.
	upstream *testbed.Upstream

	mu       sync.Mutex // guards the rest
	received []arrival
	// asked are the requests of the server's own that wait for an answer, by their raw ids.
	asked map[string]chan struct{}
	asks  int
	ends  map[string]chan struct{} // of calls that hang, by their raw ids
	// opened tells that somebody was sent to a page.
	opened bool
}

// arrival is one request as a server got it.
type arrival struct {
	verb, path, method, body string
	header                   http.Header
}

func startMatrixServers(t *testing.T) []*matrixServer {
	t.Helper()
	var out []*matrixServer
	for _, name := range []string{"legacy", "modern", "plain"} {
		s := &matrixServer{name: name, rows: matrixRows(), asked: map[string]chan struct{}{}, ends: map[string]chan struct{}{}}
		if name == "modern" {
			address := testbed.FreeAddress(t)
			testbed.Serve(t, address, http.HandlerFunc(s.serve))
			s.url = "http://" + address + "/mcp"
		} else {
			s.upstream = testbed.NewUpstream(t, testbed.Script{Sessionless: name == "plain", Capabilities: legacyCapabilities, Before: func(w http.ResponseWriter, c *testbed.Call) bool {
				return s.before(w, c.Request, c.Body)
			}})
			s.url = s.upstream.URL
		}
		out = append(out, s)
	}
	return out
}

const (
	legacyCapabilities = `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"completions":{},"logging":{}}`
	modernCapabilities = `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"completions":{},"logging":{},` +
		`"extensions":{"io.modelcontextprotocol/tasks":{}}}`
)

// message is what servers and clients read of a message.
type message struct {
	ID     json.RawMessage
	Method string
	Params struct {
		Name, URI      string
		Ref            struct{ Name string }
		RequestID      json.RawMessage
		InputResponses map[string]json.RawMessage
		Notifications  json.RawMessage
		Meta           struct {
			ProgressToken json.RawMessage
			LogLevel      string          `json:"io.modelcontextprotocol/logLevel"`
			Capabilities  json.RawMessage `json:"io.modelcontextprotocol/clientCapabilities"`
		} `json:"_meta"`
		Mode string
	}
	Result json.RawMessage
	Error  json.RawMessage
}

func readMessage(body string) (m message) {
	_ = json.Unmarshal([]byte(body), &m) // what is no message has no method
	return m
}

// keep notes a request. What the gateway reads for itself is nothing that a client caused.
func (s *matrixServer) keep(r *http.Request, method, body string) {
	if strings.HasSuffix(method, "/list") && method != "roots/list" && r.UserAgent() != "testbed" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, arrival{verb: r.Method, path: r.URL.Path, method: method, body: body, header: r.Header.Clone()})
}

// begin has the server number its own requests anew, and forgets what was received before there was a client.
func (s *matrixServer) begin() {
	s.take()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks, s.opened = 0, false
}

// take is what was received since it was called last.
func (s *matrixServer) take() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.received
	s.received = nil
	return out
}

// await waits until something has been received: a method of JSON-RPC or of HTTP, or closed.
func (s *matrixServer) await(t *testing.T, what string) {
	t.Helper()
	testbed.Await(t, s.name+" to receive "+what, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.ContainsFunc(s.received, func(r arrival) bool { return r.method == what || r.verb == what })
	})
}

// serve is the server of 2026-07-28.
func (s *matrixServer) serve(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has left
	}
	if body := string(raw); !s.before(w, r, raw) {
		m := readMessage(body)
		switch {
		case r.Method != http.MethodPost:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.Header.Get("Mcp-Protocol-Version") != modernRevision:
			reply(w, http.StatusBadRequest, m.ID, `"error":{"code":-32022,"message":"unsupported","data":{"supported":["2026-07-28"],"requested":""}}`)
		case m.Method == "server/discover":
			reply(w, http.StatusOK, m.ID, `"result":{`+cached+`,"supportedVersions":["2026-07-28"],"capabilities":`+modernCapabilities+`,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"modern","version":"1"}}}`)
		case m.Method == "subscriptions/listen":
			s.listen(w, r, m)
		default:
			reply(w, http.StatusNotFound, m.ID, `"error":{"code":-32601,"message":"method not found"}`)
		}
	}
}

func reply(w http.ResponseWriter, status int, id json.RawMessage, rest string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,%s}`, id, rest)
}

// listen agrees to everything, and tells of a change of each resource.
func (s *matrixServer) listen(w http.ResponseWriter, r *http.Request, m message) {
	send := testbed.SSE(w)
	send(fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":%s},\"notifications\":%s}}\n\n",
		m.ID, m.Params.Notifications))
	var wanted struct{ ResourceSubscriptions []string }
	_ = json.Unmarshal(m.Params.Notifications, &wanted) // without any there is nothing to tell of
	for _, uri := range wanted.ResourceSubscriptions {
		send(fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":%s},\"uri\":%q}}\n\n", m.ID, uri))
	}
	<-r.Context().Done()
	s.keep(r, closed, "")
}

// before keeps a request and answers it if the table does. The rest is what a server of its kind does.
func (s *matrixServer) before(w http.ResponseWriter, r *http.Request, body []byte) bool {
	m := readMessage(string(body))
	s.keep(r, m.Method, string(body))
	if r.Method != http.MethodPost {
		return false
	}
	if m.Method == "" || strings.HasPrefix(m.Method, "notifications/") {
		s.hear(m)
		return false
	}
	if list, ok := s.lists()[m.Method]; ok {
		reply(w, http.StatusOK, m.ID, `"result":{`+list+`}`)
		return true
	}
	a, ok := s.answerOf(m)
	if ok {
		s.answer(w, r, m, s.fitting(a, r, m))
	}
	return ok
}

// hear takes answers to what the server asked, and the ends of calls.
func (s *matrixServer) hear(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.asked
	id := string(m.ID)
	if m.Method == "notifications/cancelled" {
		waiting, id = s.ends, string(m.Params.RequestID)
	}
	if ch := waiting[id]; ch != nil {
		close(ch)
		delete(waiting, id)
	}
}

// answerOf is what the table has a request answered with.
func (s *matrixServer) answerOf(m message) (answer, bool) {
	own := m.Params.Name + m.Params.Ref.Name + strings.TrimPrefix(m.Params.URI, s.name+"://")
	for _, r := range s.rows {
		a := r.legacy
		if s.upstream == nil {
			a = r.modern
		}
		if r.method == m.Method && r.item == own || r.method == m.Method && m.Params.URI == "" && own == "" {
			return a, a.result != "" || a.fault != "" || a.hangs
		}
	}
	return answer{}, false
}

// fitting is the answer that a client gets who cannot do all that there is.
func (s *matrixServer) fitting(a answer, r *http.Request, m message) answer {
	needsURL := strings.Contains(a.fault, "-32042") || slices.Contains(a.asks, asksURL)
	switch {
	case s.upstream == nil && strings.Contains(a.result, `"task"`) && !strings.Contains(string(m.Params.Meta.Capabilities), takesTasks):
		a.result = `{` + complete + `,` + said + `}`
	case s.upstream == nil && needsURL && !strings.Contains(string(m.Params.Meta.Capabilities), `"url"`):
		a = answer{status: http.StatusBadRequest, fault: `{"code":-32021,"message":"open pages","data":{"requiredCapabilities":{"elicitation":{"url":{}}}}}`}
	case s.upstream != nil && needsURL && r.Header.Get("Mcp-Protocol-Version") < legacyRevision: // which knows of no pages
		a = answer{result: `{` + said + `,"isError":true}`}
	case strings.Contains(a.fault, "-32042") && s.toggle():
		a.fault, a.asks = "", nil
	}
	return a
}

// toggle tells whether a page has been opened since it was asked for. Who comes for the second time has done so.
func (s *matrixServer) toggle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.opened
	s.opened = !was
	return was
}

// answer answers as the table says.
func (s *matrixServer) answer(w http.ResponseWriter, r *http.Request, m message, a answer) {
	expand := strings.NewReplacer("${token}", string(m.Params.Meta.ProgressToken), "${uri}", m.Params.URI)
	final := fmt.Sprintf(`"result":%s`, expand.Replace(a.result))
	if a.fault != "" {
		final = fmt.Sprintf(`"error":%s`, expand.Replace(a.fault))
	}
	if len(a.asks) > 0 && s.upstream == nil && a.fault == "" && m.Params.InputResponses == nil {
		final = fmt.Sprintf(`"result":{"resultType":"input_required","inputRequests":{%s},"requestState":"state of the server"}`, keyed(a.asks))
	}
	if len(a.before) == 0 && (len(a.asks) == 0 || s.upstream == nil || a.fault != "") {
		reply(w, max(a.status, http.StatusOK), m.ID, final)
		if a.updates && s.upstream != nil {
			s.upstream.Push("", fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":%q}}\n\n", m.Params.URI))
		}
		return
	}
	ended := s.ending(m)
	send := testbed.SSE(w)
	for _, text := range a.before {
		// Progress is for who gave a token, and in 2026-07-28 log messages are for who gave a level.
		if text == progressed && m.Params.Meta.ProgressToken != nil || text == logged && (s.upstream != nil || m.Params.Meta.LogLevel != "") {
			send("data: " + expand.Replace(text) + "\n\n")
		}
	}
	if s.upstream != nil {
		for _, ask := range a.asks {
			if !s.ask(r, send, ask) {
				return
			}
		}
	}
	if a.hangs {
		select {
		case <-ended:
		case <-r.Context().Done():
			s.keep(r, closed, "")
		}
		return
	}
	send(fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"id\":%s,%s}\n\n", m.ID, final))
}

// ending is closed when a call is cancelled by its notification.
func (s *matrixServer) ending(m message) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan struct{})
	s.ends[string(m.ID)] = ch
	return ch
}

// ask asks the client for something in the midst of a call, and tells whether it was answered.
func (s *matrixServer) ask(r *http.Request, send func(string), ask string) bool {
	s.mu.Lock()
	s.asks++
	id, answered := fmt.Sprint(s.asks), make(chan struct{})
	s.asked[id] = answered
	s.mu.Unlock()
	send(fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"id\":%s,%s\n\n", id, ask[1:]))
	select {
	case <-answered:
		return true
	case <-r.Context().Done():
		s.keep(r, closed, "")
		return false
	}
}

// keyed are requests with keys, as 2026-07-28 has them: without an elicitationId, and without progress.
func keyed(asks []string) string {
	var out []string
	for i, ask := range asks {
		out = append(out, fmt.Sprintf("%q:%s", string(rune('a'+i)), strings.NewReplacer(`,"elicitationId":"e-1"`, "", `"_meta":{"progressToken":"model"},`, "").Replace(ask)))
	}
	return strings.Join(out, ",")
}

// lists are what a server offers: every item of the table, and what is special of one.
func (s *matrixServer) lists() map[string]string {
	var tools, prompts, resources []string
	seen := map[string]bool{}
	for _, r := range s.rows {
		key := r.method + " " + r.item
		if r.item == "" || r.item == "none" || seen[key] {
			continue
		}
		seen[key] = true
		switch schema := `{"type":"object"}`; r.method {
		case "tools/call":
			if r.item == "locate" {
				schema = `{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}`
			}
			tools = append(tools, fmt.Sprintf(`{"name":%q,"inputSchema":%s}`, r.item, schema))
		case "prompts/get":
			prompts = append(prompts, fmt.Sprintf(`{"name":%q}`, r.item))
		case "resources/read":
			if !strings.Contains(r.item, "/") {
				resources = append(resources, fmt.Sprintf(`{"uri":"%s://%s","name":%q}`, s.name, r.item, r.item))
			}
		}
	}
	hints := ""
	if s.upstream == nil {
		hints = cached + ","
	}
	return map[string]string{
		"tools/list":               hints + `"tools":[` + strings.Join(tools, ",") + `]`,
		"prompts/list":             hints + `"prompts":[` + strings.Join(prompts, ",") + `]`,
		"resources/list":           hints + `"resources":[` + strings.Join(resources, ",") + `]`,
		"resources/templates/list": fmt.Sprintf(`%s"resourceTemplates":[{"uriTemplate":"%s://part/{n}","name":"part"}]`, hints, s.name),
	}
}
