package xds

import (
	"bytes"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// serviceLevel is one entry of a descriptor in the words of the rate limit service's configuration, with what may come after it.
type serviceLevel struct {
	Key         string         `yaml:"key"`
	Value       string         `yaml:"value,omitempty"`
	RateLimit   *serviceLimit  `yaml:"rate_limit,omitempty"`
	Descriptors []serviceLevel `yaml:"descriptors,omitempty"`
}

type serviceLimit struct {
	Unit     string `yaml:"unit"`
	Requests uint32 `yaml:"requests_per_unit"`
}

// RateLimitService is the configuration file of the global rate limit service for the same values that Envoy asks it about. What the service cannot
// express is an error, all of it at once.
func RateLimitService(s *policy.Set) ([]byte, error) {
	if s.RateLimitService == nil {
		return nil, errors.New("the values have no policies.rateLimitService: each Envoy counts for itself, and a service would never be asked")
	}
	file := struct {
		Domain      string         `yaml:"domain"`
		Descriptors []serviceLevel `yaml:"descriptors"`
	}{Domain: s.RateLimitService.Domain, Descriptors: []serviceLevel{}}
	b := &builder{}
	for i := range s.RateLimits {
		level, err := b.serviceLevel(&s.RateLimits[i])
		if err != nil {
			b.errs = append(b.errs, err)
			continue
		}
		file.Descriptors = append(file.Descriptors, level)
	}
	if err := errors.Join(b.errs...); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(file), enc.Close()); err != nil {
		return nil, fmt.Errorf("cannot write the service's configuration: %w", err)
	}
	return out.Bytes(), nil
}

// serviceLevel nests what a call is counted under, one entry in the other. The innermost has the limit.
func (b *builder) serviceLevel(l *policy.RateLimit) (serviceLevel, error) {
	unit := policy.WindowUnit(l.Window)
	if unit == "" {
		return serviceLevel{}, fmt.Errorf("rate limit %q: the service has no unit for the window %s: it must be 1s, 1m, 1h or 24h", l.Name, l.Window)
	}
	parts := b.descriptor(l)
	level := serviceLevel{RateLimit: &serviceLimit{Unit: unit, Requests: l.Limit}}
	for i := len(parts) - 1; i >= 0; i-- {
		level.Key, level.Value = parts[i].key, parts[i].value
		if i > 0 {
			level = serviceLevel{Descriptors: []serviceLevel{level}}
		}
	}
	return level, nil
}
