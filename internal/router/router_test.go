package router

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// post is a request with the head that a well-behaved client sends.
func post(token string) *Request {
	req := new(Request)
	req.Reset()
	for _, h := range []Header{
		{":method", "POST"},
		{":path", "/mcp"},
		{"content-type", "application/json"},
		{"accept", "application/json, text/event-stream"},
		{wire.HeaderProtocolVersion, wire.LatestSession},
		{wire.HeaderSessionID, token},
	} {
		req.Add(h.Name, h.Value)
	}
	return req
}

// TestOneSnapshotPerRequest proves Invariant 2.
func TestOneSnapshotPerRequest(t *testing.T) {
	w := newWorld(t)
	loads := 0
	r := New(Options{}, w.sessions, func() *catalog.Snapshot { loads++; return w.snap })
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"weather_alert"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"weather://city/Rio"}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
	} {
		loads = 0
		r.Route(post(w.open.Token()), []byte(body), new(Decision))
		assert.Equal(t, 1, loads, body)
	}
}

// TestToolOfADecision: a call of a tool comes with the counter of that very tool, under whatever name the client knows it and whoever makes the call.
func TestToolOfADecision(t *testing.T) {
	w := newWorld(t)
	for body, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"weather_alert"}}`:            "weather alert",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}`:                      "calc add",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"n_find"}}`:                   "team/notes find",
		`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"weather_brief"}}`:           "",
		`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"weather://today"}}`:       "",
		`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`:                                              "",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nobodys"}}`:                  "",
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"name":"calc"}}`: "",
	} {
		d := new(Decision)
		w.router.Route(post(w.open.Token()), []byte(body), d)
		got := ""
		if d.Tool != nil {
			got = d.Tool.Server + " " + d.Tool.Tool
		}
		assert.Equal(t, want, got, body)
		d.Reset()
		assert.Nil(t, d.Tool)
	}
}

// TestReuse proves that nothing of one request is seen in the next, as adapters keep Request and Decision.
func TestReuse(t *testing.T) {
	w := newWorld(t)
	call := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"weather_alert"}}`)
	fresh := new(Decision)
	w.router.Route(post(w.open.Token()), call, fresh)

	req, d := new(Request), new(Decision)
	req.Reset()
	for _, h := range []Header{
		{":method", "POST"},
		{":path", "/mcp/other"},
		{"origin", "https://evil.example.com"},
		{"authorization", "Bearer a"},
		{"authorization", "Bearer b"},
		{"content-encoding", "gzip"},
		{"content-length", "-1"},
		{wire.HeaderVirtualServer, "other"},
		{wire.HeaderLastEventID, "1"},
		{"x-mcp-forged", "1"},
		{"accept", "text/html"},
	} {
		req.Add(h.Name, h.Value)
	}
	w.router.Route(req, call, d)
	require.NotNil(t, d.Reply)
	d.Reset()
	req.Reset()
	assert.Equal(t, int64(-1), req.ContentLength())
	for _, h := range []Header{
		{":method", "POST"},
		{":path", "/mcp"},
		{"content-type", "application/json"},
		{wire.HeaderSessionID, w.open.Token()},
	} {
		req.Add(h.Name, h.Value)
	}
	w.router.Route(req, call, d)
	assert.Nil(t, d.Reply)
	assert.Equal(t, fresh.Set, d.Set)
	assert.Equal(t, fresh.Metadata, d.Metadata)
	assert.Equal(t, fresh.Body, d.Body)
	assert.Empty(t, d.Remove)
}

func TestNeedsBody(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		method, path, length string
		want                 bool
	}{
		"post":                    {"POST", "/mcp", "10", true},
		"post of unknown length":  {"POST", "/mcp", "", true},
		"post at the limit":       {"POST", "/mcp", "65536", true},
		"post beyond the limit":   {"POST", "/mcp", "65537", false},
		"post beyond all numbers": {"POST", "/mcp", "99999999999999999999", false},
		"post of a virtual path":  {"POST", "/mcp/a", "10", true},
		"post elsewhere":          {"POST", "/other", "10", false},
		"get":                     {"GET", "/mcp", "", true},
		"delete":                  {"DELETE", "/mcp", "10", true},
	} {
		t.Run(name, func(t *testing.T) {
			req := new(Request)
			req.Reset()
			req.Add(":method", tc.method)
			req.Add(":path", tc.path)
			if tc.length != "" {
				req.Add("content-length", tc.length)
			}
			assert.Equal(t, tc.want, w.router.NeedsBody(req))
		})
	}
}

func TestLimits(t *testing.T) {
	assert.Equal(t, int64(DefaultMaxBody), New(Options{}, nil, nil).MaxBody())
	r := New(Options{MaxBody: 10}, nil, nil)
	assert.Equal(t, int64(10), r.MaxBody())
	d := new(Decision)
	r.TooLarge(d)
	assert.Equal(t, 413, d.Reply.Status)
	assert.JSONEq(t, `{"jsonrpc":"2.0","error":{"code":413,"message":"the request body is larger than the 10 bytes that this gateway accepts"}}`, string(d.Reply.Body))
}

