package xds

import (
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// The filters that enforce policy values, in the order in which they run.
const (
	authenticationFilter = "mcp-gateway-authentication"
	accessFilter         = "mcp-gateway-access"
	limitsFilter         = "mcp-gateway-limits"
)

// PolicyValues are the policy values that Envoy enforces itself, and what it tells those whom it refuses. Once they are there, their three filters are
// in the chain for good; a part that the set does not have is a filter that does nothing. They are not modified.
type PolicyValues struct {
	Set *policy.Set
	// JWKS are the issuer's public keys, a JSON Web Key Set. Without a key in it, every token is refused.
	JWKS []byte
	// ResourceMetadata is the URL of the protected resource's metadata (RFC 9728), Scopes are what a client should ask for. Clients are told both when they
	// are refused; empty means to say nothing.
	ResourceMetadata string
	Scopes           []string
}

// check refuses what would break out of a quoted string in a header, and values that hold nothing at all.
func (v *PolicyValues) check() error {
	if v.Set == nil {
		return errors.New("policy values: there are none")
	}
	if err := checkChallenge(v.ResourceMetadata, v.Scopes); err != nil {
		return fmt.Errorf("policy values: %w", err)
	}
	return nil
}

func checkChallenge(metadata string, scopes []string) error {
	var errs []error
	if !quotable(metadata) {
		errs = append(errs, fmt.Errorf("resource metadata %q: must be a URL in plain ASCII, without spaces or quotes", metadata))
	}
	for _, s := range scopes {
		if s == "" || !quotable(s) {
			errs = append(errs, fmt.Errorf("scope %q: must be plain ASCII, without spaces or quotes", s))
		}
	}
	return errors.Join(errs...)
}

// quotable tells whether a text can stand in a quoted string of a header as it is.
func quotable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' })
}

// valueConfigs are the configurations of the filters that enforce the values, in their order; none without values.
func (b *builder) valueConfigs() []*corev3.TypedExtensionConfig {
	v := b.options.Values
	if v == nil {
		return nil
	}
	if err := v.check(); err != nil {
		b.errs = append(b.errs, err)
		return nil
	}
	config := func(name string, m proto.Message) *corev3.TypedExtensionConfig {
		if err := validate(m); err != nil {
			b.errs = append(b.errs, fmt.Errorf("policy values: filter %q: %w", name, err))
		}
		return &corev3.TypedExtensionConfig{Name: name, TypedConfig: b.pack(m)}
	}
	return []*corev3.TypedExtensionConfig{
		config(authenticationFilter, b.authentication(v)),
		config(accessFilter, b.access(v.Set)),
		config(limitsFilter, b.limiter(v.Set)),
	}
}

// chained are filters as they stand in the chain: in full in a static file, else references.
func (b *builder) chained(configs []*corev3.TypedExtensionConfig) []*hcmv3.HttpFilter {
	var out []*hcmv3.HttpFilter
	for _, c := range configs {
		f := &hcmv3.HttpFilter{Name: c.GetName(), ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: c.GetTypedConfig()}}
		if !b.static {
			f = reference(f)
			switch c.GetName() {
			case limitsFilter:
				f.GetConfigDiscovery().TypeUrls = limitTypes()
			case bandwidthFilter:
				f.GetConfigDiscovery().TypeUrls = bandwidthTypes()
			}
		}
		out = append(out, f)
	}
	return out
}
