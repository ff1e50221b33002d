package testbed

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Stateless makes requests of revision 2026-07-28, each of which tells all that a session would know.
type Stateless struct{ *Client }

// NewStateless makes such a client.
func NewStateless(t testing.TB, endpoint string) *Stateless {
	t.Helper()
	return &Stateless{NewClient(t, endpoint)}
}

// Message is a request with params in raw JSON, {} at least, and the headers that belong to it.
func (c *Stateless) Message(method, params string) (body string, headers []string) {
	var named struct{ Name, URI string }
	_ = json.Unmarshal([]byte(params), &named) // what has no name needs no header
	headers = []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", method}
	if name := named.Name + named.URI; name != "" {
		headers = append(headers, "Mcp-Name", name)
	}
	meta := fmt.Sprintf(`{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":%q,"version":"1"},`+
		`"io.modelcontextprotocol/clientCapabilities":{}}`, c.Name)
	if params != "{}" {
		meta += ","
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, c.NextID(), method, meta+params[1:]), headers
}

// Ask makes a request. Further headers take the place of those that belong to it.
func (c *Stateless) Ask(t testing.TB, method, params string, headers ...string) *Answer {
	t.Helper()
	body, own := c.Message(method, params)
	return c.Post(t, body, replaced(own, headers)...)
}

// Begin makes a request whose answer is a stream.
func (c *Stateless) Begin(t testing.TB, method, params string) *Stream {
	t.Helper()
	body, headers := c.Message(method, params)
	return c.Open(t, http.MethodPost, body, headers...)
}

// replaced are pairs of names and values without those that others take the place of.
func replaced(pairs, others []string) []string {
	var out []string
	for i := 0; i < len(pairs); i += 2 {
		taken := false
		for k := 0; k < len(others); k += 2 {
			taken = taken || strings.EqualFold(pairs[i], others[k])
		}
		if !taken {
			out = append(out, pairs[i], pairs[i+1])
		}
	}
	return append(out, others...)
}

// StatelessServer speaks 2026-07-28 alone, and remembers what it was asked.
type StatelessServer struct {
	URL string

	tools string
	call  http.HandlerFunc
	mu    sync.Mutex
	calls []StatelessCall
}

// StatelessCall is one call as it arrived.
type StatelessCall struct {
	Header http.Header
	Body   string
}

// NewStatelessServer starts one with tools in raw JSON. Calls are for the given handler, which finds the message in the body.
func NewStatelessServer(t testing.TB, tools string, call http.HandlerFunc) *StatelessServer {
	t.Helper()
	s := &StatelessServer{tools: tools, call: call}
	address := FreeAddress(t)
	Serve(t, address, s)
	s.URL = "http://" + address + "/mcp"
	return s
}

// Calls are the calls so far.
func (s *StatelessServer) Calls() []StatelessCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]StatelessCall(nil), s.calls...)
}

// ServeHTTP implements http.Handler.
func (s *StatelessServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var m struct {
		ID     json.RawMessage
		Method string
	}
	_ = json.Unmarshal(body, &m) // what is no message has no method
	answer := func(status int, rest string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,%s}`, m.ID, rest)
	}
	const hints = `"resultType":"complete","ttlMs":0,"cacheScope":"public"`
	switch {
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case r.Header.Get("Mcp-Protocol-Version") != "2026-07-28":
		answer(http.StatusBadRequest, `"error":{"code":-32022,"message":"unsupported","data":{"supported":["2026-07-28"],"requested":""}}`)
	case m.Method == "server/discover":
		answer(http.StatusOK, `"result":{`+hints+`,"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}`)
	case m.Method == "tools/list":
		answer(http.StatusOK, `"result":{`+hints+`,"tools":`+s.tools+`}`)
	case m.Method == "tools/call":
		s.mu.Lock()
		s.calls = append(s.calls, StatelessCall{r.Header.Clone(), string(body)})
		s.mu.Unlock()
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		s.call(w, r)
	default:
		answer(http.StatusNotFound, `"error":{"code":-32601,"message":"unknown method"}`)
	}
}
