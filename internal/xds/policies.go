package xds

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Policies are the user's own Envoy filters, in the order in which they run, and the clusters that those need. They are read by
// [ParsePolicies] and not modified.
type Policies struct {
	httpFilters []*hcmv3.HttpFilter
	upstreams   []*clusterv3.Cluster
}

// ParsePolicies reads a file of two lists, httpFilters and clusters, whose items are Envoy's own HttpFilter and Cluster messages. It is
// strict: an unknown field, an unknown type, and what breaks a rule of Envoy's messages are errors, all reported at once, each with its line.
func ParsePolicies(file []byte) (*Policies, error) {
	doc, err := readPolicyFile(file)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	p := &Policies{}
	errs := parseEach("httpFilters", doc.httpFilters, func(f *hcmv3.HttpFilter) error {
		p.httpFilters = append(p.httpFilters, f)
		return checkFilter(f, p.httpFilters)
	})
	errs = append(errs, parseEach("clusters", doc.clusters, func(c *clusterv3.Cluster) error {
		p.upstreams = append(p.upstreams, c)
		return checkCluster(c, p.upstreams)
	})...)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// policyFile are the items of the two lists.
type policyFile struct {
	httpFilters, clusters []*yaml.Node
}

func readPolicyFile(file []byte) (policyFile, error) {
	var doc yaml.Node
	var out policyFile
	dec := yaml.NewDecoder(bytes.NewReader(file))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return out, errors.New(`the file is empty: for no policies, write "httpFilters: []"`)
	case err != nil:
		return out, err
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return out, errors.New(`the file must hold one YAML document: take out what begins with the second "---"`)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return out, fmt.Errorf("line %d: want a mapping with httpFilters and clusters", root.Line)
	}
	var errs []error
	seen := map[string]bool{}
	for i := 0; i < len(root.Content); i += 2 {
		errs = append(errs, out.add(root.Content[i], root.Content[i+1], seen))
	}
	return out, errors.Join(errs...)
}

func (f *policyFile) add(key, list *yaml.Node, seen map[string]bool) error {
	switch {
	case key.Value != "httpFilters" && key.Value != "clusters":
		return fmt.Errorf("line %d: unknown key %q: want httpFilters or clusters", key.Line, key.Value)
	case seen[key.Value]:
		return fmt.Errorf("line %d: key %q stands there twice", key.Line, key.Value)
	case list.Kind != yaml.SequenceNode:
		return fmt.Errorf("line %d: %q must be a list", list.Line, key.Value)
	}
	seen[key.Value] = true
	if key.Value == "clusters" {
		f.clusters = list.Content
	} else {
		f.httpFilters = list.Content
	}
	return nil
}

// message is a pointer to a generated message of type T.
type message[T any] interface {
	*T
	proto.Message
}

// parseEach turns nodes into messages and hands them on to accept.
func parseEach[T any, M message[T]](list string, nodes []*yaml.Node, accept func(M) error) []error {
	var errs []error
	for i := range nodes {
		m := M(new(T))
		err := parseMessage(nodes[i], m)
		if err == nil {
			err = accept(m)
		}
		if err == nil {
			err = validate(m)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("policies: %s[%d] (line %d): %w", list, i, nodes[i].Line, err))
		}
	}
	return errs
}

func parseMessage(node *yaml.Node, m proto.Message) error {
	var value map[string]any
	if err := node.Decode(&value); err != nil {
		return err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("cannot be written as JSON: %w", err)
	}
	if err := protojson.Unmarshal(text, m); err != nil {
		return errors.New(withoutPlace(err.Error()))
	}
	return nil
}

// withoutPlace takes off the place in a text that the user has never seen.
func withoutPlace(message string) string {
	rest, ok := strings.CutPrefix(message, "proto:")
	if !ok {
		return message
	}
	if _, after, ok := strings.Cut(rest, "): "); ok {
		rest = after
	}
	// The space after "proto:" is now of one kind, now of another.
	return strings.TrimLeft(rest, " \u00a0")
}

// checkFilter refuses what would break the chain.
func checkFilter(f *hcmv3.HttpFilter, all []*hcmv3.HttpFilter) error {
	switch name := f.GetName(); {
	case f.GetTypedConfig().GetTypeUrl() == "":
		return fmt.Errorf("filter %q: has no typed_config with an @type", name)
	case f.GetTypedConfig().GetTypeUrl() == typeURLPrefix+"envoy.extensions.filters.http.router.v3.Router":
		return fmt.Errorf("filter %q: the router filter ends the chain and is there already", name)
	case slices.Contains([]string{corsFilter, RouterFilter, authenticationFilter, accessFilter, limitsFilter, judgeFilter, bandwidthFilter, lastFilter}, name):
		return fmt.Errorf("filter name %q: is taken by a filter of the gateway", name)
	case slices.ContainsFunc(all[:len(all)-1], func(o *hcmv3.HttpFilter) bool { return o.GetName() == name }):
		return fmt.Errorf("filter name %q: is taken by another policy", name)
	}
	return nil
}

func checkCluster(c *clusterv3.Cluster, all []*clusterv3.Cluster) error {
	if err := checkPlain(c.GetName()); err != nil {
		return err
	}
	switch name := c.GetName(); {
	case reservedCluster(name):
		return fmt.Errorf("cluster name %q: is taken by a cluster of the gateway", name)
	case slices.ContainsFunc(all[:len(all)-1], func(o *clusterv3.Cluster) bool { return o.GetName() == name }):
		return fmt.Errorf("cluster name %q: is taken by another policy", name)
	}
	return nil
}

func (p *Policies) clusters() []*clusterv3.Cluster {
	if p == nil {
		return nil
	}
	return p.upstreams
}

// filters are what stands in the chain: the filters themselves in a static file, else references to what [Policies.configs] gives.
func (p *Policies) filters(static bool) []*hcmv3.HttpFilter {
	if p == nil || static {
		return p.inline()
	}
	var out []*hcmv3.HttpFilter
	for _, f := range p.httpFilters {
		out = append(out, reference(f))
	}
	return out
}

// reference is a filter whose configuration comes apart from the chain.
func reference(f *hcmv3.HttpFilter) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name:     f.GetName(),
		Disabled: f.GetDisabled(),
		ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: &corev3.ExtensionConfigSource{
			ConfigSource: overADS(),
			TypeUrls:     []string{f.GetTypedConfig().GetTypeUrl()},
		}},
	}
}

func (p *Policies) inline() []*hcmv3.HttpFilter {
	if p == nil {
		return nil
	}
	return p.httpFilters
}

// configs are the filters' configurations under the filters' names.
func (p *Policies) configs() []*corev3.TypedExtensionConfig {
	var out []*corev3.TypedExtensionConfig
	for _, f := range p.inline() {
		out = append(out, &corev3.TypedExtensionConfig{Name: f.GetName(), TypedConfig: f.GetTypedConfig()})
	}
	return out
}
