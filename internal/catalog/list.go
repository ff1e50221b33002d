package catalog

import (
	"regexp"
	"sort"
	"strings"
)

// list is the items of one kind, ordered by public name, with the definitions joined for pages.
type list struct {
	items     []*Item
	byName    map[string]*Item
	templates []template
	joined    []byte // definitions with commas between
	starts    []int  // where each definition starts in joined, and one past the end
	sum       [32]byte
}

type template struct {
	match *regexp.Regexp
	item  *Item
}

func (l *list) add(it *Item) {
	if l.byName == nil {
		l.byName = make(map[string]*Item)
	}
	l.byName[it.PublicName] = it
	l.items = append(l.items, it)
}

func (l *list) join() {
	size := 0
	for _, it := range l.items {
		size += len(it.Definition) + 1
	}
	l.joined = make([]byte, 0, size)
	l.starts = make([]int, 0, len(l.items)+1)
	for _, it := range l.items {
		l.starts = append(l.starts, len(l.joined))
		l.joined = append(append(l.joined, it.Definition...), ',')
	}
	l.starts = append(l.starts, len(l.joined))
}

// Page returns up to limit definitions of a kind that come after a public name, joined by commas, and the public name of
// the last one if more follow. Since the list is ordered by that name, a page stays right while the catalog changes:
// what was there all the time is neither skipped nor seen twice.
func (s *Snapshot) Page(kind Kind, after string, limit int) (definitions []byte, last string) {
	l := &s.lists[kind]
	from := 0
	if after != "" {
		from = sort.Search(len(l.items), func(i int) bool { return l.items[i].PublicName > after })
	}
	to := from + min(limit, len(l.items)-from)
	if from >= to {
		return nil, ""
	}
	if to < len(l.items) {
		last = l.items[to-1].PublicName
	}
	end := l.starts[to] - 1
	return l.joined[l.starts[from]:end:end], last
}

// Instructions are what those servers that f accepts tell of their use. For all servers they are in the snapshot's features.
func (s *Snapshot) Instructions(f func(*Server) bool) string {
	out := ""
	for _, server := range s.servers {
		if server.State.Listing != nil && server.Programmed && f(server) {
			out = addInstructions(out, server)
		}
	}
	return out
}

// FindResource finds who owns a resource: by its exact URI, else by the first template, in order, that it fits.
func (s *Snapshot) FindResource(uri string) *Item {
	if it := s.lists[Resource].byName[uri]; it != nil {
		return it
	}
	for _, t := range s.lists[Template].templates {
		if t.match.MatchString(uri) {
			return t.item
		}
	}
	return nil
}

// OwnURI is the server's own URI for one that a client used.
func (s *Server) OwnURI(uri string) string {
	if !s.URIPrefix {
		return uri
	}
	return strings.TrimPrefix(uri, uriPrefix(s.Name))
}
