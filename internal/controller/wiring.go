package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// wiring is what a gateway's reconciler knows of its EnvoyFilters. They have a memory of their own, which is of the Gateway's namespace alone: more than that
// nobody has to allow, and where it is not allowed everything else goes on.
type wiring struct {
	filters cache.Cache
	live    client.Reader
	mapper  meta.RESTMapper
	logger  *slog.Logger
	gateway Gateway
	// watch has changes of EnvoyFilters lead to a translation.
	watch func(cache.Cache) error

	// decided says that it is known whether EnvoyFilters can be written, possible that they can.
	decided, possible atomic.Bool
	written           map[string]wired // EnvoyFilters by name
}

func newWiring(g Gateway, o *Options, m manager.Manager, logger *slog.Logger) (*wiring, error) {
	w := &wiring{live: m.GetAPIReader(), mapper: m.GetRESTMapper(), logger: logger, gateway: g, written: map[string]wired{}}
	if o.Istio == nil {
		w.decided.Store(true)
		return w, nil
	}
	var err error
	w.filters, err = cache.New(m.GetConfig(), cache.Options{
		HTTPClient: m.GetHTTPClient(), Scheme: m.GetScheme(), Mapper: m.GetRESTMapper(), DefaultTransform: slim,
		DefaultNamespaces:    map[string]cache.Config{g.Namespace: {}},
		DefaultLabelSelector: labels.SelectorFromSet(labels.Set{labelManagedBy: managerName}),
	})
	if err != nil {
		return nil, fmt.Errorf("watch EnvoyFilters: %w", err)
	}
	return w, m.Add(w)
}

// Start implements manager.Runnable: it waits until there is a kind EnvoyFilter, and the permission to use it, and then watches ours.
func (w *wiring) Start(ctx context.Context) error {
	told := ""
	for {
		possible, err := w.look(ctx)
		switch {
		case possible:
			return w.begin(ctx)
		case err != nil && err.Error() != told && ctx.Err() == nil:
			told = err.Error()
			w.logger.WarnContext(ctx, "no EnvoyFilters are written; it is tried again", "error", err)
		}
		pause := lookAgain
		if err == nil || apierrors.IsForbidden(err) {
			w.decided.Store(true)
		} else {
			pause = time.Second
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// look tells whether EnvoyFilters of the Gateway's namespace can be listed.
func (w *wiring) look(ctx context.Context) (bool, error) {
	kind := envoyFilterKind()
	switch _, err := w.mapper.RESTMapping(kind.GroupKind(), kind.Version); {
	case meta.IsNoMatchError(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("ask for the kind %s: %w", kind.Kind, err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind)
	if err := w.live.List(ctx, list, client.InNamespace(w.gateway.Namespace), client.Limit(1)); err != nil {
		return false, fmt.Errorf("EnvoyFilters of the namespace %q cannot be read: give the controller a Role there, as config/install does for its Gateway: %w", w.gateway.Namespace, err)
	}
	return true, nil
}

func (w *wiring) begin(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- w.filters.Start(ctx) }()
	if err := w.watch(w.filters); err != nil {
		return err
	}
	if !w.filters.WaitForCacheSync(ctx) {
		return nil // the context has ended
	}
	w.possible.Store(true)
	w.decided.Store(true)
	return <-failed
}

// watchFilters undoes what somebody else does to ours. Where there are none yet, nothing else would make the first ones.
func (r *reconciler) watchFilters(c cache.Cache) error {
	filter := &unstructured.Unstructured{}
	filter.SetGroupVersionKind(envoyFilterKind())
	now := source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		q.AddAfter(reconcile.Request{NamespacedName: r.gateway.key()}, quiet)
		return nil
	})
	return errors.Join(r.watch(c, filter, predicate.Funcs{}), r.controller.Watch(now))
}
