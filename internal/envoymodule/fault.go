package envoymodule

import (
	"net/http"
	"runtime/debug"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/guicassolato/mcp-gateway/internal/answer"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// contain ends every callback: a panic becomes one failed request, and then says what the callback gives Envoy.
func (f *filter) contain(fault any, then func()) {
	if fault == nil {
		return
	}
	f.faulty = true
	f.mirror.Fault()
	f.handle.Log(shared.LogLevelError, "contained a fault in the router: %v\n%s", fault, debug.Stack())
	then()
	if f.over {
		return
	}
	defer func() { _ = recover() }() // what is left is to let Envoy go on
	f.fail(http.StatusInternalServerError, "internal error in the gateway; Envoy's log has the details")
}

// unavailable answers in place of a broker that does not say what it knows.
func (f *filter) unavailable() {
	f.mirror.Decided("reply", http.StatusServiceUnavailable)
	f.fail(http.StatusServiceUnavailable, "the gateway could not handle the request")
}

// broken ends an answer whose stream cannot be followed. Where its headers have been sent, Envoy resets it.
func (f *filter) broken(err error) {
	f.handle.Log(shared.LogLevelWarn, "an answer was broken off: %v", err)
	f.fail(http.StatusBadGateway, "the MCP server gave an answer that cannot be passed on")
}

func (f *filter) fail(status int, message string) {
	f.reply(answer.Failure(status, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, ID: f.id(), Message: message}))
}

// id is the request's raw id as far as it is known.
func (f *filter) id() []byte {
	if id := f.fact(wire.KeyID); id != "" {
		return []byte(id)
	}
	return nil
}

// fact is what policies are told under a key.
func (f *filter) fact(key string) string {
	for i := range f.decision.Metadata {
		if f.decision.Metadata[i].Name == key {
			return f.decision.Metadata[i].Value
		}
	}
	return ""
}
