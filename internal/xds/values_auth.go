package xds

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Where the filter puts what it verified, and why it refused a token. Envoy sets the payload only when everything about the token is right.
const (
	tokenNamespace = "envoy.filters.http.jwt_authn"
	payloadKey     = "jwt_payload"
	refusalKey     = "mcp_gateway_refusal"
)

// keysUnreachable is what Envoy says of a token that it has no keys for.
const keysUnreachable = "Jwks remote fetch is failed"

// jwksCluster leads to the issuer's keys, in a static file only.
const jwksCluster = "mcp_jwks"

// noTokenHeader is one that no request has when it gets here.
const noTokenHeader = wire.InternalPrefix + "no-token"

// rememberedTokens is how many tokens each of Envoy's workers does not verify again, which is more than half of what verifying costs. Only the signature
// is remembered: times, issuer and audience are checked each time. Other keys are another configuration, which remembers nothing; keys that Envoy fetches
// itself would change under what it remembers, so there it does not.
const rememberedTokens = 1000

// bearer is the one shape of an Authorization header that Envoy is shown. It would find its prefix anywhere in the value, and cut a token out of what
// the router and the broker read differently.
const bearer = `[Bb]earer [A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`

// authentication verifies tokens from the Authorization header and nowhere else. The token stays on the request: the broker verifies it as well,
// and no server gets it.
func (b *builder) authentication(v *PolicyValues) *jwtv3.JwtAuthentication {
	a := v.Set.Authentication
	if a == nil {
		return &jwtv3.JwtAuthentication{}
	}
	token := &jwtv3.JwtProvider{
		Issuer:                 a.Issuer,
		Audiences:              a.Audiences,
		RequireExpiration:      true,
		Forward:                true,
		FromHeaders:            []*jwtv3.JwtHeader{{Name: "authorization", ValuePrefix: "Bearer "}, {Name: "authorization", ValuePrefix: "bearer "}},
		PayloadInMetadata:      payloadKey,
		FailedStatusInMetadata: refusalKey,
		ClockSkewSeconds:       skew(a.ClockSkew),
	}
	// A request with anything else is one without a token. No keys are needed to see that.
	none := proto.CloneOf(token)
	none.FromHeaders = []*jwtv3.JwtHeader{{Name: noTokenHeader}}
	none.JwksSourceSpecifier = noKeys()
	b.addKeys(token, v)
	return &jwtv3.JwtAuthentication{
		Providers: map[string]*jwtv3.JwtProvider{"token": token, "none": none},
		Rules: []*jwtv3.RequirementRule{
			require(withHeaders(&routev3.HeaderMatcher{
				Name:                 "authorization",
				HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: regex(bearer)},
			}), "token"),
			require(withHeaders(), "none"),
		},
	}
}

func require(match *routev3.RouteMatch, provider string) *jwtv3.RequirementRule {
	return &jwtv3.RequirementRule{Match: match, RequirementType: &jwtv3.RequirementRule_Requires{
		Requires: &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: provider}},
	}}
}

// skew is in whole seconds, and at least one: Envoy takes zero for a minute.
func skew(d time.Duration) uint32 { return uint32(max(d/time.Second, 1)) }

// addKeys gives a provider the issuer's keys.
func (b *builder) addKeys(p *jwtv3.JwtProvider, v *PolicyValues) {
	if b.static {
		p.JwksSourceSpecifier = remoteKeys(v.Set.Authentication.JWKSURI, jwksCluster)
		return
	}
	keys, n, err := publicKeys(v.JWKS)
	switch {
	case err != nil:
		b.errs = append(b.errs, err)
	case n == 0:
		p.JwksSourceSpecifier = noKeys()
	default:
		p.JwksSourceSpecifier = &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: keys}}}
		p.JwtCacheConfig = &jwtv3.JwtCacheConfig{JwtCacheSize: rememberedTokens}
	}
}

// noKeys is a place that Envoy cannot reach, since it takes no empty set.
func noKeys() *jwtv3.JwtProvider_RemoteJwks { return remoteKeys("http://nowhere/", nowhere) }

func remoteKeys(uri, cluster string) *jwtv3.JwtProvider_RemoteJwks {
	return &jwtv3.JwtProvider_RemoteJwks{RemoteJwks: &jwtv3.RemoteJwks{
		HttpUri:       &corev3.HttpUri{Uri: uri, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: cluster}, Timeout: seconds(5)},
		CacheDuration: seconds(300),
	}}
}

// publicKeys leaves of a key set the keys that verify signatures. A symmetric one has no place there: who can read it could sign.
func publicKeys(jwks []byte) (keys string, n int, err error) {
	if len(jwks) == 0 {
		return "", 0, nil
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(jwks, &set); err != nil {
		return "", 0, fmt.Errorf("policy values: the issuer's keys are no JSON Web Key Set: %w", err)
	}
	kept := []json.RawMessage{}
	for i, raw := range set.Keys {
		var key struct {
			Kty string `json:"kty"`
			Use string `json:"use"`
		}
		if err := json.Unmarshal(raw, &key); err != nil {
			return "", 0, fmt.Errorf("policy values: key %d of the issuer's: %w", i, err)
		}
		if (key.Kty == "RSA" || key.Kty == "EC" || key.Kty == "OKP") && (key.Use == "" || key.Use == "sig") {
			kept = append(kept, raw)
		}
	}
	out, err := json.Marshal(map[string]any{"keys": kept})
	return string(out), len(kept), err
}

// keysCluster is where a static Envoy gets the issuer's keys itself, or nil.
func (b *builder) keysCluster() *clusterv3.Cluster {
	v := b.options.Values
	if !b.static || v == nil || v.Set == nil || v.Set.Authentication == nil {
		return nil
	}
	u, err := parseKeysURI(v.Set.Authentication)
	if err != nil {
		b.errs = append(b.errs, err)
		return nil
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	at, err := parseAddress("jwksURI", u.Hostname()+":"+port)
	if err != nil {
		b.errs = append(b.errs, err)
		return nil
	}
	c := b.cluster(jwksCluster, at)
	if u.Scheme == "https" {
		c.TransportSocket = b.transportSocket(config.Server{Name: jwksCluster, Scheme: u.Scheme, Host: u.Hostname()})
	}
	return c
}

func parseKeysURI(a *policy.Authentication) (*url.URL, error) {
	if a.JWKSURI == "" {
		return nil, errors.New("policy values: an Envoy that nobody feeds must be told where the issuer's keys are: set policies.authentication.jwksURI")
	}
	u, err := url.Parse(a.JWKSURI)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("policy values: jwksURI %q: want an http or https URL", a.JWKSURI)
	}
	return u, nil
}

// unauthenticated switches the filter off for a route.
func (b *builder) unauthenticated() *anypb.Any {
	return b.pack(&jwtv3.PerRouteConfig{RequirementSpecifier: &jwtv3.PerRouteConfig_Disabled{Disabled: true}})
}

// payload is the path of a claim in the verified token's payload.
func payload(claim []string) []*matcherv3.MetadataMatcher_PathSegment {
	return segments(append([]string{payloadKey}, claim...)...)
}

func segments(keys ...string) []*matcherv3.MetadataMatcher_PathSegment {
	var out []*matcherv3.MetadataMatcher_PathSegment
	for _, k := range keys {
		out = append(out, &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: k}})
	}
	return out
}
