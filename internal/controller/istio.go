package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// ResourceMetadata is the URL of the endpoint's protected resource metadata, Scopes are what clients should ask for; refused clients are told both.
	// Empty means to say nothing.
	ResourceMetadata string
	Scopes           []string
}

// broker is the Service that an endpoint's HTTPRoute leads to; without a name where no EnvoyFilters are written.
func (r *reconciler) broker() types.NamespacedName {
	if !r.wiring.possible.Load() {
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
func (r *reconciler) wire(ctx context.Context, w *world, out *translator.Output) error {
	if !r.wiring.possible.Load() {
		return nil
	}
	objects, err := xds.EnvoyFilters(r.istioOptions(out))
	if err != nil {
		return fmt.Errorf("make the EnvoyFilters of the Gateway %q: %w", r.gateway, err)
	}
	var errs []error
	for _, o := range objects {
		object := &unstructured.Unstructured{Object: o}
		object.SetOwnerReferences(r.wiringOwners(w))
		errs = append(errs, r.wireOne(ctx, object)) // that one is refused must not keep the other from being written
	}
	return errors.Join(errs...)
}

// wiringOwners have Kubernetes delete the EnvoyFilters, which are in another namespace, once that of the broker and router is gone: nobody else would. Where
// namespaces cannot be seen there are none.
func (r *reconciler) wiringOwners(w *world) []metav1.OwnerReference {
	for _, n := range w.Namespaces {
		if n.Name == r.gateway.Output {
			return []metav1.OwnerReference{{APIVersion: "v1", Kind: kindNamespace, Name: n.Name, UID: n.UID}}
		}
	}
	return nil
}

// owned tells whether an object has these owners.
func owned(is *unstructured.Unstructured, owners []metav1.OwnerReference) bool {
	return !slices.ContainsFunc(owners, func(o metav1.OwnerReference) bool { return !slices.Contains(is.GetOwnerReferences(), o) })
}

func (r *reconciler) istioOptions(out *translator.Output) xds.Istio {
	o := r.options.Istio
	host := o.Service + "." + r.gateway.Output + ".svc." + cmp.Or(r.options.ClusterDomain, translator.DefaultClusterDomain)
	wiring := xds.Istio{
		Namespace: r.gateway.Namespace, Gateway: r.gateway.Name, Labels: map[string]string{labelManagedBy: managerName},
		Hosts:  out.Endpoint,
		Router: xds.IstioService{Host: host, Port: o.RouterPort}, Broker: xds.IstioService{Host: host, Port: o.BrokerPort},
		AllowedOrigins: o.AllowedOrigins, ResourceMetadata: o.ResourceMetadata, Scopes: o.Scopes,
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
	if err := r.wiring.filters.Get(ctx, key, is); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read the EnvoyFilter %q: %w", key, err)
	}
	want, version := object.DeepCopy().Object, is.GetResourceVersion() // the write changes the object
	if last := r.wiring.written[key.Name]; version != "" && last.version == version && reflect.DeepEqual(last.object, want) {
		return nil
	}
	if version != "" && reflect.DeepEqual(is.Object["spec"], want["spec"]) && contains(is.GetLabels(), object.GetLabels()) && contains(is.GetAnnotations(), object.GetAnnotations()) &&
		owned(is, object.GetOwnerReferences()) {
		r.wiring.written[key.Name] = wired{want, version}
		return nil
	}
	if err := r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(r.manager), client.ForceOwnership); err != nil {
		return fmt.Errorf("write the EnvoyFilter %q: %w", key, err)
	}
	r.wiring.written[key.Name] = wired{want, object.GetResourceVersion()}
	r.metrics.writes.WithLabelValues(kindEnvoyFilter).Inc()
	patches, _, _ := unstructured.NestedSlice(want, "spec", "configPatches")
	r.logger.InfoContext(ctx, "written", "kind", kindEnvoyFilter, "name", key.String(), "patches", len(patches))
	return nil
}
