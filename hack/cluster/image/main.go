// Command image packs programs into container images without a container engine and without a base image: what is named is in them,
// and nothing else.
//
//	image --out image.tar --name localhost/app:1 --file /app=bin/app [--file …] -- /app [ARGUMENT...]
//	image --layout bin/images/app --name example.com/app:1 [--push] --platform linux/amd64 --file /app=bin/amd64/app
//	      --platform linux/arm64 --file /app=bin/arm64/app -- /app [ARGUMENT...]
//
// --out writes an archive that containerd and Docker load. --layout writes a folder as the OCI specifies it, with an index of all
// platforms and, for each, a list of what is in it (SPDX), which refers to its image; --push sends the same to the registries of the names.
// Files that are given before the first --platform are for each of them. In a name, {digest} stands for the beginning of the image's digest. An image has an empty /tmp, runs as a user without rights, and is
// the same, to the last bit, for the same files.
//
// It must not know what it packs.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const user = "65532:65532"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	out, layout string
	push        bool
	names       []string
	labels      map[string]string
	env         []string
	common      content
	platforms   []*content
	entrypoint  []string
	created     time.Time
}

// content is what is in the image for a platform.
type content struct {
	platform v1.Platform
	files    map[string]source // by their path in the image
	parts    []part
}

// part is something that the image is made of and that its files do not tell themselves.
type part struct{ name, version string }

func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := writeArchive(o, stdout); err != nil {
			return err
		}
	}
	if o.layout == "" && !o.push {
		return nil
	}
	return publish(ctx, o, stdout)
}

// tagsOf parses the names, in which {digest} stands for the beginning of the image's own digest.
func tagsOf(names []string, image interface{ Digest() (v1.Hash, error) }) ([]name.Tag, error) {
	digest, err := image.Digest()
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	tags := make([]name.Tag, 0, len(names))
	for _, n := range names {
		tag, err := name.NewTag(strings.ReplaceAll(n, "{digest}", digest.Hex[:12]))
		if err != nil {
			return nil, fmt.Errorf("name: %w", err)
		}
		tags = append(tags, tag)
	}
	return tags, nil
}

// writeArchive writes the archive and prints the names that the image has in it.
func writeArchive(o options, stdout io.Writer) error {
	img, err := build(o, o.platforms[0], false)
	if err != nil {
		return err
	}
	tags, err := tagsOf(o.names, img)
	if err != nil {
		return err
	}
	refs := map[name.Reference]v1.Image{}
	for _, tag := range tags {
		refs[tag] = img
	}
	if err := writeRefs(o.out, refs); err != nil {
		return fmt.Errorf("cannot write %q: %w", o.out, err)
	}
	for _, tag := range tags {
		if _, err := fmt.Fprintln(stdout, tag); err != nil {
			return err
		}
	}
	return nil
}

// manifestFile tells in an archive what the images' names are.
const manifestFile = "manifest.json"

// writeRefs writes the archive with its names in order: the library has them in another one each time, and the same image is to be the same file.
func writeRefs(out string, refs map[name.Reference]v1.Image) (err error) {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	from, to := io.Pipe()
	go func() { to.CloseWithError(tarball.MultiRefWrite(refs, to)) }()
	defer func() { _ = from.Close() }()
	written, archive := tar.NewReader(from), tar.NewWriter(file)
	for {
		header, err := written.Next()
		if errors.Is(err, io.EOF) {
			return archive.Close()
		}
		if err != nil {
			return err
		}
		var entry io.Reader = written
		if header.Name == manifestFile {
			manifest, err := sorted(written)
			if err != nil {
				return err
			}
			header.Size, entry = int64(len(manifest)), bytes.NewReader(manifest)
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(archive, entry); err != nil {
			return err
		}
	}
}

func sorted(r io.Reader) ([]byte, error) {
	var manifest tarball.Manifest
	if err := json.NewDecoder(r).Decode(&manifest); err != nil {
		return nil, err
	}
	for i := range manifest {
		slices.Sort(manifest[i].RepoTags)
	}
	return json.Marshal(manifest)
}

// current is the content that flags add to: that of the last platform named.
func (o *options) current() *content {
	if len(o.platforms) == 0 {
		return &o.common
	}
	return o.platforms[len(o.platforms)-1]
}

func parse(args []string) (options, error) {
	o := options{labels: map[string]string{}, common: content{files: map[string]source{}}}
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.out, "out", "", "the archive to write")
	flags.StringVar(&o.layout, "layout", "", "the folder to write")
	flags.BoolVar(&o.push, "push", false, "send it to the registries of its names")
	flags.Func("name", "name of the image, with a tag", func(s string) error {
		o.names = append(o.names, s)
		return nil
	})
	flags.Func("label", "a label, as NAME=VALUE", func(s string) error {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want NAME=VALUE")
		}
		o.labels[k] = v
		return nil
	})
	flags.Func("env", "a variable of the image's environment, as NAME=VALUE", func(s string) error {
		o.env = append(o.env, s)
		return nil
	})
	contentFlags(flags, &o)
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.entrypoint = flags.Args()
	err := o.complete()
	return o, err
}

