package dataplane_test

// This file is the table of the matrix: what clients may send, and what servers make of it.

// row is one thing that a client does and a server answers. In what is sent, ${name} and ${uri} are the item's, as clients know it, ${server} is the
// server's name, ${task} the id of the task that the client was given last, and ${revision} and ${capabilities} are the client's own.
type row struct {
	// name is the row's in the transcripts.
	name string
	// method is that of JSON-RPC. One that begins with "notifications/" is sent as a notification.
	method string
	// item is the server's own name of the tool or prompt, or the end of the resource's URI.
	item string
	// session and stateless are the params of a client with a session and of one of 2026-07-28, in raw JSON without what is the same in all requests of
	// such a client. An empty stateless means the same.
	session, stateless string
	// meta are further members of _meta of a client of 2026-07-28, and headers its further headers, in pairs.
	meta    string
	headers []string
	// legacy and modern are what servers answer, with sessions (or without their ids) and of 2026-07-28.
	legacy, modern answer
	// first has the row run once more by a client with a session as the first call of that session, which goes another way than those after it.
	first bool
	// does is how a client goes about it; nil means that it sends one message, answers what it is asked, and reads to the end.
	does func(c *matrixClient, r row)
	// listens tells that an event stream that a server with sessions is asked for belongs to the row. Others are opened beside it, at any time.
	listens bool
	// until is what the server receives last, by the client's family and the server, where it may be after the client has its answer.
	until map[string]string
}

// answer is what a server answers. In it, ${token} is the request's progress token.
type answer struct {
	// result or fault is what it ends with, in raw JSON, and status the HTTP status if it is not 200.
	result, fault string
	status        int
	// before are the messages that a stream begins with. Without any, and with nothing to ask, the answer is one document.
	before []string
	// asks are what the server needs to know in between, in raw JSON without ids.
	asks []string
	// hangs has the call wait for its end.
	hangs bool
	// updates has the server tell of a change of the resource.
	updates bool
}

const (
	progressed = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${token},"progress":1,"total":2,"message":"half"}}`
	logged     = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","logger":"matrix","data":{"n":9007199254740993}}}`
	said       = `"content":[{"type":"text","text":"said"}]`
	// complete is what 2026-07-28 demands of results, and cached what it demands of those that may be kept.
	complete = `"resultType":"complete"`
	cached   = complete + `,"ttlMs":60000,"cacheScope":"private"`
	// logsInfo asks for log messages in 2026-07-28.
	logsInfo = `"io.modelcontextprotocol/logLevel":"info"`
	// takesTasks is the capability in 2026-07-28 of a client that takes tasks.
	takesTasks = `"extensions":{"io.modelcontextprotocol/tasks":{}}`

	asksForm  = `{"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}}}}}`
	asksURL   = `{"method":"elicitation/create","params":{"mode":"url","message":"Sign in","url":"https://example.com/sign-in","elicitationId":"e-1"}}`
	asksModel = `{"method":"sampling/createMessage","params":{"_meta":{"progressToken":"model"},"messages":[{"role":"user","content":{"type":"text","text":"2^53+1?"}}],"maxTokens":7}}`
	asksRoots = `{"method":"roots/list"}`
)

// both is an answer that is the same in all revisions but for what 2026-07-28 demands of results.
func both(members string, f ...func(*answer)) (legacy, modern answer) {
	legacy, modern = answer{result: "{" + members + "}"}, answer{result: "{" + complete + "," + members + "}"}
	for _, change := range f {
		change(&legacy)
		change(&modern)
	}
	return legacy, modern
}

// refuses is the same error in all revisions.
func refuses(fault string) (legacy, modern answer) { return answer{fault: fault}, answer{fault: fault} }

// answered gives a row its answers.
func (r row) answered(legacy, modern answer) row {
	r.legacy, r.modern = legacy, modern
	return r
}

// matrixRows are all rows, in the order in which a client does them.
func matrixRows() []row {
	out := openings()
	for _, rows := range [][]row{listings(), toolCalls(), questions(), otherCalls(), subscriptions(), taskCalls(), endings()} {
		out = append(out, rows...)
	}
	return out
}

func openings() []row {
	return []row{
		{name: "initialize", method: "initialize", session: `{"protocolVersion":"${revision}","capabilities":${capabilities},"clientInfo":{"name":"matrix","version":"1"}}`},
		{name: "notifications/initialized", method: "notifications/initialized", session: ``},
		{name: "server/discover", method: "server/discover", session: `{}`},
		{name: "ping", method: "ping", session: ``, stateless: `{}`},
	}
}

