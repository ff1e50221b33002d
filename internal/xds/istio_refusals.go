package xds

import (
	"net/http"
	"strconv"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
)

// istioPayloadKey is where Istio has the payload of a verified token put, in the same namespace as ours.
const istioPayloadKey = "payload"

// AuthenticationPolicy is the name of the AuthorizationPolicy, with the action DENY, whose refusals mean that a good token is missing. Istio's own
// answer to those is 403, after which no client would log in.
func (o Istio) AuthenticationPolicy() string { return o.withDefaults().Name + "-authentication" }

// refusals are what a client reads when RequestAuthentications and AuthorizationPolicies refuse it. They are told by what Envoy says of its reason, which
// no client can forge.
func (w *istioWiring) refusals() []reply {
	texts := challengeTexts(w.ResourceMetadata, w.Scopes)
	unauthenticated := func() *accesslogv3.AccessLogFilter {
		return w.expression(`response.code_details.startsWith("rbac_access_denied") && response.code_details.contains(` +
			strconv.Quote("policy["+w.AuthenticationPolicy()+"]") + `)`)
	}
	table := []reply{
		// Envoy's own status for another audience is 403.
		{
			when: w.expression(`response.code_details.startsWith("jwt_authn_access_denied")`),
			code: http.StatusUnauthorized, message: "the access token is not accepted", status: http.StatusUnauthorized, challenge: challengeRefused,
		},
		// A token that another RequestAuthentication of the Gateway has found good is one that is not accepted here.
		{
			when: and(unauthenticated(), metadataIs(anything(), tokenNamespace, istioPayloadKey)),
			code: http.StatusUnauthorized, message: "the access token is not accepted", status: http.StatusUnauthorized, challenge: challengeRefused,
		},
		{
			when: unauthenticated(),
			code: http.StatusUnauthorized, message: "authentication is needed", status: http.StatusUnauthorized, challenge: challengeMissing,
		},
		// Where nobody is authenticated, no token would help.
		{
			when: and(w.expression(`response.code_details.startsWith("rbac_access_denied")`), metadataIs(anything(), tokenNamespace, istioPayloadKey)),
			code: http.StatusForbidden, message: "this request is not allowed", challenge: challengeScope,
		},
	}
	for i := range table {
		table[i].texts = texts
	}
	return table
}