// contentFlags are those that say what is in an image.
func contentFlags(flags *flag.FlagSet, o *options) {
	flags.Func("platform", "the platform of what follows, such as linux/arm64", func(s string) error {
		system, arch, ok := strings.Cut(s, "/")
		if !ok || system == "" || arch == "" {
			return errors.New("want SYSTEM/ARCHITECTURE, such as linux/arm64")
		}
		o.platforms = append(o.platforms, &content{platform: v1.Platform{OS: system, Architecture: arch}, files: map[string]source{}})
		return nil
	})
	inImage := func(add func(to, from string) error) func(string) error {
		return func(s string) error {
			to, from, ok := strings.Cut(s, "=")
			if !ok || !path.IsAbs(to) || from == "" {
				return errors.New("want PATH-IN-IMAGE=PATH, the first of them absolute")
			}
			return add(path.Clean(to), from)
		}
	}
	flags.Func("file", "a file, as PATH-IN-IMAGE=PATH", inImage(func(to, from string) error {
		o.current().files[to] = source{path: from}
		return nil
	}))
	flags.Func("dir", "all files of a folder, links followed, as PATH-IN-IMAGE=PATH", inImage(func(to, from string) error {
		return addFolder(o.current().files, to, from)
	}))
	flags.Func("empty", "an empty folder", func(s string) error {
		if !path.IsAbs(s) {
			return errors.New("want an absolute path")
		}
		o.current().files[path.Clean(s)] = source{folder: true, mode: 0o755}
		return nil
	})
	flags.Func("part", "something that it is made of and that no file tells, as NAME=VERSION", func(s string) error {
		n, version, ok := strings.Cut(s, "=")
		if !ok || n == "" {
			return errors.New("want NAME=VERSION")
		}
		c := o.current()
		c.parts = append(c.parts, part{n, version})
		return nil
	})
	flags.BoolFunc("ca-certificates", "the certificate authorities that the Go project takes from Mozilla, as /etc/ssl/certs/ca-certificates.crt", func(string) error {
		return addAuthorities(o.current())
	})
}

// complete checks the whole, and fills in what follows from it.
func (o *options) complete() error {
	if len(o.platforms) == 0 {
		o.platforms = []*content{{platform: v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, files: map[string]source{}}}
	}
	for _, p := range o.platforms {
		for to, from := range o.common.files {
			if _, ok := p.files[to]; !ok {
				p.files[to] = from
			}
		}
		p.parts = append(p.parts, o.common.parts...)
		if len(p.files) == 0 {
			return errors.New("want at least one --file for each platform")
		}
	}
	if (o.out == "" && o.layout == "" && !o.push) || len(o.names) == 0 || len(o.entrypoint) == 0 {
		return errors.New("want --out, --layout or --push, --name, --file, and what to run after --")
	}
	if o.out != "" && len(o.platforms) > 1 {
		return errors.New("an archive holds one platform: with several, want --layout or --push")
	}
	// The convention of reproducible builds: the time of what is built, not of building.
	if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		seconds, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH is %q: want seconds since 1970", s)
		}
		o.created = time.Unix(seconds, 0).UTC()
	}
	return nil
}
