package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/credential"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about servers for which each user has to give the gateway a credential first.

// Elicitation is a page that a user has to open.
type Elicitation struct{ ID, URL, Message string }

// Elicit begins to ask a caller for a credential. The session is nil for a client that has none. The error is for those who operate the gateway.
type Elicit func(ctx context.Context, s *session.Session, authorization config.Secret, server string) (Elicitation, error)

// lacking is the error of a call that failed because its caller has given no credential, or one that the server does not accept; nil if err is
// about something else. Whoever made the call finds in it how to go on.
func (b *Broker) lacking(ctx context.Context, c caller, server *catalog.Server, id []byte, err error) *jsonrpc.Error {
	if !lacks(server, err) {
		return nil
	}
	return b.elicit(ctx, c, server, id)
}

func lacks(server *catalog.Server, err error) bool {
	return server.PerUser && errors.Is(err, credential.ErrNotGiven)
}

func (b *Broker) elicit(ctx context.Context, c caller, server *catalog.Server, id []byte) *jsonrpc.Error {
	e, fault := b.ask(ctx, c.Session, c.authorization, server, id)
	if fault != nil {
		return fault
	}
	return elicited(c.Session, id, e)
}

// ask begins to ask a caller for a credential.
func (b *Broker) ask(ctx context.Context, s *session.Session, authorization config.Secret, server *catalog.Server, id []byte) (Elicitation, *jsonrpc.Error) {
	e, err := Elicitation{}, errors.New("the gateway has no pages for that")
	if b.opts.Elicit != nil {
		e, err = b.opts.Elicit(ctx, s, authorization, server.Name)
	}
	if err != nil {
		b.opts.Logger.WarnContext(ctx, "cannot ask a user for a credential", "server", server.Name, "error", err)
		return e, badGateway(id, http.StatusServiceUnavailable, server.Name, "needs a credential of each user's own, for which the gateway cannot ask now")
	}
	return e, nil
}

// elicited says in the way of the session's revision that the user has to open a page.
func elicited(s *session.Session, id []byte, e Elicitation) *jsonrpc.Error {
	if !opensURLs(s) {
		// Such a client knows no better than to show the text to its user.
		return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusOK, ID: id, Message: e.Message + " The page is " + e.URL}
	}
	type elicitation struct {
		Mode    string `json:"mode"`
		ID      string `json:"elicitationId"`
		URL     string `json:"url"`
		Message string `json:"message"`
	}
	fault := &jsonrpc.Error{Code: jsonrpc.CodeElicitationNeeded, Status: http.StatusOK, ID: id, Message: e.Message}
	fault.Data, _ = json.Marshal(map[string]any{"elicitations": []elicitation{{Mode: "url", ID: e.ID, URL: e.URL, Message: e.Message}}}) // strings can be written
	return fault
}

// opensURLs tells whether the client has said that it can have its user open one.
func opensURLs(s *session.Session) bool {
	if s.Revision() != wire.Revision20251125 {
		return false
	}
	var init struct {
		Capabilities struct {
			Elicitation struct {
				URL *struct{} `json:"url"`
			} `json:"elicitation"`
		} `json:"capabilities"`
	}
	return json.Unmarshal(s.InitParams(), &init) == nil && init.Capabilities.Elicitation.URL != nil
}

// Elicited tells the client of a session, if it listens, that its user has done what an elicitation asked for.
func (b *Broker) Elicited(s *session.Session, elicitationID string) {
	b.mu.Lock()
	h := b.hubs[s]
	b.mu.Unlock()
	if h == nil || !opensURLs(s) {
		return
	}
	data := jsonrpc.AppendQuote([]byte(`{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":`), elicitationID)
	h.send(sse.AppendEvent(nil, sse.Event{Name: "message", HasData: true, Data: append(data, "}}"...)}))
}

// CredentialChanged forgets what was opened at a server with a credential of a caller's that is another now, or is gone. The server is not told:
// nothing is sent with the old one any more.
func (b *Broker) CredentialChanged(subject session.Subject, server string) {
	defer b.dropPooled(subject, server)
	b.changes.Add(1) // before anything is dropped: what is being opened meanwhile sees it
	b.opts.Sessions.All(func(s *session.Session) bool {
		if s.Subject() != subject {
			return true
		}
		if be, ok := s.BackendNow(server); ok {
			b.drop(s, server, be)
		}
		return true
	})
}

// drop forgets a backend session and stops reading its stream.
func (b *Broker) drop(s *session.Session, server string, be session.Backend) {
	s.DropBackend(server, be.ID)
	b.unfollow(s, server, be.ID)
}

func (b *Broker) unfollow(s *session.Session, server, id string) {
	b.mu.Lock()
	h := b.hubs[s]
	b.mu.Unlock()
	if h != nil {
		h.unfollow(server, id)
	}
}

func (h *hub) unfollow(server, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.followed[server]; f != nil && f.id == id {
		f.cancel()
	}
}

// refusedCaller is the error of a call whose server does not accept its caller: by asking for another credential, where users give one.
func (b *Broker) refusedCaller(ctx context.Context, c caller, server *catalog.Server, id []byte, status int) *jsonrpc.Error {
	if server.PerUser {
		return b.elicit(ctx, c, server, id)
	}
	return notAccepted(id, server.Name, status)
}

// notGiven is the error of what only a call can ask a credential for.
func notGiven(id []byte, server string) *jsonrpc.Error {
	return &jsonrpc.Error{
		Code: http.StatusForbidden, Status: http.StatusForbidden, ID: id,
		Message: fmt.Sprintf("server %q needs a credential of this caller's own, which a call asks for", server),
	}
}
