package controller

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	ctrl "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

const userAgent = "mcp-gateway-controller"

// Run looks after gateways until the context ends.
func Run(ctx context.Context, o Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	logger := logr.FromSlogHandler(o.Logger.Handler())
	log.SetLogger(logger) // there is one for the process
	m, err := newManager(&o, logger)
	if err != nil {
		return err
	}
	// By the context the logger reaches client-go.
	if err := m.Start(logr.NewContext(ctx, logger)); err != nil {
		return fmt.Errorf("the controller stopped: %w", err)
	}
	return nil
}

func newManager(o *Options, logger logr.Logger) (manager.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("kinds: %w", err)
		}
	}
	config := rest.AddUserAgent(rest.CopyConfig(o.Config), userAgent)
	if config.QPS == 0 {
		config.QPS = -1 // the API server's own fairness limits us; what is written at once is bounded by parallel
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("the API server %q: %w", config.Host, err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("the API server %q: %w", config.Host, err)
	}
	kinds, err := findKinds(mapper, o)
	if err != nil {
		return nil, err
	}
	m, err := manager.New(config, manager.Options{
		Scheme: scheme, Logger: logger, Cache: cacheOptions(o),
		MapperProvider:         func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mapper, nil },
		Metrics:                metricsserver.Options{BindAddress: orOff(o.MetricsAddress)},
		HealthProbeBindAddress: orOff(o.HealthAddress),
		LeaderElection:         o.LeaderElection, LeaderElectionID: LeaseName, LeaderElectionNamespace: o.LeaseNamespace,
		// The process ends with the manager, so that the next leader need not wait for the lease to run out.
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("the API server %q: %w", config.Host, err)
	}
	if err := addHealth(m); err != nil {
		return nil, err
	}
	metrics, err := newMetrics()
	if err != nil {
		return nil, err
	}
	var reconcilers []*reconciler
	for _, g := range o.Gateways {
		r, err := newReconciler(g, o, m, kinds, metrics)
		if err != nil {
			return nil, fmt.Errorf("the controller of the Gateway %q: %w", g, err)
		}
		// Tests run several controllers in one process.
		unchecked := true
		r.controller, err = ctrl.New("gateway", m, ctrl.Options{
			Reconciler: r, SkipNameValidation: &unchecked, RateLimiter: retries(),
			LogConstructor: func(*reconcile.Request) logr.Logger { return logger.WithValues("gateway", g.String()) },
		})
		if err == nil {
			err = r.watchAll(m.GetCache())
		}
		if err != nil {
			return nil, fmt.Errorf("the controller of the Gateway %q: %w", g, err)
		}
		reconcilers = append(reconcilers, r)
	}
	return m, m.Add(&laterKinds{kinds: kinds, mapper: mapper, cache: m.GetCache(), reconcilers: reconcilers, logger: o.Logger})
}

// retries are soon after a failure and then slower, as long as it lasts.
func retries() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](200*time.Millisecond, 30*time.Second)
}

func orOff(address string) string {
	if address == "" {
		return "0"
	}
	return address
}

func addHealth(m manager.Manager) error {
	synced := func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if !m.GetCache().WaitForCacheSync(ctx) {
			return errors.New("not everything that is watched has been read yet")
		}
		return nil
	}
	return errors.Join(m.AddHealthzCheck("ping", healthz.Ping), m.AddReadyzCheck("read", synced))
}

// cacheOptions keep in memory what is needed: of Secrets and ConfigMaps nothing but names and versions.
func cacheOptions(o *Options) cache.Options {
	// Helm keeps each release in a Secret. They are the largest and no credentials.
	secrets := cache.ByObject{Field: fields.OneTermNotEqualSelector("type", "helm.sh/release.v1")}
	if len(o.Namespaces) == 0 {
		return cache.Options{DefaultTransform: slim, ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: secrets}}
	}
	// The Gateway's namespace has routes and Services for all, but no Secret that is anybody's credential here.
	servers, outputs := namespaces(o.Namespaces), namespaces(append(o.outputs(), o.Namespaces...))
	secrets.Namespaces = outputs
	return cache.Options{
		DefaultTransform: slim, DefaultNamespaces: namespaces(o.watched()),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: secrets, &corev1.ConfigMap{}: {Namespaces: outputs},
			&v1alpha1.MCPServer{}: {Namespaces: servers}, &v1alpha1.MCPVirtualServer{}: {Namespaces: servers},
		},
	}
}

func namespaces(names []string) map[string]cache.Config {
	m := make(map[string]cache.Config, len(names))
	for _, name := range names {
		m[name] = cache.Config{}
	}
	return m
}
