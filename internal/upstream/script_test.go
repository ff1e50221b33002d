package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seen is one request as a scripted server got it.
type seen struct {
	Verb    string // of HTTP
	Method  string // of JSON-RPC
	Host    string
	Header  http.Header
	Session string
	Body    string
}

// reply is how a scripted server answers one message.
type jsonMessage = jsonrpc.Message

type reply func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message)

// script is an MCP server that does as it is told. Without being told, it keeps sessions, has the lists it was given and
// offers no event stream.
type script struct {
	mu           sync.Mutex
	session      string // the id that it gives next
	known        string // the id that it knows
	capabilities string
	lists        map[string][]string // pages of results by method
	on           map[string]reply    // by JSON-RPC method, or GET or DELETE
	got          []seen
}

func newScript() *script {
	return &script{
		session: "s-1", capabilities: `{"tools":{"listChanged":true}}`,
		lists: map[string][]string{"tools/list": {`{"tools":[{"name":"a"}]}`}},
		on:    map[string]reply{},
	}
}

// set changes the script under its lock.
func (s *script) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m, _ := jsonrpc.Parse(body, jsonrpc.Limits{})
	did := m.MethodName()
	if r.Method != http.MethodPost {
		did = r.Method
	}
	s.mu.Lock()
	if did == "server/discover" && s.on[did] == nil {
		s.mu.Unlock() // that it knows nothing of the question is no concern of most tests
		answerStatus(http.StatusBadRequest, "Bad Request: no valid session ID provided")(w, r, &m)
		return
	}
	s.got = append(s.got, seen{
		Verb: r.Method, Method: m.MethodName(), Host: r.Host, Header: r.Header.Clone(), Session: r.Header.Get("Mcp-Session-Id"),
		Body: string(body),
	})
	do := s.on[did]
	s.mu.Unlock()
	if do == nil {
		do = s.byDefault
	}
	do(w, r, &m)
}

func (s *script) byDefault(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	method := m.MethodName()
	switch {
	case method == "initialize":
		if s.known = s.session; s.known != "" {
			w.Header().Set("Mcp-Session-Id", s.known)
		}
		answerJSON(w, m, `{"protocolVersion":"2025-11-25","capabilities":`+s.capabilities+`,"serverInfo":{"name":"script","version":"1"}}`)
	case r.Header.Get("Mcp-Session-Id") != s.known:
		http.Error(w, "session not found", http.StatusNotFound)
	case r.Method == http.MethodGet:
		http.Error(w, "no streams here", http.StatusMethodNotAllowed)
	case r.Method == http.MethodDelete:
		s.known = "deleted"
	case m.Kind != jsonrpc.Request:
		w.WriteHeader(http.StatusAccepted)
	case method == "ping":
		answerJSON(w, m, `{}`)
	case s.lists[method] != nil:
		page := 0
		if cursor := m.Param("cursor"); cursor.Present() {
			text, _ := jsonrpc.Unquote(cursor.Of(m.Body))
			page, _ = strconv.Atoi(text)
		}
		answerJSON(w, m, s.lists[method][page])
	default:
		refusal := jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "no such method", ID: m.ID.Of(m.Body)}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(refusal.AppendResponse(nil))
	}
}

// requests are those of a method so far, JSON-RPC's or HTTP's; all for an empty one.
func (s *script) requests(method string) []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.got), func(r seen) bool {
		return method != "" && r.Method != method && (r.Verb != method || r.Verb == http.MethodPost)
	})
}

func answerJSON(w http.ResponseWriter, m *jsonrpc.Message, result string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(jsonrpc.AppendResult(nil, m.ID.Of(m.Body), []byte(result)))
}

// response is the event with the answer to a request.
func response(m *jsonrpc.Message, result string) string {
	return "event: message\ndata: " + string(jsonrpc.AppendResult(nil, m.ID.Of(m.Body), []byte(result))) + "\n\n"
}

// answerEvents answers with a stream of the events, each flushed.
func answerEvents(w http.ResponseWriter, events ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	_ = http.NewResponseController(w).Flush()
	for _, ev := range events {
		_, _ = io.WriteString(w, ev)
		_ = http.NewResponseController(w).Flush()
	}
}

func answerStatus(status int, body string) reply {
	return func(w http.ResponseWriter, _ *http.Request, _ *jsonrpc.Message) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// tools is a result of tools/list.
func tools(names ...string) string {
	items := make([]string, len(names))
	for i, name := range names {
		items[i] = fmt.Sprintf(`{"name":%q}`, name)
	}
	return `{"tools":[` + join(items) + `]}`
}

func join(items []string) string {
	out := ""
	for i, item := range items {
		if i > 0 {
			out += ","
		}
		out += item
	}
	return out
}

// configOf is the configuration of a server at a URL.
func configOf(t testing.TB, name, rawURL string) config.Server {
	t.Helper()
	u, err := url.Parse(rawURL)
	require.NoError(t, err)
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	require.NoError(t, err)
	path := u.EscapedPath()
	if path == "" {
		path = "/mcp"
	}
	return config.Server{Name: name, Scheme: u.Scheme, Host: u.Hostname(), Port: uint16(port), Path: path, Hostname: u.Host, Enabled: true}
}

// serve starts a script on a real port and makes its endpoint.
func serve(t testing.TB, h http.Handler, opts EndpointOptions, change ...func(*config.Server)) *Endpoint {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	cfg := configOf(t, "weather", srv.URL)
	for _, c := range change {
		c(&cfg)
	}
	ep, err := NewEndpoint(cfg, opts)
	require.NoError(t, err)
	t.Cleanup(ep.Close)
	return ep
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }

// quiet is a log for what a server has to say of clients that it was meant to disappoint.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func isSessionUnknown(err error) bool { return errors.Is(err, ErrSessionUnknown) }

type rawMessage = json.RawMessage
