package xds

import (
	"encoding/json"

	modulesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/dynamic_modules/v3"
	modulefilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_modules/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// ModuleFile is the name of the library that Envoy looks for in the folder that ModuleFolderEnv names.
const ModuleFile = "lib" + moduleName + ".so"

const moduleName = "mcp_gateway"

// ModuleEnv is what an Envoy needs in its environment to load the router module from a folder. Go's check of pointers that are handed to C does not
// know those of the module SDK, and would end the process.
func ModuleEnv(folder string) []string {
	return []string{"ENVOY_DYNAMIC_MODULES_SEARCH_PATH=" + folder, "GODEBUG=cgocheck=0"}
}

// inside tells whether the router is inside of Envoy.
func (b *builder) inside() bool { return b.at.module != (address{}) }

// routerFilter is the router, inside of Envoy or outside.
func (b *builder) routerFilter() proto.Message {
	if !b.inside() {
		return b.processor(wire.RouterCluster)
	}
	config, err := json.Marshal(wire.ModuleConfig{Socket: b.at.module.pipe, Version: b.options.ModuleVersion})
	if err != nil {
		b.errs = append(b.errs, err)
	}
	return &modulefilterv3.DynamicModuleFilter{
		// A library with Go's runtime in it cannot be unloaded.
		DynamicModuleConfig: &modulesv3.DynamicModuleConfig{Name: moduleName, DoNotClose: true},
		FilterName:          wire.ModuleFilter,
		FilterConfig:        b.pack(wrapperspb.String(string(config))),
	}
}

// onRoutes is what the router's filter is told for all routes.
func (b *builder) onRoutes(own map[string]*anypb.Any) map[string]*anypb.Any {
	if !b.inside() {
		own[RouterFilter] = b.withMode(requestMode(true))
	}
	return own
}

// ModuleCheck renders, as YAML, a file that an Envoy finds good if it can load the router module.
func ModuleCheck(o Options) ([]byte, error) {
	o.Policies, o.Values = nil, nil
	return Static(o, nil)
}
