package broker_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// TestExpiry: a session that nobody uses, or that is too old, ends as a deleted one does.
func TestExpiry(t *testing.T) {
	for name, tc := range map[string]struct {
		options session.Options
		stream  bool // is open all the time
		after   time.Duration
	}{
		"idle": {session.Options{MaxIdle: time.Hour}, false, time.Hour},
		"old":  {session.Options{MaxAge: 3 * time.Hour}, true, 3 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				weather := newScript()
				f := setup{net: newMemory(), session: tc.options, servers: []server{scripted("weather", weather)}}.start(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go f.sessions.Run(ctx)
				token := f.initialize()
				f.do(callOf(token, "weather", "1", "t"))
				ended := make(chan error, 1)
				if tc.stream {
					e := f.listen(token)
					go func() {
						_, err := e.read()
						ended <- err
					}()
				}
				time.Sleep(tc.after - time.Minute)
				synctest.Wait()
				assert.Empty(t, weather.requests(http.MethodDelete))
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				deleted := weather.requests(http.MethodDelete)
				if assert.Len(t, deleted, 1) {
					assert.Equal(t, "s-1", deleted[0].session)
				}
				if tc.stream {
					require.Error(t, <-ended)
				}
				wantError(t, f.do(callOf(token, "weather", hugeID, "t")), http.StatusNotFound, hugeID, -32600, "unknown or expired session")
				cancel()
			})
		})
	}
}

func hang(_ http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) { <-r.Context().Done() }

// TestHang: a server that never answers costs the others nothing (Invariant 12), and its callers not for ever.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, weather := newScript().does("initialize", hang), newScript()
		f := setup{net: newMemory(), servers: []server{scripted("stuck", stuck), scripted("weather", weather)}}.start(t)
		token := f.initialize()
		began := time.Now()
		called := make(chan answer)
		go func() { called <- f.do(callOf(token, "stuck", hugeID, "t")) }()
		synctest.Wait()
		assert.Contains(t, f.do(callOf(token, "weather", "1", "t")).body, `"result"`)
		assert.Zero(t, time.Since(began))
		wantError(t, <-called, http.StatusBadGateway, hugeID, -32603, "no answer in time")
		assert.Equal(t, 30*time.Second, time.Since(began))
	})
}

// TestHangingNotified: nor does one that takes no notifications and no level.
func TestHangingNotified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, weather := newScript(), newScript()
		f := setup{net: newMemory(), servers: []server{scripted("stuck", stuck), scripted("weather", weather)}}.start(t)
		token := f.initialize()
		f.do(callOf(token, "stuck", "1", "t"))
		f.do(callOf(token, "weather", "1", "t"))
		stuck.does("notifications/roots/list_changed", hang).does("logging/setLevel", hang).does(http.MethodDelete, hang)
		began := time.Now()
		a := f.do(request{session: token, body: `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`})
		assert.Equal(t, http.StatusAccepted, a.status)
		assert.Zero(t, time.Since(began))
		a = f.do(request{session: token, body: `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}`})
		wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, a.body)
		assert.LessOrEqual(t, time.Since(began), 2*time.Second)
		assert.Len(t, weather.requests("logging/setLevel"), 1)
		f.do(request{method: http.MethodDelete, session: token})
		synctest.Wait()
		assert.Len(t, weather.requests(http.MethodDelete), 1)
	})
}

// TestCloseIsBounded: a server that hangs does not keep the process.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := newScript().does(http.MethodDelete, hang)
		f := setup{net: newMemory(), servers: []server{scripted("stuck", stuck)}}.start(t)
		f.do(callOf(f.initialize(), "stuck", "1", "t"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		f.broker.Close(ctx)
		assert.Equal(t, time.Second, time.Since(began))
		assert.Len(t, stuck.requests(http.MethodDelete), 1)
	})
}
