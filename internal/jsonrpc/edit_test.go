package jsonrpc

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func itoa(i int) string { return strconv.Itoa(i) }

func TestSplice(t *testing.T) {
	edit := func(start, end int, s string) Edit { return Edit{Span{start, end}, []byte(s)} }
	for name, test := range map[string]struct {
		edits []Edit
		want  string
		fault string
	}{
		"none":                  {nil, "0123456789", ""},
		"shorter":               {[]Edit{edit(2, 6, "x")}, "01x6789", ""},
		"longer":                {[]Edit{edit(2, 3, "xyz")}, "01xyz3456789", ""},
		"removed":               {[]Edit{edit(2, 6, "")}, "016789", ""},
		"inserted":              {[]Edit{edit(2, 2, "x")}, "01x23456789", ""},
		"at the end":            {[]Edit{edit(10, 10, "x")}, "0123456789x", ""},
		"all":                   {[]Edit{edit(0, 10, "x")}, "x", ""},
		"several":               {[]Edit{edit(1, 2, "a"), edit(4, 5, "b"), edit(9, 10, "c")}, "0a23b5678c", ""},
		"unsorted":              {[]Edit{edit(9, 10, "c"), edit(1, 2, "a"), edit(4, 5, "b")}, "0a23b5678c", ""},
		"side by side":          {[]Edit{edit(4, 6, "b"), edit(2, 4, "a")}, "01ab6789", ""},
		"inserted in one place": {[]Edit{edit(5, 6, "z"), edit(5, 5, "a"), edit(5, 5, "b"), edit(3, 5, "y")}, "012yabz6789", ""},
		"overlap":               {[]Edit{edit(2, 5, "a"), edit(4, 6, "b")}, "", "edit of bytes 4 to 6 overlaps the one that ends at 5"},
		"overlap, unsorted":     {[]Edit{edit(4, 6, "b"), edit(2, 5, "a")}, "", "edit of bytes 4 to 6 overlaps the one that ends at 5"},
		"the same twice":        {[]Edit{edit(2, 5, "a"), edit(2, 5, "a")}, "", "edit of bytes 2 to 5 overlaps the one that ends at 5"},
		"inserted inside":       {[]Edit{edit(2, 5, "a"), edit(3, 3, "a")}, "", "edit of bytes 3 to 3 overlaps the one that ends at 5"},
		"absent":                {[]Edit{{New: []byte("x")}}, "", "no bytes 0 to 0 to edit in a document of 10"},
		"outside":               {[]Edit{edit(9, 11, "x")}, "", "no bytes 9 to 11 to edit in a document of 10"},
		"negative":              {[]Edit{edit(-1, 1, "x")}, "", "no bytes -1 to 1 to edit in a document of 10"},
		"backwards":             {[]Edit{edit(4, 3, "x")}, "", "no bytes 4 to 3 to edit in a document of 10"},
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte("0123456789")
			before := append([]Edit(nil), test.edits...)
			got, err := Splice(body, test.edits...)
			require.Equal(t, before, append([]Edit(nil), test.edits...), "the caller's edits stay in their order")
			require.Equal(t, "0123456789", string(body))
			if test.fault != "" {
				require.EqualError(t, err, test.fault)
				require.Nil(t, got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, string(got))
		})
	}
}

func TestSpliceAllocatesOnce(t *testing.T) {
	body := toolsCall(t)
	m := mustParse(t, body)
	for _, edits := range [][]Edit{
		{{m.ID, []byte(`"s1"`)}, {m.Param("name"), []byte(`"longer name than it was before"`)}},
		{{m.Param("name"), []byte(`""`)}, {m.ID, []byte(`1`)}},
	} {
		require.EqualValues(t, 1, testing.AllocsPerRun(100, func() {
			if _, err := Splice(body, edits...); err != nil {
				t.Error(err)
			}
		}))
	}
}

func TestSpliceManyUnsorted(t *testing.T) {
	body := []byte(strings.Repeat("ab", 100))
	var edits []Edit
	for i := 199; i > 0; i -= 2 {
		edits = append(edits, Edit{Span{i, i + 1}, []byte("-")})
	}
	got, err := Splice(body, edits...)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("a-", 100), string(got))
}

// Invariant 1: numbers that a float64 cannot hold, or would write in another way, are the same bytes after an edit.
func TestSpliceKeepsNumbers(t *testing.T) {
	for _, number := range []string{"9007199254740993", "1e400", "1.10", "-0", "0.0", "1E+2", "123456789012345678901234567890.5"} {
		const before, middle, after = `{"jsonrpc":"2.0", "id":`, `,"method":"tools/call","params":{"name":"`, `","arguments":{"n": `
		id := "9007199254740993"
		body := []byte(before + id + middle + "weather_get" + after + number + ` },"unknown":[` + number + `]}}`)
		m := mustParse(t, body)
		got, err := Splice(body, Edit{m.Param("name"), []byte(`"get"`)})
		require.NoError(t, err)
		require.Equal(t, before+id+middle+"get"+after+number+` },"unknown":[`+number+`]}}`, string(got))
	}
}

