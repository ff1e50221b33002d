package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestImage(t *testing.T) {
	dir := t.TempDir()
	program, data := filepath.Join(dir, "app"), filepath.Join(dir, "data")
	write(t, program, "program", 0o700)
	write(t, data, "data", 0o600)
	out := filepath.Join(dir, "image.tar")
	args := []string{"--out", out, "--name", "localhost/app:1", "--name", "example/app:2", "--file", "/usr/bin/app=" + program, "--file", "/etc/data=" + data, "--", "/usr/bin/app", "-x"}
	if err := run(t.Context(), args, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, image := range []string{"localhost/app:1", "example/app:2"} {
		tag, err := name.NewTag(image)
		if err != nil {
			t.Fatal(err)
		}
		img, err := tarball.ImageFromPath(out, &tag)
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if c := config.Config; c.User != "65532:65532" || strings.Join(c.Entrypoint, " ") != "/usr/bin/app -x" || config.OS != "linux" {
			t.Errorf("%s would run %q as %q on %q", image, c.Entrypoint, c.User, config.OS)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("want one layer, got %d (%v)", len(layers), err)
		}
		content, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		want := "etc/data 644 data\nusr/bin/app 755 program\ntmp/ 1777 \n"
		if got := list(t, content); got != want {
			t.Errorf("want the files\n%sgot\n%s", want, got)
		}
	}

	first, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	write(t, data, "data", 0o644) // at another time
	if err := run(t.Context(), args, io.Discard); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(out); err != nil || !bytes.Equal(first, second) {
		t.Errorf("the same files gave another image (%v)", err)
	}
}

func TestImageRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"--name a:1 --file /a=b -- /a":                            "want --out, --layout or --push, --name, --file",
		"--out x --name a:1 --file /a=b":                          "want --out, --layout or --push, --name, --file",
		"--out x --name a:1 --file a=b -- /a":                     "the first of them absolute",
		"--out x --name a:1 --file /a=/nonexistent -- /a":         `cannot add "/a"`,
		"--out x --name A:1 --file /a=main.go -- /a":              "name: ",
		"--out /nonexistent/x --name a:1 --file /a=main.go -- /a": `cannot write "/nonexistent/x"`,
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error with %q, got %v", args, want, err)
		}
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// list is a line for each file: its path, mode and content.
func list(t *testing.T, archive io.ReadCloser) string {
	t.Helper()
	defer func() { _ = archive.Close() }()
	var out strings.Builder
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(&out, "%s %o %s\n", header.Name, header.Mode, content)
	}
}
