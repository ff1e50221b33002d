package translator

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// choice is one MCPVirtualServer on its way to a place in the gateway and a status.
type choice struct {
	object *v1alpha1.MCPVirtualServer
	key    types.NamespacedName
	// gateways are those that its servers lead to; none means every gateway.
	gateways []string

	refused, unresolved []finding
	// servers are names in the configuration.
	servers []string
}

// choices looks at the MCPVirtualServers, the oldest first. One belongs to the gateways that its servers lead to; one that names no servers chooses among those of
// every gateway. All that is told of it is the same for all gateways, so that their controllers do not write over each other's words.
func choices(objects []*v1alpha1.MCPVirtualServer, members []*member) []*choice {
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
		c.validate()
		if i := slices.IndexFunc(paths[c.key.Name], c.meets); i >= 0 {
			c.refuse(v1alpha1.ReasonConflict, "The older MCPVirtualServer %q has the path %q: give this one another name.", paths[c.key.Name][i].key, c.path())
		} else {
			paths[c.key.Name] = append(paths[c.key.Name], c)
		}
	}
	return list
}

func (c *choice) refuse(reason, format string, args ...any) {
	c.refused = append(c.refused, *found(reason, format, args...))
}

func (c *choice) path() string { return "/mcp/" + c.key.Name }

// collect finds the servers of which the virtual server has everything.
func (c *choice) collect(known map[types.NamespacedName]*member, joined []*member) {
	take := func(m *member) {
		c.gateways = append(c.gateways, m.gateways...)
		if m.usable() {
			c.servers = append(c.servers, m.key.String())
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
	c.gateways, c.servers = sortedSet(c.gateways), sortedSet(c.servers)
}

// of tells whether the virtual server is one of the gateway.
func (c *choice) of(gateway types.NamespacedName) bool {
	return len(c.gateways) == 0 || slices.Contains(c.gateways, gateway.String())
}

// meets tells whether both may be at one gateway.
func (c *choice) meets(other *choice) bool {
	return len(c.gateways) == 0 || len(other.gateways) == 0 || slices.ContainsFunc(c.gateways, func(g string) bool { return slices.Contains(other.gateways, g) })
}

// validate judges what the API server would have refused already, as one of another release might not.
func (c *choice) validate() {
	if problems := check(config.ServerSpec{Name: c.key.Name, URL: "http://s"}, nil); len(problems) > 0 || strings.Contains(c.key.Name, "/") {
		c.refuse(v1alpha1.ReasonInvalid, "metadata.name must be a DNS label: lower-case letters, digits and inner hyphens, at most 63.")
	}
	lists := []struct {
		field string
		globs []v1alpha1.Glob
	}{{"tools", c.object.Spec.Tools}, {"prompts", c.object.Spec.Prompts}, {"resources", c.object.Spec.Resources}}
	for _, list := range lists {
		for _, glob := range list.globs {
			if star := strings.IndexByte(string(glob), '*'); glob == "" || star >= 0 && (star != 0 && star != len(glob)-1 || strings.Count(string(glob), "*") > 1) {
				c.refuse(v1alpha1.ReasonInvalid, "spec.%s has %q: a pattern is a name, with one * at its beginning or its end, or without.", list.field, glob)
			}
		}
	}
}

func (c *choice) virtualServer() VirtualServer {
	return VirtualServer{
		Name: c.key.Name, Key: c.key, Description: c.object.Spec.Description,
		Tools: texts(c.object.Spec.Tools), Prompts: texts(c.object.Spec.Prompts), Resources: texts(c.object.Spec.Resources),
		Servers: c.servers,
	}
}

func texts(globs []v1alpha1.Glob) []string {
	list := make([]string, len(globs))
	for i, g := range globs {
		list[i] = string(g)
	}
	return sortedSet(list)
}

func (c *choice) status(x *index, now metav1.Time) VirtualServerStatus {
	s := VirtualServerStatus{Key: c.key}
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
	s.Conditions, changed = conditions(c.object.Status.Conditions, c.object.Generation, now, accepted, resolved, c.programmed())
	s.Changed = changed || s.Path != c.object.Status.Path
	return s
}

func (c *choice) programmed() verdict {
	if len(c.refused) > 0 {
		return no(v1alpha1.ConditionProgrammed, v1alpha1.ReasonNotUsable, "Not in the gateway: see Accepted.")
	}
	// The file format has no virtual servers: that one of them is in the configuration would not be true.
	return pending(v1alpha1.ConditionProgrammed, "This release of the gateway does not serve virtual servers.")
}
