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

// after is the place of the first item that comes after a public name.
func (l *list) after(publicName string) int {
	if publicName == "" {
		return 0
	}
	return sort.Search(len(l.items), func(i int) bool { return l.items[i].PublicName > publicName })
}

// definitions are those of a part of the list that is not empty. Who appends to them writes into nothing that others read.
func (l *list) definitions(from, to int) []byte {
	end := l.starts[to] - 1
	return l.joined[l.starts[from]:end:end]
}

// OwnURI is the server's own URI for one that a client used.
func (s *Server) OwnURI(uri string) string {
	if !s.URIPrefix {
		return uri
	}
	return strings.TrimPrefix(uri, uriPrefix(s.Name))
}

// PublicURI is the URI under which clients know one of the server's own.
func (s *Server) PublicURI(own string) string {
	if !s.URIPrefix {
		return own
	}
	return uriPrefix(s.Name) + own
}
