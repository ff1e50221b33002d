//go:build !linux

package app

// releaseProgram does nothing: other systems have other ways.
func releaseProgram() {}
