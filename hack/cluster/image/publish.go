package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// bill is the list of what is in the image of a platform, as an artifact that refers to it.
type bill struct {
	file  string
	data  []byte
	image v1.Image
}

// publish makes the images of all platforms, and writes and sends what was asked for. It prints the digest of the whole.
func publish(ctx context.Context, o options, stdout io.Writer) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	images := make([]v1.Image, 0, len(o.platforms))
	for _, c := range o.platforms {
		img, err := build(o, c, true)
		if err != nil {
			return err
		}
		platform := c.platform
		images = append(images, img)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	tags, err := tagsOf(o.names, index)
	if err != nil {
		return err
	}
	bills := make([]bill, 0, len(images))
	for i, c := range o.platforms {
		b, err := billOf(o, c, tags[0], images[i])
		if err != nil {
			return err
		}
		bills = append(bills, b)
	}
	if o.layout != "" {
		if err := writeLayout(o.layout, tags, index, bills); err != nil {
			return fmt.Errorf("cannot write %q: %w", o.layout, err)
		}
	}
	if o.push {
		if err := send(ctx, tags, index, bills); err != nil {
			return err
		}
	}
	digest, err := index.Digest()
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "%s@%s\n", tags[0].Context().Name(), digest)
	return err
}

func billOf(o options, c *content, tag name.Tag, img v1.Image) (bill, error) {
	digest, err := img.Digest()
	if err != nil {
		return bill{}, fmt.Errorf("image: %w", err)
	}
	document, err := spdx(o, c, tag, digest)
	if err != nil {
		return bill{}, fmt.Errorf("list of contents: %w", err)
	}
	data, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return bill{}, fmt.Errorf("list of contents: %w", err)
	}
	subject, err := partial.Descriptor(img)
	if err != nil {
		return bill{}, fmt.Errorf("image: %w", err)
	}
	const media = "application/spdx+json"
	// The type of the artifact is that of its configuration, which is empty.
	artifact := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), media)
	artifact, err = mutate.Append(artifact, mutate.Addendum{Layer: static.NewLayer(data, media), MediaType: media})
	if err != nil {
		return bill{}, fmt.Errorf("list of contents: %w", err)
	}
	artifact, ok := mutate.Subject(artifact, *subject).(v1.Image)
	if !ok {
		return bill{}, fmt.Errorf("list of contents: it is no image")
	}
	return bill{file: fmt.Sprintf("%s-%s.spdx.json", c.platform.OS, c.platform.Architecture), data: append(data, '\n'), image: artifact}, nil
}

// writeLayout replaces the folder by one with the images, and the lists as files too.
func writeLayout(dir string, tags []name.Tag, index v1.ImageIndex, bills []bill) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	out, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if err := out.AppendIndex(index, layout.WithAnnotations(map[string]string{
			"org.opencontainers.image.ref.name": tag.TagStr(), "io.containerd.image.name": tag.Name(),
		})); err != nil {
			return err
		}
	}
	for _, b := range bills {
		if err := out.AppendImage(b.image); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, b.file), b.data, 0o644); err != nil { //nolint:gosec // it is as public as the image
			return err
		}
	}
	return nil
}

// send sends all to the registries, with the credentials that Docker's clients use.
func send(ctx context.Context, tags []name.Tag, index v1.ImageIndex, bills []bill) error {
	auth := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	for _, tag := range tags {
		if err := remote.WriteIndex(tag, index, auth...); err != nil {
			return fmt.Errorf("cannot push %q: %w", tag, err)
		}
		for _, b := range bills {
			digest, err := b.image.Digest()
			if err != nil {
				return fmt.Errorf("list of contents: %w", err)
			}
			if err := remote.Write(tag.Digest(digest.String()), b.image, auth...); err != nil {
				return fmt.Errorf("cannot push the list of contents of %q: %w", tag, err)
			}
		}
	}
	return nil
}
