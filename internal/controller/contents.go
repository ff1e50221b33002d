package controller

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	kindSecret    = "Secret"
	kindConfigMap = "ConfigMap"
	kindNamespace = "Namespace"

	// parallel bounds how many requests are made at once.
	parallel = 8
)

// ref names a Secret or a ConfigMap.
type ref struct {
	kind string
	types.NamespacedName
}

// contents has the Secrets and ConfigMaps that somebody refers to. Of all others only the metadata is ever asked for.
type contents struct {
	metadata client.Reader // from memory
	live     client.Reader
	logger   *slog.Logger

	mu   sync.Mutex // guards what follows
	want map[ref]bool
	have map[ref]client.Object
}

func newContents(metadata, live client.Reader, logger *slog.Logger) *contents {
	return &contents{metadata: metadata, live: live, logger: logger, want: map[ref]bool{}, have: map[ref]client.Object{}}
}

// concerns tells whether an object is one that is referred to.
func (c *contents) concerns(kind string, key types.NamespacedName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.want[ref{kind, key}]
}

// read brings the contents of what is wanted up to date, and forgets all others.
func (c *contents) read(ctx context.Context, want map[ref]bool) (map[ref]client.Object, error) {
	c.mu.Lock()
	// Before the metadata is looked at, so that no later change of it goes unnoticed.
	c.want = want
	had := c.have
	c.mu.Unlock()

	have := make(map[ref]client.Object, len(want))
	var stale []ref
	for r := range want {
		fresh, err := c.fresh(ctx, r, had[r])
		if err != nil {
			return nil, err
		}
		if !fresh {
			stale = append(stale, r)
		} else if had[r] != nil {
			have[r] = had[r]
		}
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, r := range stale {
		group.Go(func() error {
			object, err := c.fetch(ctx, r)
			if object != nil {
				mu.Lock()
				defer mu.Unlock()
				have[r] = object
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.have = have
	return have, nil
}

// fresh tells whether what is known is no older than what the metadata says.
func (c *contents) fresh(ctx context.Context, r ref, known client.Object) (bool, error) {
	metadata := metadataOf(r.kind)
	switch err := c.metadata.Get(ctx, r.NamespacedName, metadata); {
	case apierrors.IsNotFound(err):
		// What is known although it is not there was deleted, or written by us a moment ago.
		return known == nil, nil
	case err != nil:
		return false, fmt.Errorf("look up the %s %q: %w", r.kind, r.NamespacedName, err)
	}
	return known != nil && known.GetUID() == metadata.UID && !older(known, metadata), nil
}

// older tells whether one state of an object is older than another.
func older(a, b metav1.Object) bool {
	order, err := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion())
	if err != nil {
		return a.GetResourceVersion() != b.GetResourceVersion() // versions of a foreign make: any other is newer
	}
	return order < 0
}

// fetch reads an object; nil if there is none. One that may not be read is as good as none: it is not to cost all others anything.
func (c *contents) fetch(ctx context.Context, r ref) (client.Object, error) {
	object := newObject(r.kind)
	err := c.live.Get(ctx, r.NamespacedName, object)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case apierrors.IsForbidden(err):
		c.logger.WarnContext(ctx, "an object may not be read: allow the controller to get it", "kind", r.kind, "name", r.String(), "error", err)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the %s %q: %w", r.kind, r.NamespacedName, err)
	}
	_, err = slim(object)
	return object, err
}

// wrote takes what the API server answered to a write.
func (c *contents) wrote(r ref, object client.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.have[r] = object
}

func newObject(kind string) client.Object {
	if kind == kindSecret {
		return &corev1.Secret{}
	}
	return &corev1.ConfigMap{}
}

func metadataOf(kind string) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: kind})
	return m
}
