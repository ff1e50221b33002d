package protectedresource

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Handler serves the metadata at the well-known path, and at that path with the endpoint's path behind it.
func Handler(m Metadata, public *url.URL) http.Handler {
	h := &handler{metadata: m}
	if m.relative != "" && isLoopback(public.Hostname()) {
		h.public = public
	}
	return h
}

type handler struct {
	metadata Metadata
	public   *url.URL // set if a loopback host that the client used may stand in for its host
}

const methods = "GET, HEAD, OPTIONS"

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != wire.PathProtectedResource && r.URL.Path != wire.PathProtectedResource+wire.PathMCP {
		refuse(w, http.StatusNotFound, "there is no protected resource of this path; the gateway's is "+wire.PathMCP)
		return
	}
	// The document is public. An Envoy in front that allows an origin of its own replaces this.
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Vary", "Origin") // because that Envoy names the one that asked
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		h.serve(w, r)
	case http.MethodOptions:
		w.Header().Set("Allow", methods)
		w.Header().Set("Access-Control-Allow-Methods", methods)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept, MCP-Protocol-Version")
		w.Header().Set("Access-Control-Max-Age", "7200")
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", methods)
		refuse(w, http.StatusMethodNotAllowed, "the metadata can only be read")
	}
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	m := h.metadata
	if h.public != nil && isLoopbackAuthority(r.Host) {
		// RFC 9728, section 3.3: a client refuses metadata of another resource than the one that it asked, and on one
		// machine localhost and 127.0.0.1 are both right.
		base := *h.public
		base.Host = r.Host
		if u, err := base.Parse(m.relative); err == nil {
			m.Resource = u.String()
		}
	}
	body, err := json.Marshal(m)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "the metadata cannot be written")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "public, max-age=60")
	_, _ = w.Write(body)
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write((&jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: message}).AppendResponse(nil))
}

// isLoopbackAuthority tells whether a Host header names this machine and nothing else.
func isLoopbackAuthority(authority string) bool {
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(authority, "["), "]"), "80"
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil && isLoopback(host)
}

func isLoopback(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() && ip.Zone() == ""
}
