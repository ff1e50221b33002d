// Command image packs programs into a container image without a container engine, as an archive that containerd and Docker load.
//
//	image --out image.tar --name localhost/app:1 --file /app=bin/app [--file …] -- /app [ARGUMENT...]
//
// The image has the files and an empty /tmp, runs as a user without rights, and is the same for the same files.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const user = "65532:65532"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

// options are the command line. The files and names may be given several times.
type options struct {
	out        string
	names      []string
	files      map[string]string // where they come from, by their path in the image
	entrypoint []string
}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	refs := map[name.Reference]v1.Image{}
	img, err := build(o)
	if err != nil {
		return err
	}
	for _, n := range o.names {
		tag, err := name.NewTag(n)
		if err != nil {
			return fmt.Errorf("name: %w", err)
		}
		refs[tag] = img
	}
	if err := tarball.MultiRefWriteToFile(o.out, refs); err != nil {
		return fmt.Errorf("cannot write %q: %w", o.out, err)
	}
	return nil
}

func parse(args []string) (options, error) {
	o := options{files: map[string]string{}}
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.out, "out", "", "the archive to write")
	flags.Func("name", "name of the image, with a tag", func(s string) error {
		o.names = append(o.names, s)
		return nil
	})
	flags.Func("file", "a file, as PATH-IN-IMAGE=PATH", func(s string) error {
		to, from, ok := strings.Cut(s, "=")
		if !ok || !path.IsAbs(to) || from == "" {
			return errors.New("want PATH-IN-IMAGE=PATH, the first of them absolute")
		}
		o.files[path.Clean(to)] = from
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.entrypoint = flags.Args()
	if o.out == "" || len(o.names) == 0 || len(o.files) == 0 || len(o.entrypoint) == 0 {
		return o, errors.New("want --out, --name, --file, and what to run after --")
	}
	return o, nil
}

func build(o options) (v1.Image, error) {
	data, err := pack(o.files)
	if err != nil {
		return nil, err
	}
	// It never leaves the machine: to compress it would only cost time.
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		tarball.WithCompressionLevel(gzip.NoCompression))
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = v1.Config{Entrypoint: o.entrypoint, User: user, Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin:/"}}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return img, nil
}

// pack makes the archive of the files, in a fixed order and without times and owners.
func pack(files map[string]string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	paths := make([]string, 0, len(files))
	for to := range files {
		paths = append(paths, to)
	}
	slices.Sort(paths)
	for _, to := range paths {
		if err := add(w, to, files[to]); err != nil {
			return nil, err
		}
	}
	err := w.WriteHeader(&tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir})
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return out.Bytes(), nil
}

func add(w *tar.Writer, to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("cannot add %q: %w", to, err)
	}
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("cannot add %q: %w", to, err)
	}
	// Readable by the user that the image runs as, whatever the mask was when the file was made.
	mode := int64(0o644)
	if info.Mode().Perm()&0o100 != 0 {
		mode = 0o755
	}
	if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(to, "/"), Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		return fmt.Errorf("cannot add %q: %w", to, err)
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("cannot add %q: %w", to, err)
	}
	return nil
}
