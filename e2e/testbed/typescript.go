package testbed

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// typeScriptSDKs leads to npm packages with the TypeScript SDKs, from which scripts take what they need. hack/test-env.sh prints it.
const typeScriptSDKs = "TYPESCRIPT_SDKS"

// TypeScriptServer starts a server that is a script. The script is given a name, which is its server's, and a port.
func TypeScriptServer(t testing.TB, script, name string) *Server {
	t.Helper()
	Program(t, typeScriptSDKs)
	address := FreeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	return start(t, script, address, "/mcp", Command{Path: Program(t, nodeBin), Args: []string{script, name, port}})
}

// TypeScriptClient runs a client that is a script to its end and returns the lines that it printed.
func TypeScriptClient(t testing.TB, script string, args ...string) []string {
	t.Helper()
	Program(t, typeScriptSDKs)
	const steps = 4 // each of which may take a while; a client goes through many
	ctx, cancel := context.WithTimeout(t.Context(), steps*Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, Program(t, nodeBin), append([]string{script}, args...)...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", script, strings.Join(args, " "), errors.Join(err, ctx.Err()), out.Bytes(), complaints.Bytes())
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}
