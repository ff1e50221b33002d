package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// These tests are about servers with sessions that ask modern clients for input in the middle of a call.

// inputOf reads a result that asks for input.
func inputOf(t testing.TB, body string) (state string, asks map[string]string) {
	t.Helper()
	var got struct {
		Result struct {
			ResultType    string                     `json:"resultType"`
			InputRequests map[string]json.RawMessage `json:"inputRequests"`
			RequestState  string                     `json:"requestState"`
		} `json:"result"`
	}
	require.NoError(t, json.Unmarshal([]byte(lastEvent(body)), &got), body)
	require.Equal(t, "input_required", got.Result.ResultType, body)
	require.NotEmpty(t, got.Result.RequestState)
	asks = map[string]string{}
	for key, ask := range got.Result.InputRequests {
		asks[key] = string(ask)
	}
	return got.Result.RequestState, asks
}

// lastEvent is the last message of an answer, a stream or not.
func lastEvent(body string) string {
	if !strings.HasPrefix(body, "event: ") {
		return body
	}
	blocks := strings.Split(strings.TrimSpace(body), "\n\n")
	return strings.TrimPrefix(blocks[len(blocks)-1], "event: message\ndata: ")
}

func retryOf(state, answers string) string {
	return `,"requestState":"` + state + `","inputResponses":{` + answers + `}`
}

// inquirer is a server that asks during a call.
type inquirer struct {
	*script

	mu      sync.Mutex
	waiting map[string]chan string
}

// newInquirer makes one whose calls do as f tells. What f asks with is a request of the server's; it waits for the answer.
func newInquirer(f func(ask func(messages ...string) []string, r *http.Request) string) *inquirer {
	q := &inquirer{script: newScript(), waiting: map[string]chan string{}}
	q.does(http.MethodPost, func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		w.WriteHeader(http.StatusAccepted)
		q.mu.Lock()
		defer q.mu.Unlock()
		if c := q.waiting[string(m.ID.Of(m.Body))]; c != nil {
			c <- string(m.Body)
		}
	})
	q.does("tools/call", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		ask := func(messages ...string) []string {
			var answers []chan string
			for _, message := range messages {
				asked, _ := jsonrpc.Parse([]byte(message), jsonrpc.Limits{})
				c := make(chan string, 1)
				q.mu.Lock()
				q.waiting[string(asked.ID.Of(asked.Body))] = c
				q.mu.Unlock()
				answers = append(answers, c)
				event(w, "", message)
			}
			var got []string
			for _, c := range answers {
				select {
				case text := <-c:
					got = append(got, text)
				case <-r.Context().Done():
					return make([]string, len(messages))
				}
			}
			return got
		}
		event(w, "", resultOf(m, f(ask, r)))
	})
	return q
}

const (
	sampleAsk = `{"jsonrpc":"2.0","id":"s","method":"sampling/createMessage","params":{"messages":[],"maxTokens":9007199254740993}}`
	rootsAsk  = `{"jsonrpc":"2.0","id":3,"method":"roots/list"}`
	urlAsk    = `{"jsonrpc":"2.0","id":4,"method":"elicitation/create","params":{"mode":"url","url":"https://a.example/x","elicitationId":"e","message":"m"}}`
)

