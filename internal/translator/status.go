package translator

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

// maxMessage is what a reader of `kubectl describe` can take; the API allows 32 KiB.
const maxMessage = 2048

// verdict is one condition without its times.
type verdict struct {
	kind    string
	status  metav1.ConditionStatus
	reason  string
	message string
}

func yes(kind, message string) verdict {
	// The reason of a condition that is True is its own name.
	return verdict{kind, metav1.ConditionTrue, kind, message}
}

func no(kind, reason, message string) verdict {
	return verdict{kind, metav1.ConditionFalse, reason, message}
}

func pending(kind, message string) verdict {
	return verdict{kind, metav1.ConditionUnknown, v1alpha1.ReasonPending, message}
}

func noFor(kind string, findings []finding) verdict {
	messages := make([]string, len(findings))
	for i, f := range findings {
		messages[i] = f.message
	}
	return no(kind, findings[0].reason, strings.Join(messages, " "))
}

// conditions gives verdicts their times: that of the transition is the old condition's as long as the status is the same. It tells whether anything differs.
func conditions(old []metav1.Condition, generation int64, now metav1.Time, verdicts ...verdict) ([]metav1.Condition, bool) {
	list := make([]metav1.Condition, len(verdicts))
	changed := false
	for i, v := range verdicts {
		c := metav1.Condition{
			Type: v.kind, Status: v.status, Reason: v.reason, Message: clip(v.message),
			ObservedGeneration: generation, LastTransitionTime: now,
		}
		was := meta.FindStatusCondition(old, v.kind)
		if was != nil && was.Status == c.Status {
			c.LastTransitionTime = was.LastTransitionTime
		}
		changed = changed || was == nil || *was != c
		list[i] = c
	}
	return list, changed
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

// status is what the MCPServer shall say. inForce tells whether the configuration that the gateway reads will have the entry as it is.
func (m *member) status(x *index, now metav1.Time, inForce bool) ServerStatus {
	s := ServerStatus{Key: m.key}
	if m.route != nil {
		s.Route = keyOf(m.route)
	}
	old := m.object.Status.Conditions
	accepted := m.accepted(x)
	if was := meta.FindStatusCondition(old, accepted.kind); was != nil && m.spokenFor(*was, accepted) {
		s.Release = true
		return s
	}
	if m.usable() {
		s.Endpoint = m.spec.URL
	}
	var changed bool
	s.Conditions, changed = conditions(old, m.object.Generation, now, accepted, m.resolved(), m.programmed(x, inForce))
	s.Changed = changed || s.Endpoint != m.object.Status.Endpoint
	return s
}

// spokenFor tells whether the status is another gateway's to write, by what it says now. Controllers of several gateways must not write over each other's words
// without end.
//
// Of an object that leads to other gateways only, one controller tells that none is known to serve them, and only if nobody has told anything: its gateway's
// controller writes over that. All controllers word it alike. Where an object leads to several gateways, the first that has taken it speaks; one that does take it
// speaks before one that does not.
func (m *member) spokenFor(was metav1.Condition, accepted verdict) bool {
	if m.foreign {
		return was.Status != accepted.status || was.Message != clip(accepted.message)
	}
	if was.Status != metav1.ConditionTrue && accepted.status == metav1.ConditionTrue {
		return false
	}
	return slices.ContainsFunc(m.others, func(gateway string) bool {
		return strings.Contains(was.Message, fmt.Sprintf("Gateway %q", gateway))
	})
}

func (m *member) accepted(x *index) verdict {
	const kind = v1alpha1.ConditionAccepted
	switch {
	case len(m.refused) > 0:
		return noFor(kind, m.refused)
	case m.waiting != "":
		return pending(kind, m.waiting)
	}
	names := make([]string, len(m.listeners))
	for i, l := range m.listeners {
		names[i] = fmt.Sprintf("%q", l.Name)
	}
	listeners := "listener "
	if len(names) > 1 {
		listeners = "listeners "
	}
	message := fmt.Sprintf("Attached to the %s%s of the Gateway %q.", listeners, strings.Join(names, ", "), x.gateway)
	if !m.object.IsEnabled() {
		message += " Out of use, because spec.enabled is false."
	}
	return yes(kind, strings.Join(append([]string{message}, m.notes...), " "))
}

func (m *member) resolved() verdict {
	const kind = v1alpha1.ConditionResolvedRefs
	switch {
	case len(m.unresolved) > 0:
		return noFor(kind, m.unresolved)
	case m.unlooked != "":
		return pending(kind, m.unlooked)
	}
	return yes(kind, "Everything that the object refers to is there.")
}

func (m *member) programmed(x *index, inForce bool) verdict {
	const kind = v1alpha1.ConditionProgrammed
	switch {
	case len(m.refused) > 0 && blocked(m.unresolved):
		return no(kind, v1alpha1.ReasonNotUsable, "Not in the gateway: see Accepted and ResolvedRefs.")
	case len(m.refused) > 0:
		return no(kind, v1alpha1.ReasonNotUsable, "Not in the gateway: see Accepted.")
	case !m.usable():
		return no(kind, v1alpha1.ReasonNotUsable, "Not in the gateway: see ResolvedRefs.")
	case !inForce:
		return no(kind, v1alpha1.ReasonTooLarge, tooLarge(x.gateway.String()))
	case !m.object.IsEnabled():
		return no(kind, v1alpha1.ReasonDisabled, "Out of use: set spec.enabled to true to have the server in the gateway.")
	}
	return yes(kind, fmt.Sprintf("The configuration of the Gateway %q has the server.", x.gateway))
}

func tooLarge(gateway string) string {
	return fmt.Sprintf("The configuration of the Gateway %q has grown too large to be written, and the last one that was written stays in force: take servers out, or move some to another Gateway.", gateway)
}
