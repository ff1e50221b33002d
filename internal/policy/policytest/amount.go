package policytest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Policies is how many policies made at random an engine is tried with: $ENGINE_AGREEMENT_POLICIES, else the usual number, or a few in a short run.
func Policies(t testing.TB, engine string, usual, few int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv(engine + "_AGREEMENT_POLICIES")); err == nil {
		return n
	}
	if testing.Short() {
		return few
	}
	return usual
}

// Seed is $ENGINE_AGREEMENT_SEED, else any, which the test tells.
func Seed(t testing.TB, engine string) uint64 {
	t.Helper()
	name := engine + "_AGREEMENT_SEED"
	n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		n = rand.Uint64() //nolint:gosec // nothing secret
	}
	t.Logf("for the same again: %s=%d", name, n)
	return n
}
