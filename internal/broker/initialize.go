package broker

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// initialize starts a session. Its revision is the client's where the gateway speaks it, else the newest.
func (b *Broker) initialize(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, access Access, view *catalog.View) {
	span := m.Param("protocolVersion")
	requested, err := jsonrpc.Unquote(span.Of(m.Body))
	if err != nil {
		b.fail(w, badParams(m, "params.protocolVersion must be a string"))
		return
	}
	revision := requested
	if !wire.IsSessionRevision(requested) {
		revision = wire.LatestSession
	}
	params, err := b.backendParams(m, revision)
	if err != nil {
		b.fail(w, badParams(m, err.Error()))
		return
	}
	s, err := b.opts.Sessions.Create(r.Context(), session.Start{
		Subject: session.SubjectOf(r.Header.Get("Authorization")), VirtualServer: view.Name(), Revision: revision, InitParams: params,
	})
	if err != nil {
		b.fail(w, sessionFault(m.ID.Of(m.Body), err))
		return
	}
	result, err := json.Marshal(b.welcome(revision, access, view))
	if err != nil {
		b.fail(w, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusInternalServerError, ID: m.ID.Of(m.Body), Message: err.Error()})
		return
	}
	w.Header().Set("Mcp-Session-Id", s.Token())
	b.result(w, m, result)
}

// backendParams are the params with which sessions at servers are opened: the client's own, in the negotiated revision.
func (b *Broker) backendParams(m *jsonrpc.Message, revision string) (json.RawMessage, error) {
	params := append(json.RawMessage(nil), m.Params.Of(m.Body)...)
	span, err := jsonrpc.Lookup(params, jsonrpc.Span{Start: 0, End: len(params)}, "protocolVersion")
	if err != nil {
		return nil, err
	}
	return jsonrpc.Splice(params, jsonrpc.Edit{Span: span, New: jsonrpc.AppendQuote(nil, revision)})
}

type listChanged struct {
	ListChanged bool `json:"listChanged"`
	Subscribe   bool `json:"subscribe,omitempty"`
}

type capabilities struct {
	Tools       listChanged  `json:"tools"`
	Prompts     *listChanged `json:"prompts,omitempty"`
	Resources   *listChanged `json:"resources,omitempty"`
	Completions *struct{}    `json:"completions,omitempty"`
	Logging     *struct{}    `json:"logging,omitempty"`
	// Extensions are those of the revisions without sessions.
	Extensions map[string]struct{} `json:"extensions,omitempty"`
}

type initializeResult struct {
	ProtocolVersion string       `json:"protocolVersion"`
	Capabilities    capabilities `json:"capabilities"`
	ServerInfo      info         `json:"serverInfo"`
	Instructions    string       `json:"instructions,omitempty"`
}

type info struct {
	Name        string `json:"name"`
	Title       string `json:"title"`
	Version     string `json:"version"`
	Description string `json:"description,omitempty"`
}

// info is what an endpoint says of itself.
func (b *Broker) info(view *catalog.View, revision string) info {
	i := info{Name: "mcp-gateway", Title: "MCP Gateway", Version: b.opts.Version}
	if name := view.Name(); name != "" {
		i.Name, i.Title = name, "MCP Gateway: "+name
	}
	if revision >= wire.Revision20251125 { // those before have no place for it
		i.Description = view.Description()
	}
	return i
}

// welcome is the result of initialize: the truth about what the servers behind can do. What they tell of their use is for those who may use
// them; the capabilities are the same for all, since a caller's rights may change during a session.
func (b *Broker) welcome(revision string, access Access, view *catalog.View) initializeResult {
	f := view.Features()
	res := initializeResult{ProtocolVersion: revision, Instructions: f.Instructions, ServerInfo: b.info(view, revision)}
	if _, all := access.(everything); !all && f.Instructions != "" {
		res.Instructions = view.Instructions(reaches(view, access))
	}
	if description := view.Description(); description != "" {
		res.Instructions = strings.TrimSpace(description + "\n\n" + res.Instructions)
	}
	res.Capabilities.Tools.ListChanged = true
	if f.Prompts {
		res.Capabilities.Prompts = &listChanged{ListChanged: true}
	}
	if f.Resources {
		res.Capabilities.Resources = &listChanged{ListChanged: true, Subscribe: f.Subscribe}
	}
	if f.Completions {
		res.Capabilities.Completions = &struct{}{}
	}
	if f.Logging {
		res.Capabilities.Logging = &struct{}{}
	}
	return res
}
