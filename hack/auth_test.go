package hack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// keycloakTools puts what keycloak.sh calls on the PATH: a mvn that "downloads" a file, a sha256sum that takes it for the right one, and an unzip
// that makes a Keycloak of it.
func keycloakTools(s *sandbox, checksum string) (downloads func() int) {
	log := filepath.Join(s.home, "downloads")
	s.onPath("java", "exit 0")
	s.onPath("mvn", `
echo one >>`+log+`
for a in "$@"; do case $a in -Dmaven.repo.local=*) d=${a#*=}/org/keycloak/keycloak-quarkus-dist/26.7.3 ;; esac; done
mkdir -p "$d" && echo zip >"$d/keycloak-quarkus-dist-26.7.3.zip"
sleep 0.2`)
	s.onPath("sha256sum", "echo '"+checksum+"  -'")
	s.onPath("unzip", `
mkdir -p "$4/keycloak-26.7.3/bin" "$4/keycloak-26.7.3/lib"
printf '#!/bin/sh\necho "built with $*"\n' >"$4/keycloak-26.7.3/bin/kc.sh"
chmod 755 "$4/keycloak-26.7.3/bin/kc.sh"`)
	return func() int {
		data, err := os.ReadFile(log)
		require.NoError(s.t, err)
		return strings.Count(string(data), "one")
	}
}

const keycloakChecksum = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"

func TestKeycloakIsBuiltOnce(t *testing.T) {
	s := newSandbox(t)
	downloads := keycloakTools(s, keycloakChecksum)
	want := s.cache("keycloak", "26.7.3-dev-mem")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			stdout, stderr, ok := s.runArgs("keycloak.sh", []string{"get"})
			assert.True(t, ok, stderr)
			assert.Equal(t, want, stdout)
		})
	}
	both.Wait()
	if _, err := exec.LookPath("flock"); err == nil {
		assert.Equal(t, 1, downloads(), "of two runs at once, one waits for the other")
	}
	s.onPath("mvn", "exit 1") // a second run needs no network
	stdout, stderr, ok := s.runArgs("keycloak.sh", []string{"get"})
	require.True(t, ok, stderr)
	assert.Equal(t, want, stdout)
	left, err := filepath.Glob(s.cache(".staging*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestKeycloakFails(t *testing.T) {
	s := newSandbox(t)
	wantError := func(want string, args ...string) {
		t.Helper()
		stdout, stderr, ok := s.runArgs("keycloak.sh", args)
		assert.False(t, ok)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, want)
	}
	wantError("usage: keycloak.sh get")
	wantError("usage: keycloak.sh get", "start", "--port", "x", "--data", s.home, "--realm", "realm.json")
	wantError(`--realm "/nowhere.json" does not exist`, "start", "--port", "1", "--data", s.home, "--realm", "/nowhere.json")
	wantError("Keycloak needs Java 17 or newer", "get")
	keycloakTools(s, "another")
	wantError(`has the SHA-256 "another"`, "get")
	assert.NoDirExists(t, s.cache("keycloak"), "what was not verified is not kept")
	keycloakTools(s, keycloakChecksum)
	s.onPath("mvn", "echo no route to host; exit 1")
	wantError("Maven could not download Keycloak 26.7.3 (its words are above)", "get")
	require.NoError(t, os.Remove(filepath.Join(s.bin, "mvn")))
	wantError("mvn, which is not on the PATH (on Debian: apt-get install maven)", "get")
}

// Keycloak takes the script's place, so that who kills the script kills Keycloak, and holds none of its locks.
func TestKeycloakStartsInTheScriptsPlace(t *testing.T) {
	s := newSandbox(t)
	keycloakTools(s, keycloakChecksum)
	s.onPath("java", `case $1 in -version) ;; *) echo "pid $$: $*"; [ ! -e /proc/self/fd/9 ] || echo "holds a lock" ;; esac`)
	ln, err := exec.LookPath("ln")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(ln, filepath.Join(s.bin, "ln")))
	realm := filepath.Join(s.home, "realm.json")
	require.NoError(t, os.WriteFile(realm, []byte("{}"), 0o600))
	data := filepath.Join(s.home, "data")
	stdout, stderr, ok := s.runArgs("keycloak.sh", []string{"start", "--port", "8889", "--data", data, "--realm", realm})
	require.True(t, ok, stderr)
	assert.Contains(t, stdout, "--http-host=127.0.0.1 --http-port=8889 --hostname=http://127.0.0.1:8889")
	assert.Contains(t, stdout, "-Dkc.home.dir="+data)
	assert.NotContains(t, stdout, "holds a lock")
	assert.FileExists(t, filepath.Join(data, "data", "import", "realm.json"))
}

func TestChromium(t *testing.T) {
	s := newSandbox(t)
	s.wantError("chromium.sh", "no Chromium is on the PATH")
	s.onPath("chromium", "exit 1") // as a wrapper for something that is not installed does
	chrome := s.onPath("google-chrome", "exit 0")
	s.wantPath("chromium.sh", chrome)
	s.wantPath("chromium.sh", s.onPath("chromium", "exit 0"))
	own := s.program(filepath.Join(s.home, "own"), "exit 0")
	s.wantPath("chromium.sh", own, "CHROMIUM_BIN="+own)
	s.wantError("chromium.sh", `CHROMIUM_BIN is "/nowhere", which does not exist`, "CHROMIUM_BIN=/nowhere")
}

func TestNodeAtLeast(t *testing.T) {
	s := newSandbox(t)
	for version, fits := range map[string]bool{"22.18.9": false, "22.19.0": true, "22.20.1": true, "24.0.0": true, "20.30.0": false} {
		node := s.onPath("node", "echo "+version)
		stdout, _, ok := s.runArgs("node.sh", []string{"22.19"})
		assert.Equal(t, fits, ok, version)
		if fits {
			assert.Equal(t, node, stdout)
		}
	}
}
