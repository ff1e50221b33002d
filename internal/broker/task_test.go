package broker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// tasked is a server that answers calls with tasks, all of which have the same id: in a stream if the tool is named so.
func tasked(name string, asked chan<- string) server {
	out := stateless(name, newScript())
	out.listing.Capabilities = json.RawMessage(`{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`)
	for _, tool := range []string{"run", "stream", "plain"} {
		out.listing.Items[catalog.Tool] = append(out.listing.Items[catalog.Tool], json.RawMessage(`{"name":"`+name+`-`+tool+`"}`))
	}
	out.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
		if fault != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		asked <- m.MethodName() + " " + r.Header.Get("Mcp-Name") + " " + string(m.Param("taskId").Of(body))
		result := `{"resultType":"complete","taskId":"same","status":"completed","n":9007199254740993,"result":{"taskId":"inner","content":[]}}`
		switch text := string(body); {
		case strings.Contains(text, "-plain"):
			result = `{"resultType":"complete","taskId":"a word of the tool's","content":[]}`
		case m.MethodName() == "tools/call":
			result = `{"resultType":"task", "taskId":"same","status":"working"}`
		}
		message := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID.Of(body), result)
		if strings.Contains(string(body), "-stream") {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = fmt.Fprintf(w, ": hello\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"taskId\":\"same\"}}\n\nevent: message\ndata: %s\n\n", message)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, message)
	})
	return out
}

func taskIn(t *testing.T, body string) string {
	t.Helper()
	_, rest, ok := strings.Cut(body, `"taskId":"gwt.`)
	require.True(t, ok, body)
	id, _, _ := strings.Cut(rest, `"`)
	return "gwt." + id
}

// aboutTask asks about a task, at the server that the router found.
func aboutTask(method, server, id string) request {
	r := fresh(method, `"taskId":"`+id+`"`).at(server)
	r.header.Set("Mcp-Name", id)
	return r
}

// TestTasksFindTheirServers: two servers give the same id, and each is asked of its own; what is not an id stays as it is.
func TestTasksFindTheirServers(t *testing.T) {
	a, b := make(chan string, 10), make(chan string, 10)
	f := setup{servers: []server{tasked("a", a), tasked("b", b)}}.start(t)
	assert.Contains(t, f.do(fresh("server/discover", "")).body, `"extensions":{"io.modelcontextprotocol/tasks":{}}`)
	got := f.do(fresh("tools/call", `"name":"a-run"`).at("a"))
	one := taskIn(t, got.body)
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"resultType":"task", "taskId":"`+one+`","status":"working"}}`, got.body)
	two := taskIn(t, f.do(fresh("tools/call", `"name":"b-run"`).at("b")).body)
	assert.NotEqual(t, one, two)
	<-a
	<-b
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		got := f.do(aboutTask(method, "a", one))
		assert.Equal(t, method+` same "same"`, <-a)
		wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"resultType":"complete","taskId":"`+one+
			`","status":"completed","n":9007199254740993,"result":{"taskId":"inner","content":[]}}}`, got.body)
	}
	f.do(aboutTask("tasks/get", "b", two))
	assert.Equal(t, `tasks/get same "same"`, <-b)
	wantError(t, f.do(aboutTask("tasks/get", "a", two)), http.StatusOK, hugeID, jsonrpc.CodeInvalidParams, "unknown task")
	wantError(t, f.do(aboutTask("tasks/get", "a", "same")), http.StatusOK, hugeID, jsonrpc.CodeInvalidParams, "unknown task")
	assert.Empty(t, a)

	got = f.do(fresh("tools/call", `"name":"a-stream"`).at("a"))
	streamed := taskIn(t, got.body)
	wantBytes(t, ": hello\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"taskId\":\"same\"}}\n\nevent: message\ndata: "+
		`{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"resultType":"task", "taskId":"`+streamed+`","status":"working"}}`+"\n\n", got.body)
	assert.NotEqual(t, one, streamed, "another tool's")
	assert.Contains(t, f.do(fresh("tools/call", `"name":"a-plain"`).at("a")).body, `"taskId":"a word of the tool's"`)
}

