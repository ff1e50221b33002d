package dataplane_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// canaries are secrets and what else is nobody's business, each of them planted where the gateway meets it. A bird that sings somewhere else is a leak.
func canaries() map[string]string {
	return map[string]string{
		"a server's credential": "canary-credential-7Qm2xV",
		"a server's header":     "canary-header-9LpWz4",
		"the session key":       "canary-session-key-3RtYb8-0123456789abcdef",
		"the store's password":  "canary-store-5HgNk1",
		"a client's token":      "canary-signature-6DsJq0",
		"an argument of a call": "canary-argument-2FvXc7",
		"a result of a call":    "canary-result-8ZuMa5",
		"a client's cookie":     "canary-cookie-0XyGd3",
		"an exchanged token":    "canary-exchanged-4NfTr9",
		"the gateway's secret":  "canary-client-secret-1WjKe6",
	}
}

// pageBird is what a server's page of an error says: it is told to operators, to some length and without what the server was sent, and to no client.
const pageBird = "canary-page-1BkTw6"

// canaryBed is a gateway that tells all that it ever tells, with what it tells it to.
type canaryBed struct {
	*testbed.Gateway

	birds         map[string]string
	collector     *testbed.Collector
	redis         string
	access, audit string // files
}

func newCanaryBed(t *testing.T) *canaryBed {
	t.Helper()
	dir := t.TempDir()
	b := &canaryBed{birds: canaries(), collector: testbed.NewCollector(t), redis: testbed.FreeAddress(t), access: filepath.Join(dir, "access.log"), audit: filepath.Join(dir, "audit.log")}
	testbed.Redis(t, b.redis, "--requirepass", b.birds["the store's password"])
	// A server that is as bad at keeping secrets as servers are: its pages and errors say what it was sent.
	page := func(status int) func(http.ResponseWriter, *testbed.Call) {
		return func(w http.ResponseWriter, c *testbed.Call) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "%s %v %s", pageBird, c.Header, c.Body)
		}
	}
	good := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{
		{Name: "tool", Call: func(w http.ResponseWriter, c *testbed.Call) { c.Text(w, b.birds["a result of a call"]) }},
		{Name: "page", Call: page(http.StatusInternalServerError)},
		{Name: "refuses", Call: page(http.StatusUnauthorized)},
		{Name: "cut", Call: hijacked("")},
	}})
	failing := testbed.NewUpstream(t, testbed.Script{Before: func(w http.ResponseWriter, c *testbed.Call) bool {
		page(http.StatusUnauthorized)(w, c)
		return true
	}})
	secret := func(s *config.ServerSpec) {
		s.Credential = &config.CredentialSpec{Env: "CANARY_CREDENTIAL"}
		s.Headers = map[string]string{"X-Key": b.birds["a server's header"]}
	}
	own := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}, {Name: "page", Call: page(http.StatusInternalServerError)}, {Name: "refuses", Call: page(http.StatusUnauthorized)}}})
	b.Gateway = testbed.StartGateway(t, testbed.Options{
		Mode: testbed.Fed, Servers: []config.ServerSpec{spec("good", good.URL, secret), spec("failing", failing.URL, secret), spec("own", own.URL, b.exchanging(t))},
		Store: "redis://:" + b.birds["the store's password"] + "@" + b.redis, Flags: []string{"--log-level", "debug", "--envoy-access-log", b.access, "--envoy-audit-log", b.audit},
		Env: []string{
			"CANARY_CREDENTIAL=" + b.birds["a server's credential"], "CANARY_CLIENT_SECRET=" + b.birds["the gateway's secret"], "MCP_GATEWAY_SESSION_KEY=" + b.birds["the session key"],
			"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT=" + b.collector.HTTP, "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_METRIC_EXPORT_INTERVAL=200",
		},
	})
	b.AwaitTools(t, "good_tool", "good_page", "good_refuses", "good_cut", "own_tool", "own_page", "own_refuses")
	return b
}

// exchanging has a server called with tokens of an authorization server that says what it was told whenever it refuses.
func (b *canaryBed) exchanging(t *testing.T) func(*config.ServerSpec) {
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, secret, _ := r.BasicAuth()
		if subject := r.PostFormValue("subject_token"); strings.Contains(subject, "eyJpc3MiOiJpIiwic3ViIjoiYm9iIn0") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"%s of %s"}`, subject, secret)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":300}`, b.birds["an exchanged token"])
	}))
	t.Cleanup(as.Close)
	return withCredential(config.CredentialSpec{TokenExchange: &config.TokenExchangeSpec{
		TokenURL: as.URL, ClientID: clientID, ClientSecret: config.SecretSpec{Env: "CANARY_CLIENT_SECRET"}, Audience: "own",
	}})
}

