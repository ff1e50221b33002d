package bridge_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/bridge"
)

// TestLacks: nobody is asked for what it has not declared.
func TestLacks(t *testing.T) {
	const form, url, sample = `{"message":"m"}`, `{"mode":"url","url":"https://a.example"}`, `{"messages":[]}`
	for name, tc := range map[string]struct {
		has, method, params string
		lacks               string // empty: nothing
		whole               bool
	}{
		"nothing declared":        {``, bridge.MethodElicit, form, "elicitation", true},
		"no capabilities":         {`{}`, bridge.MethodElicit, url, "elicitation.url", true},
		"form by default":         {`{"elicitation":{}}`, bridge.MethodElicit, form, "", false},
		"form":                    {`{"elicitation":{"form":{}}}`, bridge.MethodElicit, `{"mode":"form"}`, "", false},
		"form of a URL client":    {`{"elicitation":{"url":{}}}`, bridge.MethodElicit, form, "elicitation.form", false},
		"URL of a form client":    {`{"elicitation":{}}`, bridge.MethodElicit, url, "elicitation.url", false},
		"URL":                     {`{"elicitation":{"url":{}}}`, bridge.MethodElicit, url, "", false},
		"null is not declared":    {`{"elicitation":null}`, bridge.MethodElicit, form, "elicitation", true},
		"params are not readable": {`{"elicitation":{}}`, bridge.MethodElicit, `{"mode":7}`, "", false},
		"sampling":                {`{"sampling":{}}`, bridge.MethodSample, sample, "", false},
		"no sampling":             {`{"roots":{}}`, bridge.MethodSample, sample, "sampling", true},
		"tools":                   {`{"sampling":{}}`, bridge.MethodSample, `{"tools":[]}`, "sampling.tools", false},
		"tools declared":          {`{"sampling":{"tools":{}}}`, bridge.MethodSample, `{"tools":[],"toolChoice":{}}`, "", false},
		"roots":                   {`{"roots":{}}`, bridge.MethodRoots, ``, "", false},
		"no roots":                {`{}`, bridge.MethodRoots, ``, "roots", true},
		"unknown method":          {`{"roots":{}}`, "tasks/get", ``, "tasks/get", true},
		"not readable":            {`{"roots":7}`, bridge.MethodRoots, ``, "roots", true},
	} {
		t.Run(name, func(t *testing.T) {
			var c bridge.Client
			if tc.has != "" {
				c.Capabilities = json.RawMessage(tc.has)
			}
			var params json.RawMessage
			if tc.params != "" {
				params = json.RawMessage(tc.params)
			}
			lack := c.Lacks(tc.method, params)
			if tc.lacks == "" {
				assert.Nil(t, lack)
				return
			}
			require.NotNil(t, lack)
			assert.Equal(t, tc.lacks, lack.Name)
			assert.Equal(t, tc.whole, lack.Method)
			assert.True(t, json.Valid(lack.Required))
		})
	}
}

// TestHeaders: the headers of a modern request say what its body does.
func TestHeaders(t *testing.T) {
	path := func(names ...string) []string { return append([]string{"arguments"}, names...) }
	params := []bridge.Param{
		{Header: "mcp-param-region", Path: path("region")},
		{Header: "mcp-param-n", Path: path("n")},
		{Header: "mcp-param-yes", Path: path("yes")},
		{Header: "mcp-param-deep", Path: path("deep", "er")},
	}
	for name, tc := range map[string]struct{ body, want string }{
		"strings":     {`{"name":"t","arguments":{"region":"us-west1","other":"x"}}`, "mcp-name: t; mcp-param-region: us-west1"},
		"not ASCII":   {`{"name":"é","arguments":{"region":"Hello, 世界"}}`, "mcp-name: =?base64?w6k=?=; mcp-param-region: =?base64?SGVsbG8sIOS4lueVjA==?="},
		"padded":      {`{"name":"t","arguments":{"region":" padded "}}`, "mcp-name: t; mcp-param-region: =?base64?IHBhZGRlZCA=?="},
		"line":        {`{"name":"t","arguments":{"region":"line1\nline2"}}`, "mcp-name: t; mcp-param-region: =?base64?bGluZTEKbGluZTI=?="},
		"sentinel":    {`{"name":"t","arguments":{"region":"=?base64?literal?="}}`, "mcp-name: t; mcp-param-region: =?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="},
		"integers":    {`{"name":"t","arguments":{"n":-42}}`, "mcp-name: t; mcp-param-n: -42"},
		"as a float":  {`{"name":"t","arguments":{"n":4.20e1}}`, "mcp-name: t; mcp-param-n: 42"},
		"no integer":  {`{"name":"t","arguments":{"n":4.2}}`, "mcp-name: t"},
		"booleans":    {`{"name":"t","arguments":{"yes":false}}`, "mcp-name: t; mcp-param-yes: false"},
		"nested":      {`{"name":"t","arguments":{"deep":{"er":"x"}}}`, "mcp-name: t; mcp-param-deep: x"},
		"null":        {`{"name":"t","arguments":{"region":null,"yes":null}}`, "mcp-name: t"},
		"in an array": {`{"name":"t","arguments":{"deep":[{"er":"y"}]}}`, "mcp-name: t"},
		"there twice": {`{"name":"t","arguments":{"region":"x","region":"y"}}`, "mcp-name: t"},
		"none":        {`{"name":"t"}`, "mcp-name: t"},
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":`+tc.body+`}`))
			var got []string
			for _, h := range bridge.Headers(&m, params)[1:] {
				got = append(got, h.Name+": "+h.Value)
			}
			assert.Equal(t, tc.want, strings.Join(got, "; "))
		})
	}
	m := parse(t, []byte(`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///ü"}}`))
	assert.Equal(t, []bridge.Header{{Name: "mcp-method", Value: "resources/read"}, {Name: "mcp-name", Value: "=?base64?ZmlsZTovLy/DvA==?="}}, bridge.Headers(&m, nil))
	m = parse(t, []byte(`{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"name":"x"}}`))
	assert.Equal(t, []bridge.Header{{Name: "mcp-method", Value: "completion/complete"}}, bridge.Headers(&m, nil))
}

