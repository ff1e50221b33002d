package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// listPage is the items of a kind.
type listPage struct {
	frame
	paging
	counted

	Kind            itemKind
	Query           query
	Orders          []order // none where nothing is counted
	Entries         []row
	Servers         []string
	VirtualServers  []string
	Filtered, Empty bool
}

// row is an item in a list.
type row struct {
	entry

	Link  string
	Short string
	Badges
	Counts ToolCalls
}

// Badges are what annotations say of a tool that is worth a color.
type Badges struct{ ReadOnly, Destructive bool }

// maxShort is how much of a description a list shows.
const maxShort = 160

func (s *site) list(w http.ResponseWriter, r *http.Request) {
	kind, ok := kindAt(r.PathValue("kind"))
	if !ok {
		s.missing(w, "There are tools, prompts, resources and templates.")
		return
	}
	page := listPage{frame: s.frame(kind.Title, kind.Path), Kind: kind, Query: readQuery(r.URL.Query())}
	page.Filtered = page.Query.Text+page.Query.Server+page.Query.Virtual != ""
	snap := s.Snapshot()
	if snap == nil {
		snap = catalog.Build(catalog.Input{})
	}
	for _, server := range snap.Servers() {
		page.Servers = append(page.Servers, server.Name)
	}
	for _, view := range snap.VirtualServers() {
		page.VirtualServers = append(page.VirtualServers, view.Name())
	}
	view := snap.VirtualServer(page.Query.Virtual)
	entries := s.index.of(snap, kind.kind)
	if page.Query.Virtual != "" && view == nil {
		entries = nil
	}
	matching := search(entries, page.Query, view)
	if kind.kind == catalog.Tool {
		page.counted = s.counted()
		page.Orders, matching = page.Known.orders(), busiest(matching, page.Query.Order)
	}
	found, paging := part(matching, page.Query.Page, func(n int) string { return page.Query.link("/items/"+kind.Path, n) })
	page.paging, page.Empty = paging, len(entries) == 0
	for _, e := range found {
		page.Entries = append(page.Entries, newRow(kind, e))
	}
	s.render(w, http.StatusOK, "list", page)
}

func newRow(kind itemKind, e entry) row {
	return row{entry: e, Link: itemLink(kind, e.PublicName), Short: short(e.Description), Badges: badges(e.Item), Counts: callsOf(e.Item)}
}

// itemLink has the name in its query, since URIs of resources have slashes and dots that a path would be cleaned of.
func itemLink(kind itemKind, name string) string {
	return "/item/" + kind.Path + "?" + url.Values{"name": {name}}.Encode()
}

// badges are about what a server says itself: by default every tool may destroy something.
func badges(it *catalog.Item) Badges {
	said := member(member(it.Definition, "annotations"), "destructiveHint")
	return Badges{ReadOnly: strings.Contains(it.Hints, "readOnly=true"), Destructive: string(said) == "true"}
}

func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxShort {
		return string(runes[:maxShort]) + "…"
	}
	return text
}

func readQuery(v url.Values) query {
	q := query{Text: strings.TrimSpace(v.Get("q")), Server: v.Get("server"), Virtual: v.Get("virtual"), Order: v.Get("order")}
	q.Page, _ = strconv.Atoi(v.Get("page")) // what is no number is the first page
	return q
}

func (q query) link(path string, page int) string {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("q", q.Text)
	set("server", q.Server)
	set("virtual", q.Virtual)
	set("order", q.Order)
	if page > 1 {
		v.Set("page", strconv.Itoa(page))
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// itemPage is one item.
type itemPage struct {
	frame
	entry
	counted

	Kind         itemKind
	Counts       ToolCalls
	Fields       []field
	Free         bool // what the fields do not say
	OutputFields []field
	Hints        []hint
	Hash         string // of a tool's definition
	Definition   string
	Virtual      []string // virtual servers that have it
	Endpoint     string
	Issuers      []string
	Client       string // id with which to log in
	Rules        itemAccess
}

// hint is what annotations say, the specification's defaults included.
type hint struct {
	Name  string
	Value bool
}

func (s *site) item(w http.ResponseWriter, r *http.Request) {
	kind, ok := kindAt(r.PathValue("kind"))
	snap := s.Snapshot()
	name := r.URL.Query().Get("name")
	var it *catalog.Item
	if ok && snap != nil {
		it = snap.Find(kind.kind, name)
	}
	if it == nil {
		s.missing(w, `There is nothing of the name "`+name+`". Servers come and go: search for it, or look at the overview for what fails.`)
		return
	}
	page := itemPage{
		frame: s.frame(name, kind.Path), entry: newEntry(it), Kind: kind, Definition: pretty(it.Definition),
		Endpoint: s.Endpoint, Issuers: s.Issuers(), Client: s.ConsoleClient, Hints: hintsOf(it.Hints),
	}
	if kind.kind == catalog.Tool {
		page.Hash, page.Counts, page.counted = it.Digest.String(), callsOf(it), s.counted()
	}
	page.Fields, page.Free = inputs(kind.kind, it)
	page.OutputFields, _ = schemaFields(member(it.Definition, "outputSchema"))
	for _, view := range snap.VirtualServers() {
		if view.Find(kind.kind, name) != nil {
			page.Virtual = append(page.Virtual, view.Name())
		}
	}
	page.Rules = s.explain(it, r.URL.Query())
	s.render(w, http.StatusOK, "item", page)
}

func hintsOf(hints string) []hint {
	var out []hint
	for _, one := range strings.Split(hints, ",") {
		if name, value, ok := strings.Cut(one, "="); ok {
			out = append(out, hint{name, value == "true"})
		}
	}
	return out
}

// pretty is JSON for people. Numbers and the order of members stay as they are.
func pretty(raw json.RawMessage) string {
	var out bytes.Buffer
	if len(raw) == 0 || json.Indent(&out, raw, "", "  ") != nil {
		return string(raw)
	}
	return out.String()
}
