package bridge_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/bridge"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/testkit/oddjson"
)

// owned are the members that a translation may take off or exchange, by the object that has them.
func owned(path, key string) bool {
	switch path {
	case "":
		return key == "id"
	case "params":
		return key == "inputResponses" || key == "requestState"
	case "params._meta":
		return key == "progressToken" || strings.HasPrefix(key, "io.modelcontextprotocol/")
	case "result":
		return key == "resultType" || key == "ttlMs" || key == "cacheScope"
	case "result._meta":
		return key == "io.modelcontextprotocol/serverInfo"
	}
	return false
}

// survives checks that every member of before that is not owned is in after, to the byte and in its order.
func survives(t *testing.T, path string, before, after []byte) {
	t.Helper()
	b, a := jsonrpc.Members(before, whole(before)), jsonrpc.Members(after, whole(after))
	next := 0
	for _, member := range b {
		key, _ := jsonrpc.Unquote(member.Key.Of(before))
		if owned(path, key) {
			continue
		}
		for next < len(a) && !bytes.Equal(a[next].Key.Of(after), member.Key.Of(before)) {
			other, _ := jsonrpc.Unquote(a[next].Key.Of(after))
			require.True(t, owned(path, other) || other == "_meta", "%s.%s came from nowhere in %s", path, other, after)
			next++
		}
		require.Less(t, next, len(a), "%s.%s is lost in %s", path, key, after)
		inner := strings.TrimPrefix(path+"."+key, ".")
		switch inner {
		case "params", "result", "params._meta", "result._meta":
			survives(t, inner, member.Value.Of(before), a[next].Value.Of(after))
		default:
			require.Equal(t, string(member.Value.Of(before)), string(a[next].Value.Of(after)), inner)
		}
		next++
	}
}

func whole(b []byte) jsonrpc.Span {
	return jsonrpc.Span{Start: max(bytes.IndexByte(b, '{'), 0), End: len(bytes.TrimRight(b, " \n\t"))}
}

// TestFidelity: thousands of generated messages pass in both directions unchanged, but for the members that the translation owns (Invariant 1).
func TestFidelity(t *testing.T) {
	r := oddjson.New(1)
	for range 5000 {
		meta := `"_meta":` + r.Object(2, `"io.modelcontextprotocol/protocolVersion":"2026-07-28"`, `"io.modelcontextprotocol/clientCapabilities":{"roots":{}}`, `"progressToken":"p"`)
		request := []byte(r.Object(1, `"jsonrpc":"2.0"`, `"id":9007199254740993`, `"method":"tools/call"`,
			`"params":`+r.Object(3, meta, `"name":"t"`, `"arguments":`+r.Object(4), `"inputResponses":{}`)))
		m := parse(t, request)
		legacy, err := bridge.ToLegacy(&m, []byte(`"x"`), []byte(`"y"`))
		require.NoError(t, err)
		parse(t, legacy)
		survives(t, "", request, legacy)
		m = parse(t, legacy)
		modern, err := bridge.ToModern(&m, bridge.Client{}, bridge.Retry{ID: []byte("1"), State: []byte(`"s"`)})
		require.NoError(t, err)
		parse(t, modern)
		survives(t, "", legacy, modern)

		response := []byte(r.Object(1, `"jsonrpc":"2.0"`, `"id":"x"`, `"result":`+r.Object(4, `"_meta":`+r.Object(1), `"content":[1.10]`)))
		m = parse(t, response)
		answer := bridge.Answer{ID: []byte(`"é"`), Method: "resources/read", ServerInfo: json.RawMessage(`{"name":"s"}`)}
		modern, err = answer.ToModern(&m)
		require.NoError(t, err)
		m = parse(t, modern)
		survives(t, "", response, modern)
		require.Equal(t, "complete", bridge.ResultType(&m))
		legacy, err = answer.ToLegacy(&m)
		require.NoError(t, err)
		parse(t, legacy)
		survives(t, "", modern, legacy)
		survives(t, "", response, legacy)
	}
}

func parse(t testing.TB, body []byte) jsonrpc.Message {
	t.Helper()
	m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
	require.Nil(t, fault, "%s", body)
	return m
}

// FuzzTranslate: whatever a peer sends, a translation is a message or an error, and nothing panics.
func FuzzTranslate(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":1,"progressToken":2,"io.modelcontextprotocol/logLevel":"info"},"name":"t","inputResponses":{"a":{}},"requestState":"x"}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"url"}}},"requestState":"s"}}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32042,"message":"","data":{"elicitations":[{"mode":"url"},null]}}}`,
		`{"jsonrpc":"2.0","id":1,"result":[]}`, `{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":[],"requestState":1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
		if fault != nil {
			return
		}
		valid := func(out []byte, err error) {
			if err == nil {
				_, fault := jsonrpc.Parse(out, jsonrpc.Limits{MaxDepth: 1000})
				require.Nil(t, fault, "%s became %s", body, out)
			}
		}
		if m.Kind == jsonrpc.Response {
			answer := bridge.Answer{ID: []byte("7"), Method: "resources/read", ServerInfo: json.RawMessage(`{}`)}
			valid(answer.ToModern(&m))
			valid(answer.ToLegacy(&m))
			r, _, err := bridge.ReadRequired(&m)
			for _, ask := range r.Asks {
				out, err := ask.Request([]byte("1"), "e")
				valid(out, err)
			}
			if err == nil {
				valid(bridge.AppendInputRequired(nil, []byte("1"), r.Asks, "s", nil), nil)
			}
			if asks := bridge.URLElicitations(&m); asks != nil {
				valid(bridge.AppendInputRequired(nil, []byte("1"), asks, "s", nil), nil)
			}
			return
		}
		c, _ := bridge.ReadClient(&m)
		require.True(t, json.Valid(c.Initialize("2025-11-25", "1")))
		c.Lacks(m.MethodName(), m.Params.Of(body))
		_, _, _, _ = bridge.Responses(&m)
		bridge.Digest(&m)
		bridge.Headers(&m, []bridge.Param{{Header: "mcp-param-a", Path: []string{"arguments", "a", "b"}}})
		if m.Kind == jsonrpc.Request {
			valid(bridge.ToLegacy(&m, []byte("1"), []byte("2")))
			valid(bridge.ToModern(&m, bridge.ReadInitialize(body), bridge.Retry{ID: []byte("3"), Responses: []byte("{}")}))
		}
	})
}
