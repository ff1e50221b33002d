// Package standalone_test runs `mcp-broker-router standalone`, which is what `make run` runs, as a process with a real
// Envoy: how it starts, what it listens on, and how it ends.
package standalone_test

import (
	"os"
	"testing"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }
