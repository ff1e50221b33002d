package upstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/credential"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// EndpointOptions are what all endpoints have in common. The zero value is good for use.
type EndpointOptions struct {
	// MaxMessage bounds one answer and one event of a stream, in bytes; 0 means 64 MiB.
	MaxMessage int
	// DialTimeout bounds the connection, and once more the TLS handshake; 0 means 5 s.
	DialTimeout time.Duration
	// UserAgent is the product that requests name; empty means "mcp-gateway".
	UserAgent string
	// Version is the gateway's own, which servers without sessions are told with each request; empty means "dev".
	Version string
	// Dial makes connections in place of the network's own way.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Credentials has the tokens of servers whose credential is one; nil means that there are no such servers.
	Credentials Credentials
	// OnNotification is told what the server sends beside an answer to Call. It must not block, and what it is given is
	// valid only until it returns.
	OnNotification func(method string, params []byte)
}

const (
	defaultMaxMessage  = 64 << 20
	defaultDialTimeout = 5 * time.Second
	// idleConns is how many idle connections are kept for one server, so that a burst of first calls does not close most
	// of what it opened.
	idleConns = 64
	// idleTime is how long one is kept, as Envoy keeps its own: Node's and uvicorn's servers close theirs after 5 s, and a call that is sent at that very
	// moment fails, for nobody knows whether it has begun.
	idleTime = 4 * time.Second
	// maxHeader bounds the headers of an answer.
	maxHeader = 256 << 10
	// answerTimeout bounds what is sent beside a request: answers to the server's own requests and cancellations.
	answerTimeout = 10 * time.Second
)

const (
	typeJSON   = "application/json"
	typeStream = "text/event-stream"
)

// Session is the session that a request belongs to. The zero Session belongs to none, as initialize does.
type Session struct {
	// ID is empty if the server keeps no sessions.
	ID string
	// Revision is the negotiated revision of the protocol. In one without sessions, the session is no more than that.
	Revision string
}

func (s Session) modern() bool { return wire.IsModernRevision(s.Revision) }

// Endpoint is one MCP server. It is safe for concurrent use, follows no redirect and heeds no proxy of the environment.
type Endpoint struct {
	name      string
	way       string // how it is reached
	url       *url.URL
	authority string
	header    http.Header // configured headers and the static credential
	secrets   []string    // what no error may show
	perCaller *config.Server
	tokens    credential.Tokens // what requests are made with beside the header; nil means nothing
	sentIn    sentIn            // how
	used      *usedTokens
	transport *http.Transport
	pace      *pace // of all answers
	opts      EndpointOptions
	idPrefix  string
	lastID    *atomic.Uint64
	ctx       context.Context // of what outlives a call
	cancel    context.CancelFunc
}

