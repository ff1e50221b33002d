package catalog

import (
	"bytes"
	"iter"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// View is what the clients of one endpoint see of a snapshot: everything, or what a virtual server has of it. It is never modified.
type View struct {
	snap *Snapshot
	// virtual is nil for everything, to which has does not apply.
	virtual *config.VirtualServer
	// has are the items by their places in the snapshot's lists.
	has      [kinds]places
	features Features
	cache    [kinds]Cache
}

// All is the view of everything.
func (s *Snapshot) All() *View { return &s.all }

// VirtualServers are all configured virtual servers in configuration order.
func (s *Snapshot) VirtualServers() []*View { return s.views }

// VirtualServer finds a virtual server by its name, nil for an unknown one.
func (s *Snapshot) VirtualServer(name string) *View { return s.viewsByName[name] }

// VirtualServerAt finds a virtual server by the last segment of its path, nil for an unknown one.
func (s *Snapshot) VirtualServerAt(segment string) *View { return s.viewsBySegment[segment] }

// Name is the virtual server's, empty for everything.
func (v *View) Name() string {
	if v.virtual == nil {
		return ""
	}
	return v.virtual.Name
}

// Segment is the last segment of the virtual server's path, empty for everything.
func (v *View) Segment() string {
	if v.virtual == nil {
		return ""
	}
	return v.virtual.Segment()
}

// Description is what the virtual server is for, empty for everything.
func (v *View) Description() string {
	if v.virtual == nil {
		return ""
	}
	return v.virtual.Description
}

// Features is what the servers behind can do together, as far as the view has a part in it.
func (v *View) Features() Features { return v.features }

// Cache is what may be done with a copy of a list: what those servers allow that have a part in it.
func (v *View) Cache(kind Kind) Cache { return v.cache[kind] }

// Find finds an item by its public name or URI.
func (v *View) Find(kind Kind, publicName string) *Item {
	it := v.snap.lists[kind].byName[publicName]
	if it == nil || !v.contains(it) {
		return nil
	}
	return it
}

func (v *View) contains(it *Item) bool { return v.virtual == nil || v.has[it.Kind].has(it.place) }

// FindResource finds who owns a resource: by its exact URI, else by the first template, in order, that it fits. A virtual server also has the URIs
// that its patterns choose of a template that it does not have as a whole. What none of them lists is whose it must be, if that can be told: the server's
// that alone lists resources of its scheme and authority, or that alone has resources.
func (v *View) FindResource(uri string) *Item {
	if it := v.Find(Resource, uri); it != nil {
		return it
	}
	chosen := v.virtual != nil && matchesAny(v.virtual.Resources, uri)
	for _, t := range v.snap.lists[Template].templates {
		if (chosen || v.contains(t.item)) && t.match.MatchString(uri) {
			return t.item
		}
	}
	if v.virtual == nil || chosen {
		return v.snap.unlisted.find(uri)
	}
	return nil
}

// Len is the number of items of a kind.
func (v *View) Len(kind Kind) int {
	if v.virtual == nil {
		return len(v.snap.lists[kind].items)
	}
	return v.has[kind].len()
}

// After are the items of a kind that come after a public name, in the order of those names. All of them come after "".
func (v *View) After(kind Kind, publicName string) iter.Seq[*Item] {
	l := &v.snap.lists[kind]
	return func(yield func(*Item) bool) {
		for from, to := v.run(kind, l.after(publicName)); from < to; from, to = v.run(kind, to) {
			for _, it := range l.items[from:to] {
				if !yield(it) {
					return
				}
			}
		}
	}
}

// Page returns up to limit definitions of a kind, as clients of an era get them, that come after a public name, joined by commas, and the public name of
// the last one if more follow. Since the list is ordered by that name, a page stays right while the catalog changes:
// what was there all the time is neither skipped nor seen twice.
func (v *View) Page(era Era, kind Kind, after string, limit int) (definitions []byte, last string) {
	l := &v.snap.lists[kind]
	place := l.after(after)
	for limit > 0 {
		from, to := v.run(kind, place)
		if from == to {
			return definitions, ""
		}
		place = from + min(limit, to-from)
		limit -= place - from
		if part := l.joined[era].definitions(from, place); definitions == nil {
			definitions = part // most often all there is: no copy is made
		} else {
			definitions = append(append(definitions, ','), part...)
		}
		last = l.items[place-1].PublicName
	}
	if from, to := v.run(kind, place); from == to {
		return definitions, ""
	}
	return definitions, last
}

// run is the next part of a list, from a place on, that the view has whole. It is empty at the end.
func (v *View) run(kind Kind, from int) (start, end int) {
	n := len(v.snap.lists[kind].items)
	if v.virtual == nil {
		return from, n
	}
	return v.has[kind].run(from, n)
}

// Same tells whether two views have the same list of a kind, to the last byte.
func (v *View) Same(other *View, kind Kind) bool {
	mine, theirs := v.snap.lists[kind].items, other.snap.lists[kind].items
	if v.Len(kind) != other.Len(kind) {
		return false
	}
	for i, j, left := 0, 0, v.Len(kind); left > 0; i, j, left = i+1, j+1, left-1 {
		i, _ = v.run(kind, i)
		j, _ = other.run(kind, j)
		if !bytes.Equal(mine[i].Definition, theirs[j].Definition) {
			return false
		}
	}
	return true
}

// Instructions are what those servers that f accepts tell of their use. For all servers of the view they are in its features.
func (v *View) Instructions(f func(*Server) bool) string {
	out := ""
	for _, server := range v.snap.servers {
		if server.State.Listing != nil && server.Programmed && f(server) {
			out = addInstructions(out, server)
		}
	}
	return out
}