func listings() []row {
	return []row{
		{name: "tools/list", method: "tools/list", session: `{}`},
		{name: "prompts/list", method: "prompts/list", session: `{}`},
		{name: "resources/list", method: "resources/list", session: `{}`},
		{name: "resources/templates/list", method: "resources/templates/list", session: `{}`},
	}
}

func toolCalls() []row {
	// A session of the gateway's own listens from its first call on.
	opens := map[string]string{"stateless legacy": "GET"}
	streams := func(a *answer) { a.before = []string{progressed, logged} }
	return []row{
		row{name: "tools/call", method: "tools/call", item: "say", session: `{"name":"${name}","arguments":{"n":9007199254740993}}`, until: opens}.
			answered(both(said + `,"structuredContent":{"n":9007199254740993},"other":1.10,"_meta":{"example.com/kept":true}`)),
		{name: "logging/setLevel", method: "logging/setLevel", session: `{"level":"info"}`, legacy: answer{result: `{}`}, until: map[string]string{"session legacy": "logging/setLevel"}},
		row{
			name: "tools/call, streamed", method: "tools/call", item: "stream", first: true,
			session: `{"name":"${name}","arguments":{},"_meta":{"progressToken":9007199254740993}}`, stateless: `{"name":"${name}","arguments":{}}`,
			meta: `"progressToken":9007199254740993,` + logsInfo,
		}.answered(both(said, streams)),
		row{
			name: "tools/call, streamed to who asked for nothing", method: "tools/call", item: "mute",
			session: `{"name":"${name}","arguments":{}}`,
		}.answered(both(said, func(a *answer) { a.before = []string{logged} })),
		row{
			name: "tools/call, with an argument in a header", method: "tools/call", item: "locate", session: `{"name":"${name}","arguments":{"region":"süd"}}`,
			headers: []string{"Mcp-Param-Region", "=?base64?c8O8ZA==?="},
		}.answered(both(said)),
		row{name: "tools/call, failed", method: "tools/call", item: "fail", session: `{"name":"${name}","arguments":{}}`}.answered(both(said + `,"isError":true`)),
		row{name: "tools/call, refused", method: "tools/call", item: "refuse", session: `{"name":"${name}","arguments":{}}`, first: true}.
			answered(refuses(`{"code":-32602,"message":"no such argument","data":{"n":9007199254740993}}`)),
		{name: "tools/call, of no tool", method: "tools/call", item: "none", session: `{"name":"${name}","arguments":{}}`},
		{
			name: "notifications/cancelled, of a call", method: "tools/call", item: "hang", does: (*matrixClient).cancel, first: true,
			session: `{"name":"${name}","arguments":{},"_meta":{"progressToken":"t"}}`, stateless: `{"name":"${name}","arguments":{}}`, meta: `"progressToken":"t"`,
			legacy: answer{before: []string{progressed}, hangs: true}, modern: answer{before: []string{progressed}, hangs: true}, until: map[string]string{
				"session legacy": "notifications/cancelled", "session plain": closed, "session modern": closed,
				"stateless legacy": "notifications/cancelled", "stateless plain": "notifications/cancelled", "stateless modern": closed,
			},
		},
		{name: "notifications/cancelled, of nothing", method: "notifications/cancelled", session: `{"requestId":"none"}`},
	}
}

// questions are calls in whose midst the server asks the client for something.
func questions() []row {
	// A server that gives no session ids has not been told of any client's capabilities, and should not ask. A client with a session cannot answer it, and
	// leaves.
	inVain := map[string]string{"session plain": closed}
	asking := func(name, item string, asks ...string) row {
		return row{name: "tools/call, which asks for " + name, method: "tools/call", item: item, session: `{"name":"${name}","arguments":{"n":1.10}}`, until: inVain}.
			answered(both(said, func(a *answer) { a.asks = asks }))
	}
	form := asking("elicitation/create", "ask", asksForm)
	form.first = true
	urlNeeded := asking("a page that must be opened first", "page", asksURL)
	urlNeeded.until = nil
	urlNeeded.legacy = answer{result: `{` + said + `}`, fault: `{"code":-32042,"message":"sign in first","data":{"elicitations":[{"mode":"url","message":"Sign in","url":"https://example.com/sign-in","elicitationId":"e-2"}]}}`}
	inPrompt := row{name: "prompts/get, which asks for elicitation/create", method: "prompts/get", item: "ask", session: `{"name":"${name}"}`, until: inVain}.
		answered(both(`"messages":[]`, func(a *answer) { a.asks = []string{asksForm} }))
	inResource := row{name: "resources/read, which asks for elicitation/create", method: "resources/read", item: "ask", session: `{"uri":"${uri}"}`, until: inVain}.
		answered(both(`"contents":[]`, func(a *answer) { a.asks = []string{asksForm} }))
	inResource.modern.result = `{` + cached + `,"contents":[]}`
	return []row{
		form, asking("elicitation/create with a page", "sign-in", asksURL), asking("sampling/createMessage", "think", asksModel),
		asking("roots/list", "look", asksRoots), asking("all three", "survey", asksForm, asksModel, asksRoots), urlNeeded, inPrompt, inResource,
	}
}

