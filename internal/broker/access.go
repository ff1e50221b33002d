package broker

import (
	"errors"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Access is what one caller may have, for the time of one request. It is asked for every item of a list: it must be quick.
type Access interface {
	Allows(r policy.Request) bool
}

// everything is the access of all callers where there are no policies.
type everything struct{}

// Allows implements Access.
func (everything) Allows(policy.Request) bool { return true }

// access reads what the caller of a request may have. It is read anew for each request, never kept with a session, so that rights that change
// are in force at the next one. A caller that cannot be known gets an answer here: unknown means no (Invariant 5).
func (b *Broker) access(w http.ResponseWriter, r *http.Request, id []byte) (Access, bool) {
	if b.opts.Access == nil {
		return everything{}, true
	}
	access, err := b.opts.Access(r)
	if err == nil {
		return access, true
	}
	if refusal := (*jsonrpc.Error)(nil); errors.As(err, &refusal) {
		refusal.ID = id
		b.fail(w, refusal)
		return nil, false
	}
	// What is wrong with a token is told to those who operate the gateway, not to whoever tries tokens on it.
	b.opts.Logger.DebugContext(r.Context(), "refused a caller whose rights cannot be known", "error", err)
	w.Header().Set(wire.HeaderRefusedBy, wire.BrokerServer)
	b.challenge(w, r, &jsonrpc.Error{
		Code: http.StatusUnauthorized, Status: http.StatusUnauthorized, ID: id, Message: "the access token is not accepted",
	})
	return nil, false
}

// challenge refuses a caller and says what would help.
func (b *Broker) challenge(w http.ResponseWriter, r *http.Request, e *jsonrpc.Error) {
	if challenge := b.challengeFor(r, e); challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	b.fail(w, e)
}

// requestOf is what a use of an item is in the words of policies.
func requestOf(it *catalog.Item) policy.Request {
	r := policy.Request{Server: it.Server.Name, Name: it.Name, PublicName: it.PublicName, Hints: it.Hints}
	switch it.Kind {
	case catalog.Tool:
		r.Kind = policy.Tool
	case catalog.Prompt:
		r.Kind = policy.Prompt
	default:
		r.Kind = policy.Resource
	}
	return r
}

// carried is what a message that goes to a server asks for. The message has the server's own names, and it is the message that is judged: it
// is what the server acts on, whatever headers say.
func carried(snap *catalog.Snapshot, server *catalog.Server, m *jsonrpc.Message) policy.Request {
	text := func(span jsonrpc.Span) string {
		s, _ := jsonrpc.Unquote(span.Of(m.Body)) // what is no string names nothing
		return s
	}
	r := policy.Request{Server: server.Name}
	switch m.MethodName() {
	case "tools/call":
		r.Kind, r.Name = policy.Tool, text(m.Param("name"))
		r.PublicName = server.Prefix + r.Name
		if it := snap.Find(catalog.Tool, r.PublicName); it != nil && it.Server.Name == server.Name {
			r.Hints = it.Hints
		}
	case "prompts/get":
		r.Kind, r.Name = policy.Prompt, text(m.Param("name"))
		r.PublicName = server.Prefix + r.Name
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		r.Kind, r.Name = policy.Resource, text(m.Param("uri"))
	case "completion/complete":
		return completed(server, m, r, text)
	}
	return r
}

// completed is the prompt or the resource whose argument is to be completed.
func completed(server *catalog.Server, m *jsonrpc.Message, r policy.Request, text func(jsonrpc.Span) string) policy.Request {
	member := func(name string) string {
		span, err := m.Lookup("ref", name)
		if err != nil {
			return ""
		}
		return text(span)
	}
	if member("type") == "ref/prompt" {
		r.Kind, r.Name = policy.Prompt, member("name")
		r.PublicName = server.Prefix + r.Name
		return r
	}
	r.Kind, r.Name = policy.Resource, member("uri")
	return r
}

// forbidden is the refusal of an item. Envoy has refused it before, unless the rights have changed in between.
func forbidden(id []byte) *jsonrpc.Error {
	return &jsonrpc.Error{Code: http.StatusForbidden, Status: http.StatusForbidden, ID: id, Message: "this request is not allowed"}
}

// page returns up to limit definitions of the items that the caller may have and that come after a public name, joined by commas, and the
// name of the last one if more follow. What the caller may not have leaves no trace: pages are full, and a cursor names what the page shows.
func page(view *catalog.View, access Access, era catalog.Era, kind catalog.Kind, after string, limit int) (definitions []byte, last string) {
	if _, all := access.(everything); all {
		return view.Page(era, kind, after, limit)
	}
	shown, name := 0, ""
	for it := range view.After(kind, after) {
		if !access.Allows(requestOf(it)) {
			continue
		}
		if shown == limit {
			return definitions, name
		}
		if shown > 0 {
			definitions = append(definitions, ',')
		}
		definitions = append(definitions, it.DefinitionFor(era)...)
		shown, name = shown+1, it.PublicName
	}
	return definitions, ""
}

// reaches tells whether the caller may have anything of a server at the endpoint.
func reaches(view *catalog.View, access Access) func(*catalog.Server) bool {
	reached := map[*catalog.Server]bool{}
	for _, kind := range []catalog.Kind{catalog.Tool, catalog.Prompt, catalog.Resource, catalog.Template} {
		for it := range view.After(kind, "") {
			if !reached[it.Server] && access.Allows(requestOf(it)) {
				reached[it.Server] = true
			}
		}
	}
	return func(s *catalog.Server) bool { return reached[s] }
}
