package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/store"
	"github.com/guicassolato/mcp-gateway/internal/telemetry"
)

// brokenStore fails with an error, whatever is asked of it.
type brokenStore struct {
	store.Store

	err error
}

func (s brokenStore) Load(context.Context, string) (map[string]string, error) { return nil, s.err }

func TestMeasuredStore(t *testing.T) {
	m := telemetry.NewMetrics("1", telemetry.Sources{Snapshot: func() *catalog.Snapshot { return nil }, Sessions: func() int { return 0 }})
	scrape := func() string {
		rec := httptest.NewRecorder()
		m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
		return rec.Body.String()
	}
	assert.NotContains(t, scrape(), "mcp_gateway_store", "a replica that is alone has none of them")
	memory := store.NewMemory()
	s := measuredStore{memory, m.Replicas()}
	ctx := t.Context()
	require.NoError(t, s.Create(ctx, "a", map[string]string{"x": "1"}, time.Minute))
	fields, err := s.Load(ctx, "a")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"x": "1"}, fields)
	now, err := s.Swap(ctx, "a", "x", "1", "2")
	require.NoError(t, err)
	assert.Equal(t, "2", now)
	_, err = s.Swap(ctx, "none", "x", "", "2")
	require.ErrorIs(t, err, store.ErrNoRecord)
	there, err := s.Extend(ctx, time.Minute, "a", "none")
	require.NoError(t, err)
	assert.Equal(t, []bool{true, false}, there)
	heard := make(chan string, 1)
	connected := make(chan struct{})
	listening, stop := context.WithCancel(ctx)
	go s.Subscribe(listening, func() { close(connected) }, func(message []byte) { heard <- string(message) })
	<-connected
	require.NoError(t, s.Publish(ctx, []byte("hello")))
	assert.Equal(t, "hello", <-heard)
	stop()
	was, err := s.Delete(ctx, "a")
	require.NoError(t, err)
	assert.True(t, was)
	broken := errors.New("broken")
	for _, failure := range []error{broken, context.Canceled} {
		_, err = measuredStore{brokenStore{memory, failure}, m.Replicas()}.Load(ctx, "a")
		require.ErrorIs(t, err, failure)
	}
	got := scrape()
	for _, want := range []string{
		`mcp_gateway_store_operation_duration_seconds_count{operation="create"} 1`, `mcp_gateway_store_operation_duration_seconds_count{operation="load"} 3`,
		`mcp_gateway_store_operation_duration_seconds_count{operation="swap"} 2`, `mcp_gateway_store_operation_duration_seconds_count{operation="extend"} 1`,
		`mcp_gateway_store_operation_duration_seconds_count{operation="publish"} 1`, `mcp_gateway_store_operation_duration_seconds_count{operation="delete"} 1`,
		`mcp_gateway_store_operation_errors_total{operation="load"} 1`, // who leaves breaks no store
		`mcp_gateway_store_operation_errors_total{operation="swap"} 0`, // that there is no such record is an answer
		`mcp_gateway_store_subscriptions_total 1`,
	} {
		assert.Contains(t, got, want)
	}
}
