package dataplane_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// costs is what the gateway and its Envoy take at one time.
type costs struct {
	gateway, envoy testbed.Usage
	goroutines     float64
}

func costsOf(t *testing.T, g *testbed.Gateway) costs {
	t.Helper()
	return costs{gateway: g.Process.Usage(t), envoy: g.Envoy.Usage(t), goroutines: g.Metric(t, "go_goroutines")}
}

// frugal keeps the collector from leaving several times as much as is live, so that what is measured is what is needed.
const frugal = "GOGC=50"

// allowed is what the attacks may cost in memory, in each of the two processes; without bounds they would cost several times as much. It is not asked where the
// race detector multiplies all memory: the same tests run without it, with the router inside of Envoy and beside it.
const allowed = 512 << 20

// bounded tells that the attacks since then have cost no more than is allowed, and that nothing of them is left.
func (before costs) bounded(t *testing.T, g *testbed.Gateway) {
	t.Helper()
	var now costs
	defer func() {
		if t.Failed() {
			t.Logf("before: %+v\nnow: %+v", before, now)
		}
	}()
	testbed.Await(t, "goroutines, connections and files to be given back", func() bool {
		now = costsOf(t, g)
		return now.goroutines < before.goroutines+20 && now.gateway.Descriptors < before.gateway.Descriptors+20 && now.envoy.Descriptors < before.envoy.Descriptors+20
	})
	if !testbed.Raced() {
		assert.Less(t, now.gateway.Peak, before.gateway.Peak+allowed, "the gateway's memory")
		assert.Less(t, now.envoy.Peak, before.envoy.Peak+allowed, "Envoy's memory")
	}
	assert.Zero(t, g.Metric(t, "mcp_gateway_router_faults_total"))
}

// hostileBed is a gateway with servers of both eras, one of which talks as long as somebody listens.
type hostileBed struct {
	badBed

	flood *flood
}

// flood is a tool that never stops talking.
type flood struct {
	sent atomic.Int64 // bytes that were taken from it
	left chan struct{}
}

func (f *flood) call(w http.ResponseWriter, c *testbed.Call) {
	w.Header().Set("Content-Type", "text/event-stream")
	event := "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"" + strings.Repeat("x", 64<<10) + "\"}}\n\n"
	for c.Context().Err() == nil {
		n, err := io.WriteString(w, event)
		f.sent.Add(int64(n))
		if err != nil {
			break
		}
	}
	f.left <- struct{}{}
}

func newHostileBed(t *testing.T, mode testbed.Mode) *hostileBed {
	b := &hostileBed{flood: &flood{left: make(chan struct{}, 16)}}
	script := testbed.Script{
		Tools:        []testbed.Tool{{Name: "tool"}, {Name: "another"}, {Name: "third"}, {Name: "flood", Call: b.flood.call}},
		Capabilities: `{"tools":{"listChanged":true},"prompts":{}}`,
		Methods: map[string]func(http.ResponseWriter, *testbed.Call){"prompts/list": func(w http.ResponseWriter, c *testbed.Call) {
			c.Reply(w, `{"prompts":[{"name":"tool"},{"name":"another"},{"name":"third"}]}`)
		}},
	}
	b.u = testbed.NewUpstream(t, script)
	script.Sessionless = true
	b.plain = testbed.NewUpstream(t, script)
	b.off = testbed.NewUpstream(t, script)
	b.Gateway = testbed.StartGateway(t, testbed.Options{
		Mode: mode, Flags: []string{"--page-size", "2"}, Env: []string{frugal},
		Servers:        []config.ServerSpec{spec("u", b.u.URL), spec("plain", b.plain.URL), spec("asks", askingSDKServer(t, legacyRevision))},
		VirtualServers: []config.VirtualServerSpec{{Name: "one", Servers: []string{"u"}}},
	})
	b.AwaitTools(t, "u_tool", "plain_tool", "asks_survey")
	return b
}

