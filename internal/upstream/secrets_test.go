package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// echoes are servers that tell everybody what they were told.
func echoes() map[string]reply {
	echo := func(r *http.Request) string {
		return r.Header.Get("Authorization") + " " + r.Header.Get("X-Tenant") + " " + r.Header.Get("Mcp-Session-Id")
	}
	return map[string]reply{
		"status": func(w http.ResponseWriter, r *http.Request, _ *jsonMessage) {
			http.Error(w, echo(r), http.StatusUnauthorized)
		},
		"json-rpc error with a status": func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":%q}}`, echo(r))
		},
		"json-rpc error": func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":1,"message":%q,"data":%q}}`, m.ID.Of(m.Body), echo(r), echo(r))
		},
		"redirect": func(w http.ResponseWriter, r *http.Request, _ *jsonMessage) {
			w.Header().Set("Location", "https://user:s3cr3t@elsewhere.example.com/s3cr3t?key=s3cr3t")
			w.WriteHeader(http.StatusFound)
		},
		"content type": func(w http.ResponseWriter, r *http.Request, _ *jsonMessage) {
			w.Header().Set("Content-Type", "text/s3cr3t")
			_, _ = io.WriteString(w, echo(r))
		},
		"garbage": func(w http.ResponseWriter, r *http.Request, _ *jsonMessage) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, echo(r))
		},
		"key in garbage": func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","s3cr3t":1,"s3cr3t":2}`)
		},
		"revision": func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
			answerJSON(w, m, `{"protocolVersion":"s3cr3t"}`)
		},
		"not http": func(w http.ResponseWriter, r *http.Request, _ *jsonMessage) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(conn, "Bearer s3cr3t\r\n\r\n")
			_ = conn.Close()
		},
	}
}

func assertNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{"s3cr3t", "tenant-blue", "session-xyz"} {
		assert.NotContains(t, text, secret)
	}
}

func TestNoSecretInErrors(t *testing.T) {
	for name, answer := range echoes() {
		t.Run(name, func(t *testing.T) {
			s := newScript()
			s.on["initialize"], s.on["tools/call"], s.on["GET"], s.on["notifications/x"] = answer, answer, answer, answer
			e := serve(t, s, EndpointOptions{}, withCredential)
			session := Session{ID: "session-xyz", Revision: "2025-11-25"}
			_, call := e.Call(t.Context(), session, "tools/call", nil)
			_, open := e.Open(t.Context(), raw(`{}`))
			err := errors.Join(call, open, e.Notify(t.Context(), session, "notifications/x", nil),
				e.feed(session, "event stream").listen(t.Context(), time.Minute, func() {}))
			require.Error(t, err)
			assertNoSecret(t, fmt.Sprintf("%v %+v", err, err))
			var as *jsonrpc.Error
			if errors.As(call, &as) {
				assertNoSecret(t, as.Message+string(as.Data))
				assert.NotEmpty(t, as.Message)
			}
		})
	}
}

func TestNoSecretInPrintsAndLogs(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for name, answer := range echoes() {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			s := newScript()
			s.session = "session-xyz"
			if name != "revision" {
				s.on["tools/list"] = answer
			} else {
				s.on["initialize"] = answer
			}
			in := newMemory(t)
			in.listen("weather:80", s)
			b := newBoard()
			m := NewManager(ManagerOptions{Logger: logger, Publish: b.publish, Endpoint: EndpointOptions{Dial: in.dial}})
			cfg := memoryConfig("weather")
			withCredential(&cfg)
			m.Apply(&config.Config{Servers: []config.Server{cfg}})
			st := b.await(t, "weather", func(st catalog.State) bool {
				return st.Health == catalog.HealthFailing || st.Listing != nil && len(st.Listing.Problems) > 0
			})
			logger.Info("endpoint", "endpoint", m.Endpoint("weather"))
			assertNoSecret(t, fmt.Sprintf("%v %+v %#v", m.Endpoint("weather"), m.Endpoint("weather"), m.Endpoint("weather")))
			m.Close(t.Context())
			assertNoSecret(t, fmt.Sprintf("%+v %+v", st, st.Listing))
			assertNoSecret(t, log.String())
			assert.NotEmpty(t, log.String())
		})
	}
}
