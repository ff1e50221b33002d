package broker

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about asking for a credential where there are no sessions: by a result that asks for input. The client calls again when it has it.

// consentKey names the gateway's own request for input among those of a result.
const consentKey = "mcp-gateway/credential"

// elicitModern asks the caller for a credential.
func (b *Broker) elicitModern(ctx context.Context, m *jsonrpc.Message, server *catalog.Server, authorization config.Secret) *ownAnswer {
	id := m.ID.Of(m.Body)
	e, fault := b.ask(ctx, nil, authorization, server, id)
	if fault != nil {
		return &ownAnswer{fault: fault}
	}
	switch m.MethodName() {
	case "tools/call", "prompts/get", "resources/read":
	default: // nothing else may ask for input
		return &ownAnswer{fault: &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusOK, ID: id, Message: e.Message + " The page is " + e.URL}}
	}
	if !takesURLs(m) {
		return &ownAnswer{fault: &jsonrpc.Error{
			Code: jsonrpc.CodeMissingCapability, Status: http.StatusBadRequest, ID: id, Message: e.Message + " The page is " + e.URL,
			Data: []byte(`{"requiredCapabilities":{"elicitation":{"url":{}}}}`),
		}}
	}
	type params struct {
		Mode    string `json:"mode"`
		URL     string `json:"url"`
		Message string `json:"message"`
	}
	result, _ := json.Marshal(map[string]any{ // strings can be written
		"resultType": "input_required",
		"inputRequests": map[string]any{consentKey: map[string]any{
			"method": "elicitation/create", "params": params{Mode: "url", URL: e.URL, Message: e.Message},
		}},
	})
	return &ownAnswer{result: result}
}

// takesURLs tells whether the client of a request has said that it can have its user open a page.
func takesURLs(m *jsonrpc.Message) bool {
	span, err := m.Lookup("_meta", wire.MetaClientCapabilities, "elicitation", "url")
	return err == nil && span.Present() && m.Body[span.Start] == '{'
}

// withoutConsent is a message as the server may see it: what the gateway has asked for itself is no concern of the server's. A user who would not
// give a credential is not asked again.
func withoutConsent(m *jsonrpc.Message) ([]byte, *jsonrpc.Error) {
	answer, err := m.Lookup("inputResponses", consentKey)
	if err != nil || !answer.Present() {
		return m.Body, nil //nolint:nilerr // what is there twice is not the gateway's own
	}
	action, _ := jsonrpc.Lookup(m.Body, answer, "action") // whatever is no acceptance is a refusal
	if text, err := jsonrpc.Unquote(action.Of(m.Body)); err != nil || text != "accept" {
		return nil, &jsonrpc.Error{
			Code: jsonrpc.CodeInternalError, Status: http.StatusOK, ID: m.ID.Of(m.Body),
			Message: "the server needs a credential of the user's own, which the user did not want to give",
		}
	}
	body, err := jsonrpc.Splice(m.Body, jsonrpc.Edit{Span: m.Param("inputResponses"), New: []byte("{}")})
	if err != nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusInternalServerError, ID: m.ID.Of(m.Body), Message: err.Error()}
	}
	return body, nil
}
