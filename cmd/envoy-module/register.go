//go:build cgo && (linux || darwin)

package main

import (
	"os"
	"runtime/debug"

	sdk "github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go"
	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/guicassolato/mcp-gateway/internal/envoymodule"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// version is set when the library is linked.
var version = "dev" //nolint:gochecknoglobals // the linker sets it

// gcPercent is Go's GOGC where the environment has none: the live heap is small beside what requests allocate and drop.
const gcPercent = 400

// init is how the SDK learns of filters: Envoy loads a library without calling main.
func init() { //nolint:gochecknoinits // see above
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	sdk.RegisterHttpFilterConfigFactories(map[string]shared.HttpFilterConfigFactory{wire.ModuleFilter: envoymodule.New(version)})
}
