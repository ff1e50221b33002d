package catalog

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

func many(servers, tools int) Input {
	in := Input{States: map[string]State{}}
	for i := range servers {
		name := fmt.Sprintf("server-%d", i)
		l := &Listing{}
		for j := range tools {
			l.Items[Tool] = append(l.Items[Tool], fmt.Appendf(nil,
				`{"name":"tool_%d","description":"Does what tool %d of server %d does.","inputSchema":{"type":"object","properties":{"a":{"type":"string"}}}}`, j, j, i))
		}
		l.Items[Template] = []json.RawMessage{fmt.Appendf(nil, `{"uriTemplate":"x%d://{name}"}`, i)}
		in.Servers = append(in.Servers, config.Server{Name: name, Enabled: true, ToolPrefix: fmt.Sprintf("s%d_", i)})
		in.States[name] = State{Health: HealthReady, Listing: l}
	}
	return in
}

func BenchmarkBuild(b *testing.B) {
	in := many(1000, 10)
	b.ReportAllocs()
	for b.Loop() {
		if snap := Build(in); len(snap.Items(Tool)) != 10_000 {
			b.Fatal(len(snap.Items(Tool)))
		}
	}
}

// BenchmarkBuildCounting is the same where calls are counted: the counters of the snapshot before go on.
func BenchmarkBuildCounting(b *testing.B) {
	in := many(1000, 10)
	in.Counting.Set = &tally.Set{}
	in.Counting.Before = Build(in)
	b.ReportAllocs()
	for b.Loop() {
		if snap := Build(in); len(snap.Items(Tool)) != 10_000 {
			b.Fatal(len(snap.Items(Tool)))
		}
	}
}

// BenchmarkFindTool must not depend on how many tools there are.
func BenchmarkFindTool(b *testing.B) {
	for _, servers := range []int{1, 1000} {
		b.Run(fmt.Sprintf("tools=%d", servers*10), func(b *testing.B) {
			snap := Build(many(servers, 10))
			name := fmt.Sprintf("s%d_tool_7", servers-1)
			b.ReportAllocs()
			for b.Loop() {
				if snap.Find(Tool, name) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}
