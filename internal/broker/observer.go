package broker

import (
	"context"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

// Observer counts what nobody sees but the broker.
type Observer interface {
	// HandedOver is told of each request that was for another replica, and whether that one could be reached.
	HandedOver(reached bool)
	// Translated is told of each call between the eras that has ended: of which era its server is, and what became of it.
	Translated(serverEra, outcome string)
	// Called is told of each call that the broker makes of a server, when it begins; over is called when it has ended, with the HTTP status of the answer, or 0
	// where there was none to be had: nobody waited for it, or the call was never made. The tool's counter is nil where the call is of none.
	Called(server string, tool *tally.Counter) (over func(status int))
}

// The eras of servers, and what becomes of a call.
const (
	eraSessions  = "sessions"
	eraStateless = "stateless"

	outcomeAnswered  = "answered"  // by the server, be it with an error
	outcomeFailed    = "failed"    // the gateway answered in the server's place
	outcomeAbandoned = "abandoned" // nobody waited for the answer any more
)

type nobody struct{}

func (nobody) HandedOver(bool)                         {}
func (nobody) Translated(string, string)               {}
func (nobody) Called(string, *tally.Counter) func(int) { return func(int) {} }

// calling counts a call of a server for as long as it is made, by the HTTP status that this returns.
func (b *Broker) calling(ctx context.Context, server string, tool *tally.Counter, call func() (status int)) {
	over := b.opts.Observer.Called(server, tool)
	status := http.StatusBadGateway // where the answer is cut off
	defer func() {
		if ctx.Err() != nil {
			status = 0
		}
		over(status)
	}()
	status = call()
}

// tool is the one that a message calls, nil if it calls none. The message has the server's own names.
func (b *Broker) tool(server *catalog.Server, m *jsonrpc.Message) *catalog.Item {
	if m.MethodName() != "tools/call" {
		return nil
	}
	name, err := jsonrpc.Unquote(m.Param("name").Of(m.Body))
	if err != nil {
		return nil
	}
	return b.opts.Snapshot().Tool(server.Name, name)
}

// counterOf counts the calls of the tool that a message calls, if it calls one.
func (b *Broker) counterOf(server *catalog.Server, m *jsonrpc.Message) *tally.Counter {
	if it := b.tool(server, m); it != nil {
		return it.Calls
	}
	return nil
}

// statusOf is what a call counts as that got an error in place of an answer: nothing, unless it is the server's fault.
func statusOf(fault *jsonrpc.Error) int {
	if fault.Status < http.StatusInternalServerError {
		return 0
	}
	return fault.Status
}
