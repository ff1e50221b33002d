package answer

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/router"
)

// Judge tells what takes the place of a server's answer that is not watched, by its head alone: nil if the answer passes. It is what judge.lua of
// package xds does where no router sees the answer, word for word. The id is that of the request, nil if it has none.
func Judge(server string, id []byte, h Head) *router.Reply {
	kind, _, _ := strings.Cut(h.ContentType, ";")
	why := bad(h, strings.ToLower(strings.TrimSpace(kind)), id != nil)
	if h.Local || why == "" {
		return nil
	}
	return Failure(http.StatusBadGateway, &jsonrpc.Error{
		Code: jsonrpc.CodeInternalError, ID: id, Message: fmt.Sprintf("server '%s' %s (HTTP status %d)", server, why, h.Status),
	})
}

func bad(h Head, kind string, asked bool) string {
	switch {
	case h.Status >= 300 && h.Status < 400:
		return "answered with a redirect, which is not followed; its configured url should be the final one"
	case h.Status == http.StatusUnauthorized || h.Status == http.StatusForbidden || h.Status == http.StatusProxyAuthRequired:
		return "did not accept the gateway's own credential"
	case h.Status == http.StatusNotFound && h.Stateless && kind == "application/json":
		return "" // without sessions, it is a method that is unknown
	case h.Status == http.StatusNotFound || h.Status == http.StatusMethodNotAllowed:
		return "has nothing at its configured url"
	case h.Status == http.StatusAccepted || h.Status == http.StatusNoContent || h.End:
		if asked {
			return "took the request without an answer"
		}
	case kind != "application/json" && kind != "text/event-stream":
		return "answered with neither JSON nor an event stream"
	}
	return ""
}
