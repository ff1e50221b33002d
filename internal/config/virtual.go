package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// VirtualServer is a choice among what the servers offer, at a path of its own. It has everything that any of its lists chooses, of tools only those with
// the hints.
type VirtualServer struct {
	// Name is a DNS label, or two as "namespace/name".
	Name        string
	Description string
	// Tools and Prompts are patterns of public names, Resources of public URIs: a text, or one with a "*" at its beginning or its end.
	Tools, Prompts, Resources []string
	// Servers are the names of those of which it has everything. All of them are configured.
	Servers []string
	// Hints are what the annotations of its tools must say, the specification's defaults included, by the names that policies have for them: readOnly,
	// destructive, idempotent, openWorld. Nil where all tools will do.
	Hints map[string]bool
}

// Segment is the last segment of its path, /mcp/SEGMENT: the name without the namespace.
func (v *VirtualServer) Segment() string {
	return v.Name[strings.IndexByte(v.Name, '/')+1:]
}

// The most that one virtual server may have in its lists, and the longest description in characters.
const (
	maxPatterns       = 512
	maxPattern        = 4096 // bytes, as no name or URI is longer
	maxChosenServers  = 256
	maxDescription    = 1024
	virtualServersKey = "virtualServers"
)

// virtualServers is nil where there are none.
func (c *compiler) virtualServers(file File, servers map[string]string) []VirtualServer {
	var list []VirtualServer
	names, paths := map[string]string{}, map[string]string{}
	for i, spec := range file.VirtualServers {
		field := index(virtualServersKey, i)
		if c.spoilt[field] {
			continue
		}
		c.name(spec.Name, field, names)
		v := VirtualServer{Name: spec.Name, Description: strings.TrimSpace(spec.Description)}
		if names[v.Name] == field {
			c.virtualPath(&v, field, paths)
		}
		c.description(v.Description, child(field, "description"))
		v.Tools = c.patterns(spec.Tools, child(field, "tools"))
		v.Prompts = c.patterns(spec.Prompts, child(field, "prompts"))
		v.Resources = c.patterns(spec.Resources, child(field, "resources"))
		v.Servers = c.chosenServers(spec.Servers, file, servers, child(field, "servers"))
		v.Hints = c.hints(spec.Hints, child(field, "hints"))
		if v.Hints != nil && len(v.Tools) == 0 && len(v.Servers) == 0 {
			v.Tools = []string{"*"} // hints choose among something: without a choice of tools, among all
		}
		list = append(list, v)
	}
	return list
}

// hints are nil where there are none.
func (c *compiler) hints(spec *HintsSpec, field string) map[string]bool {
	if spec == nil {
		return nil
	}
	hints := map[string]bool{}
	for name, value := range map[string]*bool{
		"readOnly": spec.ReadOnly, "destructive": spec.Destructive, "idempotent": spec.Idempotent, "openWorld": spec.OpenWorld,
	} {
		if value != nil {
			hints[name] = *value
		}
	}
	switch {
	case len(hints) == 0 && !c.hasProblemIn(field):
		c.field(field, "is empty; it must have at least one of readOnly, destructive, idempotent and openWorld")
	case hints["readOnly"] && hints["destructive"]:
		c.field(field, "no tool is both readOnly and destructive; a tool that is read-only is not destructive")
	}
	return hints
}

func (c *compiler) virtualPath(v *VirtualServer, field string, paths map[string]string) {
	segment := v.Segment()
	if owner, taken := paths[segment]; taken {
		c.field(child(field, "name"), "the path /mcp/%s is already taken by %s on line %d", segment, owner, c.place(child(owner, "name")).line)
		return
	}
	paths[segment] = field
}

func (c *compiler) description(text, field string) {
	if n := utf8.RuneCountInString(text); n > maxDescription {
		c.field(field, "is %d characters long; at most %d are allowed", n, maxDescription)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return isControl(r) && !strings.ContainsRune("\r\n\t", r) }) {
		c.field(field, "must not have control characters other than line breaks and tabs")
	}
}

// patterns are nil where there are none.
func (c *compiler) patterns(list []string, field string) []string {
	if len(list) > maxPatterns {
		c.field(field, "has %d patterns; at most %d are allowed", len(list), maxPatterns)
	}
	lines := map[string]int{}
	for i, pattern := range list {
		item := index(field, i)
		switch star := strings.IndexByte(pattern, '*'); {
		case pattern == "":
			c.field(item, `must not be empty; "*" stands for everything`)
		case len(pattern) > maxPattern:
			c.field(item, "is %d bytes long; at most %d are allowed", len(pattern), maxPattern)
		case strings.Count(pattern, "*") > 1 || star > 0 && star < len(pattern)-1:
			c.field(item, "%q must be a name, with one * at its beginning or its end, or without", pattern)
		case strings.ContainsFunc(pattern, isControl):
			c.field(item, "%q must not have control characters", pattern)
		}
		c.onceInList(lines, pattern, item)
	}
	return slices.Clip(list)
}

func (c *compiler) onceInList(lines map[string]int, value, item string) {
	if first, twice := lines[value]; twice && value != "" {
		c.field(item, "%q is in the list twice; the first is on line %d", value, first)
		return
	}
	lines[value] = c.place(item).line
}

// chosenServers are nil where there are none.
func (c *compiler) chosenServers(list []string, file File, servers map[string]string, field string) []string {
	if len(list) > maxChosenServers {
		c.field(field, "has %d servers; at most %d are allowed", len(list), maxChosenServers)
	}
	lines := map[string]int{}
	for i, name := range list {
		item := index(field, i)
		if servers[name] == "" && !c.unsureOfNames(file) {
			c.field(item, "there is no server %q in this file%s", name, meant(name, sortedKeys(servers)))
		}
		c.onceInList(lines, name, item)
	}
	return slices.Clip(list)
}

// unsureOfNames tells whether a server's name has been refused, so that one that seems to be missing may be there.
func (c *compiler) unsureOfNames(file File) bool {
	for i := range file.Servers {
		field := index("servers", i)
		if c.spoilt[field] || c.spoilt[child(field, "name")] || file.Servers[i].Name == "" {
			return true
		}
	}
	return c.spoilt["servers"]
}

func meant(name string, known []string) string {
	if best := closest(name, known); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return ""
}
