package controller

import (
	"cmp"
	"context"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/internal/translator"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

const kindEnvoyFilter = "EnvoyFilter"

func envoyFilterKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1alpha3", Kind: kindEnvoyFilter}
}

// Istio is what is written for gateways whose Envoys istiod feeds: EnvoyFilters, in the namespace of the Gateway.
type Istio struct {
	// Service is the name of the Service of broker and router, in the namespace of each gateway's, with a port for each.
	Service                string
	RouterPort, BrokerPort uint16
	// AllowedOrigins are the web origins whose pages may call, beside those of the user's own machine.
	AllowedOrigins []string
}

// broker is the Service that an endpoint's HTTPRoute leads to; without a name where no EnvoyFilters are written.
func (r *reconciler) broker() types.NamespacedName {
	if !r.kinds.envoyFilters() {
		return types.NamespacedName{}
	}
	return types.NamespacedName{Namespace: r.gateway.Output, Name: r.options.Istio.Service}
}

// wired is an EnvoyFilter as it was last found to be right: what was wanted, and the version of the object then.
type wired struct {
	object  map[string]any
	version string
}

// wire writes the EnvoyFilters of the gateway where they are not what they should be.
func (r *reconciler) wire(ctx context.Context, out *translator.Output) error {
	if !r.kinds.envoyFilters() {
		return nil
	}
	objects, err := xds.EnvoyFilters(r.istioOptions(out))
	if err != nil {
		return fmt.Errorf("make the EnvoyFilters of the Gateway %q: %w", r.gateway, err)
	}
	for _, object := range objects {
		if err := r.wireOne(ctx, &unstructured.Unstructured{Object: object}); err != nil {
			return err
		}
	}
	return nil
}

func (r *reconciler) istioOptions(out *translator.Output) xds.Istio {
	o := r.options.Istio
	host := o.Service + "." + r.gateway.Output + ".svc." + cmp.Or(r.options.ClusterDomain, translator.DefaultClusterDomain)
	wiring := xds.Istio{
		Namespace: r.gateway.Namespace, Gateway: r.gateway.Name, Labels: map[string]string{labelManagedBy: managerName},
		Hosts:  out.Endpoint,
		Router: xds.IstioService{Host: host, Port: o.RouterPort}, Broker: xds.IstioService{Host: host, Port: o.BrokerPort},
		AllowedOrigins: o.AllowedOrigins,
	}
	kinds := map[gatewayv1.PathMatchType]xds.PathKind{
		gatewayv1.PathMatchPathPrefix: xds.PathPrefix, gatewayv1.PathMatchExact: xds.PathExact, gatewayv1.PathMatchRegularExpression: xds.PathRegex,
	}
	for _, p := range out.Bypasses {
		wiring.Servers = append(wiring.Servers, xds.IstioPath{Host: p.Host, Path: p.Value, Kind: kinds[p.Kind]})
	}
	return wiring
}

func (r *reconciler) wireOne(ctx context.Context, object *unstructured.Unstructured) error {
	key := client.ObjectKeyFromObject(object)
	is := &unstructured.Unstructured{}
	is.SetGroupVersionKind(envoyFilterKind())
	if err := r.cached.Get(ctx, key, is); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read the EnvoyFilter %q: %w", key, err)
	}
	want, version := object.DeepCopy().Object, is.GetResourceVersion() // the write changes the object
	if last := r.wiring[key.Name]; version != "" && last.version == version && reflect.DeepEqual(last.object, want) {
		return nil
	}
	if version != "" && reflect.DeepEqual(is.Object["spec"], want["spec"]) && contains(is.GetLabels(), object.GetLabels()) && contains(is.GetAnnotations(), object.GetAnnotations()) {
		r.wiring[key.Name] = wired{want, version}
		return nil
	}
	if err := r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(r.manager), client.ForceOwnership); err != nil {
		return fmt.Errorf("write the EnvoyFilter %q: %w", key, err)
	}
	r.wiring[key.Name] = wired{want, object.GetResourceVersion()}
	r.metrics.writes.WithLabelValues(kindEnvoyFilter).Inc()
	patches, _, _ := unstructured.NestedSlice(want, "spec", "configPatches")
	r.logger.InfoContext(ctx, "written", "kind", kindEnvoyFilter, "name", key.String(), "patches", len(patches))
	return nil
}
