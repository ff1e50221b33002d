// Package admin is the operators' HTTP interface: health, readiness, metrics, and the status as JSON and as pages for people. It only tells;
// nothing can be changed through it. The console of its pages calls tools from within the browser, through the public endpoint and with the
// user's own token, so that it may do no more than that user. It must not know Envoy, the router or the broker: what it tells comes as functions.
package admin

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// Options are where the handler gets its answers.
type Options struct {
	Version string
	// LocalOnly says that the handler is served on this machine alone. Then it answers to no other host name, so that no
	// web page can read it by a name of its own that leads here.
	LocalOnly bool
	// NotReady are the reasons for which the gateway cannot be used yet, or no more.
	NotReady func() []string
	Config   func() Config
	// Snapshot is nil as long as there is none.
	Snapshot func() *catalog.Snapshot
	// URL is where a server is called, without user and password.
	URL func(server string) string
	// Problems are those that the snapshot does not know.
	Problems func() []catalog.Problem
	Sessions func() int
	// Endpoint is the public URL of the MCP endpoint, Issuers are the URLs of who gives tokens for it: the console of the pages calls them.
	Endpoint string
	Issuers  func() []string
	// ConsoleClient is the id of a client with which the console logs in; empty means that it registers itself.
	ConsoleClient string
	// SignOut is where whoever is logged in signs out; empty where nobody has to log in, or nobody knows.
	SignOut string
	// Values are the policy values in force, nil where there are none. PolicyEngine tells that an engine in front has a say as well.
	Values       func() *policy.Set
	PolicyEngine func() bool
	// Discovery is the last of a server.
	Discovery func(server string) Discovery
	// Started is when calls of tools began to be counted, ToolCalls what is known of them.
	Started   time.Time
	ToolCalls func() Known
	// Streams are the open ones of clients, Calls what the broker is answering.
	Streams, Calls func() int
	// Loads are those of servers by their names, as Envoys carry them, nil where no Envoy tells of them; Carried are those that the broker carries itself.
	Loads, Carried func() map[string]Load
	// Policies is nil where there are none.
	Policies func() Policies
	// Envoys is nil where no Envoy is fed.
	Envoys  func() []Envoy
	Metrics http.Handler
}

// complete makes functions that answer with nothing of those that are missing.
func (o *Options) complete() {
	if o.Issuers == nil {
		o.Issuers = func() []string { return nil }
	}
	if o.Values == nil {
		o.Values = func() *policy.Set { return nil }
	}
	if o.PolicyEngine == nil {
		o.PolicyEngine = func() bool { return false }
	}
	if o.Discovery == nil {
		o.Discovery = func(string) Discovery { return Discovery{} }
	}
	if o.Loads == nil {
		o.Loads = func() map[string]Load { return nil }
	}
	if o.Carried == nil {
		o.Carried = func() map[string]Load { return nil }
	}
	if o.ToolCalls == nil {
		o.ToolCalls = func() Known { return Known{BrokersCalls, BrokersCalls} }
	}
	none := func() int { return 0 }
	if o.Streams == nil {
		o.Streams = none
	}
	if o.Calls == nil {
		o.Calls = none
	}
}

// New makes the handler.
func New(o Options) (http.Handler, error) {
	o.complete()
	pages, err := newSite(&o)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	pages.routes(mux)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", o.readyz)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, o.status()) })
	mux.Handle("GET /metrics", o.Metrics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.LocalOnly && !isLocal(r.Host) {
			answer(w, http.StatusForbidden, map[string]string{"error": "this address answers to localhost and to IP addresses only"})
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	}), nil
}

// Readiness is what /readyz answers.
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
}

func (o *Options) readyz(w http.ResponseWriter, _ *http.Request) {
	reasons := o.NotReady()
	status := http.StatusOK
	if len(reasons) > 0 {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, Readiness{Ready: len(reasons) == 0, Reasons: append([]string{}, reasons...)})
}

func answer(w http.ResponseWriter, status int, value any) {
	body, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// isLocal tells whether a Host header is one that no foreign web page can have chosen. It is empty on a Unix socket at times.
func isLocal(authority string) bool {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = strings.Trim(authority, "[]")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(host)
	return host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost")
}
