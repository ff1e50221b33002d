package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/translator"
)

// mostConditions is how many conditions a Gateway may have. They are all implementations' together.
const mostConditions = 8

// affected is what was last written into the Gateway's status, as long as memory has an older one.
type affected struct {
	gateway *gatewayv1.Gateway
	// refused is the error of a write that the API server has refused, vain what it was to say, and later when that is worth another try.
	refused, vain string
	later         time.Time
}

// refusedPause is how long a write that the API server refuses is not tried again: whoever gives the permission for it tells nobody.
const refusedPause = 10 * time.Minute

// tellGateway puts the one condition that is ours into the Gateway's status, or takes it out. All others are other implementations'. It tells nothing that changes
// with every server, since istiod looks at a Gateway anew for each change of it.
func (r *reconciler) tellGateway(ctx context.Context, w *world, out *translator.Output) error {
	if w.gateway == nil {
		return nil
	}
	gateway := w.gateway
	if last := r.affected.gateway; last != nil && last.UID == gateway.UID && older(gateway, last) {
		gateway = last
	}
	was := meta.FindStatusCondition(gateway.Status.Conditions, v1alpha1.ConditionMCPServerAffected)
	want := affectedBy(w.gateway, out)
	switch {
	case want == nil && was == nil:
		return nil
	case want == nil:
		return r.writeAffected(ctx, gateway, nil)
	case was == nil && len(gateway.Status.Conditions) >= mostConditions:
		return nil // there is no room, and to take it from somebody else would do harm
	case was != nil && was.Status == want.Status:
		want.LastTransitionTime = was.LastTransitionTime
	}
	if was != nil && *was == *want {
		return nil
	}
	says := fmt.Sprint(want.Reason, want.ObservedGeneration, want.Message)
	if r.affected.refused != "" && says == r.affected.vain && time.Now().Before(r.affected.later) {
		return nil
	}
	r.affected.vain = says
	return r.writeAffected(ctx, gateway, []any{want})
}

// affectedBy is nil where no MCPServer has anything to do with the Gateway.
func affectedBy(gateway *gatewayv1.Gateway, out *translator.Output) *metav1.Condition {
	if len(out.Servers) == 0 && len(out.Endpoint) == 0 {
		return nil
	}
	c := &metav1.Condition{
		Type: v1alpha1.ConditionMCPServerAffected, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAffected,
		ObservedGeneration: gateway.Generation, LastTransitionTime: metav1.Now().Rfc3339Copy(),
		Message: "MCPServers are attached by their HTTPRoutes.",
	}
	if len(out.Endpoint) > 0 {
		c.Message = fmt.Sprintf("The endpoint /mcp of %s offers what MCPServers have that are attached by their HTTPRoutes.", strings.Join(out.Endpoint, ", "))
	}
	for _, p := range out.Problems {
		c.Reason = p.Reason
		c.Message += " " + strings.ToUpper(p.Message[:1]) + p.Message[1:] + "."
	}
	return c
}

// writeAffected applies the conditions that are ours, of which there is one or none.
func (r *reconciler) writeAffected(ctx context.Context, gateway *gatewayv1.Gateway, conditions []any) error {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: gatewayv1.GroupName, Version: gatewayv1.GroupVersion.Version, Kind: "Gateway"})
	object.SetNamespace(gateway.Namespace)
	object.SetName(gateway.Name)
	for i, c := range conditions {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(c)
		if err != nil {
			return err
		}
		conditions[i] = content
	}
	if len(conditions) > 0 {
		object.Object["status"] = map[string]any{"conditions": conditions}
	}
	err := r.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(r.manager), client.ForceOwnership)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		// The condition is of use to people, and nothing depends on it.
		r.affected.later = time.Now().Add(refusedPause)
		if text := err.Error(); text != r.affected.refused {
			r.affected.refused = text
			r.logger.WarnContext(ctx, "the Gateway's status is not written", "error", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("write the status of the Gateway %q: %w", r.gateway, err)
	}
	r.affected.refused = ""
	r.metrics.writes.WithLabelValues("Gateway/status").Inc()
	fresh := &gatewayv1.Gateway{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, fresh); err != nil {
		return err
	}
	r.affected.gateway = fresh
	return nil
}

// announceToRoute tells those who own a route, and perhaps not the MCPServer, what has become of it. A condition in its status is not ours to write: the entries
// there belong to who manages the route's parents, and the list is written as one.
func (r *reconciler) announceToRoute(w *world, v *verdict) {
	route := w.routes[v.route]
	now := meta.FindStatusCondition(v.conditions, v1alpha1.ConditionAccepted)
	was := meta.FindStatusCondition(v.old, v1alpha1.ConditionAccepted)
	if route == nil || v.release || now == nil || was != nil && was.Status == now.Status && was.Reason == now.Reason {
		return
	}
	key := client.ObjectKeyFromObject(v.object)
	switch {
	case now.Status == metav1.ConditionTrue && r.wiring.possible.Load():
		r.events.Eventf(route, v.object, corev1.EventTypeNormal, "MCPServerAffected", "Translate",
			"The gateway takes calls to the MCPServer %q where this route leads; what clients themselves send there is refused.", key)
	case now.Status == metav1.ConditionTrue:
		r.events.Eventf(route, v.object, corev1.EventTypeNormal, "MCPServerAffected", "Translate", "The gateway takes calls to the MCPServer %q where this route leads.", key)
	case slices.Contains([]string{v1alpha1.ReasonUnsupportedRoute, v1alpha1.ReasonNotAttached}, now.Reason):
		r.events.Eventf(route, v.object, corev1.EventTypeWarning, now.Reason, "Translate", "The MCPServer %q cannot be reached by this route: %s", key, note(now.Message))
	}
}
