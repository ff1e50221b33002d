package broker

import (
	"encoding/json"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// initialize starts a session. Its revision is the client's where the gateway speaks it, else the newest.
func (b *Broker) initialize(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, access Access) {
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
	s, ok := b.opts.Sessions.Create(session.SubjectOf(r.Header.Get("Authorization")), revision, params)
	if !ok {
		b.fail(w, &jsonrpc.Error{
			Code: jsonrpc.CodeInternalError, Status: http.StatusServiceUnavailable, ID: m.ID.Of(m.Body),
			Message: "too many sessions are open; try again later",
		})
		return
	}
	result, err := json.Marshal(b.welcome(revision, access))
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
}

type initializeResult struct {
	ProtocolVersion string       `json:"protocolVersion"`
	Capabilities    capabilities `json:"capabilities"`
	ServerInfo      struct {
		Name    string `json:"name"`
		Title   string `json:"title"`
		Version string `json:"version"`
	} `json:"serverInfo"`
	Instructions string `json:"instructions,omitempty"`
}

// welcome is the result of initialize: the truth about what the servers behind can do. What they tell of their use is for those who may use
// them; the capabilities are the same for all, since a caller's rights may change during a session.
func (b *Broker) welcome(revision string, access Access) initializeResult {
	snap := b.opts.Snapshot()
	f := snap.Features()
	res := initializeResult{ProtocolVersion: revision}
	if f.Instructions != "" {
		res.Instructions = snap.Instructions(reaches(snap, access))
	}
	res.ServerInfo.Name, res.ServerInfo.Title, res.ServerInfo.Version = "mcp-gateway", "MCP Gateway", b.opts.Version
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

// SnapshotChanged tells clients which lists are different now.
func (b *Broker) SnapshotChanged(old, now *catalog.Snapshot) {
	if old == nil {
		return
	}
	changed := func(kinds ...catalog.Kind) bool {
		for _, k := range kinds {
			if old.Sum(k) != now.Sum(k) {
				return true
			}
		}
		return false
	}
	if changed(catalog.Tool) {
		b.broadcast("notifications/tools/list_changed")
	}
	if changed(catalog.Prompt) {
		b.broadcast("notifications/prompts/list_changed")
	}
	if changed(catalog.Resource, catalog.Template) {
		b.broadcast("notifications/resources/list_changed")
	}
}
