package jsonrpc

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMethodName(t *testing.T) {
	for raw, want := range map[string]string{
		`"tools/call"`:                    "tools/call",
		`"tools\/call"`:                   "tools/call",
		`"\u0074ools/call"`:               "tools/call",
		`"my/own"`:                        "my/own",
		`"Tools/Call"`:                    "Tools/Call",
		`"tools/call "`:                   "tools/call ",
		`"通知"`:                            "通知",
		`""`:                              "",
		`"notifications/tasks/status"`:    "notifications/tasks/status",
		`"resources/templates/list"`:      "resources/templates/list",
		`"notifications/no such thing\""`: `notifications/no such thing"`,
	} {
		m := mustParse(t, []byte(`{"jsonrpc":"2.0","method":`+raw+`}`))
		require.Equal(t, want, m.MethodName())
	}
	m := mustParse(t, []byte(`{"jsonrpc":"2.0","id":1,"result":{}}`))
	require.Empty(t, m.MethodName())
	require.Empty(t, (&Message{}).MethodName())
}

// Each name in the switch is returned as it is asked for, without an allocation.
func TestKnownMethods(t *testing.T) {
	source, err := os.ReadFile("message.go")
	require.NoError(t, err)
	names := regexp.MustCompile(`case "([^"]+)":\n\t\treturn "`).FindAllSubmatch(source, -1)
	require.Greater(t, len(names), 30)
	for _, match := range names {
		m := mustParse(t, []byte(`{"jsonrpc":"2.0","method":"`+string(match[1])+`"}`))
		require.Equal(t, string(match[1]), m.MethodName())
		require.Zero(t, testing.AllocsPerRun(10, func() { _ = m.MethodName() }), "%s", match[1])
	}
}

func TestParam(t *testing.T) {
	m := mustParse(t, []byte(`{"jsonrpc":"2.0","method":"a","params":{"name": "x" ,"\u0061rguments":{"name":1},"":[ ],"名":null,"a\"b":0}}`))
	for key, want := range map[string]string{
		"name": `"x"`, "arguments": `{"name":1}`, "": `[ ]`, "名": "null", `a"b`: "0",
		"Name": "", `\u0061rguments`: "", "uri": "",
	} {
		span := m.Param(key)
		require.Equal(t, want, string(span.Of(m.Body)), "%q", key)
		require.Equal(t, want != "", span.Present(), "%q", key)
	}
	var keys []string
	for member := range m.ParamMembers() {
		keys = append(keys, string(member.Key.Of(m.Body))+"="+string(member.Value.Of(m.Body)))
	}
	require.Equal(t, []string{`"name"="x"`, `"\u0061rguments"={"name":1}`, `""=[ ]`, `"名"=null`, `"a\"b"=0`}, keys)
	for range m.ParamMembers() {
		break
	}
	m = mustParse(t, []byte(`{"jsonrpc":"2.0","method":"a"}`))
	require.False(t, m.Param("name").Present())
}

func TestLookup(t *testing.T) {
	const body = `{"jsonrpc":"2.0","method":"a","params":{"_meta":{"progressToken" : 9007199254740993 ,"x":{"y":[{"z":1}]}},` +
		`"ref":{"type":"ref\/prompt","n\u0061me":"p"},"uri":"u","list":["name"],"none":null,` +
		`"twice":{"a":{"deep":1},"b":1,"\u0061":2},"alike":{"name":1,"Name":2},"fold":{"to` + "\u212a" + `en":1},"half":{"\ud800":1,"k":2},"empty":{}}}`
	m := mustParse(t, []byte(body))
	twice := fmt.Sprintf(`"a" at byte %d is in its object twice`, strings.Index(body, `"\u0061":2`))
	like := func(key, known string) string {
		return fmt.Sprintf("%q at byte %d differs from %q in case alone, and a reader that ignores case would take it for that",
			key, strings.Index(body, `"`+key+`":`), known)
	}
	for name, test := range map[string]struct {
		path  []string
		want  string
		fault string
	}{
		"nothing asked":           {nil, string(m.Params.Of(m.Body)), ""},
		"one step":                {[]string{"uri"}, `"u"`, ""},
		"two steps":               {[]string{"_meta", "progressToken"}, "9007199254740993", ""},
		"three steps":             {[]string{"_meta", "x", "y"}, `[{"z":1}]`, ""},
		"escaped key":             {[]string{"ref", "name"}, `"p"`, ""},
		"absent":                  {[]string{"_meta", "nope"}, "", ""},
		"absent on the way":       {[]string{"nope", "name"}, "", ""},
		"string on the way":       {[]string{"uri", "name"}, "", ""},
		"array on the way":        {[]string{"list", "name"}, "", ""},
		"null on the way":         {[]string{"none", "name"}, "", ""},
		"empty object":            {[]string{"empty", "name"}, "", ""},
		"twice, decoded":          {[]string{"twice", "a"}, "", twice},
		"twice, on the way":       {[]string{"twice", "a", "deep"}, "", twice},
		"twice, but not asked":    {[]string{"twice", "b"}, "1", ""},
		"case":                    {[]string{"alike", "name"}, "", like("Name", "name")},
		"case beyond ASCII":       {[]string{"fold", "token"}, "", like("to\u212aen", "token")},
		"case, the other way":     {[]string{"alike", "NAME"}, "", like("name", "NAME")},
		"case beyond ASCII asked": {[]string{"uri\u212a"}, "", ""},
		"half a pair beside it":   {[]string{"half", "k"}, "2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for how, lookup := range map[string]func() (Span, error){
				"document": func() (Span, error) { return Lookup(m.Body, m.Params, test.path...) },
				"message":  func() (Span, error) { return m.Lookup(test.path...) },
			} {
				span, err := lookup()
				require.Equal(t, test.want, string(span.Of(m.Body)), how)
				if test.fault == "" {
					require.NoError(t, err, how)
					continue
				}
				var refused *Error
				require.ErrorAs(t, err, &refused, how)
				require.Equal(t, &Error{Code: CodeInvalidRequest, Status: 400, Message: "invalid request: " + test.fault}, refused, how)
				require.False(t, span.Present())
			}
		})
	}
	span, err := Lookup(m.Body, Span{}, "a")
	require.NoError(t, err)
	require.False(t, span.Present())
}

// A span that is not one of an object, which only a mistake can be, is an error and not a crash.
func TestLookupOfNonsense(t *testing.T) {
	for _, body := range []string{`{"a`, `{"a":`, `{"a":[}`, `{"a"`, `{"b":1,"a\`} {
		_, err := Lookup([]byte(body), Span{0, len(body)}, "a")
		require.EqualError(t, err, "json-rpc error -32600: invalid request: bytes 0 to "+itoa(len(body))+" are not an object", body)
	}
}

func TestSpan(t *testing.T) {
	require.Nil(t, Span{}.Of([]byte("abc")))
	part := Span{1, 2}.Of([]byte("abc"))
	require.Equal(t, "b", string(part))
	require.Equal(t, 1, cap(part), "an append must not write into the document")
}