// TestState: a state is good for one request of one caller, and not for ever.
func TestState(t *testing.T) {
	key := []byte("key")
	now := time.Unix(1_800_000_000, 0)
	m := parse(t, []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}`))
	bound := bridge.Binding{Caller: []byte("alice"), VirtualServer: "v", Server: "s", Request: bridge.Digest(&m)}
	s := bridge.State{Kind: bridge.StateHeld, Call: [16]byte{1, 2, 3}, Round: 7, Expires: now.Add(time.Minute)}
	text := s.Seal(key, bound)
	got, err := bridge.OpenState(key, text, bound, now)
	require.NoError(t, err)
	assert.Equal(t, s, got)
	_, err = bridge.OpenState(key, text, bound, now.Add(time.Minute))
	require.ErrorIs(t, err, bridge.ErrStateExpired)
	for name, change := range map[string]func(*bridge.Binding){
		"another caller":         func(b *bridge.Binding) { b.Caller = []byte("bob") },
		"another virtual server": func(b *bridge.Binding) { b.VirtualServer = "w" },
		"another server":         func(b *bridge.Binding) { b.Server = "r" },
		"another request":        func(b *bridge.Binding) { b.Request[0]++ },
		"moved bytes":            func(b *bridge.Binding) { b.VirtualServer, b.Server = "vs", "" },
	} {
		other := bound
		change(&other)
		_, err := bridge.OpenState(key, text, other, now)
		require.ErrorIs(t, err, bridge.ErrState, name)
	}
	_, err = bridge.OpenState([]byte("other"), text, bound, now)
	require.ErrorIs(t, err, bridge.ErrState)
	for i := range text {
		forged := []byte(text)
		forged[i] ^= 1
		_, err := bridge.OpenState(key, string(forged), bound, now)
		require.ErrorIs(t, err, bridge.ErrState)
	}
	for _, odd := range []string{"", "x", text + "\n", text[:20] + "\n" + text[20:], text + "AAAA"} {
		_, err := bridge.OpenState(key, odd, bound, now)
		require.ErrorIs(t, err, bridge.ErrState, odd)
	}
}

// TestDigest: the same request in other words is the same, and no other is.
func TestDigest(t *testing.T) {
	digest := func(method, params string) [32]byte {
		m := parse(t, []byte(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+`}`))
		return bridge.Digest(&m)
	}
	want := digest("tools/call", `{"name":"t","arguments":{"a":1,"b":[1.10,{"c":"é","d":null}]}}`)
	for _, same := range []string{
		`{"name":"t","arguments":{"b":[1.10,{"d":null,"c":"\u00e9"}],"a":1},"_meta":{"x":1},"requestState":"s","inputResponses":{"a":{}}}`,
		` { "arguments" : { "a" : 1 , "b" : [ 1.10 , { "c":"é" , "d":null} ] } , "n\u0061me":"t"}`,
	} {
		assert.Equal(t, want, digest("tools/call", same), same)
	}
	for _, other := range []string{
		`{"name":"u","arguments":{"a":1,"b":[1.10,{"c":"é","d":null}]}}`, `{"name":"t","arguments":{"a":1,"b":[1.1,{"c":"é","d":null}]}}`,
		`{"name":"t","arguments":{"a":1,"b":[{"c":"é","d":null},1.10]}}`, `{"name":"t"}`, `{}`,
	} {
		assert.NotEqual(t, want, digest("tools/call", other), other)
	}
	assert.NotEqual(t, digest("tools/call", `{}`), digest("prompts/get", `{}`))
	assert.NotEqual(t, digest("tools/call", `{"name":"t","arguments":{"n":9007199254740993}}`), digest("tools/call", `{"name":"t","arguments":{"n":9007199254740992}}`))
}

// TestReadClient: what a client says of itself is believed if it can be read in one way only.
func TestReadClient(t *testing.T) {
	read := func(meta string) (bridge.Client, error) {
		m := parse(t, []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":`+meta+`}}`))
		return bridge.ReadClient(&m)
	}
	c, err := read(`{"io.modelcontextprotocol/clientInfo":{"name":"a","x":1.10},"io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/logLevel":"info"}`)
	require.NoError(t, err)
	assert.Equal(t, bridge.Client{Info: json.RawMessage(`{"name":"a","x":1.10}`), Capabilities: json.RawMessage(`{"roots":{}}`), LogLevel: "info"}, c)
	assert.JSONEq(t, `{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"a","x":1.10}}`, string(c.Initialize("2025-11-25", "9")))
	c, err = read(`{"io.modelcontextprotocol/clientInfo":7}`)
	require.NoError(t, err)
	assert.JSONEq(t, `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"mcp-gateway","version":"9"}}`, string(c.Initialize("2025-11-25", "9")))
	for _, bad := range []string{
		`{"io.modelcontextprotocol/logLevel":"loud"}`, `{"io.modelcontextprotocol/logLevel":7}`,
		`{"io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/clientInfo":{}}`,
	} {
		_, err := read(bad)
		require.Error(t, err, bad)
	}
}

// TestLogs: a log message is for those who asked, at their level.
func TestLogs(t *testing.T) {
	for level, want := range map[string]string{"": "", "debug": "diex", "warning": "ex", "emergency": "x"} {
		got := ""
		for short, params := range map[string]string{"d": `{"level":"debug"}`, "i": `{"level":"info"}`, "e": `{"level":"error"}`, "x": `{"level":7}`} {
			m := parse(t, []byte(`{"jsonrpc":"2.0","method":"notifications/message","params":`+params+`}`))
			if (bridge.Client{LogLevel: level}).Logs(&m) {
				got += short
			}
		}
		assert.ElementsMatch(t, strings.Split(want, ""), strings.Split(got, ""), level)
	}
}

// TestResponses: a retry is read as a whole or not at all.
func TestResponses(t *testing.T) {
	for params, want := range map[string]string{
		`{}`: "none",
		`{"inputResponses":{"a":{"x":1.10},"b":{}},"requestState":"\u0073"}`: `s {"x":1.10} {}`,
		`{"requestState":"s"}`:                    `s  `,
		`{"inputResponses":{"a":{}}}`:             ` {} `,
		`{"inputResponses":[]}`:                   "error",
		`{"inputResponses":{"a":7}}`:              "error",
		`{"inputResponses":{"a":{},"\u0061":{}}}`: "error",
		`{"requestState":7}`:                      "error",
	} {
		m := parse(t, []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":`+params+`}`))
		answers, state, ok, err := bridge.Responses(&m)
		got := state + " " + string(answers["a"]) + " " + string(answers["b"])
		switch {
		case err != nil:
			got = "error"
		case !ok:
			got = "none"
		}
		assert.Equal(t, want, got, params)
	}
}
