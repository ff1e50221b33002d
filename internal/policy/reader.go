package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// reader takes YAML nodes apart: strictly, each problem at its place, and without ever stopping at the first.
type reader struct {
	report
	visited int
}

// value is a node and the way to it.
type value struct {
	node         *yaml.Node
	path         string
	line, column int
}

// refuse reports a problem with the value.
func (r *reader) refuse(v value, format string, args ...any) {
	r.at(v.line, v.column, v.path, format, args...)
}

// value follows an alias and counts what was read.
func (r *reader) value(n *yaml.Node, path string) value {
	v := value{node: n, path: path, line: n.Line, column: n.Column}
	if n.Kind == yaml.AliasNode {
		v.node = n.Alias
	}
	if r.visited++; r.visited == maxValues {
		r.at(n.Line, n.Column, "", "the file holds more than %d values, aliases included; nothing after this was read", maxValues)
	}
	return v
}

func (r *reader) exhausted() bool { return r.visited >= maxValues }

// is tells whether the value is of the kind, and reports when it is not.
func (r *reader) is(v value, kind yaml.Kind, tag, want string) bool {
	switch got := v.node.ShortTag(); {
	case v.node.Kind == kind && got == tag:
		return true
	case got == "!!null":
		r.refuse(v, "has no value; it must be %s", want)
	case tag == "!!str" && v.node.Kind == yaml.ScalarNode:
		r.refuse(v, "must be %s, not %s; text that looks like one needs quotes", want, describe(v.node))
	default:
		r.refuse(v, "must be %s, not %s", want, describe(v.node))
	}
	return false
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
	}
	switch n.ShortTag() {
	case "!!str":
		return "a string"
	case "!!int":
		return "a number"
	case "!!float":
		return "a fraction"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "nothing"
	}
	return "a value of type " + n.ShortTag()
}

// mapping returns the members of a mapping that may have these keys only; ok is false where the value is none.
func (r *reader) mapping(v value, keys ...string) (members map[string]value, ok bool) {
	if !r.is(v, yaml.MappingNode, "!!map", "a mapping with "+either(keys)) {
		return nil, false
	}
	members = map[string]value{}
	for i := 0; i+1 < len(v.node.Content) && !r.exhausted(); i += 2 {
		key, node := v.node.Content[i], v.node.Content[i+1]
		if !r.usable(key, v.path) {
			continue
		}
		member := r.value(node, child(v.path, key.Value))
		if node.Value == "" && node.ShortTag() == "!!null" {
			// The YAML parser places what is not there behind all that follows it.
			member.line, member.column = key.Line, key.Column
		}
		first, twice := members[key.Value]
		switch {
		case twice:
			r.at(key.Line, key.Column, member.path, "the key is here twice; the first value is on line %d", first.line)
		case !slices.Contains(keys, key.Value):
			r.at(key.Line, key.Column, member.path, "unknown key; the keys here are %s", strings.Join(keys, ", "))
		default:
			members[key.Value] = member
		}
	}
	return members, true
}

// usable refuses keys that are not plain strings.
func (r *reader) usable(key *yaml.Node, path string) bool {
	switch {
	case key.ShortTag() == "!!merge":
		r.at(key.Line, key.Column, path, "merge keys (<<) are not supported; write the values out")
	case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!str":
		return true
	default:
		r.at(key.Line, key.Column, path, "a key must be a string, not %s", describe(key))
	}
	return false
}

// child is the way to a member; a key that would make it ambiguous is quoted.
func child(path, key string) string {
	odd := func(c rune) bool { return !isNameRune(c) || c == '.' }
	switch {
	case key == "" || strings.ContainsFunc(key, odd):
		return fmt.Sprintf("%s[%q]", path, key)
	case path == "":
		return key
	}
	return path + "." + key
}

// either joins words to "a, b or c".
func either(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// list returns the items; ok is false where the value is no list.
func (r *reader) list(v value, of string) (items []value, ok bool) {
	if !r.is(v, yaml.SequenceNode, "!!seq", "a list of "+of) {
		return nil, false
	}
	for i, n := range v.node.Content {
		if r.exhausted() {
			break
		}
		items = append(items, r.value(n, v.path+"["+strconv.Itoa(i)+"]"))
	}
	return items, true
}

// some is a list that has at least one item.
func (r *reader) some(v value, of string) []value {
	items, ok := r.list(v, of)
	if ok && len(items) == 0 {
		r.refuse(v, "is empty; a list of %s must have at least one", of)
	}
	return items
}

// text reads a string that has something in it and no control characters.
func (r *reader) text(v value, what string) (string, bool) {
	if !r.is(v, yaml.ScalarNode, "!!str", what) {
		return "", false
	}
	text := v.node.Value
	switch {
	case text == "":
		r.refuse(v, "is empty; it must be %s", what)
		return "", false
	case strings.ContainsFunc(text, isControl) || !isValid(text):
		r.refuse(v, "%q has control characters", text)
		return "", false
	}
	return text, true
}

// isValid is false for text that a YAML escape or a binary value made into something that is no text.
func isValid(text string) bool { return strings.ToValidUTF8(text, "") == text }

// texts reads a list of at least one string.
func (r *reader) texts(v value, of string) []string {
	var out []string
	for _, item := range r.some(v, of) {
		if text, ok := r.text(item, "a string"); ok {
			out = append(out, text)
		}
	}
	return out
}

func (r *reader) flag(v value) (set, ok bool) {
	if !r.is(v, yaml.ScalarNode, "!!bool", "true or false") {
		return false, false
	}
	return strings.EqualFold(v.node.Value, "true"), true
}

func (r *reader) count(v value) uint32 {
	if !r.is(v, yaml.ScalarNode, "!!int", "a whole number") {
		return 0
	}
	n, err := strconv.ParseUint(v.node.Value, 10, 32)
	if err != nil || n == 0 {
		r.refuse(v, "%s must be a plain whole number from 1 to 4294967295", v.node.Value)
		return 0
	}
	return uint32(n)
}

func (r *reader) duration(v value, least, most time.Duration) time.Duration {
	text, ok := r.text(v, "a duration with its unit, as in 30s")
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		r.refuse(v, "%q is not a duration; write a number with its unit, as in 30s or 1m30s", text)
	case d < least || d > most:
		r.refuse(v, "%q must be from %s to %s", text, short(least), short(most))
	}
	return d
}

// short writes 24h0m0s as 24h.
func short(d time.Duration) string {
	s := d.String()
	if cut, ok := strings.CutSuffix(s, "m0s"); ok {
		s = cut + "m"
	}
	if cut, ok := strings.CutSuffix(s, "h0m"); ok {
		s = cut + "h"
	}
	return s
}
