package chartgen

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// annotationMark begins the line of a comment that is for the schema.
const annotationMark = "@schema "

// Value is one key of the values, with what its comment says.
type Value struct {
	Name, Description string
	// Default is what stands there; children have theirs.
	Default any
	// Schema is what the comment adds.
	Schema map[string]any
	// Optional is set for a key that may be given, and is not there.
	Optional bool
	// Children are the keys below, in their order; nil for what has no keys, or any.
	Children []*Value
	kind     string
}

// Parse reads a file of values. Every key needs a comment, and what is empty a word about what it may hold.
func Parse(text []byte) ([]*Value, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	return children("", document.Content[0])
}

func children(path string, mapping *yaml.Node) ([]*Value, error) {
	if mapping.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: %q is no mapping", mapping.Line, path)
	}
	values := []*Value{}
	var errs []error
	for i := 0; i < len(mapping.Content); i += 2 {
		key, node := mapping.Content[i], mapping.Content[i+1]
		described, err := comments(key.HeadComment, key.Value)
		v := described[len(described)-1]
		values = append(values, described...)
		name := strings.TrimPrefix(path+"."+key.Value, ".")
		if err == nil {
			err = v.read(name, node)
		}
		if err != nil {
			err = fmt.Errorf("line %d: %s: %w", key.Line, name, err)
		}
		errs = append(errs, err)
	}
	return values, errors.Join(errs...)
}

// read takes the value that stands there.
func (v *Value) read(path string, node *yaml.Node) (err error) {
	v.kind = kinds()[node.Tag]
	if err := node.Decode(&v.Default); err != nil {
		return err
	}
	_, open := v.Schema["additionalProperties"]
	switch {
	case v.kind == "" && v.Schema["type"] == nil:
		return errors.New("its type cannot be seen: add one, as in # @schema {type: string}")
	case v.kind == "object" && !open && len(node.Content) == 0:
		return errors.New("it is empty: say what it may hold, as in # @schema {additionalProperties: {type: string}}")
	case v.kind == "array" && v.Schema["items"] == nil:
		return errors.New("say what the list may hold, as in # @schema {items: {type: string}}")
	// What is written in one line is Kubernetes' own, such as the requests of resources.
	case v.kind == "object" && !open && node.Style&yaml.FlowStyle == 0:
		v.Children, err = children(path, node)
	}
	return err
}

// kinds are the types of JSON by those of YAML.
func kinds() map[string]string {
	return map[string]string{"!!map": "object", "!!seq": "array", "!!str": "string", "!!int": "integer", "!!float": "number", "!!bool": "boolean"}
}

// comments reads what stands directly above a key. A line such as "acl:" ends what is said about a key that may be given and is left out here; what comes
// after it is about the next one. The last is about the key that stands there.
func comments(text, key string) ([]*Value, error) {
	paragraphs := strings.Split(text, "\n\n")
	v := &Value{}
	var values []*Value
	var errs []error
	for line := range strings.SplitSeq(paragraphs[len(paragraphs)-1], "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(line, "#"))
		if name, ok := strings.CutSuffix(line, ":"); ok && regexp.MustCompile(`^[a-z][A-Za-z]*$`).MatchString(name) {
			v.Name, v.Optional = name, true
			values = append(values, v)
			v = &Value{}
			continue
		}
		errs = append(errs, v.comment(line))
	}
	v.Name = key
	values = append(values, v)
	for _, v := range values {
		v.Description = strings.TrimSpace(v.Description)
		if v.Description == "" {
			errs = append(errs, fmt.Errorf("no comment says what %q is", v.Name))
		}
		if v.Optional && v.Schema["type"] == nil {
			errs = append(errs, fmt.Errorf("no comment says of which type %q is, as in # @schema {type: string}", v.Name))
		}
	}
	return values, errors.Join(errs...)
}

// comment takes one line. An empty one begins anew: what came before is not about this key alone.
func (v *Value) comment(line string) error {
	rest, ok := strings.CutPrefix(line, annotationMark)
	switch {
	case line == "":
		v.Description = ""
		return nil
	case !ok:
		v.Description += " " + line
		return nil
	}
	added := map[string]any{}
	if err := yaml.Unmarshal([]byte(rest), &added); err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	if v.Schema == nil {
		v.Schema = map[string]any{}
	}
	maps.Copy(v.Schema, added)
	return nil
}

// Section is a subchart's part of the umbrella's values.
type Section struct {
	// Key is where the values are, and Comment what the subchart is.
	Key, Comment string
	// Text is the subchart's own file of values.
	Text []byte
}

// Compose writes the sections of subcharts behind the mark in the umbrella's file of values; what stands before it stays.
func Compose(umbrella []byte, mark string, sections []Section) ([]byte, error) {
	before, _, ok := strings.Cut(string(umbrella), mark)
	if !ok {
		return nil, fmt.Errorf("the line %q is missing", mark)
	}
	var out bytes.Buffer
	out.WriteString(before + mark + "\n")
	for _, s := range sections {
		fmt.Fprintf(&out, "\n# %s.\n%s:\n", strings.TrimSuffix(s.Comment, "."), s.Key)
		for _, line := range slices.Collect(strings.Lines(strings.TrimSpace(string(s.Text)) + "\n")) {
			if strings.TrimSpace(line) != "" {
				line = "  " + line
			}
			out.WriteString(line)
		}
	}
	return out.Bytes(), nil
}
