package dataplane_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// twin is a server that chooses the same ids as its twin for everything: its requests, its progress tokens, its events.
type twin struct {
	*testbed.Upstream

	name    string
	mu      sync.Mutex
	answers map[string]chan string // by the client's name: what it answered to the server's request
}

const (
	// The one id of every request, as it stands in JSON, and of every event, of both twins.
	twinID    = `7`
	twinEvent = "event-7"
)

func newTwin(t *testing.T, name string) *twin {
	w := &twin{name: name, answers: map[string]chan string{}}
	w.Upstream = testbed.NewUpstream(t, testbed.Script{
		Before: w.before,
		Resume: w.resume,
		Tools: []testbed.Tool{
			{Name: "ask", Call: w.ask},
			{Name: "wait", Call: w.wait},
			{Name: "drop", Call: w.drop},
		},
	})
	return w
}

func (w *twin) answerOf(client string) chan string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answers[client] == nil {
		w.answers[client] = make(chan string, 8)
	}
	return w.answers[client]
}

// heard is what a client has said to the server.
func (w *twin) heard(t *testing.T, client string) string {
	t.Helper()
	select {
	case said := <-w.answerOf(client):
		return said
	case <-time.After(testbed.Patience):
		t.Fatalf("server %q heard nothing of %q", w.name, client)
		return ""
	}
}

// before catches what a client sends that is no request.
func (w *twin) before(_ http.ResponseWriter, c *testbed.Call) bool {
	if c.Method == http.MethodPost && c.RPC == "" || c.RPC == "notifications/progress" || c.RPC == "notifications/cancelled" {
		w.answerOf(c.Client) <- string(c.Body)
	}
	return false
}

// ask asks the client in the midst of a call and repeats in its result what it said.
func (w *twin) ask(rw http.ResponseWriter, c *testbed.Call) {
	send := testbed.SSE(rw)
	send(fmt.Sprintf("id: %s\ndata: {\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"elicitation/create\",\"params\":{\"message\":%q,\"requestedSchema\":{\"type\":\"object\",\"properties\":{}},\"_meta\":{\"progressToken\":%s}}}\n\n",
		twinEvent, twinID, "who asks? "+w.name, twinID))
	for range 2 { // a progress notification, then the answer
		select {
		case answer := <-w.answerOf(c.Client):
			if strings.Contains(answer, `"result"`) {
				send(fmt.Sprintf("data: %s\n\n", c.Result(testbed.TextResult(w.name+" heard "+answer))))
				return
			}
			send(fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":%q}}\n\n", w.name+" heard "+answer))
		case <-c.Context().Done():
			return
		}
	}
}

// wait waits until the call is cancelled.
func (w *twin) wait(rw http.ResponseWriter, c *testbed.Call) {
	send := testbed.SSE(rw)
	send("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"begun\"}}\n\n")
	select {
	case answer := <-w.answerOf(c.Client):
		send(fmt.Sprintf("data: %s\n\n", c.Result(testbed.TextResult(w.name+" heard "+answer))))
	case <-c.Context().Done():
	}
}

// drop closes the stream before it has answered.
func (w *twin) drop(rw http.ResponseWriter, _ *testbed.Call) {
	testbed.SSE(rw)(fmt.Sprintf("id: %s\nretry: 10\ndata: \n\n", twinEvent))
}

// resume goes on where a stream broke off.
func (w *twin) resume(rw http.ResponseWriter, c *testbed.Call) {
	testbed.SSE(rw)(fmt.Sprintf("id: %s-next\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"dropped\",\"result\":%s}\n\n",
		twinEvent, testbed.TextResult(w.name+" resumed after "+c.Header.Get("Last-Event-ID"))))
	<-c.Context().Done()
}

