package xds

import (
	"net/http"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	customv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/custom_response/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/local_response_policy/v3"
	inputv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// redirectFilter turns a server's redirect into an error. A client that followed one would leave the gateway and its policies.
const redirectFilter = "mcp-gateway-redirects"

// noRedirects is set on the routes to servers. What the client reads is made of it as of any other reply of Envoy's own (see replies).
func (b *builder) noRedirects() *customv3.CustomResponse {
	action := b.pack(&localv3.LocalResponsePolicy{
		StatusCode:                wrapperspb.UInt32(http.StatusBadGateway),
		ResponseCodeDetailsAction: &localv3.LocalResponsePolicy_ResponseCodeDetails{ResponseCodeDetails: "mcp_server_redirected"},
	})
	return &customv3.CustomResponse{CustomResponseMatcher: &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: &xdsmatcherv3.Matcher_MatcherTree{
			Input: &xdscorev3.TypedExtensionConfig{
				Name:        "status-class",
				TypedConfig: b.pack(&inputv3.HttpResponseStatusCodeClassMatchInput{}),
			},
			TreeType: &xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap{ExactMatchMap: &xdsmatcherv3.Matcher_MatcherTree_MatchMap{
				Map: map[string]*xdsmatcherv3.Matcher_OnMatch{"3xx": {OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
					Action: &xdscorev3.TypedExtensionConfig{Name: "refuse", TypedConfig: action},
				}}},
			}},
		}},
	}}
}
