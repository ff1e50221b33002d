package config

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxAliasedNodes bounds what a file may unfold to by YAML aliases.
const maxAliasedNodes = 10_000

// decoder fills structs from YAML nodes: strictly, with every problem at its place, and without ever stopping at the first.
type decoder struct {
	*report
	aliases int // how many aliases lead to the node in hand
	visits  int // how many nodes were reached through aliases
}

// decode turns the document's root into a File. It is incomplete when there was no use in reading on.
func decode(r *report, root *yaml.Node) (file File, complete bool) {
	if root == nil || root.ShortTag() == "!!null" {
		return file, true
	}
	d := &decoder{report: r}
	d.value(root, "", reflect.ValueOf(&file).Elem())
	return file, !d.exhausted() && !r.spoilt[""]
}

func (d *decoder) exhausted() bool { return d.visits > maxAliasedNodes }

// visit counts the node and tells whether it may be read.
func (d *decoder) visit(n *yaml.Node) bool {
	if d.exhausted() {
		return false
	}
	if d.aliases > 0 {
		d.visits++
	}
	if d.exhausted() {
		d.at(position{n.Line, n.Column}, "", "the aliases of this file unfold to more than %d values; write them out or split the file", maxAliasedNodes)
		return false
	}
	return true
}

// refuse reports a value that has no use.
func (d *decoder) refuse(field, format string, args ...any) {
	d.field(field, format, args...)
	d.spoilt[field] = true
}

// value decodes into out, which is of a kind that File is made of.
func (d *decoder) value(n *yaml.Node, field string, out reflect.Value) {
	if _, known := d.places[field]; !known {
		d.places[field] = position{n.Line, n.Column}
	}
	if !d.visit(n) {
		return
	}
	if n.Kind == yaml.AliasNode {
		d.aliases++
		defer func() { d.aliases-- }()
		n = n.Alias
	}
	switch out.Kind() {
	case reflect.Pointer:
		out.Set(reflect.New(out.Type().Elem()))
		d.value(n, field, out.Elem())
	case reflect.Struct:
		d.structure(n, field, out)
	case reflect.Map:
		d.mapping(n, field, out)
	case reflect.Slice:
		d.list(n, field, out)
	default:
		d.scalar(n, field, out)
	}
	// A pointer tells that there is a value, so one to a refused value must not stay.
	if out.Kind() == reflect.Pointer && d.spoilt[field] {
		out.SetZero()
	}
}

func (d *decoder) structure(n *yaml.Node, field string, out reflect.Value) {
	if !d.expect(n, field, yaml.MappingNode, "!!map", "a mapping") {
		return
	}
	keys := yamlKeys(out.Type())
	d.members(n, field, func(key, value *yaml.Node) {
		i := slices.Index(keys, key.Value)
		if i < 0 {
			d.unknown(key, field, keys)
			return
		}
		d.value(value, child(field, key.Value), out.Field(i))
	})
}

func (d *decoder) mapping(n *yaml.Node, field string, out reflect.Value) {
	if n.ShortTag() == "!!null" || !d.expect(n, field, yaml.MappingNode, "!!map", "a mapping") {
		return
	}
	out.Set(reflect.MakeMap(out.Type()))
	d.members(n, field, func(key, value *yaml.Node) {
		name := child(field, key.Value)
		element := reflect.New(out.Type().Elem()).Elem()
		d.value(value, name, element)
		if !d.spoilt[name] {
			out.SetMapIndex(reflect.ValueOf(key.Value), element)
		}
	})
}

// members hands on each member with a usable key, and its place.
func (d *decoder) members(n *yaml.Node, field string, each func(key, value *yaml.Node)) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !d.visit(key) {
			return
		}
		if !d.usable(key, field) {
			continue
		}
		pos, name := position{key.Line, key.Column}, child(field, key.Value)
		if first, twice := lines[key.Value]; twice {
			d.at(pos, name, "the key is here twice; the first is on line %d", first)
			continue
		}
		lines[key.Value] = key.Line
		if value.Kind == yaml.ScalarNode && value.Value == "" && value.ShortTag() == "!!null" {
			// The parser places a value that is not there behind everything that follows it.
			d.places[name] = pos
		}
		each(key, value)
	}
}