// TestEqualIDs: two servers that choose the same ids for everything never get each other's replies, progress,
// cancellations or resumed streams, neither in a session's first call nor in later ones.
func TestEqualIDs(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		a, b := newTwin(t, "a"), newTwin(t, "b")
		twins := []*twin{a, b}
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"a": a.Upstream, "b": b.Upstream})})
		g.AwaitTools(t, "a_ask", "b_ask")
		t.Run("replies and progress", func(t *testing.T) { repliesFindOwner(t, g, twins) })
		t.Run("cancellations", func(t *testing.T) { cancellationsFindOwner(t, g, twins) })
		t.Run("resumed calls", func(t *testing.T) { resumedCallsFindOwner(t, g, twins) })
		t.Run("resumed event stream", func(t *testing.T) { resumedStreamFindsOwner(t, g, twins) })
		t.Run("pings", func(t *testing.T) { pingsFindOwner(t, g, twins) })
		t.Run("foreign ids", func(t *testing.T) { foreignIDs(t, g) })
	})
}

// serverRequest is what a test reads of a server's request.
type serverRequest struct {
	ID     json.RawMessage
	Params struct {
		Meta struct{ ProgressToken json.RawMessage } `json:"_meta"`
	}
}

// bothCall makes one call of each twin at once and returns their streams.
func bothCall(t *testing.T, c *testbed.Client, tool string) []*testbed.Stream {
	t.Helper()
	var streams []*testbed.Stream
	for _, name := range []string{"a", "b"} {
		streams = append(streams, c.Open(t, http.MethodPost,
			fmt.Sprintf(`{"jsonrpc":"2.0","id":"call of %s","method":"tools/call","params":{"name":"%s_%s","arguments":{}}}`, name, name, tool)))
	}
	return streams
}

func repliesFindOwner(t *testing.T, g *testbed.Gateway, twins []*twin) {
	c := testbed.NewClient(t, g.Endpoint)
	c.Initialize(t, `{"elicitation":{}}`)
	for _, way := range []string{"through the broker", "straight"} {
		streams := bothCall(t, c, "ask")
		requests := make([]serverRequest, len(twins))
		for i, s := range streams {
			ev := s.Find(t, "elicitation/create")
			require.NoError(t, json.Unmarshal([]byte(ev.Data), &requests[i]))
			assert.Contains(t, ev.Data, "who asks? "+twins[i].name)
		}
		assert.NotEqual(t, string(requests[0].ID), string(requests[1].ID), "the client can tell the two requests apart")
		// The one that asked last is answered first.
		for _, i := range []int{1, 0} {
			progress := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, requests[i].Params.Meta.ProgressToken)
			require.Equal(t, http.StatusAccepted, c.Post(t, progress).Status)
			heard := streams[i].Find(t, "notifications/message")
			assert.Contains(t, heard.Data, twins[i].name+" heard")
			assert.Contains(t, heard.Data, `\"progressToken\":`+twinID, "with the server's own token, as it was")

			reply := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{"for":%q}}}`, requests[i].ID, twins[i].name)
			require.Equal(t, http.StatusAccepted, c.Post(t, reply).Status)
			want := fmt.Sprintf(`%s heard {"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{"for":%q}}}`, twins[i].name, twinID, twins[i].name)
			quoted, err := json.Marshal(want)
			require.NoError(t, err)
			assert.Contains(t, streams[i].Find(t, `"result"`).Data, string(quoted), way)
		}
	}
}

