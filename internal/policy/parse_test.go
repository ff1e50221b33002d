package policy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Every problem is reported at once, with its place (Invariant 8).
func TestGoldenProblems(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, inputs)
	for _, input := range inputs {
		name := strings.TrimSuffix(filepath.Base(input), ".in.yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(input)
			require.NoError(t, err)
			set, err := Parse("p.yaml", data)
			if !strings.HasPrefix(name, "bad-") {
				require.NoError(t, err)
				require.NotNil(t, set)
				return
			}
			require.Nil(t, set)
			require.ErrorAs(t, err, new(Problems))
			golden := filepath.Join("testdata", name+".err.txt")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644))
			}
			want, readErr := os.ReadFile(golden)
			require.NoError(t, readErr)
			assert.Equal(t, string(want), err.Error()+"\n")
		})
	}
}

func TestParseFull(t *testing.T) {
	data, err := os.ReadFile("testdata/full.in.yaml")
	require.NoError(t, err)
	got, err := Parse("full.yaml", data)
	require.NoError(t, err)
	want := &Set{
		Authentication: &Authentication{
			Issuer: "http://127.0.0.1:8889/realms/mcp", Audiences: []string{"gateway", "other"},
			JWKSURI: "http://127.0.0.1:8889/realms/mcp/protocol/openid-connect/certs?x=1",
			Claims: Claims{
				User: []string{"email"}, Groups: []string{"https://example.com/groups", "names"},
				Roles: []string{"resource_access", "gw", "roles"}, Scopes: []string{"scp"},
			},
		},
		ACL: []Rule{
			{
				Name: "accounting.heads-1_2", Users: []string{"alice"}, Groups: []string{"accounting"}, Roles: []string{"head"}, Scopes: []string{"mcp:write"},
				When: &Condition{Source: "claims.level > 3\n&& has(claims.email)\n"},
				Allow: []Pattern{
					{Kind: Tool, Public: "invoices_*"},
					{Kind: Tool, Server: "weather", Name: "get_forecast"},
					{Kind: Prompt, Server: "weather", Name: "*"},
					{Kind: Resource, Name: "file:///*"},
					{Server: "*"},
					{Kind: Tool, Server: "w", Name: "*_list", Hints: map[string]bool{"readOnly": true, "destructive": false, "idempotent": true, "openWorld": false}},
					{Kind: Tool, Hints: map[string]bool{"readOnly": true}},
				},
			},
			{Name: "rule-1", Allow: []Pattern{{Kind: Tool, Public: "*"}}},
		},
		RateLimits: []RateLimit{
			{Name: "slow", Tools: []Glob{"slow_*"}, Servers: []Glob{"*-test"}, Per: []Per{PerUser, PerTool, PerServer}, Limit: 10, Window: 90 * time.Second},
			{Name: "limit-1", Per: []Per{PerUser}, Limit: 4294967295, Window: 24 * time.Hour},
			{Name: "limit-2", Limit: 1, Window: time.Second},
		},
	}
	assert.Empty(t, cmp.Diff(want, got, cmpopts.IgnoreFields(Condition{}, "AST", "program")))
	assert.NotNil(t, got.ACL[0].When.AST, "engines translate it")
}

func TestParseDefaults(t *testing.T) {
	set, err := Parse("p.yaml", []byte("policies: {authentication: {issuer: 'https://i', audiences: [a]}}"))
	require.NoError(t, err)
	want := &Authentication{
		Issuer: "https://i", Audiences: []string{"a"}, ClockSkew: 30 * time.Second,
		Claims: Claims{User: []string{"preferred_username"}, Groups: []string{"groups"}, Roles: []string{"realm_access", "roles"}, Scopes: []string{"scope"}},
	}
	assert.Equal(t, want, set.Authentication)
	assert.Nil(t, set.ACL, "no acl is not an empty one")
	set, err = Parse("p.yaml", []byte("policies: {acl: []}"))
	require.NoError(t, err)
	assert.NotNil(t, set.ACL, "an empty acl allows nothing")
}

func TestParseLimits(t *testing.T) {
	_, err := Parse("p.yaml", []byte(strings.Repeat(" ", maxFileSize+1)))
	require.EqualError(t, err, "p.yaml: the file is larger than 1 MiB")

	var many strings.Builder
	many.WriteString("policies: {}\n")
	for i := range 600 {
		fmt.Fprintf(&many, "k%d: 1\n", i)
	}
	_, err = Parse("p.yaml", []byte(many.String()))
	var problems Problems
	require.ErrorAs(t, err, &problems)
	require.Len(t, problems, maxProblems+1)
	assert.Equal(t, "p.yaml: 100 more problems are not listed", problems[maxProblems].Error())

	aliases := "policies:\n  authentication: {issuer: 'https://i', audiences: [a]}\n  acl:\n    - &r {groups: [" +
		strings.Repeat("a,", 1000) + "], allow: ['*']}\n" + strings.Repeat("    - *r\n", 1000)
	_, err = Parse("p.yaml", []byte(aliases))
	require.ErrorContains(t, err, "the file holds more than 100000 values, aliases included")

	for _, open := range []string{"[", "{a: "} {
		_, err = Parse("p.yaml", []byte("policies: "+strings.Repeat(open, 100_000)))
		require.Error(t, err)
	}
}

func FuzzParse(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	require.NoError(f, err)
	for _, input := range inputs {
		data, err := os.ReadFile(input)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("policies: &a {acl: *a}"))
	f.Add([]byte("policies: !!binary x"))
	lineBreak := regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]") // as YAML has it
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Parse("p.yaml", data)
		_, again := Parse("p.yaml", data)
		if err != nil {
			require.Nil(t, set)
			require.EqualError(t, again, err.Error(), "the same file has the same problems")
			var problems Problems
			require.ErrorAs(t, err, &problems)
			lines := len(lineBreak.FindAll(data, -1)) + 2
			for _, p := range problems {
				require.LessOrEqual(t, p.Line, lines)
			}
			return
		}
		require.NoError(t, again)
		checkSet(t, set)
	})
}

// checkSet tells what holds of every set that was accepted, and what no caller must get from it.
func checkSet(t *testing.T, set *Set) {
	t.Helper()
	for _, rule := range set.ACL {
		require.NotEmpty(t, rule.Allow)
		require.NotEmpty(t, rule.Name)
		require.True(t, set.Authentication != nil || rule.Everyone())
	}
	if set.Authentication != nil {
		require.NotEmpty(t, set.Authentication.Audiences)
		for _, r := range []Request{{}, {Kind: Tool, Server: "s", Name: "t", PublicName: "s_t"}} {
			require.False(t, set.Decide(nil, r).Allowed, "a caller without a token")
		}
	}
	if set.ACL != nil && len(set.ACL) == 0 {
		require.False(t, set.Decide(set.Identify(nil), Request{Kind: Tool, Name: "t"}).Allowed)
	}
	for _, limit := range set.RateLimits {
		require.NotZero(t, limit.Limit)
		require.GreaterOrEqual(t, limit.Window, minWindow)
	}
}
