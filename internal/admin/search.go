package admin

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// perPage is how many items a page has.
const perPage = 50

// indexes keeps the index of the last snapshot that somebody looked at. Reading every definition takes a while, so it is done once for each.
type indexes struct {
	mu   sync.Mutex
	snap *catalog.Snapshot
	by   map[catalog.Kind][]entry
}

// entry is an item as it is searched.
type entry struct {
	*catalog.Item

	Title, Description string
	name, text         string // in lower case
}

func (x *indexes) of(snap *catalog.Snapshot, kind catalog.Kind) []entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.snap != snap {
		x.snap, x.by = snap, map[catalog.Kind][]entry{}
	}
	if _, ok := x.by[kind]; !ok {
		items := snap.Items(kind)
		entries := make([]entry, len(items))
		for i, it := range items {
			entries[i] = newEntry(it)
		}
		x.by[kind] = entries
	}
	return x.by[kind]
}

func newEntry(it *catalog.Item) entry {
	var said struct {
		Title       json.RawMessage `json:"title"`
		Description json.RawMessage `json:"description"`
	}
	_ = json.Unmarshal(it.Definition, &said) // what cannot be read is not shown
	e := entry{Item: it, Title: text(said.Title), Description: text(said.Description), name: strings.ToLower(it.PublicName)}
	e.text = strings.ToLower(strings.Join([]string{it.PublicName, it.Name, it.Server.Name, e.Title, e.Description}, "\n"))
	return e
}

// text is a JSON string, or empty for anything else that a server may have put there.
func text(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s)
	return s
}

// query is what somebody looks for.
type query struct {
	Text, Server, Virtual, Order string
	Page                         int
}

// search returns the entries that have all words, those first whose names do.
func search(entries []entry, q query, view *catalog.View) []entry {
	words := strings.Fields(strings.ToLower(q.Text))
	var ranks [4][]entry
	for _, e := range entries {
		if q.Server != "" && e.Server.Name != q.Server || view != nil && view.Find(e.Kind, e.PublicName) == nil || !hasAll(e.text, words) {
			continue
		}
		r := rank(e.name, strings.Join(words, " "), words)
		ranks[r] = append(ranks[r], e)
	}
	return slices.Concat(ranks[0], ranks[1], ranks[2], ranks[3])
}

func rank(name, whole string, words []string) int {
	switch {
	case name == whole:
		return 0
	case len(words) > 0 && strings.HasPrefix(name, words[0]) && hasAll(name, words):
		return 1
	case hasAll(name, words):
		return 2
	}
	return 3
}

func hasAll(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// paging is where a page stands among others. Pages count from 1.
type paging struct {
	Page, Pages, Total, From, To int
	Previous, Next               string // links
}

// part is a page of a list, the last one where there are not so many.
func part[T any](all []T, page int, link func(page int) string) ([]T, paging) {
	p := paging{Total: len(all), Pages: max((len(all)+perPage-1)/perPage, 1)}
	p.Page = min(max(page, 1), p.Pages)
	start := (p.Page - 1) * perPage
	end := min(start+perPage, len(all))
	p.From, p.To = min(start+1, len(all)), end
	if p.Page > 1 {
		p.Previous = link(p.Page - 1)
	}
	if p.Page < p.Pages {
		p.Next = link(p.Page + 1)
	}
	return all[start:end], p
}
