//go:build !cgo || !(linux || darwin)

// Command envoy-module is the router as a shared library that Envoy loads, which needs cgo.
package main

func main() {}
