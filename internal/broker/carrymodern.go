package broker

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// carryModern makes a call for a client without a session. The message has the server's own names, and its caller may make it.
func (b *Broker) carryModern(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, server *catalog.Server, _ Access) {
	body, refusal := withoutConsent(m)
	if refusal != nil {
		b.fail(w, refusal)
		return
	}
	if server.Modern() == "" {
		b.carryToLegacy(w, r, m, server)
		return
	}
	var seal func([]byte) []byte
	if server.Tasks() && m.MethodName() == "tools/call" {
		seal = b.sealer(r, server, carried(b.opts.Snapshot(), server, m).PublicName, true)
	}
	b.callModern(w, r, m, server, body, seal)
}

// callModern makes a call and gives the client the answer. Where there is one, seal changes each message of the server's.
func (b *Broker) callModern(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, server *catalog.Server, body []byte, seal func([]byte) []byte) {
	b.calling(r.Context(), server.Name, b.counterOf(server, m), func() int {
		resp, answer := b.postModern(r, m, server, body)
		return b.answerModern(w, r, m, resp, answer, seal)
	})
}

// answerModern answers with what came of a call, and returns the status.
func (b *Broker) answerModern(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, resp *http.Response, answer *ownAnswer, seal func([]byte) []byte) int {
	switch {
	case answer == nil && seal != nil:
		if err := sealed(resp, seal); err != nil {
			_ = resp.Body.Close() // nothing of it is used
			b.refuse(w, r, badGateway(m.ID.Of(m.Body), http.StatusBadGateway, r.Header.Get(wire.HeaderServer), err.Error()))
			return http.StatusBadGateway
		}
		b.hand(w, resp)
	case answer == nil:
		b.hand(w, resp)
	case answer.result != nil:
		b.result(w, m, answer.result)
		return 0 // the call is still to be made
	default:
		b.refuse(w, r, answer.fault)
		return statusOf(answer.fault)
	}
	return resp.StatusCode
}

// ownAnswer is what the gateway answers in a server's place: an error, or a result that asks for input.
type ownAnswer struct {
	fault  *jsonrpc.Error
	result []byte
}

// postModern makes a call in a revision without sessions. That the client leaves ends it.
func (b *Broker) postModern(r *http.Request, m *jsonrpc.Message, server *catalog.Server, body []byte) (*http.Response, *ownAnswer) {
	id, ctx := m.ID.Of(m.Body), r.Context()
	ep := b.opts.Endpoint(server.Name)
	if ep == nil {
		return nil, &ownAnswer{fault: badGateway(id, http.StatusServiceUnavailable, server.Name, "is no longer configured")}
	}
	authorization := config.NewSecret(r.Header.Get("Authorization"))
	resp, err := ep.For(authorization).Post(ctx, upstream.Session{Revision: r.Header.Get(wire.HeaderProtocolVersion)}, body, repeated(r.Header))
	if err != nil {
		if answer := b.lackingModern(ctx, m, server, authorization, err); answer != nil {
			return nil, answer
		}
		if fault := tokenFault(id, server, err); fault != nil {
			return nil, &ownAnswer{fault: fault}
		}
		return nil, &ownAnswer{fault: badGateway(id, http.StatusServiceUnavailable, server.Name, "could not be reached: "+err.Error())}
	}
	stream, why := judgeModern(resp, server, id)
	if why == "" {
		if stream {
			resp.Body = changed(resp.Body, relay.MaxEvent, func(message []byte) []byte { return own(message, id) })
		}
		return resp, nil
	}
	_ = resp.Body.Close() // nothing of it is used
	if server.PerCaller && refusesCaller(resp.StatusCode) {
		return nil, b.refusedModern(ctx, m, server, authorization, resp.StatusCode)
	}
	return nil, &ownAnswer{fault: badGateway(id, http.StatusBadGateway, server.Name, why)}
}

// repeated are the headers of a request that repeat its body, as the router has set them.
func repeated(from http.Header) http.Header {
	out := http.Header{}
	for name, values := range from {
		switch lower := strings.ToLower(name); {
		case lower == wire.HeaderMCPMethod, lower == wire.HeaderMCPName, strings.HasPrefix(lower, wire.HeaderMCPParamPrefix):
			out[name] = values
		}
	}
	return out
}

// judgeModern tells whether an answer is a stream, which nobody has looked into yet, and what is wrong with it, by the id of its request: nothing if a client
// may see it.
func judgeModern(resp *http.Response, server *catalog.Server, id []byte) (stream bool, why string) {
	status := resp.StatusCode
	if status == http.StatusNotFound {
		status = http.StatusBadRequest // it is no session that is unknown, but a method
	}
	verdict, why := relay.Judge(status, resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding"), resp.ContentLength == 0)
	switch verdict {
	case relay.Stream:
		return true, ""
	case relay.Plain:
		return false, fmt.Sprintf("took the request without an answer (HTTP status %d)", status)
	case relay.Message:
		verdict, why := checkModern(resp, server, id)
		if verdict == relay.Message {
			return false, ""
		}
		return false, why
	default:
		return false, why
	}
}

// own is a message of a stream, nil where it is not for the request with that id: an answer to another one, or what clients could read in two ways.
func own(message, id []byte) []byte {
	if !relay.Belongs(message, id) {
		return nil
	}
	return message
}

// checkModern is check where no words of a refusal can be about a session.
func checkModern(resp *http.Response, server *catalog.Server, id []byte) (relay.Verdict, string) {
	status := resp.StatusCode
	resp.StatusCode = http.StatusOK
	verdict, why := check(resp, server, id)
	resp.StatusCode = status
	if status != http.StatusOK {
		resp.Header.Set("Content-Type", "application/json") // which some forget with a refusal
		why = strings.Replace(why, "HTTP status 200", fmt.Sprintf("HTTP status %d", status), 1)
	}
	return verdict, why
}

// lackingModern is the answer to a call that failed because its caller has given no credential; nil if err is about something else.
func (b *Broker) lackingModern(ctx context.Context, m *jsonrpc.Message, server *catalog.Server, authorization config.Secret, err error) *ownAnswer {
	if !lacks(server, err) {
		return nil
	}
	return b.elicitModern(ctx, m, server, authorization)
}

func (b *Broker) refusedModern(ctx context.Context, m *jsonrpc.Message, server *catalog.Server, authorization config.Secret, status int) *ownAnswer {
	if server.PerUser {
		return b.elicitModern(ctx, m, server, authorization)
	}
	return &ownAnswer{fault: notAccepted(m.ID.Of(m.Body), server.Name, status)}
}
