package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

const (
	methodInitialize  = "initialize"
	methodInitialized = "notifications/initialized"
	// deleteTimeout bounds the end of a session, which nobody waits for.
	deleteTimeout = 5 * time.Second
	// maxSessionID is the longest session id that is put up with.
	maxSessionID = 4096
)

// Opened is a session and what the server said when it opened.
type Opened struct {
	Session
	// Result is that of initialize, as the server wrote it.
	Result json.RawMessage
}

// Open opens a session: it sends initialize with the params as they are, and then notifications/initialized. The server
// must choose a session-based revision. What it opened and cannot be used is closed again.
func (e *Endpoint) Open(ctx context.Context, params json.RawMessage) (Opened, error) {
	x := e.exchange(Session{}, methodInitialize)
	if err := x.do(ctx, params); err != nil {
		return Opened{}, err
	}
	o := Opened{Session: Session{ID: x.header.Get(wire.HeaderSessionID)}, Result: x.result}
	if len(o.ID) > maxSessionID || strings.ContainsFunc(o.ID, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		return Opened{}, x.broken("gave a session id that is longer than %d bytes or not visible ASCII", maxSessionID)
	}
	revision, err := textOf(o.Result, "protocolVersion")
	o.Revision = revision
	switch {
	case err != nil:
		err = x.broken("its result: %w", err)
	case revision == "":
		err = x.broken("its result has no %q", "protocolVersion")
	case !wire.IsSessionRevision(revision):
		err = x.broken("the server wants protocol revision %q; the gateway speaks %s", brief(revision, maxSnippet), strings.Join(wire.SessionRevisions(), ", "))
		o.Revision = ""
	default:
		err = e.Notify(ctx, o.Session, methodInitialized, nil)
	}
	if err != nil {
		e.abandon(ctx, o.Session)
		return Opened{}, err
	}
	return o, nil
}

// abandon ends a session that is of no use, even if the context is over.
func (e *Endpoint) abandon(ctx context.Context, s Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
	defer cancel()
	_ = e.Delete(ctx, s) // the error that led here says more
}

// memberOf is a member of an object as it is written; nil if it is not there.
func memberOf(object json.RawMessage, path ...string) (json.RawMessage, error) {
	span, err := jsonrpc.Lookup(object, jsonrpc.Span{End: len(object)}, path...)
	var fault *jsonrpc.Error
	if errors.As(err, &fault) {
		// It is not a request that is invalid here, and no answer to anybody.
		err = errors.New(strings.TrimPrefix(fault.Message, "invalid request: "))
	}
	return span.Of(object), err
}

// textOf is a member of an object that is a string; empty if it is not there.
func textOf(object json.RawMessage, member string) (string, error) {
	value, err := memberOf(object, member)
	if err != nil || value == nil {
		return "", err
	}
	text, err := jsonrpc.Unquote(value)
	if err != nil {
		return "", fmt.Errorf("%q: %w", member, err)
	}
	return text, nil
}
