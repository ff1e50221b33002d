package answer

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/router"
)

// maxReplay is the largest answer of a repeated call, in bytes. Envoy takes it in one piece.
const maxReplay = 16 << 20

// Repeated is the reply to a client whose call was made again. It reads the response and closes it.
func Repeated(c *router.Call, resp *http.Response, err error) *router.Reply {
	bad := func(what string) *router.Reply { return Failure(http.StatusBadGateway, fault(c, what)) }
	if err != nil {
		var refusal *jsonrpc.Error
		if errors.As(err, &refusal) && refusal.Status != 0 {
			return Failure(refusal.Status, refusal)
		}
		return bad("has forgotten its session, and no new one could be opened: " + err.Error())
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReplay+1))
	if err != nil {
		return bad("broke off the answer to the repeated call: " + err.Error())
	}
	if len(body) > maxReplay {
		return bad(fmt.Sprintf("gave more than %d bytes of answer to a call that had to be repeated; call again", maxReplay))
	}
	return &router.Reply{Status: resp.StatusCode, Headers: []router.Header{{Name: "content-type", Value: resp.Header.Get("Content-Type")}}, Body: body}
}

// Forgotten is the reply to a client whose call could not be made again.
func Forgotten(c *router.Call) *router.Reply {
	return Failure(http.StatusBadGateway, fault(c, forgot))
}

// Failure is an error as a reply.
func Failure(status int, e *jsonrpc.Error) *router.Reply {
	return &router.Reply{Status: status, Headers: []router.Header{{Name: "content-type", Value: "application/json"}}, Body: e.AppendResponse(nil)}
}
