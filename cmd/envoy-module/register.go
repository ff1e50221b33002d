//go:build cgo && (linux || darwin)

package main

import (
	"os"
	"runtime"
	"runtime/debug"

	sdk "github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go"
	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/guicassolato/mcp-gateway/internal/envoymodule"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// version is set when the library is linked.
var version = "dev"

// gcPercent is Go's GOGC where the environment has none: the live heap is small beside what requests allocate and drop.
const gcPercent = 400

// spareProcs are more of Go's processors than CPUs. Envoy's workers hold on to one each between their calls into Go. If none is idle then, Go's
// monitor takes them away again and again, every 20 µs, which costs a worker a seventh of its time.
const spareProcs = 2

// init is how the SDK learns of filters: Envoy loads a library without calling main.
func init() { //nolint:gochecknoinits // see above
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	if _, set := os.LookupEnv("GOMAXPROCS"); !set {
		runtime.GOMAXPROCS(runtime.NumCPU() + spareProcs)
	}
	sdk.RegisterHttpFilterConfigFactories(map[string]shared.HttpFilterConfigFactory{wire.ModuleFilter: punctual{envoymodule.New(version)}})
}

// punctual is called by the thread that loads the library.
type punctual struct{ shared.HttpFilterConfigFactory }

// Create implements shared.HttpFilterConfigFactory.
func (p punctual) Create(handle shared.HttpFilterConfigHandle, config []byte) (shared.HttpFilterFactory, error) {
	restoreSlack()
	return p.HttpFilterConfigFactory.Create(handle, config)
}
