package kubesource

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

const (
	// PoliciesKey is the key of a ConfigMap that holds policy values.
	PoliciesKey = "policies.yaml"
	// AuthorizerKey is the key beside it with the public key of a policy engine, if there is one that enforces them.
	AuthorizerKey = "authorizer.pem"
)

// Document is one key of a ConfigMap, watched, with all that stands beside it.
type Document struct {
	namespace, name, key string
	logger               *slog.Logger
	informer             cache.SharedIndexInformer
	changed              chan struct{}

	mu     sync.Mutex
	unread error // why it could not be read the last time
}

// NewDocument prepares the watch of a key of the ConfigMap "namespace/name"; [FollowDocument] begins it.
func NewDocument(cluster *rest.Config, configMap, key string, logger *slog.Logger) (*Document, error) {
	namespace, name, ok := strings.Cut(configMap, "/")
	if !ok || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return nil, fmt.Errorf("%q: want namespace/name of a ConfigMap", configMap)
	}
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(rest.CopyConfig(cluster), userAgent))
	if err != nil {
		return nil, fmt.Errorf("the API server: %w", err)
	}
	d := &Document{namespace: namespace, name: name, key: key, logger: logger, changed: make(chan struct{}, 1)}
	maps := client.CoreV1().ConfigMaps(namespace)
	d.informer = informer(&corev1.ConfigMap{}, name, maps.List, maps.Watch)
	poke := func(any) { d.poke() }
	_, err = d.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: poke, UpdateFunc: func(_, o any) { poke(o) }, DeleteFunc: poke})
	if err == nil {
		err = d.informer.SetWatchErrorHandlerWithContext(d.failed)
	}
	if err != nil {
		return nil, fmt.Errorf("watch the ConfigMap %q: %w", configMap, err)
	}
	return d, nil
}

// String is the ConfigMap as the command line names it.
func (d *Document) String() string { return d.namespace + "/" + d.name }

// path is what problems call the document.
func (d *Document) path() string { return d.String() + "/" + d.key }

func (d *Document) poke() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

func (d *Document) failed(ctx context.Context, r *cache.Reflector, err error) {
	cache.DefaultWatchErrorHandler(ctx, r, err)
	d.mu.Lock()
	d.unread = err
	d.mu.Unlock()
	d.poke()
}

// read is the document as the API server has told it last, and a version that is another one as soon as the ConfigMap is. Without either nothing has been
// told yet.
func (d *Document) read() (text documentText, version string, err error) {
	if !d.informer.HasSynced() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.unread != nil {
			return text, "", fmt.Errorf("the ConfigMap %q cannot be watched: %w", d, d.unread)
		}
		return text, "", nil
	}
	m, _ := only(d.informer).(*corev1.ConfigMap)
	if m == nil {
		return text, "", fmt.Errorf("the ConfigMap %q does not exist", d)
	}
	data, err := keyOf("ConfigMap", d.name, m, d.key)
	if err != nil {
		return text, "", fmt.Errorf("the document %w", err)
	}
	return documentText{path: d.path(), data: data, beside: m}, string(m.UID) + "/" + m.ResourceVersion, nil
}

// documentText is a document at one time, and all that can be read then.
type documentText struct {
	path   string
	data   []byte
	beside *corev1.ConfigMap
}

var _ config.Env = documentText{}

// LookupEnv implements config.Env.
func (documentText) LookupEnv(string) (string, bool) { return "", false }

// ReadFile implements config.Env.
func (t documentText) ReadFile(name string) ([]byte, error) {
	if name == t.path {
		return t.data, nil
	}
	folder, key := path.Split(name)
	text, ok := t.beside.Data[key]
	if !ok || folder != path.Dir(t.path)+"/" {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

// FollowDocument hands every good document over and reports every bad one, as config.WatchFile does with a file, until the context ends (Invariant 8). A
// ConfigMap that does not exist, or no longer, is a bad one.
func FollowDocument[T any](ctx context.Context, d *Document, kind config.FileKind[T], o config.FileOptions[T]) {
	ctx = logr.NewContext(ctx, logr.FromSlogHandler(d.logger.Handler()))
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { d.informer.RunWithContext(ctx) })
	running.Go(func() {
		// An object that does not exist makes no event.
		if cache.WaitForCacheSync(ctx.Done(), d.informer.HasSynced) {
			d.poke()
		}
	})
	f := &follower[T]{document: d, kind: kind, opts: o, good: o.Current}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.changed:
			f.check()
		}
	}
}

// follower decides what readings of a document amount to.
type follower[T any] struct {
	document *Document
	kind     config.FileKind[T]
	opts     config.FileOptions[T]
	good     T

	settled string // the version that counted last, or the text of an error
	failing bool   // it was bad
}

func (f *follower[T]) check() {
	text, version, err := f.document.read()
	switch {
	case err != nil:
		version = err.Error()
	case version == "":
		return // nothing has been told yet
	}
	if version == f.settled {
		return
	}
	var next T
	if err == nil {
		next, err = f.kind.Load(text.path, text)
	}
	failed := f.failing
	f.settled, f.failing = version, err != nil
	switch {
	case err != nil:
		f.opts.OnError(err)
	case !f.kind.Equal(next, f.good):
		f.good = next
		f.opts.OnChange(next)
	case failed:
		f.opts.OnRecover()
	}
}
