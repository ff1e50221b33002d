package istio_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// echo is another application behind the same Gateway. It keeps what it got.
type echo struct {
	address string

	mu   sync.Mutex
	last *http.Request
	body string
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	l := testbed.Listen(t)
	e := &echo{address: l.Addr().String()}
	server := &http.Server{Handler: e} //nolint:gosec // loopback, and every client is ours
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return e
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last, e.body = r, string(body)
	if strings.HasSuffix(r.URL.Path, "/missing") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Set-Cookie", "shop=1")
	w.Header().Set("X-Mcp-Answered", "the shop's own")
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, "welcome to the shop")
}

func (e *echo) got() (*http.Request, string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last, e.body
}

// ask makes a request through the Gateway. The headers come in pairs.
func (w *world) ask(t *testing.T, method, url, body string, headers ...string) *testbed.Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Transport: w.through()}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &testbed.Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(text)}
}
