package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// codeResourceNotFound is the legacy code for a resource that is not there; modern has CodeInvalidParams.
const codeResourceNotFound = -32002

var errNoObject = errors.New("gave a result that is no object")

// Answer is what the answer to a call is translated for.
type Answer struct {
	// ID is the client's raw id.
	ID []byte
	// Method is that of the call.
	Method string
	// ServerInfo is what the server said of itself, nil if nothing. Modern answers name it.
	ServerInfo json.RawMessage
}

// id puts the client's id in the place of what the server wrote, if it wrote one at all.
func (a Answer) id(m *jsonrpc.Message) []jsonrpc.Edit {
	if m.ID.Present() {
		return []jsonrpc.Edit{{Span: m.ID, New: a.ID}}
	}
	document := jsonrpc.Span{Start: max(bytes.IndexByte(m.Body, '{'), 0), End: len(bytes.TrimRight(m.Body, " \t\r\n"))}
	return jsonrpc.Change(m.Body, document, func(key string) bool { return key == "id" }, appendMember(nil, "id", a.ID))
}

// ToModern makes a legacy server's response into a modern one.
func (a Answer) ToModern(m *jsonrpc.Message) ([]byte, error) {
	edits := a.id(m)
	if m.Error.Present() {
		edits = append(edits, recode(m, codeResourceNotFound, jsonrpc.CodeInvalidParams)...)
		return jsonrpc.Splice(m.Body, edits...)
	}
	if raw := m.Result.Of(m.Body); len(raw) == 0 || raw[0] != '{' {
		return nil, errNoObject
	}
	add := addition{m: m}
	add.own("resultType", `"complete"`, func(raw []byte) bool { return string(raw) == `"complete"` })
	if a.Method == "resources/read" {
		add.own("ttlMs", "0", isDuration)
		add.own("cacheScope", `"private"`, isScope)
	}
	edits = append(edits, add.meta(a.ServerInfo)...)
	edits = append(edits, jsonrpc.Change(m.Body, m.Result, add.dropped, add.members)...)
	return jsonrpc.Splice(m.Body, edits...)
}

// addition are the members that a modern result gets.
type addition struct {
	m       *jsonrpc.Message
	members []byte
	drops   []string
}

func (d *addition) dropped(key string) bool {
	for _, one := range d.drops {
		if key == one {
			return true
		}
	}
	return false
}

// own sees to it that the result has a member with a value that is right. A legacy server's of the same name may mean anything.
func (d *addition) own(key, value string, right func(raw []byte) bool) {
	span, err := jsonrpc.Lookup(d.m.Body, d.m.Result, key)
	switch {
	case err == nil && span.Present() && right(span.Of(d.m.Body)):
		return
	case err != nil || span.Present():
		d.drops = append(d.drops, key)
	}
	d.members = appendMember(d.members, key, []byte(value))
}

// meta adds the server's info to the result's _meta, unless it is there.
func (d *addition) meta(info json.RawMessage) []jsonrpc.Edit {
	if info == nil {
		return nil
	}
	member := appendMember(nil, wire.MetaServerInfo, info)
	span, err := jsonrpc.Lookup(d.m.Body, d.m.Result, "_meta")
	switch {
	case err != nil:
		return nil
	case !span.Present():
		d.members = appendMember(d.members, "_meta", append(append([]byte{'{'}, member...), '}'))
		return nil
	case d.m.Body[span.Start] != '{':
		return nil
	}
	if there, err := jsonrpc.Lookup(d.m.Body, span, wire.MetaServerInfo); err != nil || there.Present() {
		return nil
	}
	return jsonrpc.Change(d.m.Body, span, nil, member)
}

func isDuration(raw []byte) bool {
	_, err := strconv.ParseUint(string(raw), 10, 53)
	return err == nil
}

func isScope(raw []byte) bool { return string(raw) == `"public"` || string(raw) == `"private"` }

// ToLegacy makes a modern server's final response into a legacy one.
func (a Answer) ToLegacy(m *jsonrpc.Message) ([]byte, error) {
	edits := a.id(m)
	if m.Error.Present() {
		if a.Method == "resources/read" {
			edits = append(edits, recode(m, jsonrpc.CodeInvalidParams, codeResourceNotFound)...)
		}
		return jsonrpc.Splice(m.Body, edits...)
	}
	if raw := m.Result.Of(m.Body); len(raw) == 0 || raw[0] != '{' {
		return nil, errNoObject
	}
	structured, err := jsonrpc.Lookup(m.Body, m.Result, "structuredContent")
	odd := err == nil && structured.Present() && m.Body[structured.Start] != '{'
	drop := func(key string) bool {
		switch key {
		case "resultType", "ttlMs", "cacheScope":
			return true
		case "structuredContent":
			return odd
		}
		return false
	}
	var added []byte
	if odd {
		var inside []jsonrpc.Edit
		added, inside = inWords(m, structured)
		edits = append(edits, inside...)
	}
	edits = append(edits, jsonrpc.Change(m.Body, m.Result, drop, added)...)
	return jsonrpc.Splice(m.Body, edits...)
}

// inWords is what says in a text what structuredContent says that the client cannot have, where the result has no text: a member to add, or edits of the one
// that is there.
func inWords(m *jsonrpc.Message, structured jsonrpc.Span) (added []byte, edits []jsonrpc.Edit) {
	text := append(jsonrpc.AppendQuote([]byte(`{"type":"text","text":`), string(structured.Of(m.Body))), '}')
	content, err := jsonrpc.Lookup(m.Body, m.Result, "content")
	if err != nil || !content.Present() {
		return append(append([]byte(`"content":[`), text...), ']'), nil
	}
	var blocks []struct{ Type string }
	if json.Unmarshal(content.Of(m.Body), &blocks) != nil {
		return nil, nil // it is not for us to mend
	}
	for _, block := range blocks {
		if block.Type == "text" {
			return nil, nil
		}
	}
	if len(blocks) > 0 {
		text = append(text, ',')
	}
	return nil, []jsonrpc.Edit{{Span: jsonrpc.Span{Start: content.Start + 1, End: content.Start + 1}, New: text}}
}

// recode exchanges the code of an error.
func recode(m *jsonrpc.Message, from, to int) []jsonrpc.Edit {
	span, err := jsonrpc.Lookup(m.Body, m.Error, "code")
	if err != nil || !span.Present() || string(span.Of(m.Body)) != strconv.Itoa(from) {
		return nil
	}
	return []jsonrpc.Edit{{Span: span, New: strconv.AppendInt(nil, int64(to), 10)}}
}

// ErrorCode is the code of a response that is an error, 0 of any other.
func ErrorCode(m *jsonrpc.Message) int {
	span, err := jsonrpc.Lookup(m.Body, m.Error, "code")
	if err != nil {
		return 0
	}
	code, err := strconv.Atoi(string(span.Of(m.Body)))
	if err != nil {
		return 0
	}
	return code
}

// ResultType is the type of a modern result. One that does not say is complete.
func ResultType(m *jsonrpc.Message) string {
	span, err := jsonrpc.Lookup(m.Body, m.Result, "resultType")
	if err != nil || !span.Present() {
		return "complete"
	}
	text, _ := jsonrpc.Unquote(span.Of(m.Body)) // what is no string is no type
	return text
}
