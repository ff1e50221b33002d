package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// pages answers list requests by the raw cursor: a result, or an error.
type pages map[string]any

func (p pages) call(_ context.Context, _ string, params json.RawMessage) (json.RawMessage, error) {
	cursor := ""
	if params != nil {
		value, err := memberOf(params, "cursor")
		if err != nil {
			return nil, err
		}
		cursor = string(value)
	}
	switch answer := p[cursor].(type) {
	case string:
		return json.RawMessage(answer), nil
	case error:
		return nil, answer
	}
	return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "invalid cursor " + cursor}
}

func listerOf(kind catalog.Kind, p pages) *lister {
	opts := ManagerOptions{}
	opts.setDefaults()
	return &lister{kind: kind, limits: opts.Limits, call: p.call}
}

func textsOf(items []json.RawMessage) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = string(item)
	}
	return out
}

func TestList(t *testing.T) {
	item := func(name string) string { return fmt.Sprintf(`{"name":%q}`, name) }
	for name, tc := range map[string]struct {
		kind     catalog.Kind
		pages    pages
		items    []string
		problems []string
	}{
		"every page is followed, by cursors as they are written (Invariant 9)": {catalog.Tool, pages{
			"":                  `{"tools":[{"name":"a"}],"nextCursor":"p\u0032\/é"}`,
			`"p\u0032\/é"`:      `{"nextCursor":"3","tools":[]}`,
			`"3"`:               `{"tools":[{"name":"b"},{"name":"c"}],"nextCursor":"4"}`,
			`"4"`:               `{"tools":[{"name":"d"}],"nextCursor":null}`,
			`"never asked for"`: errInjected,
		}, []string{item("a"), item("b"), item("c"), item("d")}, nil},
		"definitions stay as they are (Invariant 1)": {catalog.Tool, pages{
			"": `{"tools":[ {"name":"a", "x":` + verbatim + ` } ,{"name":"\u0062"}]}`,
		}, []string{`{"name":"a", "x":` + verbatim + ` }`, `{"name":"\u0062"}`}, nil},
		"prompts":                         {catalog.Prompt, pages{"": `{"prompts":[{"name":"a"}]}`}, []string{item("a")}, nil},
		"resources":                       {catalog.Resource, pages{"": `{"resources":[{"uri":"a:b","name":"n"}]}`}, []string{`{"uri":"a:b","name":"n"}`}, nil},
		"templates":                       {catalog.Template, pages{"": `{"resourceTemplates":[{"uriTemplate":"a:{b}"}]}`}, []string{`{"uriTemplate":"a:{b}"}`}, nil},
		"null for none":                   {catalog.Tool, pages{"": `{"tools":null}`}, nil, nil},
		"an empty cursor at the end":      {catalog.Tool, pages{"": `{"tools":[{"name":"a"}],"nextCursor":""}`, `""`: `{"tools":[{"name":"a"}],"nextCursor":""}`}, []string{item("a")}, nil},
		"an empty cursor that is refused": {catalog.Tool, pages{"": `{"tools":[{"name":"a"}],"nextCursor":""}`}, []string{item("a")}, nil},
		"an empty cursor that is one": {catalog.Tool, pages{
			"": `{"tools":[{"name":"a"}],"nextCursor":""}`, `""`: `{"tools":[{"name":"b"}],"nextCursor":"x"}`, `"x"`: `{"tools":[{"name":"c"}],"nextCursor":""}`,
		}, []string{item("a"), item("b"), item("c")}, nil},
		"false for no cursor": {catalog.Tool, pages{"": `{"tools":[{"name":"a"}],"nextCursor":false}`}, []string{item("a")}, nil},
		"a number for a cursor": {
			catalog.Tool,
			pages{"": `{"tools":[{"name":"a"}],"nextCursor":9007199254740993}`, "9007199254740993": `{"tools":[{"name":"b"}]}`},
			[]string{item("a"), item("b")},
			nil,
		},
		"a cursor that comes back": {catalog.Tool, pages{
			"": `{"tools":[{"name":"a"}],"nextCursor":"x"}`, `"x"`: `{"tools":[{"name":"b"}],"nextCursor":"y"}`, `"y"`: `{"tools":[{"name":"c"}],"nextCursor":"x"}`,
		}, []string{item("a"), item("b"), item("c")}, []string{"tools/list repeats a cursor: what may follow is left out"}},
		"a name twice": {
			catalog.Tool,
			pages{"": `{"tools":[{"name":"a","n":1},{"name":"\u0061","n":2}],"nextCursor":"x"}`, `"x"`: `{"tools":[{"name":"a","n":3}]}`},
			[]string{`{"name":"a","n":1}`},
			[]string{`tool "a" is there twice: the first one counts`, `tool "a" is there twice: the first one counts`},
		},
		"what is no item": {
			catalog.Tool,
			pages{"": `{"tools":[1,null,{"name":1},{"title":"x"},{"name":""},{"name":"a","name":"b"},{"name":"\ud800"},{"name":"ok"}]}`},
			[]string{item("ok")},
			[]string{
				`tool number 1 is left out: it is not an object`,
				`tool number 2 is left out: it is not an object`,
				`tool number 3 is left out: "name": not a JSON string`,
				`tool number 4 is left out: it has no "name"`,
				`tool number 5 is left out: it has no "name"`,
				`tool number 6 is left out: "name" at byte 12 is in its object twice`,
				`tool number 7 is left out: "name": escape "\\ud800" is half a surrogate pair`,
			},
		},
		"a method that is not known": {
			catalog.Prompt,
			pages{"": &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound}},
			nil,
			[]string{`the server declares the capability "prompts" and does not know prompts/list`},
		},
		"templates are optional": {catalog.Template, pages{"": &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound}}, nil, nil},
		"nested too deep for most": {
			catalog.Tool,
			pages{"": `{"tools":[{"name":"a","x":` + nested(5000) + `},{"name":"b"}]}`},
			[]string{`{"name":"a","x":` + nested(5000) + `}`, item("b")},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := listerOf(tc.kind, tc.pages).list(t.Context())
			require.NoError(t, err)
			assert.Equal(t, append([]string{}, tc.items...), textsOf(got.items))
			assert.Equal(t, tc.problems, got.problems)
		})
	}
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// TestListIsLost: an answer that is no list is told apart from a server that does not answer.
func TestListIsLost(t *testing.T) {
	for name, tc := range map[string]struct {
		pages pages
		want  string
	}{
		"an error":                  {pages{"": &jsonrpc.Error{Code: -32603, Message: "database\nis down"}}, "tools/list failed with error -32603: database is down"},
		"on a later page":           {pages{"": `{"tools":[{"name":"a"}],"nextCursor":"x"}`}, `tools/list failed with error -32602: invalid cursor "x"`},
		"no list":                   {pages{"": `{}`}, `tools/list: the result has no array "tools"`},
		"no array":                  {pages{"": `{"tools":{}}`}, `tools/list: the result has no array "tools"`},
		"not even an object":        {pages{"": `7`}, `tools/list: the result has no array "tools"`},
		"two lists":                 {pages{"": `{"tools":[],"tools":[]}`}, `tools/list: "tools" at byte 12 is in its object twice`},
		"two cursors":               {pages{"": `{"tools":[],"nextCursor":"a","nextCursor":"b"}`}, `tools/list: "nextCursor" at byte 29 is in its object twice`},
		"nested beyond all measure": {pages{"": `{"tools":[{"name":"a","x":` + nested(20_000) + `}]}`}, `tools/list: invalid character '[' exceeded max depth`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := listerOf(catalog.Tool, tc.pages).list(t.Context())
			var lost *fault
			require.ErrorAs(t, err, &lost)
			assert.EqualError(t, err, tc.want)
		})
	}
	_, err := listerOf(catalog.Tool, pages{"": errInjected}).list(t.Context())
	var lost *fault
	require.NotErrorAs(t, err, &lost)
	require.ErrorIs(t, err, errInjected)
}

