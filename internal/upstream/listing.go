package upstream

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// kindSet is a set of kinds of items.
type kindSet uint32

func setOf(kinds ...catalog.Kind) kindSet {
	var s kindSet
	for _, kind := range kinds {
		s |= 1 << kind
	}
	return s
}

func everyKind() kindSet { return setOf(allKinds()...) }

func (s kindSet) has(kind catalog.Kind) bool { return s&(1<<kind) != 0 }

// changedBy is the set of kinds whose lists a notification says to have changed.
func changedBy(method string) kindSet {
	var s kindSet
	for _, kind := range allKinds() {
		if dialectOf(kind).changed == method {
			s |= setOf(kind)
		}
	}
	return s
}

// about is what the result of initialize says of a server.
type about struct {
	capabilities json.RawMessage
	serverInfo   json.RawMessage
	instructions string
	problems     []string
}

func aboutOf(result json.RawMessage) about {
	var a about
	member := func(name string) json.RawMessage {
		value, err := memberOf(result, name)
		if err != nil {
			a.problems = append(a.problems, "initialize: "+brief(err.Error(), maxSnippet))
		}
		return bytes.Clone(value)
	}
	a.capabilities, a.serverInfo = member("capabilities"), member("serverInfo")
	if len(a.capabilities) == 0 || a.capabilities[0] != '{' {
		a.problems = append(a.problems, `initialize: the result has no object "capabilities": nothing of the server is offered`)
		a.capabilities = json.RawMessage("{}")
	}
	var err error
	if a.instructions, err = textOf(result, "instructions"); err != nil {
		a.problems = append(a.problems, "initialize: "+brief(err.Error(), maxSnippet))
	}
	return a
}

// lists is the set of kinds that the server says to have.
func (a about) lists() kindSet {
	var s kindSet
	for _, kind := range allKinds() {
		value, err := memberOf(a.capabilities, dialectOf(kind).capability)
		if err == nil && value != nil && string(value) != "null" {
			s |= setOf(kind)
		}
	}
	return s
}

// announces tells whether the server says that it tells of every change of the lists that it has.
func (a about) announces() bool {
	for _, kind := range allKinds() {
		if !a.lists().has(kind) {
			continue
		}
		value, err := memberOf(a.capabilities, dialectOf(kind).capability, "listChanged")
		if err != nil || string(value) != "true" {
			return false
		}
	}
	return true
}

// listing puts together what is published of a server.
func (a about) listing(e eras, lists map[catalog.Kind]listed) *catalog.Listing {
	l := &catalog.Listing{
		Revision: e.revision, Sessions: e.sessions, Modern: e.modern, Compares: e.compares, Capabilities: a.capabilities, ServerInfo: a.serverInfo,
		Instructions: a.instructions, Problems: slices.Clone(a.problems),
	}
	for _, kind := range allKinds() {
		l.Items[kind], l.Cache[kind] = lists[kind].items, lists[kind].cache
		l.Problems = append(l.Problems, lists[kind].problems...)
	}
	return l
}

// sameListing compares two listings byte by byte.
func sameListing(a, b *catalog.Listing) bool {
	if a == nil || b == nil {
		return a == b
	}
	same := a.Revision == b.Revision && a.Modern == b.Modern && a.Cache == b.Cache && a.Sessions == b.Sessions && slices.Equal(a.Compares, b.Compares) && a.Instructions == b.Instructions &&
		bytes.Equal(a.Capabilities, b.Capabilities) && bytes.Equal(a.ServerInfo, b.ServerInfo) && slices.Equal(a.Problems, b.Problems)
	for kind := range a.Items {
		same = same && sameItems(a.Items[kind], b.Items[kind])
	}
	return same
}

func sameItems(a, b []json.RawMessage) bool {
	return slices.EqualFunc(a, b, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) })
}
