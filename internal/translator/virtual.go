package translator

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

const virtualListKey = "virtualServers:\n"

// choice is one MCPVirtualServer on its way to an entry and a status.
type choice struct {
	object *v1alpha1.MCPVirtualServer
	key    types.NamespacedName
	// gateways are those that its servers lead to; none means every gateway.
	gateways []string

	refused, unresolved []finding
	// servers are names in the configuration, absent those that should be there and are not.
	servers, absent []string
	// document is the configuration file with this one entry, nil where there is none.
	document []byte
}

// choices looks at the MCPVirtualServers, the oldest first. One belongs to the gateways that its servers lead to; one that names no servers chooses among those of
// every gateway. What is told of one that several gateways may have is the same for all of them, so that their controllers do not write over each other's words.
func (x *index) choices(objects []*v1alpha1.MCPVirtualServer, members []*member) []*choice {
	known := make(map[types.NamespacedName]*member, len(members))
	joined := map[types.NamespacedName][]*member{}
	for _, m := range members {
		known[m.key] = m
		for _, name := range m.object.Spec.VirtualServers {
			key := types.NamespacedName{Namespace: m.key.Namespace, Name: string(name)}
			joined[key] = append(joined[key], m)
		}
	}
	paths := map[string][]*choice{}
	list := make([]*choice, len(objects))
	for i, object := range objects {
		c := &choice{object: object, key: keyOf(object)}
		c.collect(known, joined[c.key])
		list[i] = c
		document := c.judge()
		if len(c.refused) > 0 {
			continue // what is not in the gateway takes no path from anybody
		}
		if i := slices.IndexFunc(paths[c.key.Name], c.meets); i >= 0 {
			c.refuse(v1alpha1.ReasonConflict, "The older MCPVirtualServer %q has the path %q: give this one another name.", paths[c.key.Name][i].key, c.path())
			continue
		}
		paths[c.key.Name] = append(paths[c.key.Name], c)
		if c.of(x.gateway) {
			c.document = document
		}
	}
	return list
}

func (c *choice) refuse(reason, format string, args ...any) {
	c.refused = append(c.refused, *found(reason, format, args...))
}

// usable tells whether the virtual server can be in the configuration.
func (c *choice) usable() bool { return c.document != nil }

// path has the name alone: it is what people type, and the namespace is nothing to them.
func (c *choice) path() string { return "/mcp/" + c.key.Name }

// collect finds the servers of which the virtual server has everything.
func (c *choice) collect(known map[types.NamespacedName]*member, joined []*member) {
	take := func(m *member) {
		c.gateways = append(c.gateways, m.gateways...)
		if m.usable() {
			c.servers = append(c.servers, m.key.String())
		} else {
			c.absent = append(c.absent, m.key.String())
		}
	}
	for _, ref := range c.object.Spec.Servers {
		key := types.NamespacedName{Namespace: or(ref.Namespace, c.key.Namespace), Name: string(ref.Name)}
		if m := known[key]; m != nil {
			take(m)
			continue
		}
		c.unresolved = append(c.unresolved, *found(v1alpha1.ReasonServerNotFound, "There is no MCPServer %q in a namespace that is watched: create it, or take it out of spec.servers.", key))
	}
	for _, m := range joined {
		take(m)
	}
	c.gateways, c.servers, c.absent = sortedSet(c.gateways), sortedSet(c.servers), sortedSet(c.absent)
}

// of tells whether the virtual server is one of the gateway.
func (c *choice) of(gateway types.NamespacedName) bool {
	return len(c.gateways) == 0 || slices.Contains(c.gateways, gateway.String())
}

// shared tells whether it may be several gateways'.
func (c *choice) shared() bool { return len(c.gateways) != 1 }

// meets tells whether both may be at one gateway.
func (c *choice) meets(other *choice) bool {
	return len(c.gateways) == 0 || len(other.gateways) == 0 || slices.ContainsFunc(c.gateways, func(g string) bool { return slices.Contains(other.gateways, g) })
}