func otherCalls() []row {
	read := row{name: "resources/read", method: "resources/read", item: "thing", session: `{"uri":"${uri}"}`, legacy: answer{result: `{"contents":[{"uri":"${uri}","text":"said"}]}`}}
	read.modern.result = `{` + cached + `,"contents":[{"uri":"${uri}","text":"said"}]}`
	byTemplate := read
	byTemplate.name, byTemplate.item = "resources/read, by a template", "part/1"
	gone := row{name: "resources/read, of what is gone", method: "resources/read", item: "gone", session: `{"uri":"${uri}"}`}
	gone.legacy.fault = `{"code":-32002,"message":"gone","data":{"uri":"${uri}"}}`
	gone.modern = answer{fault: `{"code":-32602,"message":"gone","data":{"uri":"${uri}"}}`}
	nobodys := row{name: "resources/read, of nobody's resource", method: "resources/read", session: `{"uri":"none://"}`}
	return []row{
		row{name: "prompts/get", method: "prompts/get", item: "brief", session: `{"name":"${name}","arguments":{"topic":"x"}}`}.
			answered(both(`"messages":[{"role":"user","content":{"type":"text","text":"said"}}]`)),
		read, byTemplate, gone, nobodys,
		row{
			name: "completion/complete", method: "completion/complete", item: "brief",
			session: `{"ref":{"type":"ref/prompt","name":"${name}"},"argument":{"name":"topic","value":"x"}}`,
		}.answered(both(`"completion":{"values":["xyz"],"total":1,"hasMore":false}`)),
		{name: "notifications/roots/list_changed", method: "notifications/roots/list_changed", session: ``, until: map[string]string{"session legacy": "notifications/roots/list_changed"}},
		{name: "notifications/tasks/status", method: "notifications/tasks/status", session: `{"taskId":"none","status":"working"}`},
		{name: "an unknown method", method: "example/unknown", session: `{}`},
	}
}

func subscriptions() []row {
	return []row{
		{
			name: "resources/subscribe", method: "resources/subscribe", item: "thing", session: `{"uri":"${uri}"}`, does: (*matrixClient).subscribe,
			legacy: answer{result: `{}`, updates: true}, listens: true,
		},
		{
			name: "resources/unsubscribe", method: "resources/unsubscribe", item: "thing", session: `{"uri":"${uri}"}`, legacy: answer{result: `{}`},
			until: map[string]string{"session modern": closed},
		},
		{
			name: "subscriptions/listen", method: "subscriptions/listen", session: `{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["${server}://thing","none://"]}}`,
			does: (*matrixClient).listen, listens: true, until: map[string]string{"stateless legacy": "DELETE", "stateless modern": closed},
		},
	}
}

func taskCalls() []row {
	const working = `"taskId":"job-1","status":"working","createdAt":"2026-07-28T00:00:00Z","lastUpdatedAt":"2026-07-28T00:00:00Z","ttlMs":null`
	call := row{name: "tools/call, which becomes a task", method: "tools/call", item: "job", session: `{"name":"${name}","arguments":{}}`, meta: takesTasks, until: map[string]string{"stateless legacy": "GET"}}
	call.legacy.result = `{` + said + `}`
	call.modern.result = `{"resultType":"task",` + working + `}`
	of := func(method, params, result string) row {
		return row{name: method, method: method, session: `{"taskId":"${task}"` + params + `}`, meta: takesTasks, headers: []string{"Mcp-Name", "${task}"}, modern: answer{result: `{` + complete + result + `}`}}
	}
	return []row{
		call, of("tasks/get", "", ","+working), of("tasks/update", `,"inputResponses":{"who":{"action":"accept"}}`, ""), of("tasks/cancel", "", ""),
		of("tasks/result", "", ""),
		{name: "tasks/list", method: "tasks/list", session: `{}`},
	}
}

func endings() []row {
	return []row{
		{name: "DELETE", does: (*matrixClient).leave, until: map[string]string{"session legacy": "DELETE"}},
	}
}
