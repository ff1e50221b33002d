package controller

import (
	"bytes"
	"context"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

// changes tells which updates of an object can mean anything. What is not told is the broker's part of a status, a load balancer's address and the like.
func changes(old, now client.Object) bool {
	if (old.GetDeletionTimestamp() == nil) != (now.GetDeletionTimestamp() == nil) || old.GetUID() != now.GetUID() {
		return true
	}
	switch now := now.(type) {
	case *v1alpha1.MCPServer:
		was := old.(*v1alpha1.MCPServer)
		return was.Generation != now.Generation || was.Status.Endpoint != now.Status.Endpoint || !sameVerdicts(was.Status.Conditions, now.Status.Conditions)
	case *v1alpha1.MCPVirtualServer:
		was := old.(*v1alpha1.MCPVirtualServer)
		return was.Generation != now.Generation || was.Status.Path != now.Status.Path || !sameVerdicts(was.Status.Conditions, now.Status.Conditions)
	case *gatewayv1.HTTPRoute:
		was := old.(*gatewayv1.HTTPRoute)
		return was.Generation != now.Generation || !equality.Semantic.DeepEqual(was.Status.Parents, now.Status.Parents)
	case *gatewayv1.Gateway:
		return old.GetGeneration() != now.GetGeneration()
	case *corev1.Service:
		was := old.(*corev1.Service)
		return !equality.Semantic.DeepEqual(was.Spec, now.Spec) || !reflect.DeepEqual(was.Annotations, now.Annotations)
	}
	return old.GetResourceVersion() != now.GetResourceVersion()
}

// sameVerdicts compares the conditions that are not the broker's alone.
func sameVerdicts(was, now []metav1.Condition) bool {
	ours := func(c metav1.Condition) bool { return c.Type != v1alpha1.ConditionReady }
	return slices.Equal(filter(was, ours), filter(now, ours))
}

func filter[T any](list []T, keep func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), func(item T) bool { return !keep(item) })
}

// watchAll has every change of what is watched lead to one and the same request: a translation is always of the whole.
func (r *reconciler) watchAll(c cache.Cache) error {
	objects := []client.Object{&v1alpha1.MCPServer{}, &v1alpha1.MCPVirtualServer{}, &gatewayv1.HTTPRoute{}, &gatewayv1.Gateway{}, &corev1.Service{}}
	for _, object := range objects {
		if err := r.watch(c, object, predicate.Funcs{}); err != nil {
			return err
		}
	}
	for _, kind := range []string{kindSecret, kindConfigMap} {
		if err := r.watch(c, metadataOf(kind), predicate.NewPredicateFuncs(func(o client.Object) bool { return r.contents.concerns(kind, client.ObjectKeyFromObject(o)) })); err != nil {
			return err
		}
	}
	if r.kinds.namespaces {
		if err := r.watch(c, metadataOf(kindNamespace), predicate.LabelChangedPredicate{}); err != nil {
			return err
		}
	}
	entry, grant := r.kinds.optional()
	return r.watchOptional(c, found{serviceEntry: !entry.Empty(), referenceGrant: grant})
}

func (r *reconciler) watchOptional(c cache.Cache, now found) error {
	if now.serviceEntry {
		entry := &unstructured.Unstructured{}
		kind, _ := r.kinds.optional()
		entry.SetGroupVersionKind(kind)
		if err := r.watch(c, entry, predicate.Funcs{}); err != nil {
			return err
		}
	}
	if now.referenceGrant {
		return r.watch(c, &gatewayv1beta1.ReferenceGrant{}, predicate.Funcs{})
	}
	return nil
}

func (r *reconciler) watch(c cache.Cache, object client.Object, concerns predicate.Predicate) error {
	return r.controller.Watch(source.Kind(c, object, r.touch(), concerns, predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return changes(e.ObjectOld, e.ObjectNew) },
	}))
}

// touch asks for a translation, a little later: what is applied together is translated together.
func (r *reconciler) touch() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	touch := func(q queue) {
		r.burst.touch()
		q.AddAfter(reconcile.Request{NamespacedName: r.gateway.key()}, quiet)
	}
	return handler.Funcs{
		CreateFunc:  func(_ context.Context, _ event.CreateEvent, q queue) { touch(q) },
		UpdateFunc:  func(_ context.Context, _ event.UpdateEvent, q queue) { touch(q) },
		DeleteFunc:  func(_ context.Context, _ event.DeleteEvent, q queue) { touch(q) },
		GenericFunc: func(_ context.Context, _ event.GenericEvent, q queue) { touch(q) },
	}
}

// slim takes off what nobody reads before an object is kept. Of managed fields it leaves our own of statuses, which tell what we once wrote.
func slim(object any) (any, error) {
	o, ok := object.(metav1.Object)
	if !ok {
		return object, nil // what is left of an object whose deletion was missed
	}
	switch o.(type) {
	case *v1alpha1.MCPServer, *v1alpha1.MCPVirtualServer:
		o.SetManagedFields(filter(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
			return f.Subresource == "status" && strings.HasPrefix(f.Manager, managerName)
		}))
	default:
		o.SetManagedFields(nil)
	}
	if annotations := o.GetAnnotations(); annotations[corev1.LastAppliedConfigAnnotation] != "" {
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		o.SetAnnotations(annotations)
	}
	return object, nil
}

// owns tells whether a manager has written a part of an object's status, of those whose name in the managed fields is given; an empty one stands for any.
func owns(o metav1.Object, manager, field string) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == manager && f.FieldsV1 != nil && bytes.Contains(f.FieldsV1.GetRawBytes(), []byte(field))
	})
}
