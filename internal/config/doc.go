// Package config is the file contract of the gateway: it turns the bytes of the configuration file into an immutable [Config], or into every
// problem that they have, each with its place.
//
// The way of a file is parse (document.go, decode.go: YAML into a [File], strictly), then default, validate and compile (compile.go and the files
// beside it: a File into a Config). [Watch] repeats that way whenever something that the result depends on changes.
//
// The package reads the world through an [Env] only. It must not know Kubernetes, Envoy, MCP or the network: it resolves no host name and opens
// no connection, so whether a server answers is never a question of configuration.
package config