func TestLimits(t *testing.T) {
	endless := func(_ context.Context, _ string, params json.RawMessage) (json.RawMessage, error) {
		n := bytes.Count(params, []byte("x"))
		return json.RawMessage(fmt.Sprintf(`{"tools":[{"name":"t%d"}],"nextCursor":%q}`, n, strings.Repeat("x", n+1))), nil
	}
	for name, tc := range map[string]struct {
		limits  Limits
		items   int
		problem string
	}{
		"pages": {Limits{MaxPages: 5, MaxItems: 100, MaxBytes: 1 << 20}, 5, "tools/list goes on after 5 pages: the rest is left out"},
		"items": {Limits{MaxPages: 100, MaxItems: 7, MaxBytes: 1 << 20}, 7, "tools/list has more than 7 items: the rest is left out"},
		"bytes": {Limits{MaxPages: 100, MaxItems: 100, MaxBytes: 40}, 3, `tools/list has more than 40 bytes: "t3" and what follows is left out`},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lister{kind: catalog.Tool, limits: tc.limits, call: endless}
			got, err := l.list(t.Context())
			require.NoError(t, err)
			assert.Len(t, got.items, tc.items)
			assert.Equal(t, []string{tc.problem}, got.problems)
		})
	}
}

func TestProblemsAreBounded(t *testing.T) {
	got, err := listerOf(catalog.Tool, pages{"": `{"tools":[` + strings.Repeat("1,", 1000) + `1]}`}).list(t.Context())
	require.NoError(t, err)
	assert.Len(t, got.problems, 100)
	assert.Equal(t, "tools/list has more problems than these", got.problems[99])
}

