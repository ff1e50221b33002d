package broker

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/credential"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// refusedStatus is the status with which a server refused a caller's credential.
type refusedStatus int

func (s refusedStatus) Error() string {
	return fmt.Sprintf("did not accept the caller's credential (HTTP status %d)", int(s))
}

// openError is why a session could not be opened.
type openError struct{ err error }

func (e openError) Error() string { return "opened no session: " + e.err.Error() }
func (e openError) Unwrap() error { return e.err }

// refusal is the status with which a server refused its caller, 0 for any other trouble.
func refusal(server *catalog.Server, err error) int {
	var (
		refused refusedStatus
		status  *upstream.StatusError
	)
	switch {
	case errors.As(err, &refused):
		return int(refused)
	case server.PerCaller && errors.As(err, &status) && refusesCaller(status.Status):
		return status.Status
	}
	return 0
}

// lacksCredential tells whether a call failed because its caller has given no credential, or one that the server does not accept.
func lacksCredential(server *catalog.Server, err error) bool {
	return server.PerUser && (errors.Is(err, credential.ErrNotGiven) || refusal(server, err) != 0)
}

// bridgeFault is the error of a call between the eras that has no answer.
func bridgeFault(server *catalog.Server, id []byte, err error) *jsonrpc.Error {
	if status := refusal(server, err); status != 0 {
		return notAccepted(id, server.Name, status)
	}
	switch {
	case errors.Is(err, errCrowded):
		return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusServiceUnavailable, ID: id, Message: errCrowded.Error()}
	case errors.Is(err, errGone):
		return badGateway(id, http.StatusServiceUnavailable, server.Name, errGone.Error())
	case errors.Is(err, upstream.ErrSessionUnknown):
		return badGateway(id, http.StatusBadGateway, server.Name, "does not know the session that it has just opened")
	case errors.As(err, new(upstreamFault)):
		return badGateway(id, http.StatusBadGateway, server.Name, err.Error())
	}
	if fault := tokenFault(id, server, err); fault != nil {
		return fault
	}
	if errors.As(err, new(openError)) {
		return badGateway(id, http.StatusBadGateway, server.Name, err.Error())
	}
	return badGateway(id, http.StatusServiceUnavailable, server.Name, "could not be reached: "+err.Error())
}