// NewEndpoint makes the client of a configured server. It does not connect.
func NewEndpoint(cfg config.Server, opts EndpointOptions) (*Endpoint, error) {
	u, err := url.Parse(cfg.URL())
	if err != nil {
		return nil, fmt.Errorf("server %q: its url is not one: %w", cfg.Name, errors.Unwrap(err))
	}
	opts.MaxMessage = cmp.Or(opts.MaxMessage, defaultMaxMessage)
	opts.DialTimeout = cmp.Or(opts.DialTimeout, defaultDialTimeout)
	opts.UserAgent = cmp.Or(opts.UserAgent, "mcp-gateway")
	opts.Version = cmp.Or(opts.Version, "dev")
	e := &Endpoint{
		name: cfg.Name, way: catalog.Fingerprint(&cfg), url: u, authority: cmp.Or(cfg.Hostname, u.Host), header: http.Header{}, opts: opts,
		idPrefix: idPrefix(), lastID: &atomic.Uint64{}, used: &usedTokens{}, pace: newPace(cfg.MaxBytesPerSecond),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	for _, h := range cfg.Headers {
		e.header.Add(h.Name, h.Value)
		if len(h.Value) >= minSecret {
			e.secrets = append(e.secrets, h.Value)
		}
	}
	if c := cfg.Credential; c != nil {
		e.authorize(cfg, c)
	}
	if e.transport, err = newTransport(u.Scheme, cfg.TLS, opts); err != nil {
		e.cancel()
		return nil, fmt.Errorf("server %q: %w", cfg.Name, err)
	}
	return e, nil
}

// minSecret is the length from which on a configured header's value is hidden in errors. A shorter one is no secret, and
// hiding "1" everywhere would make messages unreadable.
const minSecret = 8

// idPrefix begins the ids of requests of the gateway's own. The random part keeps them apart from those of clients and of
// other replicas in the same session, and nobody can guess it.
func idPrefix() string {
	var nonce [6]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	return "mcp-gateway/" + hex.EncodeToString(nonce[:]) + "/"
}

// newTransport makes what reaches a server. HTTP/2 is for https alone, and what it needs is not there a thousand times for servers without.
func newTransport(scheme string, cfg *config.TLS, opts EndpointOptions) (*http.Transport, error) {
	dial := opts.Dial
	if dial == nil {
		dial = (&net.Dialer{
			Timeout:         opts.DialTimeout,
			KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3},
		}).DialContext
	}
	t := &http.Transport{
		DialContext:            dial,
		TLSHandshakeTimeout:    opts.DialTimeout,
		MaxIdleConns:           idleConns,
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        idleTime,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      scheme == "https",
		// Streams stay open for hours: only pings tell that the other end is gone.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
	if cfg == nil {
		return t, nil
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName}
	if len(cfg.CA) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(cfg.CA) {
			return nil, fmt.Errorf("no certificate in the CA file %q", cfg.CAFile)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return t, nil
}

// Name is the server's name in the configuration.
func (e *Endpoint) Name() string { return e.name }

// Fingerprint is the catalog's of the server that the endpoint was made for.
func (e *Endpoint) Fingerprint() string { return e.way }

// String and GoString keep printers from the headers.
func (e *Endpoint) String() string { return "endpoint of server " + e.name }

// GoString is String.
func (e *Endpoint) GoString() string { return e.String() }

// Close drops idle connections and what was still to be said to the server. Calls that run go on.
func (e *Endpoint) Close() {
	e.cancel()
	e.transport.CloseIdleConnections()
}

// Post sends one message and returns whatever the server answers, redirects and errors included; see [Endpoint.Refused].
// A header of extra takes the place of a configured one, but not of those that the transport needs. The caller closes the
// body.
func (e *Endpoint) Post(ctx context.Context, s Session, body []byte, extra http.Header) (*http.Response, error) {
	return e.post(ctx, s, "request", body, extra)
}

// post is Post with a name for the message in errors.
func (e *Endpoint) post(ctx context.Context, s Session, what string, body []byte, extra http.Header) (*http.Response, error) {
	req, err := e.request(ctx, http.MethodPost, s, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range extra {
		if name = http.CanonicalHeaderKey(name); !ownHeader(name) {
			req.Header[name] = values
		}
	}
	req.Header.Set("Accept", typeJSON+", "+typeStream)
	req.Header.Set("Content-Type", typeJSON)
	return e.send(req, what)
}

// Get opens the session's event stream, or resumes the one of the event. The caller closes the body.
func (e *Endpoint) Get(ctx context.Context, s Session, lastEventID string) (*http.Response, error) {
	req, err := e.request(ctx, http.MethodGet, s, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", typeStream)
	if lastEventID != "" {
		req.Header.Set(wire.HeaderLastEventID, lastEventID)
	}
	return e.send(req, "event stream")
}

// Delete ends a session. A server that has forgotten it, or does not let clients end one, is no error.
func (e *Endpoint) Delete(ctx context.Context, s Session) error {
	if s.ID == "" {
		return nil
	}
	req, err := e.request(ctx, http.MethodDelete, s, nil)
	if err != nil {
		return err
	}
	resp, err := e.send(req, "end of session")
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusMethodNotAllowed || resp.StatusCode == http.StatusNotFound {
		discard(resp)
		return nil
	}
	if err := e.refused(s, "end of session", resp); !errors.Is(err, ErrSessionUnknown) {
		return err
	}
	return nil
}

// ownHeader tells which headers only the transport sets.
func ownHeader(name string) bool {
	switch strings.ToLower(name) {
	case "host", "accept", "accept-encoding", "content-type", "content-length", "transfer-encoding", "connection",
		wire.HeaderSessionID, wire.HeaderProtocolVersion, wire.HeaderLastEventID:
		return true
	}
	return false
}

func (e *Endpoint) request(ctx context.Context, method string, s Session, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, e.url.String(), body)
	if err != nil {
		return nil, e.failed("request", err)
	}
	req.Host = e.authority
	req.Header = e.header.Clone()
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", e.opts.UserAgent)
	}
	req.Header.Set("Accept-Encoding", "identity") // what is decompressed here would not be the server's bytes
	req.Header.Del(wire.HeaderSessionID)
	req.Header.Del(wire.HeaderProtocolVersion)
	if s.ID != "" {
		req.Header.Set(wire.HeaderSessionID, s.ID)
	}
	if s.Revision != "" {
		req.Header.Set(wire.HeaderProtocolVersion, s.Revision)
	}
	addTrace(req)
	return req, nil
}

// send sends a request, with a token if the server gets one.
func (e *Endpoint) send(req *http.Request, what string) (*http.Response, error) {
	if e.tokens != nil {
		return e.sendWithToken(req, what)
	}
	return e.roundTrip(req, what)
}

// roundTrip goes past http.Client: nothing may be redirected, stored as a cookie or told with the URL in an error.
func (e *Endpoint) roundTrip(req *http.Request, what string) (*http.Response, error) {
	resp, err := e.transport.RoundTrip(req)
	if err != nil {
		return nil, e.failed(what, err)
	}
	e.pace.hold(req, resp)
	return resp, nil
}

// discard gives a connection back if little is left to read, else closes it.
func discard(resp *http.Response) {
	const little = 64 << 10
	if resp.ContentLength >= 0 && resp.ContentLength <= little {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	_ = resp.Body.Close()
}
