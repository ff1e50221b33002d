package catalog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Param is an argument of a tool that a call repeats in a header (MCP 2026-07-28, Streamable HTTP, "Custom Headers from Tool Parameters").
type Param struct {
	// Header is the header's whole name in lower case.
	Header string
	// Path leads to the argument from the params of the call.
	Path []string
}

const keyParamHeader = "x-mcp-header"

// parseParams finds the arguments that a tool's definition wants repeated. The error is what the specification has a client leave the tool out for.
func parseParams(def json.RawMessage) ([]Param, error) {
	if !bytes.Contains(def, []byte(keyParamHeader)) {
		return nil, nil
	}
	var tool struct {
		InputSchema map[string]any `json:"inputSchema"`
	}
	if err := json.Unmarshal(def, &tool); err != nil {
		return nil, nil //nolint:nilerr // a schema that is no object has no properties
	}
	w := paramWalk{taken: map[string]bool{}}
	w.schema(tool.InputSchema, []string{"arguments"}, true)
	if w.err != nil {
		return nil, w.err
	}
	slices.SortFunc(w.params, func(a, b Param) int { return cmp.Compare(a.Header, b.Header) })
	return w.params, nil
}

// paramWalk goes through a schema.
type paramWalk struct {
	params []Param
	taken  map[string]bool
	err    error
}

// maxParams is how many headers of one tool a call can be expected to carry.
const maxParams = 64

// schema looks at one schema. Reachable tells that only keys "properties" lead to it.
func (w *paramWalk) schema(schema map[string]any, path []string, reachable bool) {
	if name, ok := schema[keyParamHeader]; ok {
		w.take(name, schema["type"], path, reachable)
	}
	for key, value := range schema {
		switch key {
		case "default", "const", "enum", "examples", keyParamHeader: // values, not schemas
		case "properties":
			properties, _ := value.(map[string]any)
			for name, property := range properties {
				if sub, ok := property.(map[string]any); ok {
					w.schema(sub, append(path[:len(path):len(path)], name), reachable)
				}
			}
		case "$defs", "definitions", "patternProperties", "dependentSchemas":
			named, _ := value.(map[string]any)
			for _, sub := range named {
				w.unreachable(sub)
			}
		default:
			w.unreachable(value)
		}
	}
}

func (w *paramWalk) unreachable(value any) {
	switch v := value.(type) {
	case map[string]any:
		w.schema(v, nil, false)
	case []any:
		for _, one := range v {
			w.unreachable(one)
		}
	}
}

func (w *paramWalk) take(name, kind any, path []string, reachable bool) {
	text, _ := name.(string)
	header := wire.HeaderMCPParamPrefix + strings.ToLower(text)
	var err error
	switch {
	case !config.IsToken(text) || len(text) > 256:
		err = fmt.Errorf("%s %q is not a header's name", keyParamHeader, fmt.Sprint(name))
	case !reachable || len(path) < 2:
		err = fmt.Errorf("%s %q is not at a property that properties alone lead to", keyParamHeader, text)
	case kind != "string" && kind != "integer" && kind != "boolean":
		err = fmt.Errorf("%s %q is at a property that is neither string nor integer nor boolean", keyParamHeader, text)
	case w.taken[header]:
		err = fmt.Errorf("%s %q is there twice", keyParamHeader, text)
	case len(w.params) == maxParams:
		err = errors.New("it wants too many arguments repeated in headers")
	default:
		w.taken[header] = true
		w.params = append(w.params, Param{Header: header, Path: path})
	}
	if err != nil && (w.err == nil || err.Error() < w.err.Error()) { // the order of the walk is any
		w.err = err
	}
}
