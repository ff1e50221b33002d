package app

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProbeSettings(t *testing.T) {
	empty := write(t, "token", " \n")
	_, _, err := run(t, "probe", "--url", "mcp.example.com/mcp", "--arguments", "[1]", "--timeout", "0s", "--token-file", empty, "--ca-file", "/nowhere/ca.crt")
	require.EqualError(t, err, `--url "mcp.example.com/mcp": want a URL like https://mcp.example.com/mcp`+"\n"+
		"--arguments [1]: want a JSON object\n--timeout: must be more than 0\n--token-file: \""+empty+"\" is empty\n"+
		"--ca-file: open /nowhere/ca.crt: no such file or directory")
	assert.Equal(t, 2, ExitCode(err))
}

// A gateway that does not answer fails the probe, with the reason.
func TestProbeFails(t *testing.T) {
	_, _, err := run(t, "probe", "--url", "http://127.0.0.1:"+freePort(t)+"/mcp", "--timeout", "100ms")
	require.ErrorContains(t, err, "does not answer as it should: initialize: ")
	require.ErrorContains(t, err, "connection refused (still so after 100ms)")
	assert.Equal(t, 1, ExitCode(err))
}
