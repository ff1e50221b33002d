package kubesource

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

const (
	userAgent = "mcp-gateway-broker"

	// settle is how long objects of different writings are given to become of one; after that they are taken as they are.
	settle = 2 * time.Second
)

// Source watches a configuration in a cluster.
type Source struct {
	names     Names
	logger    *slog.Logger
	informers [3]cache.SharedIndexInformer
	changed   chan struct{}

	mu     sync.Mutex
	unread error // why something could not be read the last time
}

// NewSource prepares a watch; Run begins it.
func NewSource(cluster *rest.Config, names Names, logger *slog.Logger) (*Source, error) {
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(rest.CopyConfig(cluster), userAgent))
	if err != nil {
		return nil, fmt.Errorf("the API server: %w", err)
	}
	s := &Source{names: names, logger: logger, changed: make(chan struct{}, 1)}
	core, ns := client.CoreV1(), names.Namespace
	s.informers = [3]cache.SharedIndexInformer{
		informer(&corev1.ConfigMap{}, names.Config, core.ConfigMaps(ns).List, core.ConfigMaps(ns).Watch),
		informer(&corev1.Secret{}, names.Credentials, core.Secrets(ns).List, core.Secrets(ns).Watch),
		informer(&corev1.ConfigMap{}, names.Certificates, core.ConfigMaps(ns).List, core.ConfigMaps(ns).Watch),
	}
	for _, i := range s.informers {
		poke := func(any) { s.poke() }
		_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: poke, UpdateFunc: func(_, o any) { poke(o) }, DeleteFunc: poke})
		if err == nil {
			err = i.SetWatchErrorHandlerWithContext(s.failed)
		}
		if err != nil {
			return nil, fmt.Errorf("watch the configuration: %w", err)
		}
	}
	return s, nil
}

// informer follows the one object of a name.
func informer[L runtime.Object](object runtime.Object, name string, list func(context.Context, metav1.ListOptions) (L, error),
	follow func(context.Context, metav1.ListOptions) (watch.Interface, error),
) cache.SharedIndexInformer {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	return cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return follow(ctx, o)
		},
	}, object, 0, cache.Indexers{})
}

func (s *Source) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Source) failed(ctx context.Context, r *cache.Reflector, err error) {
	cache.DefaultWatchErrorHandler(ctx, r, err)
	s.mu.Lock()
	s.unread = err
	s.mu.Unlock()
	s.poke()
}

// Run hands every good configuration over and reports every bad one, as config.Watch does with a file, until the context ends (Invariant 8).
func (s *Source) Run(ctx context.Context, o config.WatchOptions) {
	ctx = logr.NewContext(ctx, logr.FromSlogHandler(s.logger.Handler()))
	var running sync.WaitGroup
	defer running.Wait()
	for _, i := range s.informers {
		running.Go(func() { i.RunWithContext(ctx) })
		running.Go(func() {
			// An object that does not exist makes no event.
			if cache.WaitForCacheSync(ctx.Done(), i.HasSynced) {
				s.poke()
			}
		})
	}
	l := &loop{source: s, opts: o, good: o.Current}
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-wait.C:
		}
		if again := l.check(); again > 0 {
			wait.Reset(again)
		}
	}
}

// read is what the API server has told, once it has told of all three.
func (s *Source) read() (files, error) {
	f := files{names: s.names}
	if slices.ContainsFunc(s.informers[:], func(i cache.SharedIndexInformer) bool { return !i.HasSynced() }) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return f, s.unread
	}
	f.config, _ = only(s.informers[0]).(*corev1.ConfigMap)
	f.credentials, _ = only(s.informers[1]).(*corev1.Secret)
	f.certificates, _ = only(s.informers[2]).(*corev1.ConfigMap)
	if f.config == nil {
		return f, fmt.Errorf("the ConfigMap %q does not exist: does the controller run, and for this gateway?", s.names)
	}
	return f, nil
}

func only(i cache.SharedIndexInformer) any {
	for _, object := range i.GetStore().List() {
		return object
	}
	return nil
}

// loop decides what readings amount to.
type loop struct {
	source *Source
	opts   config.WatchOptions
	good   *config.Config

	settled string    // the version that counted last, or the text of an error
	failing bool      // it was bad
	since   time.Time // when what is there ceased to be whole; zero if it is
}

// check returns when to look again even if nothing happens, or 0.
func (l *loop) check() time.Duration {
	f, err := l.source.read()
	switch {
	case err != nil:
		l.fail(err.Error(), config.Problems{{Message: err.Error()}})
		return 0
	case f.config == nil: // not all has been told yet
		return 0
	}
	if !f.whole() {
		if l.since.IsZero() {
			l.since = time.Now()
		}
		if left := settle - time.Since(l.since); left > 0 {
			return left
		}
	} else {
		l.since = time.Time{}
	}
	version := f.version()
	if version == l.settled {
		return 0
	}
	next, err := config.Load(f.names.path(), f)
	if err != nil {
		l.fail(version, err)
		return 0
	}
	failed := l.failing
	l.settled, l.failing = version, false
	switch {
	case !next.Equal(l.good):
		l.good = next
		l.opts.OnChange(next)
	case failed:
		l.opts.OnRecover()
	}
	return 0
}

func (l *loop) fail(version string, err error) {
	if version == l.settled {
		return
	}
	l.settled, l.failing = version, true
	l.opts.OnError(err)
}
