package broker

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/strongbox"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about several replicas of the gateway. Each of them serves any request. What is under way in one of them, a call that waits for input or a
// stream that was lost, stays there: a request that is for it is handed over. What is short is told to all.

// The kinds of what replicas tell each other of a session.
const (
	tellCancelled = "cancelled" // the client's notification: its call may be under way at any of them
	tellAnswered  = "answered"  // the client's answer to a question: any of them may have asked it
	tellEvent     = "event"     // for the client's stream, which any of them may serve
)

// handOverPatience is how long a connection with another replica may take. It answers as late as the call does.
const handOverPatience = 5 * time.Second

// home is where this replica can be reached by others.
type home struct {
	url    string
	name   string // of this replica, in what clients bring back; it holds the URL and tells it to replicas alone
	box    strongbox.Box
	proof  []byte // the key by which replicas know each other
	client *http.Client
}

func newHome(at string, key session.Key) *home {
	h := &home{url: strings.TrimSuffix(at, "/"), box: key.Box("home"), proof: key.Derive("home-proof")}
	if at != "" {
		h.name = base64.RawURLEncoding.EncodeToString([]byte(h.box.Close("", []byte(h.url))))
	}
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: handOverPatience}).DialContext, IdleConnTimeout: time.Minute, DisableCompression: true}
	h.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return h
}

// of is the URL of the replica with a name; empty for this one, and for what is no name.
func (h *home) of(name string) string {
	if name == "" || name == h.name {
		return ""
	}
	closed, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil {
		return ""
	}
	at, err := h.box.Open("", string(closed))
	if err != nil || string(at) == h.url {
		return ""
	}
	return string(at)
}

// maxChallenge is the longest challenge that is answered.
const maxChallenge = 64

