package catalog

import (
	"slices"
	"sort"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about the building of views.

// views makes those of everything and of the virtual servers, once the lists are whole.
func (b *builder) views() {
	s := b.snap
	s.all = View{snap: s, features: b.features}
	for _, server := range s.servers {
		if l := server.State.Listing; l != nil && server.Programmed {
			for kind := range kinds {
				s.all.cache[kind] = s.all.cache[kind].and(l.Cache[kind])
			}
		}
	}
	if len(b.in.VirtualServers) == 0 {
		return
	}
	s.viewsByName = make(map[string]*View, len(b.in.VirtualServers))
	s.viewsBySegment = make(map[string]*View, len(b.in.VirtualServers))
	offers := s.offers()
	for i := range b.in.VirtualServers {
		v := &View{snap: s, virtual: &b.in.VirtualServers[i]}
		v.choose(offers)
		s.views = append(s.views, v)
		s.viewsByName[v.Name()] = v
		s.viewsBySegment[v.Segment()] = v
	}
}

// offered are the places of what each server offers, by kind.
type offered [kinds]map[*Server][]int

func (s *Snapshot) offers() *offered {
	var o offered
	for kind := range kinds {
		o[kind] = make(map[*Server][]int, len(s.servers))
		for _, it := range s.lists[kind].items {
			o[kind][it.Server] = append(o[kind][it.Server], it.place)
		}
	}
	return &o
}

// choose decides what a virtual server has.
func (v *View) choose(offers *offered) {
	named := make(map[*Server]bool, len(v.virtual.Servers))
	for _, name := range v.virtual.Servers {
		if server := v.snap.byName[name]; server != nil {
			named[server] = true
		}
	}
	reached := make(map[*Server]bool, len(named))
	for kind := range kinds {
		l := &v.snap.lists[kind]
		has := newPlaces(len(l.items))
		l.match(patternsOf(v.virtual, kind), has)
		for server := range named {
			for _, place := range offers[kind][server] {
				has.add(place)
			}
		}
		if kind == Tool {
			l.withHints(v.virtual.Hints, has)
		}
		if has.len() == 0 {
			continue
		}
		v.has[kind] = has
		for server, places := range offers[kind] {
			if slices.ContainsFunc(places, has.has) {
				reached[server] = true
				v.cache[kind] = v.cache[kind].and(server.State.Listing.Cache[kind])
			}
		}
	}
	v.features = v.snap.all.features.part(v.virtual)
	for server := range named {
		// What a server tells of tools that the hints leave out would only mislead.
		reached[server] = reached[server] || v.virtual.Hints == nil
		if server.State.Listing != nil && server.Programmed {
			v.features.add(server)
		}
	}
	v.features.Instructions = v.Instructions(func(s *Server) bool { return reached[s] })
}

// part is what a virtual server's patterns may have a part in, now or later. Instructions are left out.
func (f Features) part(v *config.VirtualServer) Features {
	prompts, resources := len(v.Prompts) > 0, len(v.Resources) > 0
	return Features{
		Prompts: f.Prompts && prompts, Resources: f.Resources && resources, Subscribe: f.Subscribe && resources, Listen: f.Listen && resources,
		Completions: f.Completions && (prompts || resources),
		Tasks:       f.Tasks && len(v.Tools) > 0,
		Logging:     f.Logging && (prompts || resources || len(v.Tools) > 0),
	}
}

func (f *Features) add(s *Server) {
	f.Prompts = f.Prompts || s.Offers("prompts")
	f.Resources = f.Resources || s.Offers("resources")
	f.Subscribe = f.Subscribe || s.caps.subscribe
	f.Listen = f.Listen || s.Watchable()
	f.Tasks = f.Tasks || s.Tasks()
	f.Completions = f.Completions || s.Offers("completions")
	f.Logging = f.Logging || s.Offers("logging")
}

func patternsOf(v *config.VirtualServer, kind Kind) []string {
	switch kind {
	case Tool:
		return v.Tools
	case Prompt:
		return v.Prompts
	default:
		return v.Resources
	}
}

// match adds the places of the items whose public names a pattern matches. The list is ordered, so that only a pattern that begins with "*" has to be
// held against every name.
func (l *list) match(patterns []string, to places) {
	for _, p := range patterns {
		switch {
		case strings.HasPrefix(p, "*"):
			for i, it := range l.items {
				if strings.HasSuffix(it.PublicName, p[1:]) {
					to.add(i)
				}
			}
		case strings.HasSuffix(p, "*"):
			p = p[:len(p)-1]
			from := sort.Search(len(l.items), func(i int) bool { return l.items[i].PublicName >= p })
			for i := from; i < len(l.items) && strings.HasPrefix(l.items[i].PublicName, p); i++ {
				to.add(i)
			}
		default:
			if it := l.byName[p]; it != nil {
				to.add(it.place)
			}
		}
	}
}

// withHints takes out the places of the tools whose annotations say otherwise, or leave a default that does.
func (l *list) withHints(hints map[string]bool, from places) {
	if len(hints) == 0 {
		return
	}
	for i, it := range l.items {
		if from.has(i) && !wire.HintsSay(it.Hints, hints) {
			from.remove(i)
		}
	}
}

func matchesAny(patterns []string, text string) bool {
	for _, p := range patterns {
		switch {
		case strings.HasPrefix(p, "*"):
			if strings.HasSuffix(text, p[1:]) {
				return true
			}
		case strings.HasSuffix(p, "*"):
			if strings.HasPrefix(text, p[:len(p)-1]) {
				return true
			}
		case p == text:
			return true
		}
	}
	return false
}
