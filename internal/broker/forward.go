package broker

import (
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// This file is about servers whose calls are all carried, beside the calls themselves.

// forward takes a notification, or a response to a request of the server's, to a server. The router has put the server's own values into it.
func (b *Broker) forward(w http.ResponseWriter, r *http.Request, s *session.Session, m *jsonrpc.Message, name string) {
	if m.Kind == jsonrpc.Response && b.lifts.answered(s, m) {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if m.Kind == jsonrpc.Response && s.Shared() && isInput(s, m) {
		b.share(s, tellAnswered, m.Body)
		w.WriteHeader(http.StatusAccepted)
		return
	}
	server, ep := b.opts.Snapshot().Server(name), b.opts.Endpoint(name)
	if server == nil || ep == nil {
		b.fail(w, invalid(nil, http.StatusBadRequest, "the server that this message is for is no longer there"))
		return
	}
	c := callerOf(s, r.Header.Get("Authorization"))
	be, open := s.Backend(name, c.key(server))
	switch {
	case !open && m.MethodName() == "notifications/progress":
		w.WriteHeader(http.StatusAccepted) // what it is about is over
		return
	case !open:
		b.fail(w, invalid(nil, http.StatusBadRequest, "the session with the server that this message is for has ended"))
		return
	}
	us := upstreamSession(be)
	ep = ep.For(c.authorization)
	resp, err := ep.Post(r.Context(), us, m.Body, nil)
	if err == nil {
		err = ep.Refused(us, resp)
	}
	if err != nil {
		fault := tokenFault(nil, server, err)
		if fault == nil {
			fault = badGateway(nil, http.StatusBadGateway, name, "did not take the message: "+err.Error())
		}
		b.refuse(w, r, fault)
		return
	}
	_ = resp.Body.Close() // it says nothing
	w.WriteHeader(http.StatusAccepted)
}

// resumeCarried goes on with the stream of a call whose connection was lost, and tells whether the request was for that.
func (b *Broker) resumeCarried(w http.ResponseWriter, r *http.Request, s *session.Session) bool {
	kind, name, after, ok := s.Unseal(r.Header.Get("Last-Event-ID"))
	if !ok || kind != session.SealCallEvent {
		return false
	}
	server, ep := b.opts.Snapshot().Server(name), b.opts.Endpoint(name)
	if server == nil || ep == nil || !server.Carried {
		return false
	}
	c := callerOf(s, r.Header.Get("Authorization"))
	be, open := s.Backend(name, c.key(server))
	if !open {
		return false
	}
	resp, err := ep.For(c.authorization).Get(r.Context(), upstreamSession(be), string(after))
	if err != nil {
		fault := tokenFault(nil, server, err)
		if fault == nil {
			fault = badGateway(nil, http.StatusServiceUnavailable, name, "could not be reached: "+err.Error())
		}
		b.refuse(w, r, fault)
		return true
	}
	verdict, why := relay.Judge(resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding"), false)
	if verdict != relay.Stream {
		_ = resp.Body.Close() // nothing of it is used
		if why == "" {
			why = "does not know the stream that is to be resumed"
		}
		b.fail(w, badGateway(nil, http.StatusBadGateway, name, why))
		return true
	}
	st := b.stream(resp.Body, s, name, nil)
	st.resumable = true
	resp.Body = st
	b.hand(w, resp)
	return true
}

// refuse answers with an error, and where a token would help says so in the way of HTTP.
func (b *Broker) refuse(w http.ResponseWriter, r *http.Request, fault *jsonrpc.Error) {
	if fault.Status == http.StatusUnauthorized {
		b.challenge(w, r, fault)
		return
	}
	b.fail(w, fault)
}
