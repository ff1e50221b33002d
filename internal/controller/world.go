package controller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/translator"
)

// world is everything that a translation depends on, and what has been written before. Its objects belong to the cache: nobody modifies them.
type world struct {
	translator.Input

	contents map[ref]client.Object
	gateway  *gatewayv1.Gateway // nil where it does not exist
	routes   map[types.NamespacedName]*gatewayv1.HTTPRoute
	gateways map[types.NamespacedName]*gatewayv1.Gateway
}

// look reads the world from memory, and from the API server what of it is not kept there.
func (r *reconciler) look(ctx context.Context) (*world, error) {
	w := &world{Input: translator.Input{
		Gateway: r.gateway.key(), Watched: r.options.Namespaces, ClusterDomain: r.options.ClusterDomain, EndpointHosts: r.options.EndpointHosts, CallerTokens: r.options.CallerTokens,
		Broker: r.broker(), Now: metav1.Now(),
	}}
	servers, virtual := &v1alpha1.MCPServerList{}, &v1alpha1.MCPVirtualServerList{}
	routes, gateways, services := &gatewayv1.HTTPRouteList{}, &gatewayv1.GatewayList{}, &corev1.ServiceList{}
	if err := r.list(ctx, servers, virtual, routes, gateways, services); err != nil {
		return nil, err
	}
	w.MCPServers, w.MCPVirtualServers = pointers(servers.Items), pointers(virtual.Items)
	w.HTTPRoutes, w.Gateways, w.Services = pointers(routes.Items), pointers(gateways.Items), pointers(services.Items)
	w.routes, w.gateways = byKey(w.HTTPRoutes), byKey(w.Gateways)
	w.gateway = w.gateways[r.gateway.key()]
	r.statuses.overlay(w)
	if err := r.lookAtOptional(ctx, w); err != nil {
		return nil, err
	}
	var err error
	if w.contents, err = r.contents.read(ctx, r.wanted(w)); err != nil {
		return nil, err
	}
	for key, object := range w.contents {
		if key.Namespace == r.gateway.Output && slices.Contains(outputNames(), key.Name) {
			// What the gateway's namespace has under these names is ours, and nobody's credential.
			continue
		}
		switch o := object.(type) {
		case *corev1.Secret:
			w.Secrets = append(w.Secrets, o)
		case *corev1.ConfigMap:
			w.ConfigMaps = append(w.ConfigMaps, o)
		}
	}
	if written, ok := w.contents[r.output(kindConfigMap, ConfigName)].(*corev1.ConfigMap); ok {
		w.Written = []byte(written.Data[ConfigKey])
	}
	return w, nil
}

func (r *reconciler) lookAtOptional(ctx context.Context, w *world) error {
	if r.kinds.namespaces {
		namespaces := &metav1.PartialObjectMetadataList{}
		namespaces.SetGroupVersionKind(metadataOf(kindNamespace + "List").GroupVersionKind())
		if err := r.list(ctx, namespaces); err != nil {
			return err
		}
		for i := range namespaces.Items {
			w.Namespaces = append(w.Namespaces, &corev1.Namespace{ObjectMeta: namespaces.Items[i].ObjectMeta})
		}
	}
	entryKind, grantsKnown := r.kinds.optional()
	if grantsKnown {
		grants := &gatewayv1beta1.ReferenceGrantList{}
		if err := r.list(ctx, grants); err != nil {
			return err
		}
		w.ReferenceGrants = pointers(grants.Items)
	}
	if entryKind.Empty() {
		return nil
	}
	entries := &unstructured.UnstructuredList{}
	entryKind.Kind += "List"
	entries.SetGroupVersionKind(entryKind)
	if err := r.list(ctx, entries); err != nil {
		return err
	}
	for i := range entries.Items {
		entry, err := translator.ServiceEntryFrom(entries.Items[i].Object)
		if err != nil {
			r.logger.WarnContext(ctx, "a ServiceEntry cannot be read", "name", client.ObjectKeyFromObject(&entries.Items[i]).String(), "error", err)
			continue
		}
		w.ServiceEntries = append(w.ServiceEntries, entry)
	}
	return nil
}

// list reads from memory, without copies.
func (r *reconciler) list(ctx context.Context, lists ...client.ObjectList) error {
	for _, list := range lists {
		if err := r.cached.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list %T: %w", list, err)
		}
	}
	return nil
}

func pointers[T any](items []T) []*T {
	list := make([]*T, len(items))
	for i := range items {
		list[i] = &items[i]
	}
	return list
}

// wanted are the Secrets and ConfigMaps to be read: what this gateway's MCPServers refer to, and what was written before.
func (r *reconciler) wanted(w *world) map[ref]bool {
	want := map[ref]bool{
		r.output(kindConfigMap, ConfigName): true, r.output(kindConfigMap, CertificatesName): true,
		r.output(kindSecret, CredentialsName): true, r.output(kindSecret, SessionKeyName): true,
	}
	for _, server := range w.MCPServers {
		if len(w.Watched) > 0 && !slices.Contains(w.Watched, server.Namespace) || w.foreign(server) {
			continue
		}
		secrets, configMaps := translator.References(server)
		for _, key := range secrets {
			want[ref{kindSecret, key}] = true
		}
		for _, key := range configMaps {
			want[ref{kindConfigMap, key}] = true
		}
	}
	return want
}

// foreign tells of an MCPServer that it belongs to another gateway, whose secrets are not for this one. Where that is not certain it says no.
func (w *world) foreign(server *v1alpha1.MCPServer) bool {
	route := w.routes[types.NamespacedName{Namespace: server.Namespace, Name: string(server.Spec.TargetRef.Name)}]
	if route == nil || server.TargetNamespace() != server.Namespace {
		return false
	}
	others := false
	for _, parent := range route.Spec.ParentRefs {
		key := types.NamespacedName{Namespace: route.Namespace, Name: string(parent.Name)}
		if parent.Namespace != nil && *parent.Namespace != "" {
			key.Namespace = string(*parent.Namespace)
		}
		if key == w.Gateway {
			return false
		}
		others = others || w.gateways[key] != nil
	}
	return others
}