// TestHostileClients: whatever a client tries, it gets the right error or its connection ends, no server hears of it, the other clients notice nothing, and
// when it has gone there is nothing left of it.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	beside(t, func(t *testing.T, mode testbed.Mode) {
		b := newHostileBed(t, mode)
		c := testbed.Connect(t, b.Endpoint)
		for _, tool := range []string{"u_tool", "u_tool", "plain_tool"} {
			c.Call(t, tool, "{}").Result(t)
		}
		before := costsOf(t, b.Gateway)
		// They take their time, so that everything else happens beside them.
		slow := slowHeads(t, &b.badBed)
		for name, attack := range map[string]func(*testing.T, *hostileBed, *testbed.Client){
			"bodies without an end":           endlessBodies,
			"floods of headers":               headerFloods,
			"smuggling over HTTP2":            smuggledOverHTTP2,
			"resets over HTTP2":               resetsOverHTTP2,
			"ids used again":                  idsUsedAgain,
			"names":                           oddNames,
			"forged cursors":                  forgedCursors,
			"forged states":                   forgedStates,
			"forged subscriptions":            forgedSubscriptions,
			"answers that nobody reads":       unreadAnswers,
			"event streams that nobody reads": unreadStreams,
		} {
			t.Run(name, func(t *testing.T) {
				if strings.HasSuffix(name, "that nobody reads") && testbed.Raced() {
					t.Skip("it takes a minute with the race detector, and is tested without")
				}
				attack(t, b, c)
				for _, tool := range []string{"u_tool", "plain_tool"} {
					c.Call(t, tool, "{}").Result(t)
				}
			})
		}
		t.Run("heads that take too long", slow)
		c.HTTP.CloseIdleConnections()
		b.u.Down() // and with them go the connections that are kept for more calls
		b.plain.Down()
		before.bounded(t, b.Gateway)
	})
}

// slowHeads opens connections that say a little now and then and never finish. What it returns checks that Envoy has ended them all by itself.
func slowHeads(t *testing.T, b *badBed) func(t *testing.T) {
	const many = 100
	conns := make([]net.Conn, many)
	for i := range conns {
		conns[i] = dial(t, b)
		_, err := io.WriteString(conns[i], "POST /mcp HTTP/1.1\r\nHost: slow\r\n")
		require.NoError(t, err)
	}
	stop := make(chan struct{})
	var drip sync.WaitGroup
	drip.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				for _, conn := range conns {
					_, _ = io.WriteString(conn, "X: y\r\n") // it may have ended
				}
			}
		}
	})
	return func(t *testing.T) {
		defer drip.Wait()
		defer close(stop)
		for _, conn := range conns {
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(testbed.Patience)))
			if a, err := readAnswer(conn); err == nil {
				assert.Equal(t, http.StatusRequestTimeout, a.Status, a.Body)
			} else {
				assert.False(t, isTimeout(err), "Envoy ends it before the test's patience does")
			}
			_ = conn.Close()
		}
	}
}

// endlessBodies: several bodies of a GiB each, told in advance or not, cost no more than the most that a message may have.
func endlessBodies(t *testing.T, _ *hostileBed, c *testbed.Client) {
	const head = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"u_tool","arguments":{"a":"`
	var all sync.WaitGroup
	for range 4 {
		for _, client := range []*testbed.Client{c, overH2(t, c)} {
			all.Go(func() {
				a, err := client.TryDo(t, http.MethodPost, io.MultiReader(strings.NewReader(head), io.LimitReader(letters{}, 1<<30)))
				if err == nil {
					assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status)
				}
				// Envoy answers and closes while more is being sent, which Go's client may take for a failure.
				assert.False(t, err != nil && a == nil && isTimeout(err), "%v", err)
			})
		}
	}
	all.Wait()
}

