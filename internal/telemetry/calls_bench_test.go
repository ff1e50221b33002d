package telemetry

import (
	"testing"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

func BenchmarkTook(b *testing.B) {
	m := NewMetrics("1", Sources{Snapshot: func() *catalog.Snapshot { return nil }, Sessions: func() int { return 0 }})
	o, err := m.NewObserved(b.Context(), "1", func(string) (string, bool) { return "", false })
	if err != nil {
		b.Fatal(err)
	}
	c := Call{Start: time.Now(), Duration: time.Millisecond, Upstream: time.Millisecond, Status: 200, Facts: map[string]string{
		wire.KeyMethod: "tools/call", wire.KeyServer: "weather", wire.KeyTool: "get_forecast", wire.KeyPublicName: "weather_get_forecast", wire.KeyID: "1",
	}}
	b.ReportAllocs()
	for b.Loop() {
		o.Took(c)
	}
}