// TestCanaries: secrets come out nowhere but where they belong, whatever fails: in no log, status, metric or trace, not in the store, and in no error that a client
// gets.
func TestCanaries(t *testing.T) {
	t.Parallel()
	b := newCanaryBed(t)
	c := testbed.ConnectAs(t, b.Endpoint, t.Name(), "Bearer header.eyJpc3MiOiJpIiwic3ViIjoiYW5uIn0."+b.birds["a client's token"])
	argument := fmt.Sprintf(`{"a":%q}`, b.birds["an argument of a call"])
	cookie := []string{"Cookie", "session=" + b.birds["a client's cookie"]}
	var errors strings.Builder
	for _, tool := range []string{"good_tool", "good_page", "good_refuses", "good_cut", "good_unknown", "own_tool", "own_page", "own_refuses"} {
		for range 2 { // by the broker, and straight
			a := c.Call(t, tool, argument, cookie...)
			if tool == "own_tool" {
				a.Result(t)
				continue
			}
			if tool != "good_tool" {
				fmt.Fprintln(&errors, a.Status, a.Header, a.Body)
				continue
			}
			assert.Contains(t, a.Body, b.birds["a result of a call"])
		}
	}
	for _, body := range []string{"{" + b.birds["an argument of a call"], `{"jsonrpc":"2.0","id":1,"method":"no/such","params":` + argument + `}`} {
		a := c.Post(t, body, cookie...)
		fmt.Fprintln(&errors, a.Status, a.Header, a.Body)
	}
	stranger := testbed.NewClient(t, b.Endpoint)
	stranger.Session, stranger.Authorization = c.Session, "Bearer header.eyJpc3MiOiJpIiwic3ViIjoiYm9iIn0."+b.birds["a client's token"]
	a := stranger.Call(t, "good_tool", argument)
	fmt.Fprintln(&errors, a.Status, a.Header, a.Body)
	bob := testbed.ConnectAs(t, b.Endpoint, "bob", stranger.Authorization)
	a = bob.Call(t, "own_tool", "{}")
	assert.Equal(t, http.StatusForbidden, a.Status, a)
	fmt.Fprintln(&errors, a.Status, a.Header, a.Body)
	assert.Contains(t, errors.String(), "good")
	assert.NotContains(t, errors.String(), pageBird)

	stored := b.stored(t)
	assert.Contains(t, stored, "session:")
	assert.Contains(t, stored, "exchanged:")
	testbed.Await(t, "calls to be told of", func() bool {
		log, err := os.ReadFile(b.audit)
		return err == nil && strings.Contains(string(log), "page") && strings.Contains(b.collector.Written(t), "good_tool") && strings.Contains(b.collector.Written(t), "mcp")
	})
	places := map[string]string{
		"errors of clients": errors.String(), "the gateway's log": b.Process.Output(), "Envoy's log": b.Envoy.Output(), "the collector": b.collector.Written(t), "the store": stored,
	}
	for _, path := range []string{"/", "/status", "/metrics", "/healthz", "/readyz"} {
		places["the admin address, "+path] = testbed.Get(t, b.Admin+path).Body
	}
	for name, file := range map[string]string{"the access log": b.access, "the audit log": b.audit} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		places[name] = string(text)
	}
	for place, text := range places {
		assert.True(t, text != "" || place == "Envoy's log", place)
		for what, bird := range b.birds {
			assert.NotContains(t, text, bird, "%s is in %s", what, place)
		}
		assert.NotContains(t, text, c.Session, "the client's session is in %s", place)
	}
	assert.Contains(t, places["the admin address, /status"], "failing", "whose errors are told")
}

// stored is all that is in the store.
func (b *canaryBed) stored(t *testing.T) string {
	t.Helper()
	const all = `local all = '' for _, k in ipairs(redis.call('KEYS', '*')) do all = all .. k .. ' ' .. table.concat(redis.call('HGETALL', k), ' ') end return all`
	return evaluated(t, b.redis, b.birds["the store's password"], all)
}

// evaluated is the text that a script in a Redis returns.
func evaluated(t *testing.T, address, password, script string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	in := bufio.NewReader(conn)
	if password != "" {
		_, err = fmt.Fprintf(conn, "AUTH %s\r\n", password)
		require.NoError(t, err)
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "+OK\r\n", line)
	}
	_, err = fmt.Fprintf(conn, "EVAL %q 0\r\n", script)
	require.NoError(t, err)
	line, err := in.ReadString('\n')
	require.NoError(t, err)
	size, err := strconv.Atoi(strings.Trim(line, "$\r\n"))
	require.NoError(t, err, line)
	text := make([]byte, size)
	_, err = io.ReadFull(in, text)
	require.NoError(t, err)
	return string(text)
}