// letters are a text that has no end.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// headerFloods: a thousand small ones, and frames of them that never end.
func headerFloods(t *testing.T, b *hostileBed, c *testbed.Client) {
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("X-Many-%d", i), "y")
	}
	for _, client := range []*testbed.Client{c, overH2(t, c)} {
		a, err := client.TryDo(t, http.MethodPost, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`), many...)
		if err != nil {
			assert.Contains(t, err.Error(), "stream error", "over HTTP/2, Envoy may reset it")
			continue
		}
		assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, a.Status)
		assert.Equal(t, -32600, a.Error(t).Code)
	}
	conn := dialH2(t, &b.badBed)
	err := conn.frame(h2Headers, h2EndStream, 1, h2Fields(b.Base, c.Session))
	block := h2Fields("", "", "x-flood", strings.Repeat("x", 8<<10))
	for i := 0; err == nil && i < 64<<20; i += len(block) {
		err = conn.frame(h2Continuation, 0, 1, block)
	}
	assert.Error(t, err, "Envoy ends the connection")
}

// smuggledOverHTTP2: what could become two requests, or another one, on the way to a server that speaks HTTP/1.1 is refused.
func smuggledOverHTTP2(t *testing.T, b *hostileBed, c *testbed.Client) {
	body, _ := c.ToolCall("plain_tool", "{}")
	size := fmt.Sprint(len(body))
	before := b.reached()
	var all sync.WaitGroup // Envoy takes a second to close
	for name, fields := range map[string][]string{
		"an encoding of HTTP/1.1":      {"transfer-encoding", "chunked"},
		"a length that is too small":   {"content-length", "3"},
		"a length that is too large":   {"content-length", "4096"},
		"two lengths":                  {"content-length", size, "content-length", "3"},
		"a connection's header":        {"connection", "keep-alive, x-mcp-servername"},
		"a line break in a value":      {"x-a", "b\r\nx-mcp-servername: u"},
		"a NUL in a value":             {"x-a", "b\x00c"},
		"a line break in a name":       {"x-a: b\r\nx-c", "d"},
		"capitals in a name":           {"X-A", "b"},
		"a path for the second time":   {":path", "/mcp/one"},
		"a method for the second time": {":method", "GET"},
		"a pseudo-header that is not":  {":mcp", "x"},
		"te":                           {"te", "gzip"},
		"an upgrade":                   {"upgrade", "h2c"},
	} {
		conn := dialH2(t, &b.badBed)
		require.NoError(t, conn.frame(h2Headers, h2EndHeaders, 1, h2Fields(b.Base, c.Session, fields...)), name)
		_ = conn.frame(h2Data, h2EndStream, 1, []byte(body)) // it may have been ended already
		all.Go(func() { conn.ends(t, name) })
	}
	all.Wait()
	assert.Equal(t, before, b.reached(), "no server hears of any of them")
}

// resetsOverHTTP2: thousands of requests, each of which is taken back at once.
func resetsOverHTTP2(t *testing.T, b *hostileBed, c *testbed.Client) {
	conn := dialH2(t, &b.badBed)
	fields := h2Fields(b.Base, c.Session)
	for i := uint32(1); i < 20_000; i += 2 {
		if conn.frame(h2Headers, h2EndHeaders, i, fields) != nil || conn.frame(h2Reset, 0, i, []byte{0, 0, 0, 8}) != nil {
			return
		}
	}
	// Where Envoy does not end the connection, it has to have been quick enough for all of them.
	_ = conn.Close()
}

// idsUsedAgain: a client that uses one id for several requests at once gets an answer to each, and not another's.
func idsUsedAgain(t *testing.T, b *hostileBed, c *testbed.Client) {
	const many = 20
	fresh := testbed.Connect(t, b.Endpoint)
	for _, client := range []*testbed.Client{fresh, c} { // by the broker, straight
		answers := make([]*testbed.Answer, many)
		var all sync.WaitGroup
		for i := range many {
			server := []string{"u", "plain"}[i%2]
			all.Go(func() {
				answers[i], _ = client.TryDo(t, http.MethodPost, strings.NewReader(
					fmt.Sprintf(`{"jsonrpc":"2.0","id":"same","method":"tools/call","params":{"name":"%s_tool","arguments":{"which":"<%d>"}}}`, server, i)))
			})
		}
		all.Wait()
		for i, a := range answers {
			require.NotNil(t, a)
			assert.Contains(t, a.Text(t), fmt.Sprintf("<%d>", i))
			assert.Contains(t, a.Body, `"id":"same"`)
		}
	}
}

// oddNames: a name is the one that a list shows, byte for byte, or it is none.
func oddNames(t *testing.T, b *hostileBed, c *testbed.Client) {
	before := b.reached()
	for name, tool := range map[string]string{
		"a line break":                  "u_tool\r\nX-Mcp-Servername: plain",
		"a NUL":                         "u_tool\x00",
		"a tab":                         "u_tool\t",
		"a space":                       " u_tool",
		"an escape of a terminal":       "\x1b[2Ju_tool",
		"a letter of another alphabet":  "u_t\u043eol",
		"wide letters":                  "\uff55_tool",
		"an accent beside the letter":   "u_to\u0301ol",
		"nothing that can be seen":      "u_tool\u200b",
		"from right to left":            "\u202eloot_u",
		"percent signs":                 "u%5ftool",
		"the prefix twice":              "u_u_tool",
		"another prefix before it":      "plain_u_tool",
		"half a prefix":                 "_tool",
		"a path":                        "../u_tool",
		"the sentinel of headers":       "=?base64?dV90b29s?=",
		"the server's name":             "u",
		"the prefix alone":              "u_",
		"what would order Envoy around": "%REQ(authorization)%",
	} {
		quoted, err := json.Marshal(tool)
		require.NoError(t, err)
		a := c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%s}}`, quoted))
		assert.Equal(t, http.StatusOK, a.Status, name)
		assert.Equal(t, -32602, a.Error(t).Code, name)
		stateless := testbed.NewStateless(t, b.Endpoint)
		body, headers := stateless.Message("tools/call", fmt.Sprintf(`{"name":%s}`, quoted))
		// The header may only be what HTTP lets through; that it is not the body's name is a mistake as well.
		for i := 0; i < len(headers); i += 2 {
			if headers[i] == "Mcp-Name" {
				headers[i+1] = "u_tool"
			}
		}
		assert.Equal(t, -32020, stateless.Post(t, body, headers...).Error(t).Code, name)
	}
	assert.Equal(t, before, b.reached(), "no server hears of any of them")
}

