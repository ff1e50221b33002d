package xds

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// toYAML renders a message with the names and the order of its definition. The same message always gives the same bytes.
func toYAML(m proto.Message) ([]byte, error) {
	json, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("cannot render %q: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	// JSON is YAML; read as nodes it keeps its order.
	var doc yaml.Node
	if err := yaml.Unmarshal(json, &doc); err != nil {
		return nil, fmt.Errorf("cannot render %q: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	plain(&doc)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, fmt.Errorf("cannot render %q: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return out.Bytes(), nil
}

// plain forgets that the nodes were JSON, so that they are written as people write YAML.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		plain(child)
	}
}
