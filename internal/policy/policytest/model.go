package policytest

import (
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// Model is an engine that does what the values say, and counts calls. Its windows never end.
type Model struct {
	set   *policy.Set
	spent map[string]uint32
}

// NewModel returns a model whose budgets are full.
func NewModel(set *policy.Set) *Model { return &Model{set: set, spent: map[string]uint32{}} }

// Do makes the case's request once.
func (m *Model) Do(c Case) Outcome {
	var id *policy.Identity
	if a := m.set.Authentication; a != nil {
		if c.Claims == nil || c.Claims["iss"] != a.Issuer {
			return Unauthenticated
		}
		id = m.set.Identify(c.Claims)
	}
	if !m.set.Decide(id, c.Request).Allowed {
		return Denied
	}
	if c.Method == "tools/call" && !m.spend(id, c.Request) {
		return Limited
	}
	return Allowed
}

// spend takes the call out of every budget that it counts against. One that is refused costs nothing.
func (m *Model) spend(id *policy.Identity, r policy.Request) bool {
	var budgets []string
	for i := range m.set.RateLimits {
		limit := &m.set.RateLimits[i]
		if !limit.Covers(r) {
			continue
		}
		key := budget(limit, id, r)
		if m.spent[key] >= limit.Limit {
			return false
		}
		budgets = append(budgets, key)
	}
	for _, key := range budgets {
		m.spent[key]++
	}
	return true
}

func budget(limit *policy.RateLimit, id *policy.Identity, r policy.Request) string {
	key := []string{limit.Name}
	for _, per := range limit.Per {
		switch per {
		case policy.PerUser:
			key = append(key, id.Issuer, id.Subject)
		case policy.PerServer:
			key = append(key, r.Server)
		case policy.PerTool:
			key = append(key, r.Server, r.Name)
		}
	}
	return strings.Join(key, "\x00")
}