// forgedCursors: a cursor is good for the list that gave it, as it was given.
func forgedCursors(t *testing.T, b *hostileBed, c *testbed.Client) {
	list := func(c *testbed.Client, method, cursor string) *testbed.Answer {
		return c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{"cursor":%q}}`, method, cursor))
	}
	var page struct{ NextCursor string }
	require.NoError(t, json.Unmarshal([]byte(c.Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`).Result(t)), &page))
	good := page.NextCursor
	require.NotEmpty(t, good)
	list(c, "tools/list", good).Result(t)
	one := testbed.Connect(t, b.Endpoint+"/one")
	for name, a := range map[string]*testbed.Answer{
		"for another list":           list(c, "prompts/list", good),
		"for another virtual server": list(one, "tools/list", good),
		"changed at the beginning":   list(c, "tools/list", flipped(good, 0)),
		"changed at the end":         list(c, "tools/list", flipped(good, len(good)-2)),
		"cut":                        list(c, "tools/list", good[:len(good)-4]),
		"longer":                     list(c, "tools/list", good+"AAAA"),
		"very long":                  list(c, "tools/list", strings.Repeat("A", 1<<20)),
		"a number":                   c.Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":1}}`),
	} {
		assert.Equal(t, -32602, a.Error(t).Code, name)
	}
}

// flipped is a text with another letter at one place.
func flipped(s string, at int) string {
	letter := byte('A')
	if s[at] == letter {
		letter = 'B'
	}
	return s[:at] + string(letter) + s[at+1:]
}

// forgedStates: an answer goes to the call that asked, of the same caller, once; the state that says so cannot be made up.
func forgedStates(t *testing.T, b *hostileBed, _ *testbed.Client) {
	const answer = `"inputResponses":{%q:{"action":"accept","content":{"name":"eve"}}},"requestState":%q`
	ask := func(caller, tool, more string) *testbed.Answer {
		c := testbed.NewStateless(t, b.Endpoint)
		if caller != "" {
			c.Authorization = jwtOf(caller)
		}
		return c.Post(t, `{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":{"name":"`+tool+`","arguments":{},"_meta":{`+
			`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},`+
			`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"sampling":{},"roots":{}}}`+more+`}}`,
			"Mcp-Protocol-Version", modernRevision, "Mcp-Method", "tools/call", "Mcp-Name", tool)
	}
	var asked struct {
		RequestState  string
		InputRequests map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(ask("alice", "asks_survey", "").Result(t)), &asked))
	require.Len(t, asked.InputRequests, 1)
	var key string
	for key = range asked.InputRequests {
	}
	good := asked.RequestState
	for name, a := range map[string]*testbed.Answer{
		"of another caller":        ask("mallory", "asks_survey", ","+fmt.Sprintf(answer, key, good)),
		"of nobody":                ask("", "asks_survey", ","+fmt.Sprintf(answer, key, good)),
		"changed at the beginning": ask("alice", "asks_survey", ","+fmt.Sprintf(answer, key, flipped(good, 0))),
		"changed in the middle":    ask("alice", "asks_survey", ","+fmt.Sprintf(answer, key, flipped(good, len(good)/2))),
		"cut":                      ask("alice", "asks_survey", ","+fmt.Sprintf(answer, key, good[:len(good)/2])),
		"made up":                  ask("alice", "asks_survey", ","+fmt.Sprintf(answer, key, "made up")),
		"very long":                ask("alice", "asks_survey", ","+fmt.Sprintf(answer, key, strings.Repeat("A", 1<<20))),
	} {
		e := a.Error(t)
		assert.Equal(t, -32602, e.Code, "%s: %s", name, a)
		assert.Equal(t, `"mine"`, e.ID, name)
	}
	next := ask("alice", "asks_survey", ","+fmt.Sprintf(answer, key, good)).Result(t)
	assert.Contains(t, next, "input_required", "who was asked can answer all the same")
	assert.Equal(t, -32602, ask("alice", "asks_survey", ","+fmt.Sprintf(answer, key, good)).Error(t).Code, "and does it once")
}

