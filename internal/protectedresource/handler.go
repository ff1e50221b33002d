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

// Handler serves the metadata at the well-known path, and at that path with the endpoint's path behind it; and those of each virtual server at the
// well-known path with its path behind it. virtual tells the name of the virtual server whose path has a last segment, if there is one.
func Handler(m Metadata, public *url.URL, virtual func(segment string) (name string, ok bool)) http.Handler {
	h := &handler{metadata: m, virtual: virtual}
	if m.relative != "" && isLoopback(public.Hostname()) {
		h.public = public
	}
	return h
}

type handler struct {
	metadata Metadata
	virtual  func(segment string) (name string, ok bool)
	public   *url.URL // set if a loopback host that the client used may stand in for its host
}

const methods = "GET, HEAD, OPTIONS"

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m, ok := h.at(r.URL.Path)
	if !ok {
		refuse(w, http.StatusNotFound, "there is no protected resource of this path; the gateway's is "+wire.PathMCP)
		return
	}
	// The document is public. An Envoy in front that allows an origin of its own replaces this.
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Vary", "Origin") // because that Envoy names the one that asked
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		h.serve(w, r, m)
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

// at is the metadata at a path. Unknown means no (Invariant 5).
func (h *handler) at(path string) (Metadata, bool) {
	rest := strings.TrimPrefix(path, wire.PathProtectedResource)
	if rest == "" || rest == wire.PathMCP {
		return h.metadata, true
	}
	segment, ok := strings.CutPrefix(rest, wire.PathMCP+"/")
	if !ok {
		return Metadata{}, false
	}
	name, ok := h.virtual(segment)
	if !ok {
		return Metadata{}, false
	}
	return h.metadata.of(segment, name), true
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, m Metadata) {
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
