package jsonrpc

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func addMessages(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a_b","arguments":{"n":1e400,"x":[true,null,"é\n"]}}}`,
		`{"jsonrpc":"2.0","method":"a","params":{"n\u0061me":"\ud83d\ude00","name ":1}}`,
		`{"jsonrpc":"2.0","id":"x","result":{}}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}`,
		`{"jsonrpc":"2.0","id":1.5,"method":"a","params":[]}`,
		`{"jsonrpc":"2.0","id":1,"id":2,"method":"a","params":{"name":1,"Name":2}}`,
		`[{"jsonrpc":"2.0"},[[[{"a":[]}]]]]`,
		"", "{", "\xef\xbb\xbf{}", "{\"a\":\"\xff\"}", `{"a":01}`, `"\ud800"`, `[1,]`, ` tru`,
	} {
		f.Add([]byte(seed))
	}
}

// Whatever Parse accepts, encoding/json reads the same from; what it calls not JSON is not, for encoding/json either.
func FuzzParse(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		m, refused := Parse(body, Limits{MaxDepth: 1000})
		require.Equal(t, before, body)
		valid := json.Valid(body) && utf8.Valid(body)
		if refused != nil {
			require.Equal(t, 400, refused.Status)
			require.Equal(t, Message{}, m)
			if refused.Code == CodeParseError {
				require.False(t, valid, "%s: %s", refused, body)
			} else {
				require.Equal(t, CodeInvalidRequest, refused.Code)
				require.True(t, valid, "%s: %s", refused, body)
			}
			require.True(t, json.Valid(refused.AppendResponse(nil)))
			return
		}
		require.True(t, valid, "%s", body)
		var top map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &top))
		same := func(key string, span Span) {
			require.Equal(t, string(top[key]), string(span.Of(body)), key)
		}
		same("method", m.Method)
		same("params", m.Params)
		same("result", m.Result)
		same("error", m.Error)
		if m.ID.Present() || m.Kind == Request {
			same("id", m.ID)
		}
		// A reader that ignores case, and takes the last of several, reads the same too.
		var loose struct {
			ID     json.RawMessage
			Method json.RawMessage
			Params json.RawMessage
		}
		require.NoError(t, json.Unmarshal(body, &loose))
		require.Equal(t, string(top["method"]), string(loose.Method))
		require.Equal(t, string(top["params"]), string(loose.Params))
		require.Equal(t, string(top["id"]), string(loose.ID))
		sameMethod(t, &m)
		sameParams(t, &m)
	})
}

func sameMethod(t *testing.T, m *Message) {
	t.Helper()
	if !m.Method.Present() {
		require.Equal(t, Response, m.Kind)
		return
	}
	var method string
	require.NoError(t, json.Unmarshal(m.Method.Of(m.Body), &method))
	require.Equal(t, method, m.MethodName())
}

func sameParams(t *testing.T, m *Message) {
	t.Helper()
	if !m.Params.Present() {
		return
	}
	var params map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(m.Params.Of(m.Body), &params))
	n := 0
	for range m.ParamMembers() {
		n++
	}
	require.Len(t, params, n, "no member is there twice")
	for key, want := range params {
		require.Equal(t, string(want), string(m.Param(key).Of(m.Body)), key)
		if span, err := Lookup(m.Body, m.Params, key); err == nil {
			require.Equal(t, m.Param(key), span)
		}
	}
	var loose struct {
		Name json.RawMessage
		Meta json.RawMessage `json:"_meta"`
	}
	require.NoError(t, json.Unmarshal(m.Params.Of(m.Body), &loose))
	require.Equal(t, string(loose.Name), string(m.Param("name").Of(m.Body)))
	require.Equal(t, string(loose.Meta), string(m.Param("_meta").Of(m.Body)))
}

// Invariant 1: an edit changes what it is meant to and no other byte.
func FuzzSplice(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a_b","arguments":{"n":9007199254740993}}}`), "b", "s-1")
	f.Add([]byte(`{"params": {"x":1.10,"n\u0061me":null },"jsonrpc":"2.0","method":"a","id":"é"}`), "é\x00\"", "\\")
	f.Fuzz(func(t *testing.T, body []byte, name, id string) {
		m, refused := Parse(body, Limits{})
		if refused != nil || !m.Param("name").Present() || !utf8.ValidString(name) || !utf8.ValidString(id) {
			return
		}
		old := m.Param("name")
		quoted := AppendQuote(nil, name)
		got, err := Splice(body, Edit{old, quoted})
		require.NoError(t, err)
		require.Equal(t, string(body[:old.Start])+string(quoted)+string(body[old.End:]), string(got))
		again := mustParse(t, got)
		back, err := Unquote(again.Param("name").Of(got))
		require.NoError(t, err)
		require.Equal(t, name, back)

		restored, err := Splice(got, Edit{again.Param("name"), old.Of(body)})
		require.NoError(t, err)
		require.Equal(t, string(body), string(restored))

		if m.ID.Present() {
			newID := AppendQuote(nil, id)
			one, err := Splice(got, Edit{again.ID, newID})
			require.NoError(t, err)
			both, err := Splice(body, Edit{old, quoted}, Edit{m.ID, newID})
			require.NoError(t, err)
			require.Equal(t, string(one), string(both), "two edits at once are the same as one after the other")
		}
	})
}

func FuzzUnquote(f *testing.F) {
	for _, seed := range []string{`"a"`, `"\ud83d\ude00"`, `"\ud800"`, `"\u00e9é\n\/"`, `"`, `"a"b`, "\"\xff\"", `"0123456789\"abcdef"`, "\"\n\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := Unquote(raw)
		var want string
		wantErr := json.Unmarshal(raw, &want)
		trimmed := len(raw) > 1 && raw[0] == '"' && raw[len(raw)-1] == '"'
		if err != nil {
			// encoding/json takes white space around a string and null for one, and replaces what is not Unicode.
			require.True(t, wantErr != nil || !trimmed || bytes.Contains([]byte(want), []byte("\ufffd")), "%s: %q", err, raw)
			return
		}
		require.NoError(t, wantErr)
		require.Equal(t, want, got)

		quoted := AppendQuote(nil, got)
		back, err := Unquote(quoted)
		require.NoError(t, err)
		require.Equal(t, got, back)
	})
}

// The number grammar, against encoding/json, with an id in place of a plain value as well.
func FuzzNumber(f *testing.F) {
	for _, seed := range []string{"0", "-0", "1.5", "1e2", "01", "-", "1.", "9007199254740993", "1E+400", "+1", "1e", "0x1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, number string) {
		_, asValue := Parse([]byte(`{"jsonrpc":"2.0","method":"a","x":[`+number+`]}`), Limits{MaxDepth: math.MaxInt})
		isJSON := json.Valid([]byte(`[` + number + `]`))
		if utf8.ValidString(number) {
			require.Equal(t, isJSON, asValue == nil || asValue.Code != CodeParseError, "%q", number)
		}
		m, asID := Parse([]byte(`{"jsonrpc":"2.0","method":"a","id":`+number+`}`), Limits{})
		if asID == nil && m.ID.Present() && m.Body[m.ID.Start] != '"' {
			var n json.Number
			require.NoError(t, json.Unmarshal(m.ID.Of(m.Body), &n))
			require.NotContains(t, n.String(), ".")
		}
	})
}
