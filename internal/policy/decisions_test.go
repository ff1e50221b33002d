package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy/policytest"
)

// The decision tests are what every engine must pass. This is the first of them.
func TestDecisions(t *testing.T) {
	files, err := policytest.Load("../../policies/tests")
	require.NoError(t, err)
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			model := policytest.NewModel(f.Set)
			for _, c := range f.Cases {
				for range c.Repeat - 1 {
					require.Equal(t, policytest.Allowed, model.Do(c), "%s: before the last time", c.Name)
				}
				assert.Equal(t, c.Then, model.Do(c), c.Name)
			}
		})
	}
}
