package kubesource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

// subject is an object with a status that the gateway has a part of.
type subject struct {
	object client.Object
	kind   string
	// verdict is what the status shall say; nil takes back what was written.
	verdict *verdict
}

func (s *subject) key() string { return s.kind + " " + client.ObjectKeyFromObject(s.object).String() }

// slim leaves of managed fields those of brokers: what this gateway wrote, and what another one has a say in.
func (r *Reporter) slim(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(slices.DeleteFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool { return !strings.HasPrefix(f.Manager, managerName+":") }))
	}
	return object, nil
}

// owns tells whether this gateway has written a part of an object's status.
func (r *Reporter) owns(o metav1.Object) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool { return f.Manager == r.manager })
}

// spokenFor is how long another gateway is left to tell of an object: both may have it, and would write over each other's words without end. One that has been
// taken down is not waited for any longer than that.
func (r *Reporter) spokenFor(o metav1.Object, now time.Time) time.Duration {
	var left time.Duration
	for _, f := range o.GetManagedFields() {
		if f.Manager != r.manager && f.Time != nil {
			left = max(left, courtesy-now.Sub(f.Time.Time))
		}
	}
	return left
}

// report goes over all objects once, and tells when to do so again even if nothing happens, or 0.
func (r *Reporter) report(ctx context.Context, objects client.Reader) (later time.Duration, err error) {
	snap := r.Snapshot()
	if snap == nil {
		return 0, nil
	}
	servers, virtual := &v1alpha1.MCPServerList{}, &v1alpha1.MCPVirtualServerList{}
	for _, list := range []client.ObjectList{servers, virtual} {
		if err := objects.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return 0, fmt.Errorf("list %T: %w", list, err)
		}
	}
	now, kept := metav1.Now(), map[string]client.Object{}
	var news []subject
	taken := conflicts(snap)
	for i := range servers.Items {
		object := newest(r, v1alpha1.KindMCPServer, &servers.Items[i], kept)
		news = r.compare(news, &later, subject{object: object, kind: v1alpha1.KindMCPServer}, now, func() (*verdict, bool) {
			return judgeServer(object, snap, taken, now)
		})
	}
	for i := range virtual.Items {
		object := newest(r, v1alpha1.KindMCPVirtualServer, &virtual.Items[i], kept)
		news = r.compare(news, &later, subject{object: object, kind: v1alpha1.KindMCPVirtualServer}, now, func() (*verdict, bool) {
			return judgeVirtual(object, snap, now)
		})
	}
	err = r.writeAll(ctx, news, kept)
	r.recent = kept
	return later, err
}

// compare adds a subject to those whose status is to be written.
func (r *Reporter) compare(news []subject, later *time.Duration, s subject, now metav1.Time, judge func() (*verdict, bool)) []subject {
	v, known := judge()
	switch {
	case !known:
		return news
	case v == nil:
		// It has left the configuration: what was written is taken back.
		if !r.owns(s.object) {
			return news
		}
	case v.told(statusOf(s.object)):
		return news
	}
	if left := r.spokenFor(s.object, now.Time); v != nil && left > 0 {
		if *later == 0 || left < *later {
			*later = left
		}
		return news
	}
	s.verdict = v
	return append(news, s)
}

func (r *Reporter) writeAll(ctx context.Context, news []subject, kept map[string]client.Object) error {
	var mu sync.Mutex
	var errs []error
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, s := range news {
		group.Go(func() error {
			fresh, err := r.write(ctx, &s)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				kept[s.key()] = fresh
			} else if !apierrors.IsNotFound(err) { // it was deleted meanwhile
				errs = append(errs, fmt.Errorf("write the status of the %s: %w", s.key(), err))
			}
			return nil
		})
	}
	_ = group.Wait() // one that fails costs the others nothing (Invariant 12)
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("and %d more", len(errs)-3))
	}
	return errors.Join(errs...)
}

// newest is an object as memory has it, or as it was written since.
func newest[T client.Object](r *Reporter, kind string, object T, kept map[string]client.Object) T {
	key := (&subject{object: object, kind: kind}).key()
	fresh, ok := r.recent[key].(T)
	if !ok || fresh.GetUID() != object.GetUID() {
		return object
	}
	if order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), fresh.GetResourceVersion()); err != nil || order >= 0 {
		return object
	}
	kept[key] = fresh
	return fresh
}

// write applies a status and returns the object as it is then.
func (r *Reporter) write(ctx context.Context, s *subject) (client.Object, error) {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(s.kind))
	object.SetNamespace(s.object.GetNamespace())
	object.SetName(s.object.GetName())
	if s.verdict != nil {
		object.Object["status"] = s.verdict.status()
	}
	// By force, since the controller tells of Ready as long as something is not in the configuration.
	if err := r.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(r.manager), client.ForceOwnership); err != nil {
		return nil, err
	}
	fresh := client.Object(&v1alpha1.MCPServer{})
	if s.kind == v1alpha1.KindMCPVirtualServer {
		fresh = &v1alpha1.MCPVirtualServer{}
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, fresh); err != nil {
		return nil, err
	}
	_, err := r.slim(fresh)
	return fresh, err
}
