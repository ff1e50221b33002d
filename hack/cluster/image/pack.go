package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// source is where a file of the image comes from: a path, or data; or it is an empty folder.
type source struct {
	path   string
	data   []byte
	folder bool
	mode   int64
}

// open gives the content, its size and its mode.
func (s source) open() (io.ReadCloser, int64, int64, error) {
	if s.path == "" {
		return io.NopCloser(bytes.NewReader(s.data)), int64(len(s.data)), s.mode, nil
	}
	f, err := os.Open(s.path)
	if err != nil {
		return nil, 0, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is no regular file", s.path)
	}
	if err != nil {
		return nil, 0, 0, errors.Join(err, f.Close())
	}
	// Readable by the user that the image runs as, whatever the mask was when the file was made.
	mode := int64(0o644)
	if info.Mode().Perm()&0o100 != 0 {
		mode = 0o755
	}
	return f, info.Size(), mode, nil
}

// sum is the SHA-256 of the content.
func (s source) sum() (string, error) {
	r, _, _, err := s.open()
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// addFolder adds the files below a folder. Links are followed, as the image has nothing that they could lead to; those that lead to
// nothing are left out.
func addFolder(files map[string]source, to, from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		target, origin := path.Join(to, entry.Name()), filepath.Join(from, entry.Name())
		info, err := os.Stat(origin)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case info.IsDir():
			if err := addFolder(files, target, origin); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			files[target] = source{path: origin}
		}
	}
	return nil
}

// addAuthorities adds the roots that a program trusts which finds no others. They come with a module, so that they are the same wherever
// the image is packed. Roots that are trusted under a condition are left out: a file cannot express conditions.
func addAuthorities(c *content) error {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return fmt.Errorf("certificate authorities: %w", err)
		}
	}
	c.files["/etc/ssl/certs/ca-certificates.crt"] = source{data: out.Bytes(), mode: 0o644}
	const module = "golang.org/x/crypto/x509roots/fallback"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == module {
				c.parts = append(c.parts, part{module, m.Version})
			}
		}
	}
	return nil
}

// build makes the image for a platform. One that never leaves the machine isn't compressed, which would only cost time.
func build(o options, c *content, compress bool) (v1.Image, error) {
	level, media := gzip.NoCompression, types.DockerLayer
	base := empty.Image
	if compress {
		level, media = gzip.BestCompression, types.OCILayer
		base = mutate.ConfigMediaType(mutate.MediaType(base, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return pack(c.files), nil },
		tarball.WithCompressionLevel(level), tarball.WithMediaType(media))
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	img, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = c.platform.OS, c.platform.Architecture, v1.Time{Time: o.created}
	file.Config = v1.Config{
		Entrypoint: o.entrypoint, User: user, Labels: o.labels, Env: append([]string{"PATH=/usr/local/bin:/usr/bin:/bin:/"}, o.env...),
	}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return img, nil
}

// pack makes the archive of the files, in a fixed order and without times and owners.
func pack(files map[string]source) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		archive := tar.NewWriter(w)
		var err error
		for _, to := range slices.Sorted(maps.Keys(files)) {
			if err = add(archive, to, files[to]); err != nil {
				err = fmt.Errorf("cannot add %q: %w", to, err)
				break
			}
		}
		if err == nil {
			err = errors.Join(archive.WriteHeader(&tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}), archive.Close())
		}
		w.CloseWithError(err) // nil ends it well
	}()
	return r
}

func add(w *tar.Writer, to string, from source) error {
	header := &tar.Header{Name: strings.TrimPrefix(to, "/"), Typeflag: tar.TypeReg}
	if from.folder {
		header.Name, header.Typeflag, header.Mode = header.Name+"/", tar.TypeDir, from.mode
		return w.WriteHeader(header)
	}
	r, size, mode, err := from.open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	header.Size, header.Mode = size, mode
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return err
}
