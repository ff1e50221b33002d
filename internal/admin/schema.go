package admin

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// field is one argument, as a form asks for it and a table shows it.
type field struct {
	Name, Type, Description string
	Required                bool
	// Input is what the form has for it: text, number, checkbox, select or json.
	Input   string
	Default string
	Options []string
}

// inputs are the arguments of an item. free tells that it may take others, or that its schema says more than fields can.
func inputs(kind catalog.Kind, it *catalog.Item) (fields []field, free bool) {
	switch kind {
	case catalog.Tool:
		return schemaFields(member(it.Definition, "inputSchema"))
	case catalog.Prompt:
		return promptFields(member(it.Definition, "arguments")), false
	case catalog.Template:
		return []field{{Name: "uri", Type: "string", Required: true, Input: "text", Default: it.PublicName, Description: "The template with its variables filled in."}}, false
	default:
		return nil, false
	}
}

func member(raw json.RawMessage, name string) json.RawMessage {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(raw, &members) // what is no object has no members
	return members[name]
}

func promptFields(raw json.RawMessage) []field {
	var args []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Required    bool   `json:"required"`
	}
	_ = json.Unmarshal(raw, &args) // a server's mistake is not worth more than a form without fields
	out := make([]field, 0, len(args))
	for _, a := range args {
		out = append(out, field{Name: a.Name, Type: "string", Description: a.Description, Required: a.Required, Input: "text"})
	}
	return out
}

// property is what is read of a schema.
type property struct {
	Type        json.RawMessage   `json:"type"`
	Description json.RawMessage   `json:"description"`
	Default     json.RawMessage   `json:"default"`
	Enum        []json.RawMessage `json:"enum"`
	Items       json.RawMessage   `json:"items"`
}

// schemaFields reads an object's properties, in their order.
func schemaFields(raw json.RawMessage) (fields []field, free bool) {
	var schema struct {
		Required             json.RawMessage `json:"required"`
		AdditionalProperties json.RawMessage `json:"additionalProperties"`
	}
	_ = json.Unmarshal(raw, &schema) // see below: then there are no fields
	var required []string
	_ = json.Unmarshal(schema.Required, &required)
	properties := member(raw, "properties")
	values := map[string]json.RawMessage{}
	_ = json.Unmarshal(properties, &values)
	for _, name := range memberNames(properties) {
		f := newField(name, values[name])
		f.Required = slices.Contains(required, name)
		fields = append(fields, f)
	}
	return fields, len(fields) == 0 || len(schema.AdditionalProperties) > 0 && string(schema.AdditionalProperties) != "false"
}

func newField(name string, raw json.RawMessage) field {
	var p property
	_ = json.Unmarshal(raw, &p) // a schema may be true or false, too
	f := field{Name: name, Description: text(p.Description), Default: plain(p.Default), Type: typeName(p)}
	for _, value := range p.Enum {
		f.Options = append(f.Options, plain(value))
	}
	switch {
	case len(f.Options) > 0 && f.Type == "string":
		f.Input = "select"
	case f.Type == "boolean":
		f.Input = "checkbox"
	case f.Type == "number" || f.Type == "integer":
		f.Input = "number"
	case f.Type == "string":
		f.Input = "text"
	default:
		f.Input = "json"
	}
	return f
}

// typeName is the type in words: "string", "array of number", "string or null", or "any".
func typeName(p property) string {
	var several []string
	one := text(p.Type)
	switch {
	case one == "array" && len(p.Items) > 0:
		var items property
		_ = json.Unmarshal(p.Items, &items)
		return "array of " + typeName(items)
	case one != "":
		return one
	case json.Unmarshal(p.Type, &several) == nil && len(several) > 0:
		return strings.Join(several, " or ")
	case len(p.Enum) > 0 && text(p.Enum[0]) != "":
		return "string"
	}
	return "any"
}

// plain is a JSON value for people: a string without its quotes.
func plain(raw json.RawMessage) string {
	if s := text(raw); s != "" {
		return s
	}
	return string(raw)
}

// memberNames are the names of an object's members in their order.
func memberNames(raw json.RawMessage) []string {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	var out []string
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			return out
		}
		if s, ok := name.(string); ok && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
