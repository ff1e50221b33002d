package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Items reads what stands under "allow" in a rule from a decoded JSON value: a list of globs and mappings, which may be empty here. It is as strict as
// [Parse], and its error is [Problems].
func Items(allow any) ([]Pattern, error) {
	p := &parser{reader: reader{report: report{file: "items"}}}
	list, ok := p.list(p.value(node(allow), "allow"), "items that are allowed")
	out := make([]Pattern, 0, len(list))
	for _, item := range list {
		out = append(out, p.pattern(item))
	}
	if err := p.err(); err != nil || !ok {
		return nil, err
	}
	return out, nil
}

// node is a JSON value as the node of a YAML document, with its own type.
func node(value any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: 1, Column: 1}
	switch value := value.(type) {
	case string:
		n.Tag, n.Value = "!!str", value
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(value)
	case nil:
		n.Tag = "!!null"
	case []any:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		for _, item := range value {
			n.Content = append(n.Content, node(item))
		}
	case map[string]any:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		for _, key := range slices.Sorted(maps.Keys(value)) {
			n.Content = append(n.Content, node(key), node(value[key]))
		}
	default: // a number
		n.Tag, n.Value = "!!float", fmt.Sprint(value)
	}
	return n
}
