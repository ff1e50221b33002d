package xds

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	exprv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rate_limit_descriptors/expr/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// maxBudgets bounds how many users, tools or servers one limit counts for at once. Beyond it, whoever has not called for longest starts anew.
const maxBudgets = 1 << 15

// limits gives each limit a bucket, or one for each that it is per. A call takes a token from every limit that it counts against, beginning with the
// one that is filled up slowest, until one has none left.
func (b *builder) limits(s *policy.Set) *limitv3.LocalRateLimit {
	l := &limitv3.LocalRateLimit{StatPrefix: "mcp_gateway_limits"}
	if len(s.RateLimits) == 0 {
		return l
	}
	l.FilterEnabled, l.FilterEnforced = always("mcp_gateway.limits_enabled"), always("mcp_gateway.limits_enforced")
	l.AlwaysConsumeDefaultTokenBucket = no()
	l.MaxDynamicDescriptors = wrapperspb.UInt32(maxBudgets)
	l.EnableRetryAfterHeader = true
	for i := range s.RateLimits {
		limit := &s.RateLimits[i]
		parts := b.descriptor(limit)
		budget := &ratelimitv3.LocalRateLimitDescriptor{TokenBucket: &typev3.TokenBucket{
			MaxTokens:     limit.Limit,
			TokensPerFill: wrapperspb.UInt32(limit.Limit),
			FillInterval:  durationpb.New(limit.Window),
		}}
		rate := rateOf(parts)
		for _, p := range parts {
			budget.Entries = append(budget.Entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: p.key, Value: p.value})
		}
		l.RateLimits = append(l.RateLimits, rate)
		l.Descriptors = append(l.Descriptors, budget)
	}
	return l
}

// rateOf is what finds out under what a call is counted. A call that one of the parts is not for is not counted.
func rateOf(parts []part) *routev3.RateLimit {
	rate := &routev3.RateLimit{}
	for _, p := range parts {
		rate.Actions = append(rate.Actions, p.action)
	}
	return rate
}

// part is one entry of what a call is counted under. Without a value, every value that a call has gets a budget of its own.
type part struct {
	key, value string
	action     *routev3.RateLimit_Action
}

// descriptor is what a call is counted under for a limit.
func (b *builder) descriptor(l *policy.RateLimit) []part {
	const key = "limit"
	parts := []part{{key: key, value: l.Name, action: &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_Extension{
		Extension: &corev3.TypedExtensionConfig{
			Name:        "envoy.rate_limit_descriptors.expr",
			TypedConfig: b.pack(&exprv3.Descriptor{DescriptorKey: key, ExprSpecifier: &exprv3.Descriptor_Parsed{Parsed: nameIfCounted(l)}}),
		},
	}}}}
	if slices.Contains(l.Per, policy.PerUser) {
		parts = append(parts, ofMetadata("issuer", tokenNamespace, payloadKey, "iss"), ofMetadata("subject", tokenNamespace, payloadKey, "sub"))
	}
	if slices.Contains(l.Per, policy.PerServer) || slices.Contains(l.Per, policy.PerTool) {
		parts = append(parts, ofMetadata("server", wire.MetadataNamespace, wire.KeyServer))
	}
	if slices.Contains(l.Per, policy.PerTool) {
		parts = append(parts, ofMetadata("tool", wire.MetadataNamespace, wire.KeyTool))
	}
	return parts
}

// ofMetadata is a part with a value from the dynamic metadata. Those without one share a budget: a call must not escape a limit by lacking it.
func ofMetadata(key, namespace, at string, path ...string) part {
	m := &metadatav3.MetadataKey{Key: namespace}
	for _, k := range append([]string{at}, path...) {
		m.Path = append(m.Path, &metadatav3.MetadataKey_PathSegment{Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: k}})
	}
	return part{key: key, action: &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_Metadata{
		Metadata: &routev3.RateLimit_Action_MetaData{
			DescriptorKey: key, MetadataKey: m, DefaultValue: "-", Source: routev3.RateLimit_Action_MetaData_DYNAMIC,
		},
	}}}
}

// nameIfCounted is the expression whose value is the limit's name for the calls of tools that count against it, and that has none for all others:
// these are counted under nothing then, and nobody is asked about them. Names in headers may be encoded; those in the metadata are as they are.
func nameIfCounted(l *policy.RateLimit) *expr.Expr {
	r := &rewriter{}
	nothing := r.apply("_[_]", r.path(wire.MetadataNamespace, wire.KeyTool), r.text("of no text"))
	return r.apply("_?_:_", r.counts(l), r.text(l.Name), nothing)
}

// counts is true of the calls of tools that count against a limit.
func (r *rewriter) counts(l *policy.RateLimit) *expr.Expr {
	facts := func() *expr.Expr {
		return r.apply("_[_]", r.member(r.ident("metadata"), "filter_metadata"), r.text(wire.MetadataNamespace))
	}
	all := r.has(facts(), wire.KeyTool)
	for _, among := range []struct {
		key   string
		globs []policy.Glob
	}{{wire.KeyPublicName, l.Tools}, {wire.KeyServer, l.Servers}} {
		var matches *expr.Expr
		for _, g := range among.globs {
			m := r.glob(r.member(facts(), among.key), g)
			if matches != nil {
				m = r.apply("_||_", matches, m)
			}
			matches = m
		}
		if matches != nil {
			all = r.apply("_&&_", all, matches)
		}
	}
	return all
}

// glob tests a text.
func (r *rewriter) glob(text *expr.Expr, g policy.Glob) *expr.Expr {
	s := string(g)
	switch {
	case matchesAll(g):
		return r.on(text, "startsWith", r.text(""))
	case strings.HasSuffix(s, "*"):
		return r.on(text, "startsWith", r.text(strings.TrimSuffix(s, "*")))
	case strings.HasPrefix(s, "*"):
		return r.on(text, "endsWith", r.text(strings.TrimPrefix(s, "*")))
	}
	return r.apply("_==_", text, r.text(s))
}

func always(key string) *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}, RuntimeKey: key}
}
