package kubesource

import (
	"fmt"
	"slices"
	"strconv"
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

// verdict is the gateway's part of a status.
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

// told is what the status of an object says already.
type told struct {
	conditions                []metav1.Condition
	tools, prompts, resources *int32
	revisions                 []string
}

func statusOf(object any) told {
	switch o := object.(type) {
	case *v1alpha1.MCPServer:
		s := &o.Status
		return told{s.Conditions, s.DiscoveredTools, s.DiscoveredPrompts, s.DiscoveredResources, s.ProtocolRevisions}
	case *v1alpha1.MCPVirtualServer:
		s := &o.Status
		return told{s.Conditions, s.DiscoveredTools, s.DiscoveredPrompts, s.DiscoveredResources, nil}
	}
	return told{}
}

// judgeServer tells what an MCPServer's status shall say; nil is nothing, since the server is not in the configuration. There is no answer as long as nothing is
// known that was not told before.
func judgeServer(object *v1alpha1.MCPServer, snap *catalog.Snapshot, taken map[string][]string, now metav1.Time) (v *verdict, known bool) {
	s := snap.Server(object.Namespace + "/" + object.Name)
	if s == nil {
		return nil, true
	}
	old := statusOf(object)
	v = &verdict{tools: old.tools, prompts: old.prompts, resources: old.resources, revisions: old.revisions}
	if l := s.State.Listing; l != nil {
		v.tools, v.prompts = count(len(l.Items[catalog.Tool])), count(len(l.Items[catalog.Prompt]))
		v.resources = count(len(l.Items[catalog.Resource]) + len(l.Items[catalog.Template]))
		v.revisions = l.Revisions()
	}
	v.ready = ready(object, s, taken[s.Name])
	was := meta.FindStatusCondition(old.conditions, v1alpha1.ConditionReady)
	if v.ready.Status == metav1.ConditionUnknown && was != nil && was.Reason != v1alpha1.ReasonPending && was.Reason != v1alpha1.ReasonNotUsable && was.Reason != v1alpha1.ReasonDisabled {
		// A gateway that has just started knows less than the one before it told.
		return nil, false
	}
	v.date(object.Generation, old.conditions, now)
	return v, true
}

// judgeVirtual tells what an MCPVirtualServer's status shall say, as judgeServer does.
func judgeVirtual(object *v1alpha1.MCPVirtualServer, snap *catalog.Snapshot, now metav1.Time) (v *verdict, known bool) {
	view := snap.VirtualServer(object.Namespace + "/" + object.Name)
	if view == nil {
		return nil, true
	}
	old := statusOf(object)
	tools, prompts, resources := view.Len(catalog.Tool), view.Len(catalog.Prompt), view.Len(catalog.Resource)+view.Len(catalog.Template)
	v = &verdict{tools: count(tools), prompts: count(prompts), resources: count(resources)}
	if fewer(v.tools, old.tools) || fewer(v.prompts, old.prompts) || fewer(v.resources, old.resources) {
		if slices.ContainsFunc(snap.Servers(), func(s *catalog.Server) bool { return s.State.Health == catalog.HealthConnecting }) {
			// As above: what is missing may be a server's that has not been asked yet.
			return nil, false
		}
	}
	v.ready = metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, Message: "The gateway serves it."}
	if tools+prompts+resources == 0 {
		v.ready.Message = "The gateway serves it. Nothing that it chooses is there: compare its lists with the names in /status of the broker, and look at the conditions of its MCPServers."
	}
	v.date(object.Generation, old.conditions, now)
	return v, true
}

func fewer(now, before *int32) bool { return before != nil && *now < *before }

// date gives the condition its generation and its time.
func (v *verdict) date(generation int64, old []metav1.Condition, now metav1.Time) {
	v.ready.ObservedGeneration = generation
	if programmed := meta.FindStatusCondition(old, v1alpha1.ConditionProgrammed); programmed != nil {
		// Of a newer one the gateway may not have heard yet.
		v.ready.ObservedGeneration = programmed.ObservedGeneration
	}
	v.ready.LastTransitionTime = now
	if was := meta.FindStatusCondition(old, v.ready.Type); was != nil && was.Status == v.ready.Status {
		v.ready.LastTransitionTime = was.LastTransitionTime
	}
}

