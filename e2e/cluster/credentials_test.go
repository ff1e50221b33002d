package cluster_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// The credential of a server that demands one: while its Secret is missing or wrong the server is out of the gateway and its status says what to do; when it
// is right it is used for what the gateway asks and for the clients' calls, and a new value takes the place of the old one without a restart.
func TestCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(t, "guard.yaml", "TOKEN=first")
	w.wait(t, w.ns, "gateway/guard", "condition=Programmed")
	w.rollout(t, w.ns, "guard-istio")
	tool := w.ns + "_guarded_get_forecast"

	w.apply(t, "guarded.yaml")
	message := w.isNot(t, "ResolvedRefs", "guarded", "InvalidCredential")
	assert.Contains(t, message, w.ns+"/guard")
	w.isNot(t, "Ready", "guarded", "NotUsable")
	w.fails(t, tool, -32602)

	w.run(t, "create", "secret", "generic", "guard", "--from-literal=other=first")
	await(t, "the message to tell of the key", func() (string, bool) {
		c := w.condition(t, "guarded", "ResolvedRefs")
		return c.Message, c.Reason == "InvalidCredential" && c.Message != message
	})
	assert.Contains(t, w.condition(t, "guarded", "ResolvedRefs").Message, `"token"`, "the key that is missing")

	w.patch(t, "secret/guard", `{"stringData":{"token":"wrong"}}`)
	message = w.isNot(t, "Ready", "guarded", "Unauthorized")
	assert.Contains(t, message, "spec.credentialRef")
	assert.NotContains(t, message, "wrong", "what the Secret has is told to nobody")

	w.patch(t, "secret/guard", `{"stringData":{"token":"first"}}`)
	w.isReady(t, "guarded")
	w.works(t, tool)
	w.worksAtOnce(t, tool, tool)

	// Rotation: the server takes the new one only, before the gateway has it.
	w.apply(t, "guard.yaml", "TOKEN=second")
	w.fails(t, tool, -32603)
	w.patch(t, "secret/guard", `{"stringData":{"token":"second"}}`)
	w.works(t, tool)
	w.isReady(t, "guarded")

	w.run(t, "delete", "secret", "guard")
	w.isNot(t, "ResolvedRefs", "guarded", "InvalidCredential")
	w.fails(t, tool, -32602)
	w.isMentioned(t, w.ns+"/guarded", false)
	w.worksAtOnce(t, w.forecast())
}