func TestReplyHeaders(t *testing.T) {
	w := newWorld(t)
	req := new(Request)
	req.Reset()
	req.Add(":method", "PATCH")
	req.Add(":path", "/mcp")
	d := new(Decision)
	w.router.Route(req, nil, d)
	assert.Equal(t, []Header{{"allow", "POST, GET, DELETE"}, {"content-type", "application/json"}}, d.Reply.Headers)
}

func TestOrigins(t *testing.T) {
	r := New(Options{AllowedOrigins: []string{"https://App.example.com", "http://10.0.0.1:3000"}}, nil, nil)
	for origin, want := range map[string]bool{
		"https://app.example.com":      true,
		"HTTPS://APP.EXAMPLE.COM":      true,
		"http://10.0.0.1:3000":         true,
		"http://app.example.com":       false,
		"https://app.example.com:8443": false,
		"https://app.example.com.evil": false,
		"http://10.0.0.1":              false,
		"http://localhost":             true,
		"https://localhost:8443":       true,
		"http://app.localhost:3000":    true,
		"http://127.0.0.1:6274":        true,
		"http://[::1]":                 true,
		"http://[::1]:6274":            true,
		"http://[::1].evil":            false,
		"http://[::1]:":                false,
		"http://[::2]":                 false,
		"http://localhost:":            false,
		"http://localhost:80x":         false,
		"http://localhost:80:80":       false,
		"http://localhost@evil":        false,
		"http://localhost/":            false,
		"http://localhost.evil":        false,
		"http://evillocalhost":         false,
		"http://127.0.0.1.evil":        false,
		"http://":                      false,
		"ftp://localhost":              false,
		"localhost":                    false,
		"null":                         false,
		"":                             false,
	} {
		assert.Equal(t, want, r.allowedOrigin(origin, true), "origin %q", origin)
	}
	assert.True(t, r.allowedOrigin("", false), "a client that is no browser")
}

func TestAccepts(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                  true,
		"*/*":               true,
		"text/*":            true,
		"TEXT/Event-Stream": true,
		"application/json , text/event-stream;q=1": true,
		"text/event-stream;q=0.001":                true,
		"text/event-stream; q=0.5; x=y":            true,
		"application/json":                         false,
		"text/plain":                               false,
		"text/event-streams":                       false,
		"text/event-stream;q=0":                    false,
		"text/event-stream; q = 0.000":             false,
		"text/event-stream;charset=utf-8;q=0":      false,
		"text/event-stream;q=0;x=y":                false,
		"*":                                        false,
		",":                                        false,
	} {
		assert.Equal(t, want, accepts(accept, "text/event-stream"), "Accept: %s", accept)
	}
}

func TestIsJSON(t *testing.T) {
	for contentType, want := range map[string]bool{
		"application/json":                       true,
		" Application/JSON ":                     true,
		"application/json;charset=utf-8":         true,
		`application/json; charset="UTF-8"; x=y`: true,
		"application/json;":                      true,
		"application/json; charset=latin1":       false,
		"application/json; x=y; charset=utf-16":  false,
		"application/jsonp":                      false,
		"application/problem+json":               false,
		"text/plain":                             false,
		"application/json, text/plain":           false,
		"":                                       false,
	} {
		assert.Equal(t, want, isJSON(contentType), "Content-Type: %s", contentType)
	}
}

func TestHeaderValue(t *testing.T) {
	for value, want := range map[string]string{
		"":                   "",
		"get_forecast":       "get_forecast",
		"with inner space~":  "with inner space~",
		" leading":           "=?base64?IGxlYWRpbmc=?=",
		"trailing ":          "=?base64?dHJhaWxpbmcg?=",
		"\ttab":              "=?base64?CXRhYg==?=",
		"line\nfeed":         "=?base64?bGluZQpmZWVk?=",
		"del\x7f":            "=?base64?ZGVsfw==?=",
		"é":                  "=?base64?w6k=?=",
		"=?base64?eA==?=":    "=?base64?PT9iYXNlNjQ/ZUE9PT89?=",
		"=?base64?":          "=?base64?PT9iYXNlNjQ/?=",
		"=?utf-8?not that?=": "=?utf-8?not that?=",
	} {
		assert.Equal(t, want, headerValue(value), "%q", value)
	}
}

type failing struct{ err error }

func (f failing) Lookup(string) (*session.Session, error) { return nil, f.err }

// TestUnreadableStore proves Invariant 5: a session that cannot be looked up is none.
func TestUnreadableStore(t *testing.T) {
	r := New(Options{}, failing{errors.New("connection refused to 10.0.0.7")}, func() *catalog.Snapshot { return catalog.Build(catalog.Input{}) })
	d := new(Decision)
	r.Route(post("any"), []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`), d)
	require.NotNil(t, d.Reply)
	assert.Equal(t, 404, d.Reply.Status)
	assert.NotContains(t, string(d.Reply.Body), "10.0.0.7")
}

func TestQuoteCutsLongTextAtCharacters(t *testing.T) {
	assert.Equal(t, `"short"`, quote("short"))
	got := quote(strings.Repeat("é", 200))
	assert.Less(t, len(got), 130)
	assert.Contains(t, got, "é…")
	got = quote("x" + strings.Repeat("é", 200))
	assert.NotContains(t, got, "\ufffd")
	assert.True(t, strings.HasSuffix(got, `é…"`), got)
}
