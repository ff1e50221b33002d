package catalog

import (
	"encoding/json"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// Era is the family of revisions that a client speaks.
type Era uint8

// The eras.
const (
	// Legacy are the revisions with sessions.
	Legacy Era = iota
	// Modern are those without.
	Modern
	eras
)

// DefinitionFor is the definition as clients of an era get it.
func (it *Item) DefinitionFor(era Era) json.RawMessage {
	if era == Legacy && it.legacy != nil {
		return it.legacy
	}
	return it.Definition
}

// legacyTool is the definition of a tool in the form of the revisions with sessions, nil where it has that already. With those an output is an object, and
// the schema of a property too: a client that checks its lists loses the whole list, other servers' tools included, to one tool that has it otherwise.
func legacyTool(def json.RawMessage) json.RawMessage {
	var edits []jsonrpc.Edit
	schemas := []string{"inputSchema", "outputSchema"}
	if output := lookup(def, "outputSchema"); output.Present() && string(lookup(def, "outputSchema", "type").Of(def)) != `"object"` {
		edits = jsonrpc.Change(def, whole(def), func(key string) bool { return key == "outputSchema" }, nil)
		schemas = schemas[:1]
	}
	for _, schema := range schemas {
		for _, property := range jsonrpc.Members(def, lookup(def, schema, "properties")) {
			switch string(property.Value.Of(def)) {
			case "true":
				edits = append(edits, jsonrpc.Edit{Span: property.Value, New: []byte("{}")})
			case "false":
				edits = append(edits, jsonrpc.Edit{Span: property.Value, New: []byte(`{"not":{}}`)})
			}
		}
	}
	if len(edits) == 0 {
		return nil
	}
	legacy, err := jsonrpc.Splice(def, edits...)
	if err != nil {
		return nil // no two of them meet
	}
	return legacy
}

// lookup finds what is in objects of objects. What is ambiguous is not found.
func lookup(def json.RawMessage, path ...string) jsonrpc.Span {
	span, err := jsonrpc.Lookup(def, whole(def), path...)
	if err != nil {
		return jsonrpc.Span{}
	}
	return span
}