// prove shows that this replica has the gateway's key. The URL is in what it says, so that nobody else can have it said for an address of his own.
func (h *home) prove(w http.ResponseWriter, r *http.Request) {
	challenge := r.URL.Query().Get("challenge")
	if h.url == "" || challenge == "" || len(challenge) > maxChallenge {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(h.proofOf(challenge, h.url))
}

func (h *home) proofOf(challenge, at string) []byte {
	m := hmac.New(sha256.New, h.proof)
	m.Write([]byte(challenge + " " + at))
	return m.Sum(nil)
}

// isReplica has who is at a URL prove to be a replica of this gateway. The address of one that has ended may be anybody's by now, and what is handed over
// has the caller's token in it.
func (h *home) isReplica(ctx context.Context, at string) error {
	ctx, cancel := context.WithTimeout(ctx, handOverPatience)
	defer cancel()
	challenge := rand.Text()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at+wire.PathReplica+"?challenge="+challenge, nil)
	if err != nil {
		return err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	proof, err := io.ReadAll(io.LimitReader(resp.Body, sha256.Size+1))
	if err != nil {
		return err
	}
	if !hmac.Equal(proof, h.proofOf(challenge, at)) {
		return errors.New("there is another program now")
	}
	return nil
}

// handOver has the replica with a name answer a request, and tells whether it does. A request is handed over once.
func (b *Broker) handOver(w http.ResponseWriter, r *http.Request, body []byte, name string) bool {
	at := b.home.of(name)
	if at == "" || r.Header.Get(wire.HeaderHandedOver) != "" {
		return false
	}
	there, err := url.Parse(at)
	if err != nil {
		return false
	}
	there.Path, there.RawQuery = r.URL.Path, r.URL.RawQuery
	req, err := http.NewRequestWithContext(r.Context(), r.Method, there.String(), bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header = r.Header.Clone()
	for _, name := range []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length"} {
		req.Header.Del(name)
	}
	req.Header.Set(wire.HeaderHandedOver, "true")
	var resp *http.Response
	if err = b.home.isReplica(r.Context(), at); err == nil {
		resp, err = b.home.client.Do(req)
	}
	if err != nil && r.Context().Err() != nil {
		return true // there is nobody to answer
	}
	b.opts.Observer.HandedOver(err == nil)
	if err != nil {
		b.opts.Logger.WarnContext(r.Context(), "another replica cannot be reached, what it held is lost", "replica", at, "error", err)
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	for name, values := range resp.Header {
		if name != "Content-Length" && name != "Date" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(resp.StatusCode)
	_ = http.NewResponseController(w).Flush() // the client can tell that it has begun
	pour(w, resp.Body)
	return true
}

// resumeElsewhere goes on with the stream of a call that another replica carries, and tells whether the request was for that.
func (b *Broker) resumeElsewhere(w http.ResponseWriter, r *http.Request, s *session.Session) bool {
	kind, _, raw, ok := s.Unseal(r.Header.Get(wire.HeaderLastEventID))
	if !ok || kind != session.SealBridgeEvent {
		return false
	}
	_, _, name := splitEvent(raw)
	return b.handOver(w, r, nil, name)
}

// share says something of a session to the other replicas, where there are any.
func (b *Broker) share(s *session.Session, kind string, body []byte) {
	if !s.Shared() {
		return
	}
	if err := s.Tell(b.ctx, kind, body); err != nil {
		b.opts.Logger.Warn("other replicas cannot be told of a session", "what", kind, "error", err)
	}
}

// SessionTold takes what another replica says of a session. It does not wait.
func (b *Broker) SessionTold(kind string, s *session.Session, body []byte) {
	switch kind {
	case tellEvent:
		b.sendHere(s, body)
	case tellCancelled, tellAnswered:
		m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
		if fault != nil {
			return // no replica of this version says that
		}
		if kind == tellAnswered {
			b.lifts.answered(s, &m)
			return
		}
		id := m.Param("requestId").Of(m.Body)
		b.lifts.cancelled(s, id)
		if server, ok := s.CallOwner(id); ok {
			b.background(func() { b.passOn(s, server, body) })
		}
	}
}

// isInput tells whether a response answers a question of the gateway's own.
func isInput(s *session.Session, m *jsonrpc.Message) bool {
	id, err := jsonrpc.Unquote(m.ID.Of(m.Body))
	if err != nil {
		return false
	}
	kind, _, _, ok := s.Unseal(id)
	return ok && kind == session.SealInput
}

// passOn takes a client's notification to the server that works on its call.
func (b *Broker) passOn(s *session.Session, server string, body []byte) {
	be, ok := s.BackendNow(server)
	if !ok {
		return
	}
	ep := b.endpointFor(s, server, be)
	if ep == nil {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, notifyTimeout)
	defer cancel()
	resp, err := ep.Post(ctx, upstreamSession(be), body, nil)
	if err != nil {
		return // the server ends the call or does not
	}
	_ = resp.Body.Close() // it says nothing
}

// SessionRenewed follows what other replicas have opened for a session whose client has its stream here.
func (b *Broker) SessionRenewed(s *session.Session) {
	for server, be := range s.Backends() {
		b.follow(s, server, be)
	}
	b.syncWatches(s, "")
}

// SessionLeft ends what is done here for a session that other replicas have, or have ended. It does not wait.
func (b *Broker) SessionLeft(s *session.Session) {
	b.endHub(s)
	b.tokens.forget(s)
}

// sessionFault is the error of a request whose session cannot be had.
func sessionFault(id []byte, err error) *jsonrpc.Error {
	busy := func(message string) *jsonrpc.Error {
		return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusServiceUnavailable, ID: id, Message: message}
	}
	switch {
	case errors.Is(err, session.ErrTooMany):
		return busy("too many sessions are open; try again later")
	case errors.Is(err, session.ErrUnknown):
		return unknownSession(id)
	default:
		return busy("sessions cannot be looked up now; try again later. Requests of the revision " + wire.Revision20260728 + " need none")
	}
}

// agree makes a backend session that was opened the session's, or takes the one that another replica has opened meanwhile.
func (b *Broker) agree(ctx context.Context, c caller, ep *upstream.Endpoint, server string, be session.Backend) (session.Backend, error) {
	taken, replaced, err := c.Agree(ctx, server, be)
	switch {
	case errors.Is(err, session.ErrUnknown):
		b.closeBackend(ep, be)
		return taken, errEnded
	case err != nil || taken.ID != be.ID:
		b.closeBackend(ep, be)
	default:
		b.replacedBackend(c, server, replaced)
	}
	return taken, err
}
