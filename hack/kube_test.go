package hack

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const kubeVersion = "v1.37.2-etcd-v3.7.3"

// goOf is a Go that has Kubernetes as a module with two parts of its own, and builds programs that tell what they were made of. It
// counts its builds.
func goOf(s *sandbox) (builds func() string) {
	log := filepath.Join(s.home, "builds")
	mod := filepath.Join(s.home, "kubernetes.mod")
	require.NoError(s.t, os.WriteFile(mod, []byte("require k8s.io/api v0.0.0\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n"+
		"\tk8s.io/client-go => ./staging/src/k8s.io/client-go\n\texample.com/x => example.com/y v1.0.0\n)\n"), 0o600))
	s.onPath("nice", `exec "$@"`)
	s.onPath("go", `
case "$1 $2" in
"mod download") printf '{\n\t"Path": "k8s.io/kubernetes",\n\t"GoMod": "`+mod+`"\n}\n' ;;
"env "*) echo go1.26 ;;
"build -C")
  dir=$3
  while [ "$1" != -o ]; do shift; done
  basename "$3" >>`+log+`
  [ -f "$dir/go.mod" ] || exit 1
  { echo '#!/bin/sh'; echo ": $3"; while read -r line; do echo ": '$line'"; done <"$dir/go.mod"; } >"$2"
  chmod 755 "$2" ;;
esac`)
	return func() string {
		data, err := os.ReadFile(log)
		require.NoError(s.t, err)
		return strings.Join(strings.Fields(string(data)), " ")
	}
}

func TestKubeBinariesFromEnvironment(t *testing.T) {
	s := newSandbox(t)
	own := filepath.Join(s.home, "own")
	s.program(filepath.Join(own, "etcd"), "")
	s.program(filepath.Join(own, "kubectl"), "")
	s.wantError("kube-binaries.sh", `has no "kube-apiserver": correct it, or unset it to have them made`, "KUBEBUILDER_ASSETS="+own)
	s.program(filepath.Join(own, "kube-apiserver"), "")
	s.wantPath("kube-binaries.sh", own, "KUBEBUILDER_ASSETS="+own)
	s.wantError("kube-binaries.sh", `"/nowhere", which does not exist`, "KUBEBUILDER_ASSETS=/nowhere")
}

func TestKubeBinariesFromModules(t *testing.T) {
	s := newSandbox(t)
	s.wantError("kube-binaries.sh", "Go is not on the PATH")
	builds := goOf(s)
	want := s.cache("kube", kubeVersion)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { s.wantPath("kube-binaries.sh", want) })
	}
	both.Wait()
	for name, part := range map[string]string{
		"etcd":           "require go.etcd.io/etcd/server/v3 v3.7.3",
		"kube-apiserver": "replace k8s.io/client-go => k8s.io/client-go v0.37.2",
		"kubectl":        ": k8s.io/kubernetes/cmd/kubectl",
	} {
		data, err := os.ReadFile(filepath.Join(want, name))
		require.NoError(t, err)
		assert.Contains(t, string(data), part)
		assert.NotContains(t, string(data), "example.com", "only Kubernetes' own parts are replaced")
	}
	if _, err := os.Stat(filepath.Join(s.bin, "flock")); err == nil {
		assert.Equal(t, "v3 kube-apiserver kubectl", builds(), "of two runs at once, one waits for the other")
	}

	require.NoError(t, os.Remove(filepath.Join(want, "kubectl")))
	s.wantPath("kube-binaries.sh", want)
	assert.True(t, strings.HasSuffix(builds(), "kubectl kubectl"), "what is there is not built again: %s", builds())

	s.onPath("go", "exit 1") // a second run needs neither Go nor a network
	s.wantPath("kube-binaries.sh", want)
	left, err := filepath.Glob(s.cache(".staging*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestKubeBinariesFromModulesFail(t *testing.T) {
	s := newSandbox(t)
	s.onPath("nice", `exec "$@"`)
	s.onPath("go", "echo no space left; exit 1")
	s.wantError("kube-binaries.sh", "no space left")
	s.wantError("kube-binaries.sh", `could not build "etcd" (Go's words are above)`)
	s.onPath("go", `[ "$1" = env ] && echo go1.26 && exit; [ "$1" = mod ] && exit 1; case "$*" in *etcd*) while [ "$1" != -o ]; do shift; done; echo >"$2"; chmod 755 "$2";; esac`)
	s.wantError("kube-binaries.sh", "Kubernetes v1.37.2 could not be downloaded as a Go module: check the network and GOPROXY")
	assert.FileExists(t, s.cache("kube", kubeVersion, "etcd"), "what was built is kept")
}

// setup-envtest is asked first, where it reaches its releases.
func TestKubeBinariesFromSetupEnvtest(t *testing.T) {
	s := newSandbox(t)
	goOf(s)
	s.onPath("timeout", `shift; exec "$@"`)
	modules, err := os.ReadFile("tools/k8s/go.mod")
	require.NoError(t, err)
	_, version, found := strings.Cut(string(modules), "controller-runtime/tools/setup-envtest v")
	require.True(t, found)
	version, _, _ = strings.Cut(version, " ")
	releases := filepath.Join(s.home, "releases")
	s.program(s.cache("bin", "setup-envtest-v"+version+"-go1.26"), `
[ "$1" = --bin-dir ] || exit 1
case "$3 $4" in
"use -i") [ -d `+releases+` ] && echo `+releases+` ;;
"list 1.37.x") [ -z "$OFFLINE" ] ;;
"use -p")
  mkdir -p `+releases+`
  for name in etcd kube-apiserver kubectl; do echo >`+releases+`/$name; chmod 755 `+releases+`/$name; done
  echo `+releases+` ;;
esac`)
	stderr := s.wantPath("kube-binaries.sh", releases)
	assert.Contains(t, stderr, "downloading Kubernetes 1.37.x with setup-envtest")
	s.wantPath("kube-binaries.sh", releases, "OFFLINE=1")

	require.NoError(t, os.RemoveAll(releases))
	s.wantPath("kube-binaries.sh", s.cache("kube", kubeVersion), "OFFLINE=1")
}