func count(n int) *int32 {
	c := int32(min(n, 1<<31-1)) //nolint:gosec // bounded
	return &c
}

func ready(object *v1alpha1.MCPServer, s *catalog.Server, taken []string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	switch s.State.Health {
	case catalog.HealthDisabled:
		c.Reason, c.Message = v1alpha1.ReasonDisabled, "Out of use: set spec.enabled to true to have the server in the gateway."
	case catalog.HealthFailing:
		c.Reason, c.Message = reasonOf(s.State.Cause), explain(object, s.State)
	case catalog.HealthReady:
		mispinned := s.Mispinned()
		switch {
		case !s.Programmed:
			c.Status, c.Reason = metav1.ConditionUnknown, v1alpha1.ReasonPending
			c.Message = "The gateway has talked to the server; Envoy does not have the way to it yet."
		case len(taken) > 0:
			c.Reason, c.Message = v1alpha1.ReasonNameConflict, conflictMessage(taken)
		case len(mispinned) > 0:
			c.Reason, c.Message = v1alpha1.ReasonPinMismatch, pinMessage(mispinned)
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

func explain(object *v1alpha1.MCPServer, st catalog.State) string {
	var remedy string
	switch st.Cause {
	case catalog.CauseUnreachable:
		remedy = "Check that its pods run and that its Service and HTTPRoute lead to them."
	case catalog.CauseUnauthorized:
		remedy = credentialRemedy(&object.Spec)
	case catalog.CauseProtocol:
		remedy = "Check that spec.path and the HTTPRoute lead to an MCP endpoint."
	}
	text := fmt.Sprintf("%s. %s", strings.TrimSuffix(st.LastError, "."), remedy)
	if st.Listing != nil {
		text += " Its tools stay listed, and calls of them fail."
	}
	return strings.TrimSpace(text)
}

func credentialRemedy(spec *v1alpha1.MCPServerSpec) string {
	switch {
	case spec.CredentialRef != nil:
		return "Check the Secret that spec.credentialRef names."
	case spec.OAuth != nil && spec.OAuth.DiscoveryRef != nil:
		return "Check the Secret that spec.oauth.discoveryRef names: its lists are read with it."
	case spec.OAuth != nil && spec.OAuth.ClientToken:
		return "Give spec.oauth.discoveryRef a token that its lists can be read with."
	case spec.OAuth != nil:
		return "Check spec.oauth: the authorization server, the client and its Secret, and what the server wants of a token."
	case spec.PerUser != nil && spec.PerUser.DiscoveryRef != nil:
		return "Check the Secret that spec.perUser.discoveryRef names: its lists are read with it."
	case spec.PerUser != nil:
		return "Give spec.perUser.discoveryRef a credential that its lists can be read with."
	}
	return "Give it a credential, by spec.credentialRef, spec.oauth or spec.perUser."
}

func conflictMessage(taken []string) string {
	return fmt.Sprintf("An older server has names that this one gives too, so that these items are left out: %s. Give this server a toolPrefix, or uriPrefix for resources. All others are in the gateway.", some(taken))
}

func pinMessage(tools []string) string {
	quoted := make([]string, len(tools))
	for i, tool := range tools {
		quoted[i] = strconv.Quote(tool)
	}
	return fmt.Sprintf("These tools have other definitions than they are pinned to in spec.tools, so that they are left out: %s. Look in /status of the broker at what the server says of them now, before you change a pin. All others are in the gateway.", some(quoted))
}

// some are the first ones of many.
func some(all []string) string {
	text := strings.Join(all[:min(len(all), maxConflicts)], ", ")
	if more := len(all) - maxConflicts; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
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

// told tells whether a status says all of this already.
func (v *verdict) told(s told) bool {
	was := meta.FindStatusCondition(s.conditions, v1alpha1.ConditionReady)
	return was != nil && *was == v.ready && same(s.tools, v.tools) && same(s.prompts, v.prompts) && same(s.resources, v.resources) &&
		slices.Equal(s.revisions, v.revisions)
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
