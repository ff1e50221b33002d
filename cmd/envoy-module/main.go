//go:build cgo && (linux || darwin)

// Command envoy-module is the router as a shared library that Envoy loads: build it with -buildmode=c-shared. See docs/design/envoy-module.md.
package main

import (
	_ "github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/abi" // Envoy's callbacks
)

// main is never called: a library has none.
func main() {}
