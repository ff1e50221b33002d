package dataplane_test

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// saying is a tool that says by whom it was called.
func saying(tool, text string) testbed.Tool {
	return testbed.Tool{Name: tool, Call: func(w http.ResponseWriter, c *testbed.Call) { c.Text(w, text+" at "+c.Host+c.URL.Path) }}
}

// TestNamesLeadToTheirOwner: a prefix may begin with another's, be empty, and several servers may have one host name, on
// one port or on several. The first server keeps a name that two would give.
func TestNamesLeadToTheirOwner(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		one := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{saying("c", "one"), saying("b_c", "one"), saying("d_e", "one")}})
		two := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{saying("c", "two"), saying("d", "two")}})
		three := testbed.NewUpstream(t, testbed.Script{Sessionless: true, Tools: []testbed.Tool{saying("c", "three"), saying("a", "three"), saying("a_", "three"), saying("ü/ 🙂", "three")}})
		server := func(name, url, prefix string) config.ServerSpec {
			return config.ServerSpec{Name: name, URL: url, ToolPrefix: prefix, Hostname: "one-for-all.example.com"}
		}
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{
			server("one", one.URL, "a_"), server("two", two.URL, "a_b_"), server("three", three.URL, ""), server("four", strings.Replace(three.URL, "/mcp", "/four", 1), "four_"),
		}})
		g.AwaitTools(t, "a_c", "a_b_d", "c", "four_c")
		c := testbed.Connect(t, g.Endpoint)
		want := map[string]string{
			"a_c": "one", "a_b_c": "one", "a_d_e": "one", "a_b_d": "two", "c": "three", "a": "three", "a_": "three", "ü/ 🙂": "three",
			"four_c": "three", "four_a": "three", "four_a_": "three", "four_ü/ 🙂": "three",
		}
		for range 2 {
			for tool, owner := range want {
				path := "/mcp"
				if strings.HasPrefix(tool, "four_") {
					path = "/four"
				}
				assert.Equal(t, owner+" at one-for-all.example.com"+path, c.Call(t, tool, "{}").Text(t), tool)
			}
		}
		assert.Len(t, c.ToolNames(t), len(want))
		problems := g.Status(t).Problems
		require.Len(t, problems, 1)
		assert.Equal(t, "two", problems[0].Server)
		assert.Equal(t, "a_b_c", problems[0].Name)
		assert.Contains(t, problems[0].Message, `"one"`)
	})
}

// secureUpstream serves a scripted server over TLS, and returns the URL and the file of the certificate to trust.
func secureUpstream(t *testing.T, u *testbed.Upstream) (url, caFile string) {
	t.Helper()
	s := httptest.NewUnstartedServer(u)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // that some do not trust it is part of the test
	s.StartTLS()
	t.Cleanup(s.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	return s.URL + "/mcp", caFile
}

// TestTLS: a server's certificate is verified, by the broker and by Envoy, against what is configured.
func TestTLS(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
		url, ca := secureUpstream(t, u)
		secure := func(name string, spec config.TLSSpec) config.ServerSpec {
			s := testbed.ServerSpec(name, url)
			s.TLS = &spec
			return s
		}
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{
			secure("good", config.TLSSpec{CAFile: ca}),
			secure("named", config.TLSSpec{CAFile: ca, ServerName: "example.com"}), // a name of the certificate
			secure("wrong", config.TLSSpec{CAFile: ca, ServerName: "wrong.example.org"}),
			secure("untrusted", config.TLSSpec{}),
		}})
		g.AwaitTools(t, "good_tool", "named_tool")
		c := testbed.Connect(t, g.Endpoint)
		for range 2 {
			for _, tool := range []string{"good_tool", "named_tool"} {
				assert.Contains(t, c.Call(t, tool, "{}").Text(t), "tools/call")
			}
		}
		calls := u.Calls(c.Name, testbed.RPC("tools/call"))
		require.Len(t, calls, 4)
		assert.Equal(t, 2, calls[3].ProtoMajor, "where the server can, HTTP/2 is spoken")
		testbed.Await(t, "the others to be reported", func() bool {
			failing := 0
			for _, s := range g.Status(t).Servers {
				if s.State == "failing" && strings.Contains(s.LastError, "certificate") {
					failing++
				}
			}
			return failing == 2
		})
		assert.Equal(t, []string{"good_tool", "named_tool"}, c.ToolNames(t))
	})
}

// TestManyAtOnce: answers find the calls that they are for, however many are under way.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		tools := []testbed.Tool{{Name: "document"}, {Name: "stream", Call: func(w http.ResponseWriter, c *testbed.Call) {
			testbed.SSE(w)("data: " + c.Result(testbed.TextResult(string(c.Body))) + "\n\n")
		}}}
		u := testbed.NewUpstream(t, testbed.Script{Tools: tools})
		plain := testbed.NewUpstream(t, testbed.Script{Tools: tools, Sessionless: true})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u, "plain": plain})})
		g.AwaitTools(t, "u_stream", "plain_stream")
		names := []string{"u_document", "u_stream", "plain_document", "plain_stream"}
		const clients, calls = 12, 20
		var wait sync.WaitGroup
		var wrong sync.Map
		for i := range clients {
			c := testbed.NewClient(t, g.Endpoint)
			c.Name = fmt.Sprintf("client %d", i)
			c.Initialize(t, "{}")
			for j := range calls {
				mark := fmt.Sprintf("mark %d of client %d", j, i)
				// The same ids in every session: it is the session that tells them apart.
				body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":{"a":%q}}}`, j, names[(i+j)%len(names)], mark)
				wait.Go(func() {
					a, err := c.TryDo(t, http.MethodPost, strings.NewReader(body))
					if err != nil || a.Status != http.StatusOK || !strings.Contains(a.Body, mark) || !strings.Contains(a.Body, fmt.Sprintf(`"id":%d,"result"`, j)) {
						wrong.Store(mark, fmt.Sprint(a, err))
					}
				})
			}
		}
		wait.Wait()
		wrong.Range(func(mark, answer any) bool {
			t.Errorf("%v was answered with %v", mark, answer)
			return true
		})
		for i := range clients {
			assert.Len(t, u.Calls(fmt.Sprintf("client %d", i), testbed.RPC("initialize")), 1)
		}
	})
}