// judge makes the entry and has the file mode itself judge it, since a file with one that it refuses would be refused whole.
func (c *choice) judge() (document []byte) {
	spec := config.VirtualServerSpec{
		Name: c.key.String(), Description: c.object.Spec.Description,
		Tools: texts(c.object.Spec.Tools), Prompts: texts(c.object.Spec.Prompts), Resources: texts(c.object.Spec.Resources),
		Servers: c.servers, Hints: c.hints(),
	}
	if spec.Hints != nil && len(c.object.Spec.Tools) == 0 && len(c.object.Spec.Servers) == 0 {
		spec.Tools = []string{"*"} // as servers that join by themselves must not take away the tools of others
	}
	around := config.File{VirtualServers: []config.VirtualServerSpec{spec}}
	for _, name := range c.servers {
		around.Servers = append(around.Servers, config.ServerSpec{Name: name, URL: "http://s"})
	}
	whole, err := encode(around)
	if err == nil {
		document, err = encode(struct {
			VirtualServers []config.VirtualServerSpec `yaml:"virtualServers"`
		}{around.VirtualServers})
	}
	if err != nil {
		c.refuse(v1alpha1.ReasonInvalid, "%s.", err)
		return nil
	}
	for _, problem := range checkDocument(whole, nil) {
		field := strings.TrimPrefix(problem.Field, "virtualServers[0].")
		message, _, _ := strings.Cut(problem.Message, " on line ")
		if field == "name" {
			message = "must be a DNS label: lower-case letters, digits and inner hyphens, at most 63"
		}
		c.refuse(v1alpha1.ReasonInvalid, "%s: %s.", virtualSourceOf(field), message)
	}
	return document
}

// hints are nil where there are none, and also where the object chooses among servers of which none is there: alone they would choose among all.
func (c *choice) hints() *config.HintsSpec {
	of := &c.object.Spec
	if of.Hints == nil || len(of.Tools) == 0 && len(of.Servers) > 0 && len(c.servers) == 0 {
		return nil
	}
	return &config.HintsSpec{
		ReadOnly: of.Hints.ReadOnly, Destructive: of.Hints.Destructive, Idempotent: of.Hints.Idempotent, OpenWorld: of.Hints.OpenWorld,
	}
}

// virtualSourceOf tells where the value of an entry's field comes from.
func virtualSourceOf(field string) string {
	switch field {
	case "name":
		return "metadata.name"
	case "servers":
		return "spec.servers, with the MCPServers that name this one in spec.virtualServers,"
	}
	return "spec." + field
}

// encode writes a file as package config reads it.
func encode(file any) ([]byte, error) {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(file); err != nil {
		return nil, fmt.Errorf("cannot be written as YAML: %w", err)
	}
	return b.Bytes(), nil
}

// texts are in the author's order, so that a problem's index is the author's too.
func texts(globs []v1alpha1.Glob) []string {
	var list []string
	for _, g := range globs {
		list = appendOnce(list, string(g))
	}
	return list
}

func (c *choice) status(x *index, now metav1.Time, inForce bool) VirtualServerStatus {
	s := VirtualServerStatus{Key: c.key, Shared: c.shared()}
	if !c.of(x.gateway) {
		s.Release = true
		return s
	}
	accepted := yes(v1alpha1.ConditionAccepted, fmt.Sprintf("Has the path %q.", c.path()))
	if len(c.refused) > 0 {
		accepted = noFor(accepted.kind, c.refused)
	} else {
		s.Path = c.path()
	}
	resolved := yes(v1alpha1.ConditionResolvedRefs, "Every server that the object names is there.")
	if len(c.unresolved) > 0 {
		resolved = noFor(resolved.kind, c.unresolved)
	}
	var changed bool
	s.Conditions, changed = conditions(c.object.Status.Conditions, c.object.Generation, now, accepted, resolved, c.programmed(x, inForce))
	s.Changed = changed || s.Path != c.object.Status.Path
	return s
}

func (c *choice) programmed(x *index, inForce bool) verdict {
	const kind = v1alpha1.ConditionProgrammed
	switch {
	case !c.usable():
		return no(kind, v1alpha1.ReasonNotUsable, "Not in the gateway: see Accepted.")
	case !inForce:
		return no(kind, v1alpha1.ReasonTooLarge, tooLarge(x.gateway.String()))
	case len(c.absent) > 0 && !c.shared():
		return yes(kind, fmt.Sprintf("The gateway's configuration has the virtual server, without %s: see the conditions of those MCPServers.", quoted(c.absent, ", ")))
	}
	return yes(kind, "The gateway's configuration has the virtual server.")
}
