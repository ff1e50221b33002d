package broker

import (
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/credential"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// caller is whom a request to a server is made for.
type caller struct {
	*session.Session

	authorization config.Secret
}

func callerOf(s *session.Session, authorization string) caller {
	return caller{Session: s, authorization: config.NewSecret(authorization)}
}

// key is what the caller's backend session with a server stands under.
func (c caller) key(server *catalog.Server) string {
	return c.BackendKey(server.Fingerprint, server.PerCaller, c.authorization.Reveal())
}

// lastTokens are the last Authorization headers of callers, for what is done for them beside their own requests: reading streams,
// notifications, the ends of sessions. Only servers that get a token of the caller's have any here.
type lastTokens struct {
	mu       sync.Mutex
	sessions map[*session.Session]map[string]lastToken // by server
}

type lastToken struct {
	key           string // of the backend session
	authorization config.Secret
}

// remember takes the token with which a server is called.
func (t *lastTokens) remember(c caller, server *catalog.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-c.Done(): // nobody would forget it
		return
	default:
	}
	if t.sessions == nil {
		t.sessions = map[*session.Session]map[string]lastToken{}
	}
	if t.sessions[c.Session] == nil {
		t.sessions[c.Session] = map[string]lastToken{}
	}
	t.sessions[c.Session][server.Name] = lastToken{key: c.key(server), authorization: c.authorization}
}

// renew takes the token that the one caller of a session has now.
func (t *lastTokens) renew(s *session.Session, authorization string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.sessions[s]
	if known == nil || s.Subject() == (session.Subject{}) {
		return
	}
	for server, last := range known {
		known[server] = lastToken{key: last.key, authorization: config.NewSecret(authorization)}
	}
}

func (t *lastTokens) of(s *session.Session, server string, be session.Backend) (config.Secret, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, ok := t.sessions[s][server]
	return last.authorization, ok && last.key == be.Fingerprint
}

func (t *lastTokens) forget(s *session.Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s)
}

// endpointFor is the client of a server for what is done for a caller beside its requests; nil if that cannot be done any more.
func (b *Broker) endpointFor(s *session.Session, server string, be session.Backend) *upstream.Endpoint {
	return forCaller(b.reached(server, fingerprintOf(be)), func() (config.Secret, bool) { return b.tokens.of(s, server, be) })
}

// forCaller is an endpoint for a caller whose token is asked for if it is needed; nil if there is none.
func forCaller(ep *upstream.Endpoint, token func() (config.Secret, bool)) *upstream.Endpoint {
	if ep == nil || !ep.PerCaller() {
		return ep
	}
	authorization, ok := token()
	if !ok {
		return nil
	}
	return ep.For(authorization)
}

// tokenFault is the error of a call for which there is no token; nil if err is about something else.
func tokenFault(id []byte, server *catalog.Server, err error) *jsonrpc.Error {
	var refused *credential.Error
	switch {
	case errors.Is(err, credential.ErrNotGiven):
		return notGiven(id, server.Name)
	case errors.Is(err, credential.ErrNoSubject):
		return &jsonrpc.Error{
			Code: http.StatusUnauthorized, Status: http.StatusUnauthorized, ID: id,
			Message: fmt.Sprintf("server %q is called in the name of each caller: a bearer token is needed", server.Name),
		}
	case !errors.As(err, &refused):
		return nil
	case server.PerCaller && refused.CallerRefused():
		return &jsonrpc.Error{
			Code: http.StatusForbidden, Status: http.StatusForbidden, ID: id,
			Message: fmt.Sprintf("server %q: this caller's token is not exchanged for one of that server; log in again, or ask for access to it (%s)", server.Name, refused.Code),
		}
	}
	return badGateway(id, http.StatusBadGateway, server.Name, "cannot be called now: "+refused.Error())
}

// notAccepted is the error of a call with a caller's token that the server does not accept, or not for this call.
func notAccepted(id []byte, server string, status int) *jsonrpc.Error {
	return &jsonrpc.Error{
		Code: http.StatusForbidden, Status: http.StatusForbidden, ID: id,
		Message: fmt.Sprintf("server %q did not accept this caller's token for the call (HTTP status %d)", server, status),
	}
}

// refusesCaller tells the statuses with which a server refuses who calls.
func refusesCaller(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden
}
