package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

// lookAgain is how often a kind that the cluster lacks is looked for.
const lookAgain = 15 * time.Second

// kinds are the kinds that a cluster may lack, as far as it has them.
type kinds struct {
	namespaces bool

	mu sync.Mutex // guards the rest
	// serviceEntry is empty where there is no such kind.
	serviceEntry   schema.GroupVersionKind
	referenceGrant bool
}

// findKinds asks the API server which kinds it has. Without those that everything rests on it fails.
func findKinds(mapper meta.RESTMapper, o *Options) (*kinds, error) {
	var errs []error
	for kind, remedy := range map[schema.GroupVersionKind]string{
		v1alpha1.GroupVersion().WithKind(v1alpha1.KindMCPServer):                                 "apply config/crd of this release",
		v1alpha1.GroupVersion().WithKind(v1alpha1.KindMCPVirtualServer):                          "apply config/crd of this release",
		{Group: gatewayv1.GroupName, Version: gatewayv1.GroupVersion.Version, Kind: "HTTPRoute"}: "install the Gateway API, v1.2.0 or newer",
		{Group: gatewayv1.GroupName, Version: gatewayv1.GroupVersion.Version, Kind: "Gateway"}:   "install the Gateway API, v1.2.0 or newer",
	} {
		_, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		switch {
		case meta.IsNoMatchError(err):
			errs = append(errs, fmt.Errorf("the cluster does not know the kind %s of %s: %s", kind.Kind, kind.GroupVersion(), remedy))
		case err != nil:
			return nil, fmt.Errorf("ask the API server for the kind %s of %s: %w", kind.Kind, kind.GroupVersion(), err)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	k := &kinds{namespaces: len(o.Namespaces) == 0}
	_, err := k.look(mapper)
	return k, err
}

// found are kinds that have just turned up.
type found struct{ serviceEntry, referenceGrant bool }

// look looks for what was not there the last time.
func (k *kinds) look(mapper meta.RESTMapper) (found, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var now found
	var errs []error
	if k.serviceEntry.Empty() {
		mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "networking.istio.io", Kind: "ServiceEntry"})
		switch {
		case err == nil:
			k.serviceEntry, now.serviceEntry = mapping.GroupVersionKind, true
		case !meta.IsNoMatchError(err):
			errs = append(errs, err)
		}
	}
	if !k.referenceGrant {
		_, err := mapper.RESTMapping(schema.GroupKind{Group: gatewayv1beta1.GroupName, Kind: "ReferenceGrant"}, gatewayv1beta1.GroupVersion.Version)
		switch {
		case err == nil:
			k.referenceGrant, now.referenceGrant = true, true
		case !meta.IsNoMatchError(err):
			errs = append(errs, err)
		}
	}
	return now, errors.Join(errs...)
}

func (k *kinds) optional() (serviceEntry schema.GroupVersionKind, referenceGrant bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.serviceEntry, k.referenceGrant
}

// complete tells whether there is nothing left to look for.
func (k *kinds) complete() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.serviceEntry.Empty() && k.referenceGrant
}

// laterKinds watches kinds that are installed while the controller runs, such as Istio's.
type laterKinds struct {
	kinds       *kinds
	mapper      meta.RESTMapper
	cache       cache.Cache
	reconcilers []*reconciler
	logger      *slog.Logger
}

// Start implements manager.Runnable.
func (l *laterKinds) Start(ctx context.Context) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if l.kinds.complete() {
			return nil
		}
		now, err := l.kinds.look(l.mapper)
		if err != nil {
			l.logger.WarnContext(ctx, "cannot ask which kinds the cluster has", "error", err)
		}
		for _, r := range l.reconcilers {
			if err := r.watchOptional(l.cache, now); err != nil {
				return err
			}
		}
	}
}
