package jsonrpc

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChange(t *testing.T) {
	for _, test := range []struct{ in, drop, added, want string }{
		{`{}`, "", ``, `{}`},
		{`{}`, "", `"x":1`, `{"x":1}`},
		{`{"a":1}`, "", `"x":1`, `{"x":1,"a":1}`},
		{`{"a":1}`, "a", ``, `{}`},
		{`{ "a":1 }`, "a", `"x":1`, `{"x":1  }`},
		{`{"a":1,"b":2,"c":3}`, "a", ``, `{"b":2,"c":3}`},
		{`{"a":1,"b":2,"c":3}`, "b", ``, `{"a":1,"c":3}`},
		{`{"a":1,"b":2,"c":3}`, "c", ``, `{"a":1,"b":2}`},
		{`{ "a" : 1 , "b" : 2 , "c" : 3 }`, "a b", ``, `{ "c" : 3 }`},
		{`{ "a" : 1 , "b" : 2 , "c" : 3 }`, "b c", `"x":0`, `{"x":0, "a" : 1 }`},
		{`{"a":1,"b":2,"c":3}`, "a c", `"x":0`, `{"x":0,"b":2}`},
		{`{"a":1,"b":2,"c":3}`, "a b c", `"x":0`, `{"x":0}`},
		{`{"a":{"b":1},"\u0062":2,"b":[{"b":3}]}`, "b", ``, `{"a":{"b":1}}`},
		{`[1]`, "a", ``, `[1]`},
	} {
		drop := func(key string) bool { return strings.Contains(" "+test.drop+" ", " "+key+" ") }
		got, err := Splice([]byte(test.in), Change([]byte(test.in), Span{End: len(test.in)}, drop, []byte(test.added))...)
		require.NoError(t, err, test.in)
		assert.Equal(t, test.want, string(got), "%s without %s", test.in, test.drop)
		assert.True(t, json.Valid(got))
	}
}

// What is no object has no members, and a span that is absent or outside is none.
func TestMembersOfNothing(t *testing.T) {
	for _, span := range []Span{{}, {0, 3}, {0, 100}, {2, 1}} {
		assert.Empty(t, Members([]byte("[1]"), span))
	}
}

func FuzzChange(f *testing.F) {
	for _, seed := range []string{`{"a":1 , "b":{"a":2},"\u0061":[3]}`, `{"b":1}`, `{}`, `{ "a" : "}" }`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) || len(body) == 0 || body[0] != '{' {
			return
		}
		if _, fault := Parse(append(append([]byte(`{"jsonrpc":"2.0","method":"m","x":`), body...), '}'), Limits{}); fault != nil {
			return
		}
		end := len(strings.TrimRight(string(body), " \t\r\n"))
		got, err := Splice(body, Change(body, Span{End: end}, func(key string) bool { return key == "a" }, []byte(`"x":0`))...)
		require.NoError(t, err)
		var before, after map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &before))
		require.NoError(t, json.Unmarshal(got, &after), "%s became %s", body, got)
		for key, value := range before {
			if key != "a" && key != "x" {
				require.Equal(t, string(value), string(after[key]), key)
			}
		}
		require.NotContains(t, after, "a")
	})
}
