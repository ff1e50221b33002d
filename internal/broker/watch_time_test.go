package broker_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// TestIdleSubscription: comments keep it open, so that both sides notice when the other one is gone.
func TestIdleSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setup{net: newMemory(), servers: []server{scripted("a", newScript())}}.start(t)
		e := listenTo(f, `{"toolsListChanged":true}`)
		e.next()
		lines := make(chan string, 10)
		go func() {
			for {
				line, err := e.in.ReadString('\n')
				if err != nil {
					return
				}
				if text := strings.TrimSpace(line); text != "" {
					lines <- text
				}
			}
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, ": keep-alive", <-lines)
		assert.Equal(t, ": keep-alive", <-lines)
		assert.Empty(t, lines)
		e.close()
		synctest.Wait()
	})
}

// TestServerThatDoesNotAgree: a server that leaves the question unanswered holds the acknowledgement up for no more than a few seconds, and the lists' part of
// it is honoured (Invariant 12).
func TestServerThatDoesNotAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript().does("subscriptions/listen", hang)
		f := setup{net: newMemory(), servers: []server{stateless("b", s)}}.start(t)
		began := time.Now()
		e := listenTo(f, `{"toolsListChanged":true,"resourceSubscriptions":["file:///b/a"]}`)
		wantBytes(t, acknowledged(`{"toolsListChanged":true}`), string(e.next().Data))
		assert.Equal(t, 5*time.Second, time.Since(began))
		f.broker.Unchanged("b", []catalog.Kind{catalog.Tool})
		wantBytes(t, told("tools/list_changed"), string(e.next().Data))
		e.close()
		synctest.Wait()
	})
}

// TestServerThatEndsEachStream: it is asked again and again, but less and less often.
func TestServerThatEndsEachStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		src := newSource(s)
		f := setup{net: newMemory(), servers: []server{stateless("b", s)}}.start(t)
		e := listenTo(f, watching("file:///b/a"))
		e.next()
		go func() { _, _ = io.Copy(io.Discard, e.in) }()
		began, opened := time.Now(), 0
		for time.Since(began) < 10*time.Minute {
			synctest.Wait()
			src.mu.Lock()
			for l := range src.open {
				select {
				case <-l.end:
				default:
					close(l.end)
				}
			}
			opened = src.opened
			src.mu.Unlock()
			time.Sleep(100 * time.Millisecond)
		}
		assert.Greater(t, opened, 15)
		assert.Less(t, opened, 40)
		e.close()
		synctest.Wait()
	})
}

// TestAStreamThatEndsBeforeTheNextHasBegun: what changes in between is missed, and so is told to have changed.
func TestAStreamThatEndsBeforeTheNextHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		src := newSource(s)
		f := setup{net: newMemory(), servers: []server{stateless("b", s)}}.start(t)
		one := listenTo(f, watching("file:///b/a"))
		one.next()
		first := src.one(t, "file:///b/a")
		s.does("subscriptions/listen", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
			close(first.end)
			time.Sleep(time.Second) // the gateway knows of the end
			src.listen(w, r, m)
		})
		two := listenTo(f, watching("file:///b/b"))
		wantBytes(t, updated("file:///b/a"), string(one.next().Data))
		wantBytes(t, acknowledged(watching("file:///b/b")), string(two.next().Data))
		one.close()
		two.close()
		synctest.Wait()
	})
}

// TestClientThatDoesNotRead: it is cut off, and costs the others nothing.
func TestClientThatDoesNotRead(t *testing.T) {
	f := start(t, offering("a", newScript(), "", "x"))
	listenTo(f, `{"toolsListChanged":true}`)
	other := listenTo(f, `{"promptsListChanged":true}`)
	other.next()
	began := time.Now()
	for range 200_000 {
		f.broker.Unchanged("a", []catalog.Kind{catalog.Tool})
	}
	require.Less(t, time.Since(began), patience)
	f.broker.Unchanged("a", []catalog.Kind{catalog.Prompt})
	wantBytes(t, told("prompts/list_changed"), string(other.next().Data))
}
