package catalog

import "strings"

// This file finds the server of a resource that none of them lists. Servers need not list what their results link to (MCP 2025-11-25, "Tools", Resource
// Links), and a client may read it all the same.

// unlisted is who has such resources.
type unlisted struct {
	bySite map[string]*Item // of the server that alone lists resources of a site; nil where several do
	only   *Item            // of the server that alone has resources; nil where several have
	owners map[string]*Item // of servers whose URIs bear a prefix, by that
}

// site is the scheme of a URI with its authority, as far as it has one: what one server's resources have in common.
func site(uri string) string {
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok {
		return ""
	}
	if rest, ok = strings.CutPrefix(rest, "//"); !ok {
		return scheme
	}
	if end := strings.IndexAny(rest, "/?#{"); end >= 0 {
		if rest[end] == '{' { // of a template: the rest of the authority is not known
			return ""
		}
		rest = rest[:end]
	}
	return scheme + "://" + rest
}

func (s *Server) hasResources() bool {
	l := s.State.Listing
	return l != nil && s.Programmed && (s.Offers("resources") || len(l.Items[Resource])+len(l.Items[Template]) > 0)
}

// findSites notes who has resources, once the lists are whole.
func (b *builder) findSites() {
	u := &b.snap.unlisted
	u.bySite, u.owners = map[string]*Item{}, map[string]*Item{}
	items := map[*Server]*Item{}
	for _, s := range b.snap.servers {
		if !s.hasResources() {
			continue
		}
		it := &Item{Kind: Template, Server: s, Timeout: s.Timeout}
		if s.URIPrefix {
			u.owners[uriPrefix(s.Name)] = it
			continue
		}
		items[s], u.only = it, it
	}
	if len(items) > 1 {
		u.only = nil
	}
	for _, kind := range []Kind{Resource, Template} {
		for _, it := range b.snap.lists[kind].items {
			mine := items[it.Server]
			at := site(it.Name)
			if mine == nil || at == "" {
				continue
			}
			if other, ok := u.bySite[at]; ok && other != mine {
				mine = nil
			}
			u.bySite[at] = mine
		}
	}
}

// find is an item that stands for a resource that is not listed; nil if it cannot be told whose it is.
func (u *unlisted) find(uri string) *Item {
	if strings.HasPrefix(uri, uriPrefixStart) {
		for prefix, it := range u.owners {
			if strings.HasPrefix(uri, prefix) {
				return it
			}
		}
		return nil
	}
	at := site(uri)
	if at == "" {
		return nil
	}
	if it, ok := u.bySite[at]; ok {
		return it
	}
	return u.only
}