// TestInputRounds: what a server asks in its call is a result, and the client's next request the answer, as often as it takes.
func TestInputRounds(t *testing.T) {
	q := newInquirer(func(ask func(...string) []string, _ *http.Request) string {
		first := ask(fmt.Sprintf(elicitForm, hugeID))
		second := ask(sampleAsk, rootsAsk)
		return `{"heard":[` + strings.Join(append(first, second...), ",") + `]}`
	})
	f := start(t, legacy("weather", q.script))
	f.endpoints["weather"].Name()
	client := modern{caller: "alice", capabilities: everyInput, virtual: ""}
	a := f.do(client.request())
	state, asks := inputOf(t, a.body)
	assert.Equal(t, map[string]string{
		"input-1": `{"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"type":"object","x":1.10}}}`,
	}, asks)
	client.id, client.params = `"second"`, retryOf(state, `"input-1":{"action":"accept","content":{"n":1.10}},"other":{}`)
	a = f.do(client.request())
	state, asks = inputOf(t, a.body)
	assert.Equal(t, map[string]string{
		"input-2": `{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":9007199254740993}}`, "input-3": `{"method":"roots/list","params":{}}`,
	}, asks, "what a server asks at once is asked at once")
	client.id, client.params = hugeID, retryOf(state, `"input-3":{"roots":[]},"input-2":{"role":"assistant"}`)
	a = f.do(client.request())
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{`+complete+`,"heard":[{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"action":"accept","content":{"n":1.10}}},`+
		`{"jsonrpc":"2.0","id":"s","result":{"role":"assistant"}},{"jsonrpc":"2.0","id":3,"result":{"roots":[]}}]}}`, lastEvent(a.body))
	assert.Len(t, q.requests("tools/call"), 1, "it is one call for the server")
	wantError(t, f.do(client.request()), http.StatusOK, hugeID, -32602, "is over")
}

// TestInputOfOthers: a call belongs to its caller and its request. Anybody else's is as if it did not exist.
func TestInputOfOthers(t *testing.T) {
	q := newInquirer(func(ask func(...string) []string, _ *http.Request) string {
		return `{"heard":` + ask(fmt.Sprintf(elicitForm, "1"))[0] + `}`
	})
	other := newScript()
	f := start(t, legacy("weather", q.script), legacy("other", other))
	client := modern{caller: "alice", capabilities: everyInput}
	state, _ := inputOf(t, f.do(client.request()).body)
	answer := retryOf(state, `"input-1":{"action":"accept"}`)
	for name, m := range map[string]modern{
		"another caller":         {caller: "bob", params: answer},
		"nobody":                 {params: answer},
		"another tool":           {caller: "alice", method: "tools/call", params: `"name":"u","arguments":{"n":9007199254740993}` + answer},
		"other arguments":        {caller: "alice", method: "tools/call", params: `"name":"t","arguments":{"n":9007199254740992}` + answer},
		"another method":         {caller: "alice", method: "prompts/get", params: `"name":"t","arguments":{"n":9007199254740993}` + answer},
		"another server":         {caller: "alice", server: "other", params: answer},
		"another virtual server": {caller: "alice", virtual: "v", params: answer},
		"a forged state":         {caller: "alice", params: retryOf(strings.Repeat("A", len(state)), `"input-1":{}`)},
	} {
		m.capabilities = everyInput
		a := f.do(m.request())
		wantError(t, a, http.StatusOK, "1", -32602, "is none that this gateway gave for this request")
		assert.NotContains(t, a.body, "Who", name)
	}
	assert.Empty(t, q.requests(http.MethodPost))
	client.params = answer
	assert.Contains(t, lastEvent(f.do(client.request()).body), `"heard"`, "the call was not touched")
	assert.Empty(t, other.requests("tools/call"))
}

// TestInputTwice: one answer counts, however often it is given.
func TestInputTwice(t *testing.T) {
	release := make(chan struct{})
	q := newInquirer(func(ask func(...string) []string, r *http.Request) string {
		heard := ask(fmt.Sprintf(elicitForm, "1"))[0]
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return `{"heard":` + heard + `}`
	})
	f := start(t, legacy("weather", q.script))
	client := modern{capabilities: everyInput}
	state, _ := inputOf(t, f.do(client.request()).body)
	client.params = retryOf(state, `"input-1":{"action":"accept"}`)
	var (
		wait    sync.WaitGroup
		answers = make(chan string, 10)
	)
	for range 10 {
		wait.Go(func() { answers <- lastEvent(f.do(client.request()).body) })
	}
	for range 9 {
		assert.Contains(t, await(t, answers), "was used before")
	}
	close(release)
	assert.Contains(t, await(t, answers), `"heard"`)
	wait.Wait()
	assert.Len(t, q.requests(http.MethodPost), 1)
}

// TestInputMissing: what the client has left out is asked for again.
func TestInputMissing(t *testing.T) {
	q := newInquirer(func(ask func(...string) []string, _ *http.Request) string {
		return `{"heard":[` + strings.Join(ask(rootsAsk, urlAsk), ",") + `]}`
	})
	f := start(t, legacy("weather", q.script))
	client := modern{capabilities: everyInput}
	state, asks := inputOf(t, f.do(client.request()).body)
	assert.Len(t, asks, 2)
	client.params = retryOf(state, `"input-2":{"action":"accept"}`)
	again, asks := inputOf(t, f.do(client.request()).body)
	assert.Equal(t, map[string]string{"input-1": `{"method":"roots/list","params":{}}`}, asks)
	assert.NotEqual(t, state, again)
	client.params = retryOf(state, `"input-1":{"roots":[]}`)
	assert.Contains(t, f.do(client.request()).body, "was used before", "each state is good once")
	client.params = `,"requestState":"` + again + `"`
	again, _ = inputOf(t, f.do(client.request()).body)
	client.params = retryOf(again, `"input-1":[]`)
	assert.Contains(t, f.do(client.request()).body, "must be an object with one object for each")
	client.params = retryOf(again, `"input-1":{"roots":[]}`)
	assert.Contains(t, lastEvent(f.do(client.request()).body), `"heard"`)
}

// TestInputNotDeclared: a client is not asked for what it has not declared. The server learns so, and the call goes on.
func TestInputNotDeclared(t *testing.T) {
	for name, tc := range map[string]struct {
		capabilities, ask, want string
	}{
		"nothing":           {`{}`, fmt.Sprintf(elicitForm, "1"), `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"the client of this call did not declare the capability elicitation"}}`},
		"another mode":      {`{"elicitation":{}}`, urlAsk, `{"jsonrpc":"2.0","id":4,"error":{"code":-32602,"message":"the client of this call did not declare the capability elicitation.url"}}`},
		"no sampling":       {`{"roots":{}}`, sampleAsk, `{"jsonrpc":"2.0","id":"s","error":{"code":-32601,"message":"the client of this call did not declare the capability sampling"}}`},
		"a ping":            {`{}`, `{"jsonrpc":"2.0","id":"p","method":"ping"}`, `{"jsonrpc":"2.0","id":"p","result":{}}`},
		"what nobody knows": {everyInput, `{"jsonrpc":"2.0","id":1,"method":"x/y"}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"the client of this call did not declare the capability x/y"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			q := newInquirer(func(ask func(...string) []string, _ *http.Request) string { return `{"heard":` + ask(tc.ask)[0] + `}` })
			f := start(t, legacy("weather", q.script))
			a := f.do(modern{capabilities: tc.capabilities}.request())
			wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{`+complete+`,"heard":`+tc.want+`}}`, lastEvent(a.body))
		})
	}
}

// TestInputLate: a client that does not come back costs a server not more than some minutes, and finds out when it does.
func TestInputLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newInquirer(func(ask func(...string) []string, _ *http.Request) string {
			return `{"heard":` + ask(fmt.Sprintf(elicitForm, "1"))[0] + `}`
		})
		f := setup{net: newMemory(), servers: []server{legacy("weather", q.script)}}.start(t)
		client := modern{capabilities: everyInput}
		began := time.Now()
		state, _ := inputOf(t, f.do(client.request()).body)
		assert.Equal(t, 50*time.Millisecond, time.Since(began), "further requests are waited for no longer than that")
		time.Sleep(4*time.Minute + 50*time.Second)
		synctest.Wait()
		assert.Empty(t, q.requests("notifications/cancelled"))
		time.Sleep(15 * time.Second)
		synctest.Wait()
		cancelled := q.requests("notifications/cancelled")
		if assert.Len(t, cancelled, 1) {
			assert.Contains(t, cancelled[0].body, "the client did not come back with the input")
		}
		client.params = retryOf(state, `"input-1":{"action":"accept"}`)
		wantError(t, f.do(client.request()), http.StatusOK, "1", -32602, "the time to answer has passed")
		assert.Empty(t, q.requests(http.MethodDelete))
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		assert.Len(t, q.requests(http.MethodDelete), 1, "a session that rests is closed")
	})
}

// TestInputTooOften: a server cannot ask for ever.
func TestInputTooOften(t *testing.T) {
	q := newInquirer(func(ask func(...string) []string, r *http.Request) string {
		for i := 0; r.Context().Err() == nil; i++ {
			ask(fmt.Sprintf(elicitForm, fmt.Sprint(i)))
		}
		return `{}`
	})
	f := start(t, legacy("weather", q.script))
	client := modern{capabilities: everyInput}
	for i := 1; ; i++ {
		require.LessOrEqual(t, i, 40)
		body := lastEvent(f.do(client.request()).body)
		if strings.Contains(body, "too often") {
			break
		}
		state, _ := inputOf(t, body)
		client.params = retryOf(state, fmt.Sprintf(`"input-%d":{"action":"accept"}`, i))
	}
	q.await(t, "notifications/cancelled", 1)
}

// TestTooManyHeld: one caller's calls that wait for input leave room for those of others.
func TestTooManyHeld(t *testing.T) {
	q := newInquirer(func(ask func(...string) []string, r *http.Request) string {
		ask(fmt.Sprintf(elicitForm, "1"))
		<-r.Context().Done()
		return `{}`
	})
	f := start(t, legacy("weather", q.script))
	for range 32 {
		inputOf(t, f.do(modern{capabilities: everyInput, caller: "alice"}.request()).body)
	}
	assert.Contains(t, f.do(modern{capabilities: everyInput, caller: "alice"}.request()).body, "too many calls wait for input")
	inputOf(t, f.do(modern{capabilities: everyInput, caller: "bob"}.request()).body)
}

// TestInputWithdrawn: a server may change its mind.
func TestInputWithdrawn(t *testing.T) {
	weather := newScript().does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		event(w, "", fmt.Sprintf(elicitForm, "1"))
		event(w, "", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
		time.Sleep(100 * time.Millisecond)
		event(w, "", resultOf(m, `{"done":true}`))
	})
	f := start(t, legacy("weather", weather))
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{`+complete+`,"done":true}}`, lastEvent(f.do(modern{capabilities: everyInput}.request()).body))
}