// FuzzPage: whatever a server answers, each item that comes out is a valid object with a name, and a piece of the answer.
func FuzzPage(f *testing.F) {
	for _, seed := range []string{
		tools("a", "b"), `{"tools":null,"nextCursor":""}`, `{"tools":[ {"name":"a","x":` + verbatim + `}],"nextCursor":"\u0041"}`, `{"tools":[1,{"name":"x"}]}`,
		`[]`, `7`, `{"Tools":[]}`, `{"tools":[{"name":"\ud83d\ude00"},{"name":"😀"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, result []byte) {
		if !json.Valid(result) {
			return // Parse has refused it
		}
		result = bytes.TrimSpace(result)
		got, err := listerOf(catalog.Tool, pages{"": string(result)}).list(t.Context())
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, item := range got.items {
			key, err := itemKey(item, "name")
			if err != nil || key == "" || seen[key] || !json.Valid(item) || !bytes.Contains(result, item) {
				t.Fatalf("item %s of %s: %v", item, result, err)
			}
			seen[key] = true
		}
	})
}

// TestKeptItems: a list that is the same stays the one in memory, and another holds on to nothing of the answer that it came in.
func TestKeptItems(t *testing.T) {
	page := []byte(`[{"name":"a"},{"name":"b"}]`)
	items := []json.RawMessage{page[1:13], page[14:26]}
	first := kept(nil, items)
	require.Equal(t, items, first)
	again := kept(first, items)
	assert.Same(t, &first[0][0], &again[0][0])
	clear(page)
	assert.Equal(t, []json.RawMessage{json.RawMessage(`{"name":"a"}`), json.RawMessage(`{"name":"b"}`)}, first)
	_ = append(first[0], "over the next one"...)
	assert.JSONEq(t, `{"name":"b"}`, string(first[1]))
	assert.Len(t, kept(first, first[:1]), 1)
	assert.Empty(t, kept(first, nil))
}
