package broker_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// memory is a network without a kernel: in a bubble of testing/synctest, time is the test's. A connection holds nothing, so
// that who does not read is noticed at once.
type memory struct {
	mu        sync.Mutex
	listeners map[string]pipeListener
}

func newMemory() *memory { return &memory{listeners: map[string]pipeListener{}} }

func (n *memory) serve(t testing.TB, h http.Handler) string {
	t.Helper()
	l := pipeListener{make(chan net.Conn), make(chan struct{}), &sync.Once{}}
	n.mu.Lock()
	address := "127.0.0.1:" + strconv.Itoa(1001+len(n.listeners))
	n.listeners[address] = l
	n.mu.Unlock()
	var handling sync.WaitGroup
	srv := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handling.Add(1)
			defer handling.Done()
			h.ServeHTTP(w, r)
		}),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
		handling.Wait()
	})
	return "http://" + address
}

func (n *memory) endpoint() upstream.EndpointOptions { return upstream.EndpointOptions{Dial: n.dial} }
func (n *memory) transport() *http.Transport         { return &http.Transport{DialContext: n.dial} }

func (n *memory) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	l, ok := n.listeners[address]
	n.mu.Unlock()
	if !ok {
		return nil, syscall.ECONNREFUSED
	}
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   *sync.Once
}

func (l pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
