package telemetry

import (
	"testing"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

func BenchmarkTook(b *testing.B) {
	m := NewMetrics("1", Sources{Snapshot: func() *catalog.Snapshot { return nil }, Sessions: func() int { return 0 }})
	o, err := m.NewObserved(b.Context(), "1", func(string) (string, bool) { return "", false })
	if err != nil {
		b.Fatal(err)
	}
	c := Call{Start: time.Now(), Duration: time.Millisecond, Upstream: time.Millisecond, Status: 200,
		Kind: callreport.Kind{Method: "tools/call", Server: "weather", Tool: "get_forecast", PublicName: "weather_get_forecast"}, Own: callreport.Own{ID: []byte("1")},
	}
	b.ReportAllocs()
	for b.Loop() {
		o.Took(&c)
	}
}