func TestUnquote(t *testing.T) {
	for raw, want := range map[string]string{
		`""`:                             "",
		`"a"`:                            "a",
		`"\"\\\/\b\f\n\r\t"`:             "\"\\/\b\f\n\r\t",
		`"\u0041\u00e9\u20ac\u0000"`:     "Aé€\x00",
		`"\ud83d\ude00"`:                 "😀",
		`"\uD83D\uDE00x"`:                "😀x",
		`"é日😀"`:                          "é日😀",
		`"0123456789\n0123456789 é \\ "`: "0123456789\n0123456789 é \\ ",
		`"\ufffd"`:                       "\ufffd",
	} {
		got, err := Unquote([]byte(raw))
		require.NoError(t, err, raw)
		require.Equal(t, want, got)
	}
	for raw, fault := range map[string]string{
		``:                     "not a JSON string",
		`"`:                    "not a JSON string",
		`"a`:                   "not a JSON string",
		`"a\"`:                 "not a JSON string",
		`a"`:                   "not a JSON string",
		`"a"b`:                 "not a JSON string",
		`"a" `:                 "not a JSON string",
		` "a"`:                 "not a JSON string",
		`1`:                    "not a JSON string",
		`12`:                   "not a JSON string",
		`null`:                 "not a JSON string",
		`"a"b"`:                "not a JSON string",
		"\"\n\"":               "not a JSON string",
		"\"\xff\"":             "not a JSON string",
		`"\x"`:                 "not a JSON string",
		`"\u00"`:               "not a JSON string",
		`"\ud800"`:             `escape "\\ud800" is half a surrogate pair`,
		`"a\udc00b"`:           `escape "\\udc00" is half a surrogate pair`,
		`"\ud800\u0041"`:       `escape "\\ud800" is half a surrogate pair`,
		`"\ud800\ud800\udc00"`: `escape "\\ud800" is half a surrogate pair`,
		`"\ud800xxxxxxxxx"`:    `escape "\\ud800" is half a surrogate pair`,
		`"\ud800\nudc00"`:      `escape "\\ud800" is half a surrogate pair`,
	} {
		_, err := Unquote([]byte(raw))
		require.EqualError(t, err, fault, raw)
	}
}

func TestAppendQuote(t *testing.T) {
	for s, want := range map[string]string{
		"":                       `""`,
		"tools/call <&>":         `"tools/call <&>"`,
		"\"\\\n\r\t\x00\x1f\x7f": `"\"\\\n\r\t\u0000\u001f` + "\x7f\"",
		"é日😀\u2028":              `"é日😀` + "\u2028\"",
		"a\xffb\xc3":             `"a` + "\ufffdb\ufffd\"",
		"\ufffd":                 "\"\ufffd\"",
	} {
		got := AppendQuote([]byte("x"), s)
		require.Equal(t, "x"+want, string(got))
		require.True(t, json.Valid(got[1:]))
	}
}

func TestErrorResponse(t *testing.T) {
	for name, test := range map[string]struct {
		err  Error
		want string
	}{
		"with id":    {Error{Code: CodeInvalidParams, Message: `unknown tool "x"`, ID: []byte("9007199254740993")}, `{"jsonrpc":"2.0","id":9007199254740993,"error":{"code":-32602,"message":"unknown tool \"x\""}}`},
		"string id":  {Error{Code: 1, ID: []byte(`"\u0061"`)}, `{"jsonrpc":"2.0","id":"\u0061","error":{"code":1,"message":""}}`},
		"without id": {Error{Code: CodeParseError, Message: "not JSON"}, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"not JSON"}}`},
		"with data":  {Error{Code: CodeUnsupportedVersion, Message: "m", ID: []byte("1"), Data: []byte(`{"supported":["2025-11-25"]}`)}, `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"m","data":{"supported":["2025-11-25"]}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.err.AppendResponse([]byte("data: "))
			require.Equal(t, "data: "+test.want, string(got))
			m := mustParse(t, got[len("data: "):])
			require.Equal(t, Response, m.Kind)
			require.Equal(t, string(test.err.ID), string(m.ID.Of(m.Body)))
		})
	}
	var err error = &Error{Code: CodeInvalidRequest, Message: "invalid request: x"}
	require.EqualError(t, err, "json-rpc error -32600: invalid request: x")
	var as *Error
	require.ErrorAs(t, err, &as)
}

func TestAppendResult(t *testing.T) {
	got := AppendResult([]byte("x"), []byte(`"a"`), []byte(`{"n":1.10}`))
	require.Equal(t, `x{"jsonrpc":"2.0","id":"a","result":{"n":1.10}}`, string(got))
	require.Equal(t, Response, mustParse(t, got[1:]).Kind)
}