// usable refuses keys that are not plain strings.
func (d *decoder) usable(key *yaml.Node, field string) bool {
	pos := position{key.Line, key.Column}
	switch {
	case key.ShortTag() == "!!merge":
		d.at(pos, field, "merge keys (<<) are not supported; write the values out")
	case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!str":
		return true
	default:
		d.at(pos, field, "a key must be a string, not %s%s", describe(key), quotesHint(key))
	}
	return false
}

func (d *decoder) list(n *yaml.Node, field string, out reflect.Value) {
	if n.ShortTag() == "!!null" || !d.expect(n, field, yaml.SequenceNode, "!!seq", "a list") {
		return
	}
	out.Set(reflect.MakeSlice(out.Type(), 0, 0))
	for i, item := range n.Content {
		if d.exhausted() {
			return
		}
		element := reflect.New(out.Type().Elem()).Elem()
		d.value(item, field+"["+strconv.Itoa(i)+"]", element)
		out.Set(reflect.Append(out, element))
	}
}

func (d *decoder) scalar(n *yaml.Node, field string, out reflect.Value) {
	switch {
	case out.Type() == reflect.TypeFor[Duration]():
		if !d.expect(n, field, yaml.ScalarNode, "!!str", "a duration with its unit, as in 30s") {
			return
		}
		duration, err := time.ParseDuration(n.Value)
		if err != nil {
			d.refuse(field, "%q is not a duration; write a number with its unit, as in 30s or 1m30s", n.Value)
		}
		out.SetInt(int64(duration))
	case out.Kind() == reflect.Bool:
		if d.expect(n, field, yaml.ScalarNode, "!!bool", "true or false") {
			out.SetBool(strings.EqualFold(n.Value, "true"))
		}
	case out.Kind() == reflect.Int:
		if !d.expect(n, field, yaml.ScalarNode, "!!int", "a whole number") {
			return
		}
		number, err := strconv.ParseInt(n.Value, 10, 32)
		if err != nil {
			d.refuse(field, "%.40q must be a whole number in decimal digits, at most %d", n.Value, math.MaxInt32)
		}
		out.SetInt(number)
	default:
		if d.expect(n, field, yaml.ScalarNode, "!!str", "a string") {
			out.SetString(n.Value)
		}
	}
}

// expect refuses a node of another kind. It does not repeat the value: this may be a credential in the wrong place.
func (d *decoder) expect(n *yaml.Node, field string, kind yaml.Kind, tag, want string) bool {
	switch got := n.ShortTag(); {
	case n.Kind == kind && got == tag:
		return true
	case got == "!!null" && n.Kind == yaml.ScalarNode:
		d.refuse(field, "has no value; give it one or take the key out")
	case want == "a string":
		d.refuse(field, "must be a string, not %s%s", describe(n), quotesHint(n))
	default:
		d.refuse(field, "must be %s, not %s", want, describe(n))
	}
	return false
}

// describe names what a node is, for a reader who does not think in YAML tags.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	default:
	}
	switch tag := n.ShortTag(); tag {
	case "!!str":
		return "a string"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	case "!!timestamp":
		return "a date"
	case "!!null":
		return "null"
	default:
		return "a value tagged " + strconv.Quote(tag)
	}
}

// quotesHint is for what is a string to most people and another type to YAML.
func quotesHint(n *yaml.Node) string {
	switch n.ShortTag() {
	case "!!int", "!!float", "!!bool", "!!timestamp", "!!null":
		return "; put it in quotes"
	}
	return ""
}

// yamlKeys are the keys of a struct's fields, by the fields' index.
func yamlKeys(t reflect.Type) []string {
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i], _, _ = strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
	}
	return keys
}