// forgedSubscriptions: nobody listens to what is not his, and nobody ends what is another's.
func forgedSubscriptions(t *testing.T, b *hostileBed, c *testbed.Client) {
	stream := c.Open(t, http.MethodPost, `{"jsonrpc":"2.0","id":"victim","method":"tools/call","params":{"name":"u_flood","arguments":{}}}`)
	stream.Next(t)
	thief := testbed.Connect(t, b.Endpoint)
	thief.Call(t, "u_tool", "{}").Result(t)
	before := len(b.u.Calls(c.Name, testbed.RPC("notifications/cancelled")))
	for _, session := range []*testbed.Client{thief, testbed.Connect(t, b.Endpoint+"/one")} {
		assert.Equal(t, http.StatusAccepted, session.Post(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"victim"}}`).Status)
	}
	stream.Next(t)
	assert.Len(t, b.u.Calls(c.Name, testbed.RPC("notifications/cancelled")), before, "the call of another is not cancelled")
	for name, uri := range map[string]string{"of no server": "none://", "a file of the gateway's": "file:///etc/passwd", "of the machine's metadata": "http://169.254.169.254/latest/meta-data/"} {
		a := thief.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":%q}}`, uri))
		assert.Contains(t, []int{-32602, -32002}, a.Error(t).Code, "%s: %s", name, a)
	}
	stream.Close()
	<-b.flood.left
}

// unreadAnswers: a server that never stops talking to clients that never read is made to wait, and is told when they have gone.
func unreadAnswers(t *testing.T, b *hostileBed, c *testbed.Client) {
	const each = 3
	var conns []net.Conn
	before := b.flood.sent.Load()
	for _, session := range []*testbed.Client{c, testbed.Connect(t, b.Endpoint)} { // straight, by the broker
		for _, server := range []string{"u", "plain"} {
			for range each {
				conn := dial(t, &b.badBed)
				body, _ := session.ToolCall(server+"_flood", "{}")
				_, err := io.WriteString(conn, head(&b.badBed, session, "Content-Length: "+fmt.Sprint(len(body)))+body)
				require.NoError(t, err)
				conns = append(conns, conn)
			}
		}
	}
	for _, conn := range conns { // it has begun
		_, err := io.ReadFull(conn, make([]byte, 12))
		require.NoError(t, err)
	}
	for range 100 { // the others go on meanwhile
		c.Call(t, "plain_tool", "{}").Result(t)
	}
	assert.Less(t, b.flood.sent.Load()-before, int64(len(conns))*(64<<20), "what nobody reads is not taken either")
	for _, conn := range conns {
		require.NoError(t, conn.Close())
	}
	for range conns {
		select {
		case <-b.flood.left:
		case <-time.After(testbed.Patience):
			t.Fatal("a server was not told that its client has gone")
		}
	}
}

// unreadStreams: who does not read his event stream loses it, and the notifications that come for him are not kept.
func unreadStreams(t *testing.T, b *hostileBed, _ *testbed.Client) {
	reader, idler := testbed.Connect(t, b.Endpoint), testbed.Connect(t, b.Endpoint)
	reader.Name, idler.Name = reader.Name+".reader", idler.Name+".idler"
	for _, session := range []*testbed.Client{reader, idler} {
		session.Initialize(t, "{}")
		session.Call(t, "u_tool", "{}").Result(t)
	}
	conn := dial(t, &b.badBed)
	_, err := io.WriteString(conn, strings.Replace(head(&b.badBed, idler), "POST ", "GET ", 1))
	require.NoError(t, err)
	stream := reader.Listen(t)
	for _, session := range []*testbed.Client{reader, idler} {
		testbed.Await(t, "the server's streams to be open", func() bool { return len(b.u.Calls(session.Name, testbed.Verb(http.MethodGet))) > 0 })
	}
	const many, size = 800, 64 << 10 // more than may wait, with all that the connections hold
	event := "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"%d %s\"}}\n\n"
	for i := range many {
		b.u.Push(idler.Name, fmt.Sprintf(event, i, strings.Repeat("x", size)))
		b.u.Push(reader.Name, fmt.Sprintf(event, i, "x"))
		stream.Find(t, fmt.Sprintf(`"data":"%d `, i)) // nothing is lost for who reads
	}
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(testbed.Patience)))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	n, err := io.Copy(io.Discard, resp.Body)
	assert.False(t, isTimeout(err), "the stream has been ended")
	assert.Less(t, n, int64(many*size), "before all was kept for who does not read it")
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
