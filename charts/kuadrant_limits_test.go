package charts

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/policy/policytest"
)

// limitador counts by a RateLimitPolicy as Kuadrant does: a call counts against every limit whose conditions hold, one that is refused costs nothing, and what
// cannot be evaluated is not counted. Its windows never end.
type limitador struct {
	limits   map[string]rateLimit
	programs map[string]cel.Program
	spent    map[string]int
}

type rateLimit struct {
	Rates []struct {
		Limit  int    `json:"limit"`
		Window string `json:"window"`
	} `json:"rates"`
	When     []predicate  `json:"when"`
	Counters []expression `json:"counters"`
}

func newLimitador(t testing.TB, object *unstructured.Unstructured, set *policy.Set) *limitador {
	t.Helper()
	raw, _, err := unstructured.NestedMap(object.Object, "spec", "limits")
	require.NoError(t, err)
	text, err := json.Marshal(raw)
	require.NoError(t, err)
	l := &limitador{limits: map[string]rateLimit{}, programs: map[string]cel.Program{}, spent: map[string]int{}}
	require.NoError(t, yaml.UnmarshalStrict(text, &l.limits))
	env, err := cel.NewEnv(ext.Strings(), cel.Variable("request", cel.DynType), cel.Variable("auth", cel.DynType))
	require.NoError(t, err)
	for name, limit := range l.limits {
		sources := limit.counters()
		for _, p := range limit.When {
			sources = append(sources, p.Predicate)
		}
		for _, source := range sources {
			checked, issues := env.Compile(source)
			require.NoError(t, issues.Err(), source)
			l.programs[source], err = env.Program(checked)
			require.NoError(t, err)
		}
		l.checkForm(t, name, limit, set)
	}
	return l
}

func (l rateLimit) counters() []string {
	out := make([]string, 0, len(l.Counters))
	for _, c := range l.Counters {
		out = append(out, c.Expression)
	}
	return out
}

// checkForm looks for what Kuadrant makes something else of without a word.
func (l *limitador) checkForm(t testing.TB, name string, limit rateLimit, set *policy.Set) {
	t.Helper()
	for _, counter := range limit.counters() {
		assert.NotContains(t, counter, `"`, "limit %q: Kuadrant puts counters between double quotes as they are", name)
	}
	if set.Authentication != nil || set.ACL != nil {
		afterwards := slices.ContainsFunc(limit.When, func(p predicate) bool { return strings.Contains(p.Predicate, "auth.") })
		assert.True(t, afterwards, "limit %q: Kuadrant counts before it asks Authorino where nothing asks for Authorino's answer", name)
	}
	require.Len(t, limit.Rates, 1)
	i := slices.IndexFunc(set.RateLimits, func(r policy.RateLimit) bool { return r.Name == name })
	require.GreaterOrEqual(t, i, 0, name)
	window, err := time.ParseDuration(limit.Rates[0].Window)
	require.NoError(t, err)
	assert.Equal(t, set.RateLimits[i].Window, window, name)
	assert.EqualValues(t, set.RateLimits[i].Limit, limit.Rates[0].Limit, name)
}

// pass takes a call out of all budgets that it counts against.
func (l *limitador) pass(t testing.TB, headers map[string]string, auth map[string]any) bool {
	t.Helper()
	in := map[string]any{"request": map[string]any{"headers": headers}, "auth": auth}
	var budgets []string
	for name, limit := range l.limits {
		if !l.counts(t, limit, in) {
			continue
		}
		key := []string{name}
		for _, counter := range limit.counters() {
			out, _, err := l.programs[counter].Eval(in)
			require.NoError(t, err, "a call that counts must not escape: %s", counter)
			key = append(key, fmt.Sprint(out.Value()))
		}
		budget := strings.Join(key, "\x00")
		if l.spent[budget] >= limit.Rates[0].Limit {
			return false
		}
		budgets = append(budgets, budget)
	}
	for _, budget := range budgets {
		l.spent[budget]++
	}
	return true
}

func (l *limitador) counts(t testing.TB, limit rateLimit, in map[string]any) bool {
	t.Helper()
	for _, p := range limit.When {
		out, _, err := l.programs[p.Predicate].Eval(in)
		require.NoError(t, err, "what cannot be evaluated is not counted: %s", p.Predicate)
		if out != types.True {
			return false
		}
	}
	return true
}

// Kuadrant's budgets and those of our own model are spent by the same calls.
func TestKuadrantCounts(t *testing.T) {
	g := policytest.NewGenerator(policytest.Seed(t, "CHARTS"), testIssuer, testAudience)
	limited := 0
	for n := range policytest.Policies(t, "CHARTS", 30, 5) / 2 {
		file, err := yaml.Marshal(map[string]any{"policies": map[string]any{
			"authentication": map[string]any{"issuer": testIssuer, "audiences": []any{testAudience}},
			"rateLimits":     g.Limits(),
		}})
		require.NoError(t, err)
		k := newKuadrant(t, file)
		model := policytest.NewModel(k.set)
		callers := []string{"anna", "bert", ""}
		tokens := map[string]string{}
		for _, sub := range callers {
			tokens[sub] = k.token(t, map[string]any{"sub": sub})
		}
		for range 150 {
			sub := callers[g.IntN(len(callers))]
			c := policytest.Case{Claims: map[string]any{"iss": testIssuer, "sub": sub}, Request: g.Request(), Method: "prompts/get"}
			if c.Request.Kind == policy.Tool {
				c.Method = "tools/call"
			}
			want := model.Do(c)
			if want == policytest.Limited {
				limited++
			}
			require.Equal(t, want, k.do(t, c.Request, c.Method, tokens[sub]), "policy %d:\n%s\n%s calls %+v", n, file, sub, c.Request)
		}
	}
	require.Greater(t, limited, policytest.Policies(t, "CHARTS", 30, 5)*5, "too few were limited to prove anything")
}