// TestTasksAreTheirCallersOwn: nobody else gets them, nor their caller when it may no longer call the tool.
func TestTasksAreTheirCallersOwn(t *testing.T) {
	ann := "Bearer e30.eyJpc3MiOiJpIiwic3ViIjoiYW5uIn0.x" // iss i, sub ann
	bob := "Bearer e30.eyJpc3MiOiJpIiwic3ViIjoiYm9iIn0.x"
	may := true
	who := callers{ann: func(r policy.Request) bool { return may || r.PublicName != "a-run" }, bob: func(policy.Request) bool { return true }}
	asked := make(chan string, 10)
	f := setup{options: who.options, servers: []server{tasked("a", asked)}}.start(t)
	id := taskIn(t, f.do(fresh("tools/call", `"name":"a-run"`).at("a").by(ann)).body)
	<-asked
	wantError(t, f.do(aboutTask("tasks/get", "a", id).by(bob)), http.StatusOK, hugeID, jsonrpc.CodeInvalidParams, "unknown task")
	assert.Equal(t, id, taskIn(t, f.do(aboutTask("tasks/get", "a", id).by(ann)).body))
	<-asked
	may = false
	wantError(t, f.do(aboutTask("tasks/get", "a", id).by(ann)), http.StatusForbidden, hugeID, http.StatusForbidden, "not allowed")
	assert.Empty(t, asked)
}

// TestTasksAreTold: who wants to be told of its tasks is, by each task's server, under the ids that it knows; of others' tasks it is told nothing.
func TestTasksAreTold(t *testing.T) {
	changes, end := make(chan string), make(chan struct{})
	var asked sync.Map // what the servers were asked, by their names
	tells := func(name string) server {
		s := tasked(name, make(chan string, 100))
		answers := s.handler
		s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Mcp-Method") != "subscriptions/listen" {
				answers.ServeHTTP(w, r)
				return
			}
			body, _ := io.ReadAll(r.Body)
			asked.Store(name, string(body))
			event(w, "", `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"taskIds":["same","never asked for"]}}}`)
			for {
				select {
				case change := <-changes:
					event(w, "", change)
				case <-end:
					return
				case <-r.Context().Done():
					return
				}
			}
		})
		return s
	}
	quiet := tasked("quiet", make(chan string, 100))
	f := setup{servers: []server{tells("a"), quiet}}.start(t)
	task := func(server string) string {
		return taskIn(t, f.do(fresh("tools/call", `"name":"`+server+`-run"`).at(server)).body)
	}
	mine, silent := task("a"), task("quiet")
	others := taskIn(t, f.do(fresh("tools/call", `"name":"a-run"`).by("bob").at("a")).body)
	listen := func(capabilities string) request {
		r := fresh("subscriptions/listen", `"notifications":{"taskIds":["`+mine+`","`+silent+`","`+others+`","forged"],"toolsListChanged":true}`)
		r.body = strings.Replace(r.body, `"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}`, `"io.modelcontextprotocol/clientCapabilities":`+capabilities, 1)
		return r
	}
	a := f.do(listen(`{}`))
	wantError(t, a, http.StatusBadRequest, hugeID, -32021, "io.modelcontextprotocol/tasks")
	assert.Contains(t, a.body, `"data":{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}`)

	e := f.stream(listen(`{"extensions":{"io.modelcontextprotocol/tasks":{}}}`))
	wantBytes(t, acknowledged(`{"toolsListChanged":true,"taskIds":["`+mine+`"]}`), string(e.next().Data))
	sent, _ := asked.Load("a")
	assert.Contains(t, sent, `"notifications":{"taskIds":["same"]}`)
	assert.Contains(t, sent, `"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}`)
	for change, want := range map[string]string{
		`{"taskId":"same","status":"working","n":1.10}`: `{"_meta":{` + strings.TrimSuffix(strings.TrimPrefix(subscribed, `"_meta":{`), "}") + `},"taskId":"` + mine + `","status":"working","n":1.10}`,
		`{"_meta":{"io.modelcontextprotocol/subscriptionId":5, "x":1.10},"taskId":"sa\u006de","result":{"taskId":"same"}}`: `{"_meta":{` +
			strings.TrimSuffix(strings.TrimPrefix(subscribed, `"_meta":{`), "}") + `,"x":1.10},"taskId":"` + mine + `","result":{"taskId":"same"}}`,
	} {
		changes <- `{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"another's"}}`
		changes <- `{"jsonrpc":"2.0","method":"notifications/progress","params":{"taskId":"same"}}`
		changes <- `{"jsonrpc":"2.0","method":"notifications/tasks","params":` + change + `}`
		assert.JSONEq(t, `{"jsonrpc":"2.0","method":"notifications/tasks","params":`+want+`}`, string(e.next().Data))
	}
	close(end)
	assert.Contains(t, string(e.next().Data), `"result":{"resultType":"complete"`, "it asks, and listens anew")
	e.ended()
}
