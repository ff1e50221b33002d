package hack

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// packedImage is an image for one platform, as it would be published.
type packedImage struct {
	config struct {
		Config  struct{ User, Entrypoint, Env any }
		History []any
	}
	layers int
	files  map[string]string // how each begins
}

type descriptor struct {
	MediaType string
	Digest    string
	Platform  struct{ OS, Architecture string }
}

// readLayout reads the images in a folder as the OCI specifies it, by platform. The lists of contents beside them are no images.
func readLayout(t *testing.T, dir string) map[string]packedImage {
	t.Helper()
	images := map[string]packedImage{}
	var index struct{ Manifests []descriptor }
	readJSON(t, filepath.Join(dir, "index.json"), &index)
	for _, d := range index.Manifests {
		if strings.HasSuffix(d.MediaType, ".index.v1+json") {
			var platforms struct{ Manifests []descriptor }
			readJSON(t, blob(dir, d), &platforms)
			for _, p := range platforms.Manifests {
				images[p.Platform.OS+"/"+p.Platform.Architecture] = readImage(t, dir, p)
			}
		}
	}
	return images
}

func blob(dir string, d descriptor) string {
	return filepath.Join(dir, "blobs", strings.ReplaceAll(d.Digest, ":", "/"))
}

func readJSON(t *testing.T, path string, out any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, out), path)
}

func readImage(t *testing.T, dir string, d descriptor) packedImage {
	t.Helper()
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	readJSON(t, blob(dir, d), &manifest)
	image := packedImage{layers: len(manifest.Layers), files: map[string]string{}}
	readJSON(t, blob(dir, manifest.Config), &image.config)
	for _, layer := range manifest.Layers {
		readLayer(t, blob(dir, layer), image.files)
	}
	return image
}

// readLayer adds how the files of a layer begin.
func readLayer(t *testing.T, path string, files map[string]string) {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	plain, err := gzip.NewReader(file)
	require.NoError(t, err)
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		content, err := io.ReadAll(io.LimitReader(archive, 200))
		require.NoError(t, err)
		files[header.Name] = string(content)
	}
}

// imagesSandbox is a repository with what packs images, the packer itself included, and programs that tell how they were built.
func imagesSandbox(t *testing.T) (s *sandbox, repository string) {
	t.Helper()
	s = newSandbox(t)
	repository = t.TempDir()
	for _, file := range []string{"images.sh", "images-lib.sh", "lib.sh", "packer.sh", "envoy.sh", "envoy-module.sh"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		path := filepath.Join(repository, "hack", file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, text, 0o755)) //nolint:gosec // it is a script
	}
	require.NoError(t, os.CopyFS(filepath.Join(repository, "hack", "cluster", "image"), os.DirFS("cluster/image")))
	compiler, err := exec.LookPath("go")
	require.NoError(t, err)
	settings, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN").Output()
	require.NoError(t, err)
	for i, value := range strings.Split(strings.TrimSuffix(string(settings), "\n"), "\n") {
		s.env = append(s.env, []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN"}[i]+"="+value)
	}
	s.onPath("go", `case "$*" in
*" -C "*|"env GOHOSTARCH") exec `+compiler+` "$@" ;;
"env CGO_ENABLED") echo 1; exit ;;
esac
for package; do :; done
while [ "$1" != -o ]; do shift; done
mkdir -p "${2%/*}"
echo "$package, built with cgo $CGO_ENABLED for $GOOS/$GOARCH" >"$2"; chmod 755 "$2"`)
	s.env = append(s.env, "ENVOY_BIN="+s.onPath("envoy-of-the-test", envoyOf("1.40.0")))
	for _, tool := range []string{"ldd", "sed", "sort", "readlink"} {
		if path, err := exec.LookPath(tool); err == nil {
			require.NoError(t, os.Symlink(path, filepath.Join(s.bin, tool)))
		}
	}
	return s, repository
}

// TestImagesHoldOurProgramsOnly: an image that is published begins with nothing, and no more is in it than static programs of this repository and root
// certificates: no shell, no package manager, nobody's base image. It runs as a user without rights.
func TestImagesHoldOurProgramsOnly(t *testing.T) {
	t.Parallel()
	s, repository := imagesSandbox(t)
	_, stderr, ok := s.runArgs(filepath.Join(repository, "hack", "images.sh"), nil, "PLATFORMS=linux/amd64 linux/arm64")
	require.True(t, ok, stderr)
	for folder, programs := range map[string]map[string]string{
		"gateway":        {"mcp-broker-router": "./cmd/mcp-broker-router", "keycloak-import": "./cmd/keycloak-import"},
		"example-server": {"example-server": "./examples/servers"},
	} {
		images := readLayout(t, filepath.Join(repository, "bin", "images", folder))
		assert.ElementsMatch(t, []string{"linux/amd64", "linux/arm64"}, slices.Collect(maps.Keys(images)))
		for platform, image := range images {
			assert.Equal(t, 1, image.layers, "there is nothing below it")
			assert.Equal(t, "65532:65532", image.config.Config.User)
			assert.True(t, strings.HasPrefix(image.files["etc/ssl/certs/ca-certificates.crt"], "-----BEGIN CERTIFICATE-----"))
			delete(image.files, "etc/ssl/certs/ca-certificates.crt")
			want := map[string]string{"tmp/": ""}
			for program, source := range programs {
				want[program] = source + ", built with cgo 0 for " + platform + "\n"
			}
			assert.Equal(t, want, image.files, "%s for %s", folder, platform)
		}
	}
	envoy := readLayout(t, filepath.Join(repository, "bin", "images", "envoy"))
	require.Len(t, envoy, 1)
	for _, image := range envoy {
		assert.Equal(t, 1, image.layers)
		assert.Equal(t, "65532:65532", image.config.Config.User)
		assert.NotContains(t, image.files["etc/passwd"], "/bin", "nobody has a shell")
		for name := range image.files {
			library := strings.HasSuffix(name, ".so") || strings.Contains(filepath.Base(name), ".so.")
			ours := slices.Contains([]string{"usr/local/bin/envoy", "etc/passwd", "etc/ssl/certs/ca-certificates.crt", "tmp/"}, name)
			assert.True(t, ours || library, name)
		}
	}
}

// TestNoOtherImages: nothing in the repository describes an image in another way, which the test above would not see.
func TestNoOtherImages(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != ".." && (name == "bin" || name == "node_modules" || strings.HasPrefix(name, ".git")) {
			return filepath.SkipDir
		}
		name := strings.ToLower(entry.Name())
		if !entry.IsDir() && (strings.Contains(name, "dockerfile") || strings.Contains(name, "containerfile") || name == ".ko.yaml") {
			assert.Fail(t, "an image of its own", "%s: let hack/images.sh pack it", path)
		}
		return nil
	})
	require.NoError(t, err)
}