// TestInputNotAwaited: a server may answer without the input that it asked for.
func TestInputNotAwaited(t *testing.T) {
	release := make(chan struct{})
	weather := newScript().does("tools/call", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		event(w, "", fmt.Sprintf(elicitForm, "1"))
		select {
		case <-release:
		case <-r.Context().Done():
		}
		event(w, "", resultOf(m, `{"done":true}`))
	})
	f := start(t, legacy("weather", weather))
	client := modern{capabilities: everyInput}
	state, _ := inputOf(t, f.do(client.request()).body)
	close(release)
	time.Sleep(20 * time.Millisecond)
	client.params = retryOf(state, `"input-1":{"action":"accept"}`)
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{`+complete+`,"done":true}}`, lastEvent(f.do(client.request()).body))
}

// TestURLFirst: a server that wants a page opened before the call has it opened, and the call is made again.
func TestURLFirst(t *testing.T) {
	const wants = `{"jsonrpc":"2.0","id":null,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://a.example/x","message":"Look."}]}}}`
	weather := newScript().does("tools/call", status(http.StatusOK, "application/json", wants))
	f := start(t, legacy("weather", weather))
	client := modern{capabilities: everyInput}
	state, asks := inputOf(t, f.do(client.request()).body)
	assert.Equal(t, map[string]string{
		"url-1": `{"method":"elicitation/create","params":{"mode":"url","elicitationId":"e","url":"https://a.example/x","message":"Look."}}`,
	}, asks)
	client.params = retryOf(state, `"url-1":{"action":"decline"}`)
	assert.Contains(t, f.do(client.request()).body, "did not agree")
	client.params = retryOf(state, `"url-1":{"action":"accept"}`)
	state, _ = inputOf(t, f.do(client.request()).body)
	weather.does("tools/call", nil)
	client.params = retryOf(state, `"url-1":{"action":"accept"}`)
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{`+complete+`,"did":"tools/call"}}`, f.do(client.request()).body)
	calls := weather.requests("tools/call")
	assert.Len(t, calls, 3)
	assert.NotContains(t, calls[2].body, "inputResponses")

	weather.does("tools/call", status(http.StatusOK, "application/json", wants))
	a := f.do(modern{}.request())
	wantError(t, a, http.StatusBadRequest, "1", -32021, "Look. The page is https://a.example/x")
	assert.Contains(t, a.body, `"data":{"requiredCapabilities":{"elicitation":{"url":{}}}}`)
}

// TestAskForCredential: a server that wants a credential of each user's own has its caller asked.
func TestAskForCredential(t *testing.T) {
	acme := newScript()
	f, k := asking(t, acme)
	m := modern{server: "acme", capabilities: everyInput}
	as := func(m modern) request {
		r := m.request()
		r.header.Set("Authorization", "Bearer "+ann)
		return r
	}
	asked := f.do(as(m))
	assert.JSONEq(t, `{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{"mcp-gateway/credential":{"method":"elicitation/create",`+
		`"params":{"mode":"url","url":"https://mcp.example.com/credentials/for/e-1","message":"Give a key."}}}}}`, asked.body)
	m.params = `,"inputResponses":{"mcp-gateway/credential":{"action":"decline"}}`
	assert.Contains(t, f.do(as(m)).body, "did not want to give")
	k.give(ann, "key of ann")
	m.params = `,"inputResponses":{"mcp-gateway/credential":{"action":"accept"}}`
	assert.Contains(t, f.do(as(m)).body, `"did":"tools/call"`)
	assert.Equal(t, "key key of ann", acme.requests("tools/call")[0].header.Get("X-Api-Key"))
	wantError(t, f.do(modern{server: "acme"}.request()), http.StatusBadRequest, "1", -32021, "Give a key. The page is https://mcp.example.com/credentials/for/e-1")
}

// TestClosingWhileHeld: the end of the gateway is the end of what it holds.
func TestClosingWhileHeld(t *testing.T) {
	q := newInquirer(func(ask func(...string) []string, _ *http.Request) string {
		return `{"heard":` + ask(rootsAsk)[0] + `}`
	})
	f := start(t, legacy("weather", q.script))
	inputOf(t, f.do(modern{capabilities: everyInput}.request()).body)
	f.broker.Close(t.Context())
	q.await(t, http.MethodDelete, 1)
}

// TestClosingInSecondRound: also a call that was held is cancelled by closing its stream (Invariant 11).
func TestClosingInSecondRound(t *testing.T) {
	q := newInquirer(func(ask func(...string) []string, r *http.Request) string {
		ask(rootsAsk)
		<-r.Context().Done()
		return `{}`
	})
	f := start(t, legacy("weather", q.script))
	client := modern{capabilities: everyInput}
	state, _ := inputOf(t, f.do(client.request()).body)
	client.params = retryOf(state, `"input-1":{"roots":[]}`)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		resp, err := f.send(ctx, client.request())
		if err == nil {
			_ = resp.Body.Close()
		}
	}()
	q.await(t, http.MethodPost, 1)
	cancel()
	<-done
	assert.Contains(t, q.await(t, "notifications/cancelled", 1)[0].body, "the client closed the stream")
}

// TestEarlyNoise: progress while the client is away is not kept without bound.
func TestEarlyNoise(t *testing.T) {
	weather := newScript()
	var call *jsonrpc.Message
	sent := make(chan struct{})
	weather.does(http.MethodPost, func(w http.ResponseWriter, _ *http.Request, _ *jsonrpc.Message) { w.WriteHeader(http.StatusAccepted) })
	weather.does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		call = m
		event(w, "", rootsAsk)
		time.Sleep(200 * time.Millisecond)
		for range 1000 {
			event(w, "", `{"jsonrpc":"2.0","method":"notifications/example","params":{"x":"`+strings.Repeat("x", 1000)+`"}}`)
		}
		event(w, "", resultOf(call, `{}`))
		close(sent)
	})
	f := start(t, legacy("weather", weather))
	client := modern{capabilities: everyInput}
	state, _ := inputOf(t, f.do(client.request()).body)
	await(t, sent)
	time.Sleep(500 * time.Millisecond) // until all that was sent is read
	client.params = retryOf(state, `"input-1":{"roots":[]}`)
	a := f.do(client.request())
	assert.LessOrEqual(t, strings.Count(a.body, "notifications/example"), 64)
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{`+complete+`}}`, lastEvent(a.body))
}
