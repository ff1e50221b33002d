package testbed

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// handedOut are the ports that Listen has given.
var handedOut sync.Map //nolint:gochecknoglobals // ports are the whole process's

// Listen listens on loopback, on a port that no other test of this process is given. It is from a range that systems take
// none from for outgoing connections, so that the address can be left and taken again.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	const first, count = 12000, 20000
	for range 1000 {
		port := first + rand.IntN(count)
		if _, taken := handedOut.LoadOrStore(port, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil { //nolint:noctx // it listens until it is closed
			return l
		}
	}
	t.Fatal("found no free port on loopback")
	return nil
}

// FreePort is a port as of Listen on which nothing listens.
func FreePort(t testing.TB) int {
	t.Helper()
	l := Listen(t)
	_ = l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// FreeAddress is 127.0.0.1 with a FreePort.
func FreeAddress(t testing.TB) string {
	t.Helper()
	return "127.0.0.1:" + strconv.Itoa(FreePort(t))
}

// AwaitListening waits until something accepts connections at an address.
func AwaitListening(t testing.TB, p *Process, address string) {
	t.Helper()
	Await(t, p.name+" to listen on "+address, func() bool {
		select {
		case <-p.Exited():
			t.Fatalf("%s ended before it listened on %s", p.name, address)
		default:
		}
		conn, err := net.Dial("tcp", address) //nolint:noctx // loopback answers at once
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// Server is a real MCP server of others, or one of our examples.
type Server struct {
	*Process
	URL     string
	address string
	command Command
}

// start starts a server and waits until it listens.
func start(t testing.TB, name, address, path string, c Command) *Server {
	t.Helper()
	s := &Server{URL: "http://" + address + path, address: address, command: c}
	s.Process = Start(t, name, c)
	AwaitListening(t, s.Process, address)
	return s
}

// Restart kills the server and starts it anew at the same address: it has forgotten every session then.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill()
	s.Process = Start(t, s.name, s.command)
	AwaitListening(t, s.Process, s.address)
}

// ServerEverything starts the reference server of the MCP project, written in TypeScript.
func ServerEverything(t testing.TB) *Server {
	t.Helper()
	address := FreeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	return start(t, "server-everything", address, "/mcp", Command{
		Path: Program(t, ServerEverythingBin),
		Args: []string{"streamableHttp"},
		Env:  []string{"PORT=" + port, "NODE_OPTIONS=--import=" + onLoopback()},
	})
}

// BridgedEverything starts the same server as a child that speaks stdio, behind a proxy that starts one for each session.
func BridgedEverything(t testing.TB) *Server {
	t.Helper()
	address := FreeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	return start(t, "supergateway", address, "/mcp", Command{
		Path: Program(t, "SUPERGATEWAY_BIN"),
		Args: []string{"--stdio", Program(t, ServerEverythingBin) + " stdio", "--outputTransport", "streamableHttp", "--stateful", "--port", port},
		Env:  []string{"NODE_OPTIONS=--import=" + onLoopback()},
	})
}

// onLoopback is a JavaScript module that keeps a server off the network: server-everything takes a port, but no address.
func onLoopback() string {
	const module = `import net from "node:net";
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) { return listen.call(this, Number(port), "127.0.0.1", ...rest); };`
	return "data:text/javascript," + url.PathEscape(module)
}

// GoSDKEverything starts the conformance server of the Go SDK, with sessions.
func GoSDKEverything(t testing.TB) *Server {
	t.Helper()
	return goSDKEverything(t, "-stateless=false")
}

// GoSDKStateless starts the conformance server of the Go SDK without sessions: it speaks 2026-07-28, and the revisions before without an id.
func GoSDKStateless(t testing.TB) *Server {
	t.Helper()
	return goSDKEverything(t, "-stateless=true")
}

func goSDKEverything(t testing.TB, mode string) *Server {
	t.Helper()
	address := FreeAddress(t)
	return start(t, "go-sdk everything-server", address, "/", Command{Path: Program(t, GoSDKServerBin), Args: []string{"-http=" + address, mode}})
}

// MCPGoConformance starts the conformance server of mcp-go.
func MCPGoConformance(t testing.TB) *Server {
	t.Helper()
	address := FreeAddress(t)
	return start(t, "mcp-go conformance server", address, "/mcp", Command{
		Path: Program(t, MCPGoServerBin), Env: []string{"CONFORMANCE_ADDR=" + address},
	})
}

// Example starts one of our example servers: "weather" or "time".
func Example(t testing.TB, kind string) *Server {
	t.Helper()
	address := FreeAddress(t)
	return start(t, fmt.Sprintf("example server %q", kind), address, "/mcp", Command{
		Path: Program(t, ExampleBin), Args: []string{"-addr", address, "-kind", kind},
	})
}

// Redis starts a Redis server without anything in it, for the time of the test.
func Redis(t testing.TB, address string, args ...string) *Process {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p := Start(t, "redis", Command{Path: Program(t, "REDIS_BIN"), Args: append([]string{
		"--bind", host, "--port", port, "--dir", t.TempDir(), "--save", "", "--appendonly", "no",
	}, args...)})
	AwaitListening(t, p, address)
	return p
}

// Serve serves a handler at an address until the test ends or the result is closed.
func Serve(t testing.TB, address string, handler http.Handler) io.Closer {
	t.Helper()
	l, err := net.Listen("tcp", address) //nolint:noctx // it listens until it is closed
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler} //nolint:gosec // loopback, and every client is ours
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return s
}
