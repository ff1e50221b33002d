package controller

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/translator"
)

// verdict is the status that an object shall have, as far as it is ours to tell.
type verdict struct {
	object client.Object
	kind   string
	// route is an MCPServer's, empty where that could not be followed.
	route      types.NamespacedName
	conditions []metav1.Condition
	// field is the name of the one field beside the conditions, value what it says.
	field, value string
	// old are the object's conditions as they are.
	old     []metav1.Condition
	changed bool
	release bool
	// foreign tells of an object that is attached to other gateways.
	foreign bool
}

func (v *verdict) key() string { return v.kind + " " + client.ObjectKeyFromObject(v.object).String() }

// empty is an object of the same kind.
func (v *verdict) empty() client.Object {
	if v.kind == v1alpha1.KindMCPServer {
		return &v1alpha1.MCPServer{}
	}
	return &v1alpha1.MCPVirtualServer{}
}

// verdicts are those of all objects of the translation.
func (r *reconciler) verdicts(w *world, out *translator.Output) []*verdict {
	var list []*verdict
	servers := byKey(w.MCPServers)
	for i := range out.ServerStatuses {
		s := &out.ServerStatuses[i]
		object := servers[s.Key]
		v := &verdict{
			object: object, kind: v1alpha1.KindMCPServer, conditions: s.Conditions, old: object.Status.Conditions,
			field: "endpoint", value: s.Endpoint, changed: s.Changed, release: s.Release,
		}
		v.foreign, v.route = w.foreign(object), s.Route
		v.addReady(r.manager, s.Written)
		list = append(list, v)
	}
	virtual := byKey(w.MCPVirtualServers)
	for i := range out.VirtualServerStatuses {
		s := &out.VirtualServerStatuses[i]
		object := virtual[s.Key]
		v := &verdict{
			object: object, kind: v1alpha1.KindMCPVirtualServer, conditions: s.Conditions, old: object.Status.Conditions,
			field: "path", value: s.Path, changed: s.Changed, release: s.Release,
		}
		v.addReady(r.manager, s.Written)
		if s.Shared && spokenFor(object, r.manager) {
			v.changed = false
		}
		list = append(list, v)
	}
	return list
}

func byKey[T any, P interface {
	*T
	client.Object
}](list []P) map[types.NamespacedName]P {
	m := make(map[types.NamespacedName]P, len(list))
	for _, object := range list {
		m[client.ObjectKeyFromObject(object)] = object
	}
	return m
}

// addReady has Ready say what Programmed says of an object that the gateway does not have: the broker, which tells of all others, has never heard of it. As soon
// as it is in the configuration, the condition is the broker's again. Out of use, but in the configuration, is the broker's to tell as well.
func (v *verdict) addReady(manager string, written bool) {
	if v.release {
		v.changed = owns(v.object, manager, "")
		return
	}
	programmed := meta.FindStatusCondition(v.conditions, v1alpha1.ConditionProgrammed)
	if programmed == nil || programmed.Status == metav1.ConditionTrue || programmed.Reason == v1alpha1.ReasonDisabled || programmed.Reason == v1alpha1.ReasonTooLarge && written {
		v.changed = v.changed || owns(v.object, manager, `"type\":\"Ready\"`)
		return
	}
	ready := *programmed
	ready.Type = v1alpha1.ConditionReady
	was := meta.FindStatusCondition(v.old, ready.Type)
	if was != nil && was.Status == ready.Status {
		ready.LastTransitionTime = was.LastTransitionTime
	}
	v.conditions = append(v.conditions, ready)
	v.changed = v.changed || was == nil || *was != ready
}

// spokenFor tells of an object that could be every gateway's whether another one's controller tells of it: the one that was first, or of two at once the one
// whose name is. Else each would write over the other's words for ever.
func spokenFor(o metav1.Object, manager string) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager != manager && (f.Manager < manager || !owns(o, manager, ""))
	})
}

// statuses writes statuses, and knows those that it wrote so lately that they are not in memory yet.
type statuses struct {
	client  client.Client
	manager string
	metrics *metrics

	mu     sync.Mutex
	recent map[string]client.Object // by key of the verdict, as the API server has them
}

// write writes what differs, some at once, and returns what has been written.
func (s *statuses) write(ctx context.Context, list []*verdict) (written []*verdict, err error) {
	var mu sync.Mutex
	var errs []error
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, v := range list {
		if !v.changed {
			continue
		}
		group.Go(func() error {
			err := s.writeOne(ctx, v)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				written = append(written, v)
			} else if !apierrors.IsNotFound(err) { // it was deleted meanwhile
				errs = append(errs, fmt.Errorf("write the status of the %s: %w", v.key(), err))
			}
			return nil
		})
	}
	_ = group.Wait() // one that fails costs the others nothing (Invariant 12)
	slices.SortFunc(written, func(a, b *verdict) int { return bytes.Compare([]byte(a.key()), []byte(b.key())) })
	return written, joinFew(errs)
}

// joinFew keeps a failure of all from filling the log.
func joinFew(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return fmt.Errorf("%w (and %d more)", errs[0], len(errs)-1)
}

func (s *statuses) writeOne(ctx context.Context, v *verdict) error {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v.kind))
	object.SetNamespace(v.object.GetNamespace())
	object.SetName(v.object.GetName())
	if !v.release {
		conditions := make([]any, len(v.conditions))
		for i := range v.conditions {
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&v.conditions[i])
			if err != nil {
				return err
			}
			conditions[i] = content
		}
		status := map[string]any{"conditions": conditions}
		if v.value != "" {
			status[v.field] = v.value
		}
		object.Object["status"] = status
	}
	// By force, since two may have told of one object: when it moves to this gateway, or out of its configuration.
	if err := s.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(s.manager), client.ForceOwnership); err != nil {
		return err
	}
	s.metrics.writes.WithLabelValues(v.kind + "/status").Inc()
	fresh := v.empty()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, fresh); err != nil {
		return err
	}
	if _, err := slim(fresh); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recent[v.key()] = fresh
	return nil
}

// overlay puts what was written in place of what memory still has. Else the time of a transition would be told anew, and that would be another write.
func (s *statuses) overlay(w *world) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := map[string]client.Object{}
	overlayAll(s.recent, kept, v1alpha1.KindMCPServer, w.MCPServers)
	overlayAll(s.recent, kept, v1alpha1.KindMCPVirtualServer, w.MCPVirtualServers)
	s.recent = kept
}

func overlayAll[T any, P interface {
	*T
	client.Object
}](recent, kept map[string]client.Object, kind string, list []P) {
	for i, object := range list {
		key := kind + " " + client.ObjectKeyFromObject(object).String()
		fresh, ok := recent[key].(P)
		if ok && fresh.GetUID() == object.GetUID() && older(object, fresh) {
			list[i], kept[key] = fresh, fresh
		}
	}
}
