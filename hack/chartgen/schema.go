package chartgen

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Embedded is a schema that stands already, and is part of the one of the values.
type Embedded struct {
	// Key is the value that it is about; its own keys are allowed beside those of the schema, which win.
	Key string
	// Text is the document, and Property that one of its properties which the value is.
	Text     []byte
	Property string
}

// Schema is values.schema.json of an umbrella chart: it refuses keys that are not among the values. shared is the key that helm hands to every subchart,
// subcharts are the keys whose values go to one.
func Schema(title string, values []*Value, shared string, subcharts []string, embedded ...Embedded) ([]byte, error) {
	root := object(values)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = title
	properties := propertiesOf(root)
	for _, key := range subcharts {
		section, ok := properties[key].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("the subchart %q has no values", key)
		}
		propertiesOf(section)[shared] = map[string]any{"type": "object", "description": "What helm hands to every subchart; set it at the top."}
	}
	defs := map[string]any{}
	for _, e := range embedded {
		if err := embed(properties, defs, e); err != nil {
			return nil, fmt.Errorf("%q: %w", e.Key, err)
		}
	}
	if len(defs) > 0 {
		root["$defs"] = defs
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(root)
	return out.Bytes(), err
}

func object(values []*Value) map[string]any {
	properties := map[string]any{}
	for _, v := range values {
		properties[v.Name] = v.schema()
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}

func (v *Value) schema() map[string]any {
	s := map[string]any{}
	if v.kind != "" {
		s["type"] = v.kind
	}
	if v.Children != nil {
		s = object(v.Children)
	}
	s["description"] = v.Description
	maps.Copy(s, v.Schema)
	return s
}

func propertiesOf(schema map[string]any) map[string]any {
	properties, _ := schema["properties"].(map[string]any)
	return properties
}

// embed merges a schema into that of a value, and its definitions, under names of their own, into the document's.
func embed(properties, defs map[string]any, e Embedded) error {
	prefix := e.Key + "."
	text := bytes.ReplaceAll(e.Text, []byte(`"#/$defs/`), []byte(`"#/$defs/`+prefix))
	var document map[string]any
	if err := json.Unmarshal(text, &document); err != nil {
		return err
	}
	part, ok := propertiesOf(document)[e.Property].(map[string]any)
	into, known := properties[e.Key].(map[string]any)
	if !ok || !known {
		return errors.New("the value or the schema is missing")
	}
	sayable(part)
	own, _ := document["$defs"].(map[string]any)
	sayable(own)
	maps.Copy(propertiesOf(into), propertiesOf(part))
	for keyword, schema := range part {
		if _, taken := into[keyword]; !taken && !strings.HasPrefix(keyword, "$") {
			into[keyword] = schema
		}
	}
	for name, schema := range own {
		defs[prefix+name] = schema
	}
	return nil
}

// sayable takes out what helm has no words for: of alternatives, conditions and patterns it says that none matched, and not what to change. Templates
// tell that of the same values.
func sayable(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		for _, keyword := range []string{"oneOf", "anyOf", "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "pattern"} {
			if _, isSchema := s[keyword].(map[string]any); keyword != "pattern" || !isSchema { // a property may have such a name
				delete(s, keyword)
			}
		}
		for _, part := range s {
			sayable(part)
		}
	case []any:
		for _, part := range s {
			sayable(part)
		}
	}
}
