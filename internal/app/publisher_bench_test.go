package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// BenchmarkListing is a start with many servers of ten tools each, which are listed one after the other: what the snapshots take that are made meanwhile.
func BenchmarkListing(b *testing.B) {
	for _, n := range []int{1_000, 3_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				listAll(b, n)
			}
		})
	}
}

func listAll(b *testing.B, n int) {
	cfg := &config.Config{}
	for i := range n {
		name := fmt.Sprintf("s%05d", i)
		cfg.Servers = append(cfg.Servers, config.Server{
			Name: name, Scheme: "http", Host: "127.0.0.1", Port: 1000, Path: "/mcp", ToolPrefix: name + "_", Enabled: true, Timeout: time.Minute,
		})
	}
	snapshots := 0
	p := newPublisher(cfg, nil, false, nil, slog.New(slog.DiscardHandler), func(_, _ *catalog.Snapshot) { snapshots++ })
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(ctx)
	}()
	began, cpu := time.Now(), cpuTime()
	for i := range n {
		l := &catalog.Listing{Revision: "2025-11-25", Sessions: true, Capabilities: json.RawMessage(`{"tools":{}}`)}
		for j := range 10 {
			l.Items[catalog.Tool] = append(l.Items[catalog.Tool], json.RawMessage(fmt.Sprintf(`{"name":"tool_%05d","description":"Looks number %d up in the register of all `+
				`numbers.","inputSchema":{"type":"object","properties":{"number":{"type":"integer","description":"The number."}},"required":["number"]}}`, j, j)))
		}
		l.Digests = catalog.DigestsOf(l.Items[catalog.Tool])
		p.SetState(cfg.Servers[i].Name, catalog.State{Health: catalog.HealthReady, Listing: l})
		time.Sleep(time.Millisecond) // the network
	}
	for p.Snapshot().All().Len(catalog.Tool) < 10*n {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(time.Since(began).Seconds(), "s/listing")
	b.ReportMetric((cpuTime() - cpu).Seconds(), "cpu-s/listing")
	b.ReportMetric(float64(snapshots), "snapshots/listing")
	cancel()
	<-ended
}

// cpuTime is what the process has had of the CPUs.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
