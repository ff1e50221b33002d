package kubesource

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

const (
	maxMessage = 1024
	// maxConflicts is how many names a message tells.
	maxConflicts = 5
)

// verdict is the gateway's part of an MCPServer's status.
type verdict struct {
	ready                     metav1.Condition
	tools, prompts, resources *int32
	revisions                 []string
}

// conflicts are the names, by server, that another server has taken.
func conflicts(snap *catalog.Snapshot) map[string][]string {
	out := map[string][]string{}
	for _, p := range snap.Problems() {
		if p.Name == "" {
			continue
		}
		for _, kind := range []catalog.Kind{catalog.Tool, catalog.Prompt, catalog.Resource, catalog.Template} {
			if owner := snap.Find(kind, p.Name); owner != nil && kind.String() == p.Kind && owner.Server.Name != p.Server {
				out[p.Server] = append(out[p.Server], fmt.Sprintf("the %s %q of %q", p.Kind, p.Name, owner.Server.Name))
			}
		}
	}
	return out
}

// judge tells what an MCPServer's status shall say. There is no answer as long as nothing is known that was not told before.
func judge(object *v1alpha1.MCPServer, s *catalog.Server, taken []string, now metav1.Time) (v verdict, known bool) {
	old := &object.Status
	v = verdict{tools: old.DiscoveredTools, prompts: old.DiscoveredPrompts, resources: old.DiscoveredResources, revisions: old.ProtocolRevisions}
	if l := s.State.Listing; l != nil {
		v.tools, v.prompts = count(len(l.Items[catalog.Tool])), count(len(l.Items[catalog.Prompt]))
		v.resources = count(len(l.Items[catalog.Resource]) + len(l.Items[catalog.Template]))
		v.revisions = []string{l.Revision}
	}
	v.ready = ready(s, taken)
	was := meta.FindStatusCondition(old.Conditions, v1alpha1.ConditionReady)
	if v.ready.Status == metav1.ConditionUnknown && was != nil && was.Reason != v1alpha1.ReasonPending && was.Reason != v1alpha1.ReasonNotUsable && was.Reason != v1alpha1.ReasonDisabled {
		// A gateway that has just started knows less than the one before it told.
		return verdict{}, false
	}
	v.ready.ObservedGeneration = object.Generation
	if programmed := meta.FindStatusCondition(old.Conditions, v1alpha1.ConditionProgrammed); programmed != nil {
		// Of a newer one the gateway may not have heard yet.
		v.ready.ObservedGeneration = programmed.ObservedGeneration
	}
	v.ready.LastTransitionTime = now
	if was != nil && was.Status == v.ready.Status {
		v.ready.LastTransitionTime = was.LastTransitionTime
	}
	return v, true
}

func count(n int) *int32 {
	c := int32(min(n, 1<<31-1)) //nolint:gosec // bounded
	return &c
}

func ready(s *catalog.Server, taken []string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	switch s.State.Health {
	case catalog.HealthDisabled:
		c.Reason, c.Message = v1alpha1.ReasonDisabled, "Out of use: set spec.enabled to true to have the server in the gateway."
	case catalog.HealthFailing:
		c.Reason, c.Message = reasonOf(s.State.Cause), explain(s.State)
	case catalog.HealthReady:
		switch {
		case !s.Programmed:
			c.Status, c.Reason = metav1.ConditionUnknown, v1alpha1.ReasonPending
			c.Message = "The gateway has talked to the server; Envoy does not have the way to it yet."
		case len(taken) > 0:
			c.Reason, c.Message = v1alpha1.ReasonNameConflict, conflictMessage(taken)
		default:
			c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonReady
			c.Message = "The gateway has talked to the server and offers what it has."
		}
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, v1alpha1.ReasonPending, "The gateway is connecting to the server."
	}
	c.Message = clip(c.Message)
	return c
}

func reasonOf(cause catalog.Cause) string {
	switch cause {
	case catalog.CauseUnreachable:
		return v1alpha1.ReasonUnreachable
	case catalog.CauseUnauthorized:
		return v1alpha1.ReasonUnauthorized
	case catalog.CauseProtocol:
	}
	return v1alpha1.ReasonProtocolError
}

func explain(st catalog.State) string {
	var remedy string
	switch st.Cause {
	case catalog.CauseUnreachable:
		remedy = "Check that its pods run and that its Service and HTTPRoute lead to them."
	case catalog.CauseUnauthorized:
		remedy = "Check the Secret that spec.credentialRef names."
	case catalog.CauseProtocol:
		remedy = "Check that spec.path and the HTTPRoute lead to an MCP endpoint."
	}
	text := fmt.Sprintf("%s. %s", strings.TrimSuffix(st.LastError, "."), remedy)
	if st.Listing != nil {
		text += " Its tools stay listed, and calls of them fail."
	}
	return strings.TrimSpace(text)
}

func conflictMessage(taken []string) string {
	text := strings.Join(taken[:min(len(taken), maxConflicts)], ", ")
	if more := len(taken) - maxConflicts; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("An older server has names that this one gives too, so that these items are left out: %s. Give this server a toolPrefix, or uriPrefix for resources. All others are in the gateway.", text)
}

func clip(message string) string {
	message = strings.ToValidUTF8(message, "\uFFFD")
	if len(message) <= maxMessage {
		return message
	}
	cut := maxMessage - len("…")
	for !utf8.RuneStart(message[cut]) {
		cut--
	}
	return message[:cut] + "…"
}

// told tells whether an object's status says all of this already.
func (v *verdict) told(object *v1alpha1.MCPServer) bool {
	s := &object.Status
	was := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	return was != nil && *was == v.ready && same(s.DiscoveredTools, v.tools) && same(s.DiscoveredPrompts, v.prompts) &&
		same(s.DiscoveredResources, v.resources) && slices.Equal(s.ProtocolRevisions, v.revisions)
}

func same(a, b *int32) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

// status is the verdict as it is applied.
func (v *verdict) status() map[string]any {
	status := map[string]any{"conditions": []any{map[string]any{
		"type": v.ready.Type, "status": string(v.ready.Status), "reason": v.ready.Reason, "message": v.ready.Message,
		"observedGeneration": v.ready.ObservedGeneration, "lastTransitionTime": v.ready.LastTransitionTime.UTC().Format("2006-01-02T15:04:05Z"),
	}}}
	for field, n := range map[string]*int32{"discoveredTools": v.tools, "discoveredPrompts": v.prompts, "discoveredResources": v.resources} {
		if n != nil {
			status[field] = int64(*n)
		}
	}
	if len(v.revisions) > 0 {
		revisions := make([]any, len(v.revisions))
		for i, r := range v.revisions {
			revisions[i] = r
		}
		status["protocolRevisions"] = revisions
	}
	return status
}