func cancellationsFindOwner(t *testing.T, g *testbed.Gateway, twins []*twin) {
	c := testbed.Connect(t, g.Endpoint)
	for _, way := range []string{"through the broker", "straight"} {
		streams := bothCall(t, c, "wait")
		for _, s := range streams {
			s.Find(t, "begun")
		}
		for _, i := range []int{1, 0} {
			cancel := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"call of %s","reason":"enough"}}`, twins[i].name)
			require.Equal(t, http.StatusAccepted, c.Post(t, cancel).Status)
			quoted, err := json.Marshal(twins[i].name + " heard " + cancel)
			require.NoError(t, err)
			assert.Contains(t, streams[i].Find(t, `"result"`).Data, string(quoted), way)
		}
	}
}

func resumedCallsFindOwner(t *testing.T, g *testbed.Gateway, twins []*twin) {
	c := testbed.Connect(t, g.Endpoint)
	for _, way := range []string{"through the broker", "straight"} {
		streams := bothCall(t, c, "drop")
		for i, s := range streams {
			ev := s.Next(t)
			assert.NotEmpty(t, ev.ID)
			assert.Equal(t, "10", ev.Retry)
			_, more := s.TryNext(t)
			assert.False(t, more, "a stream that can be resumed gets no error for its end: %s", way)
			resumed := c.Listen(t, "Last-Event-ID", ev.ID)
			got := resumed.Find(t, "resumed")
			assert.Contains(t, got.Data, twins[i].name+" resumed after "+twinEvent, way)
			assert.NotEqual(t, twinEvent+"-next", got.ID, "the next event can be resumed after in its turn")
			resumed.Close()
		}
	}
}

// resumedStreamFindsOwner: the session's one stream is made of both servers' streams. It goes on after the event of the
// server that sent it.
func resumedStreamFindsOwner(t *testing.T, g *testbed.Gateway, twins []*twin) {
	c := testbed.Connect(t, g.Endpoint)
	for _, s := range bothCall(t, c, "drop") {
		s.Next(t)
	}
	stream := c.Listen(t)
	ids := make([]string, len(twins))
	for i, w := range twins {
		testbed.Await(t, "the server's stream to be open", func() bool { return len(w.Calls(c.Name, testbed.Verb(http.MethodGet))) > 0 })
		w.Push(c.Name, fmt.Sprintf("id: %s\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"of %s\"}}\n\n", twinEvent, w.name))
		ids[i] = stream.Find(t, "of "+w.name).ID
	}
	assert.NotEqual(t, ids[0], ids[1])
	stream.Close()
	for i, w := range twins {
		again := c.Listen(t, "Last-Event-ID", ids[i])
		assert.Contains(t, again.Find(t, "resumed").Data, w.name+" resumed after "+twinEvent)
		again.Close()
	}
}

// pingsFindOwner: what a server asks outside of any call, on the session's event stream, is answered to it alone.
func pingsFindOwner(t *testing.T, g *testbed.Gateway, twins []*twin) {
	c := testbed.Connect(t, g.Endpoint)
	for _, s := range bothCall(t, c, "drop") {
		s.Next(t)
	}
	stream := c.Listen(t)
	for _, w := range twins {
		testbed.Await(t, "the server's stream to be open", func() bool { return len(w.Calls(c.Name, testbed.Verb(http.MethodGet))) > 0 })
		w.Push(c.Name, fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"ping\",\"params\":{\"of\":%q}}\n\n", twinID, w.name))
	}
	for range twins {
		var ping struct {
			ID     json.RawMessage
			Params struct{ Of string }
		}
		require.NoError(t, json.Unmarshal([]byte(stream.Find(t, "ping").Data), &ping))
		owner := twins[0]
		if ping.Params.Of == twins[1].name {
			owner = twins[1]
		}
		require.Equal(t, http.StatusAccepted, c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"for":%q}}`, ping.ID, owner.name)).Status)
		want := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"for":%q}}`, twinID, owner.name)
		assert.Equal(t, want, owner.heard(t, c.Name))
	}
	for _, w := range twins {
		assert.Empty(t, w.answerOf(c.Name), "nothing else came")
	}
}

// foreignIDs: what no server of this session chose goes nowhere, be it made up or of another session.
func foreignIDs(t *testing.T, g *testbed.Gateway) {
	owner := testbed.NewClient(t, g.Endpoint)
	owner.Initialize(t, `{"elicitation":{}}`)
	var request serverRequest
	ev := bothCall(t, owner, "ask")[0].Find(t, "elicitation/create")
	require.NoError(t, json.Unmarshal([]byte(ev.Data), &request))

	thief := testbed.Connect(t, g.Endpoint)
	for name, id := range map[string]string{
		"of another session": string(request.ID), "the server's own": twinID, "made up": `"gw.r.a.Nw.AAAAAAAAAAAA"`, "null": "null", "a number": "9007199254740993",
	} {
		a := thief.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"action":"accept"}}`, id))
		assert.Equal(t, http.StatusBadRequest, a.Status, name)
		assert.Empty(t, a.Error(t).ID, "an error that answers no request has no id: %s", name)
	}
	// A stream that cannot be resumed begins anew.
	thief.Listen(t, "Last-Event-ID", ev.ID).Close()
}
