package extproc_test

import (
	"fmt"
	"testing"

	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// headFirst are the headers of a call without a session from an Envoy that shows nothing else yet.
func headFirst(name string, length int) *extprocv3.ProcessingRequest {
	r := requestHeaders(false, ":method", "POST", ":path", "/mcp", "content-type", "application/json", "accept", "application/json, text/event-stream",
		"content-length", fmt.Sprint(length), wire.HeaderProtocolVersion, "2026-07-28", wire.HeaderMCPMethod, "tools/call", wire.HeaderMCPName, name)
	r.ProtocolConfig = &extprocv3.ProtocolConfiguration{RequestBodyMode: procv3.ProcessingMode_NONE}
	return r
}

func modernCall(name string) string {
	return `{"jsonrpc":"2.0","id":` + hugeID + `,"method":"tools/call","params":{"name":"` + name + `","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
		`"io.modelcontextprotocol/clientCapabilities":{}}}}`
}

// TestHeadersSuffice: what headers say all of is decided at once, and Envoy carries the body by itself.
func TestHeadersSuffice(t *testing.T) {
	g := start(t)
	e := g.stream()
	e.send(headFirst("look", 10))
	r := e.next()
	e.over()
	assert.Equal(t, []string{"to bare"}, transcript([]*extprocv3.ProcessingResponse{r}), "the length stays as it is")
	assert.Nil(t, r.GetModeOverride())
	facts := r.GetDynamicMetadata().GetFields()[wire.MetadataNamespace].GetStructValue().AsMap()
	assert.Equal(t, "look", facts["tool"])
	assert.NotContains(t, facts, "id")
	outcomes, _ := g.observer.told()
	assert.Equal(t, []string{"server"}, outcomes)
}

// TestBodyWanted: what the body matters for waits for it, and what is decided then is what is decided of other requests.
func TestBodyWanted(t *testing.T) {
	g := start(t)
	for name, tt := range map[string]struct {
		tool, body string
		end        bool
		want       string
	}{
		"prefix":         {tool: "n_look", body: modernCall("n_look"), end: true, want: "named " + modernCall("look")},
		"trailers":       {tool: "n_look", body: modernCall("n_look"), want: "named " + modernCall("look")},
		"unknown":        {tool: "none", body: modernCall("none"), end: true, want: "reply"},
		"another's name": {tool: "n_look", body: modernCall("look"), end: true, want: "reply"},
	} {
		t.Run(name, func(t *testing.T) {
			e := g.stream()
			e.send(headFirst(tt.tool, len(tt.body)))
			first := e.next()
			assert.Equal(t, procv3.ProcessingMode_BUFFERED, first.GetModeOverride().GetRequestBodyMode())
			assert.Nil(t, first.GetRequestHeaders().GetResponse(), "nothing has been decided")
			e.send(requestBody(tt.body, tt.end))
			last := e.next()
			e.over()
			if tt.want == "reply" {
				assert.Contains(t, string(last.GetImmediateResponse().GetBody()), `"id":`+hugeID)
				return
			}
			common := last.GetRequestBody().GetResponse()
			set := fields(common.GetHeaderMutation())
			assert.Equal(t, tt.want, set[wire.HeaderCluster]+" "+string(common.GetBodyMutation().GetBody()))
			assert.Equal(t, fmt.Sprint(len(modernCall("look"))), set["content-length"])
			assert.Equal(t, "look", set[wire.HeaderMCPName])
			assert.True(t, common.GetClearRouteCache())
		})
	}
	e := g.stream() // too large, as it says
	e.send(headFirst("look", maxBody+1))
	assert.Contains(t, transcript(e.rest())[0], "reply 413")
}
