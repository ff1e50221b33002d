package catalog

import (
	"regexp"
	"slices"
	"sort"
	"strings"
)

// list is the items of one kind, ordered by public name, with the definitions joined for pages.
type list struct {
	items     []*Item
	byName    map[string]*Item
	templates []template
	joined    [eras]joined
	sum       [32]byte
}

// joined are definitions with commas between.
type joined struct {
	text   []byte
	starts []int // where each definition starts in text, and one past the end
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

// join joins the definitions for clients of both eras, which most often are the same ones. From then on the items' own are parts of that: a definition
// that got its public name is there once.
func (l *list) join() {
	l.joined[Modern] = join(l.items, Modern)
	l.joined[Legacy] = l.joined[Modern]
	if slices.ContainsFunc(l.items, func(it *Item) bool { return it.legacy != nil }) {
		l.joined[Legacy] = join(l.items, Legacy)
	}
	for i, it := range l.items {
		it.Definition = l.joined[Modern].definitions(i, i+1)
		if it.legacy != nil {
			it.legacy = l.joined[Legacy].definitions(i, i+1)
		}
	}
}

func join(items []*Item, era Era) joined {
	size := 0
	for _, it := range items {
		size += len(it.DefinitionFor(era)) + 1
	}
	j := joined{text: make([]byte, 0, size), starts: make([]int, 0, len(items)+1)}
	for _, it := range items {
		j.starts = append(j.starts, len(j.text))
		j.text = append(append(j.text, it.DefinitionFor(era)...), ',')
	}
	j.starts = append(j.starts, len(j.text))
	return j
}

// after is the place of the first item that comes after a public name.
func (l *list) after(publicName string) int {
	if publicName == "" {
		return 0
	}
	return sort.Search(len(l.items), func(i int) bool { return l.items[i].PublicName > publicName })
}

// definitions are those of a part of the list that is not empty. Who appends to them writes into nothing that others read.
func (j *joined) definitions(from, to int) []byte {
	end := j.starts[to] - 1
	return j.text[j.starts[from]:end:end]
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
