package app

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/admin"
)

const teamPolicies = `policies:
  authentication:
    issuer: https://issuer.example.com
    audiences: [gateway]
    claims: {roles: realm_access.roles}
  acl:
    - {name: accounting, groups: [accounting], allow: ["invoices_*", {server: ledger, prompt: "*"}]}
    - {name: heads, roles: [head], when: "claims.level > 3", allow: [{server: ledger}]}
    - {name: readers, scopes: [read], allow: [{hints: {readOnly: true}}]}
  rateLimits:
    - {name: slow, tools: ["*_export"], per: user, limit: 10, window: 1m}
    - {name: all, limit: 1000, window: 1h}
`

// gateway is a running one that has a little of everything.
func statusServer(t *testing.T) (address string) {
	t.Helper()
	status := admin.Status{
		Tools: []admin.Tool{
			{Name: "invoices_export", Server: "erp", OwnName: "export", Hints: "readOnly=false,destructive=true,idempotent=false,openWorld=true"},
			{Name: "ledger_show", Server: "ledger", OwnName: "show", Hints: "readOnly=true,destructive=false,idempotent=false,openWorld=true"},
		},
		Prompts:   []admin.Item{{Name: "ledger_monthly", Server: "ledger", OwnName: "monthly"}},
		Resources: []admin.Item{{Name: "ledger://2026", Server: "ledger", OwnName: "ledger://2026"}},
		Templates: []admin.Item{{Name: "wiki://{page}", Server: "wiki", OwnName: "wiki://{page}"}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/status" || r.Host != "localhost" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(status)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestACLCheck(t *testing.T) {
	file := write(t, "policies.yaml", teamPolicies)
	stdout, stderr, err := run(t, "acl", "check", file)
	require.NoError(t, err)
	assert.Equal(t, file+": is valid: tokens of https://issuer.example.com for gateway, 3 rules, 2 rate limits\n", stdout)
	assert.Empty(t, stderr)

	file = write(t, "open.yaml", "policies: {acl: [{everyone: true, allow: [a, a]}]}")
	stdout, _, err = run(t, "acl", "check", file)
	require.NoError(t, err, "a warning is no error")
	assert.Equal(t, file+": warning: there is no authentication: whoever reaches the gateway may call it\n"+
		file+": warning: policies.acl[0].allow[1] changes nothing: policies.acl[0].allow[0] allows it already\n"+
		file+": is valid: no authentication, 1 rule, 0 rate limits\n", stdout)

	file = write(t, "bad.yaml", "policies:\n  acl:\n    - {groups: [a], allow: ['a*b']}\n  limits: []\n")
	stdout, _, err = run(t, "acl", "check", file)
	require.EqualError(t, err, "the policies cannot be used:\n"+
		file+":3:16: policies.acl[0].groups: needs verified callers: add policies.authentication, or write \"everyone: true\" instead\n"+
		file+":3:29: policies.acl[0].allow[0]: \"a*b\" must have at most one \"*\", at its beginning or its end\n"+
		file+":4:3: policies.limits: unknown key; the keys here are authentication, acl, rateLimits, rateLimitService")
	assert.Equal(t, 1, ExitCode(err))
	assert.Empty(t, stdout)
}

func TestACLExplainEverything(t *testing.T) {
	file, address := write(t, "policies.yaml", teamPolicies), statusServer(t)
	stdout, stderr, err := run(t, "acl", "explain", "--policies", file, "--user", "ann", "--groups", "accounting,x", "--admin-address", address)
	require.NoError(t, err)
	assert.Empty(t, stderr)
	assert.Equal(t, `caller: user ann; groups accounting, x

KIND      NAME             SERVER  DECISION  RULE
tool      invoices_export  erp     allowed   accounting
tool      ledger_show      ledger  denied    -
prompt    ledger_monthly   ledger  allowed   accounting
resource  ledger://2026    ledger  denied    -
resource  wiki://{page}    wiki    denied    -

2 of 5 items allowed
`, stdout)

	stdout, _, err = run(t, "acl", "explain", "--policies", file, "--admin-address", address)
	require.NoError(t, err)
	assert.Contains(t, stdout, "caller: without a token\n")
	assert.Contains(t, stdout, "0 of 5 items allowed\nThese policies need a token")
}

func TestACLExplainOne(t *testing.T) {
	file, address := write(t, "policies.yaml", teamPolicies), statusServer(t)
	claims := write(t, "claims.json", `{"preferred_username": "eve", "level": 4, "realm_access": {"other": 1}}`)
	tests := map[string]struct {
		args []string
		want string
	}{
		"a tool of the gateway": {
			[]string{"--groups", "accounting", "--tool", "invoices_export"},
			`caller: groups accounting
tool: invoices_export (export of server erp) readOnly=false,destructive=true,idempotent=false,openWorld=true

allowed: the rule "accounting" allows it

RULE        IS FOR THIS CALLER  IS ABOUT THIS ITEM
accounting  yes                 yes
heads       no                  no
readers     no                  no

rate limit slow: 10 calls in 1m, for each user

rate limit all: 1000 calls in 1h, shared by all
`,
		},
		"claims and flags": {
			[]string{"--claims-file", claims, "--roles", "head", "--prompt", "ledger_monthly"},
			`caller: user eve; roles head
prompt: ledger_monthly (monthly of server ledger)

allowed: the rule "heads" allows it

RULE        IS FOR THIS CALLER  IS ABOUT THIS ITEM
accounting  no                  yes
heads       yes                 yes
readers     no                  no
`,
		},
		"an item as it is told": {
			[]string{"--scopes", "openid,read", "--tool", "crm_find", "--server", "crm", "--own-name", "find", "--hint", "readOnly=true"},
			`caller: scopes openid, read
tool: crm_find (find of server crm) readOnly=true,destructive=false,idempotent=false,openWorld=true

allowed: the rule "readers" allows it

RULE        IS FOR THIS CALLER  IS ABOUT THIS ITEM
accounting  no                  no
heads       no                  no
readers     yes                 yes

rate limit all: 1000 calls in 1h, shared by all
`,
		},
		"without a token": {
			[]string{"--resource", "ledger://2026"},
			"caller: without a token\nresource: ledger://2026 (ledger://2026 of server ledger)\n\ndenied: a token is needed, and there is none\n",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, err := run(t, append([]string{"acl", "explain", "--policies", file, "--admin-address", address}, tt.args...)...)
			require.NoError(t, err)
			assert.Empty(t, stderr)
			assert.Equal(t, tt.want, stdout)
		})
	}
}

func TestACLExplainWithoutGateway(t *testing.T) {
	file := write(t, "policies.yaml", teamPolicies)
	socket := filepath.Join(t.TempDir(), "none.sock")
	_, _, err := run(t, "acl", "explain", "--policies", file, "--user", "ann", "--admin-address", "unix:"+socket)
	require.EqualError(t, err, "cannot ask the gateway at unix:"+socket+" what it has (connect: no such file or directory); "+
		"start it, or name its --admin-address; or describe one item with --tool, --prompt or --resource")
	assert.Equal(t, 1, ExitCode(err))

	stdout, stderr, err := run(t, "acl", "explain", "--policies", file, "--groups", "accounting", "--tool", "invoices_pay", "--admin-address", "unix:"+socket)
	require.NoError(t, err, "a public name is enough for rules about public names")
	assert.Contains(t, stdout, "allowed: the rule \"accounting\" allows it\n")
	assert.Contains(t, stderr, "nothing is known of this tool but its name")

	_, stderr, err = run(t, "acl", "explain", "--policies", file, "--groups", "accounting", "--tool", "unheard_of", "--admin-address", statusServer(t))
	require.NoError(t, err)
	assert.Contains(t, stderr, `has no tool "unheard_of"`)
}

func TestACLExplainOverASocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "a.sock")
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "unix", socket)
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusForbidden)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	_, _, err = run(t, "acl", "explain", "--policies", write(t, "p.yaml", teamPolicies), "--admin-address", "unix:"+socket)
	require.ErrorContains(t, err, "/status answers 403 Forbidden")
}

func TestACLMistakes(t *testing.T) {
	file := write(t, "policies.yaml", teamPolicies)
	open := write(t, "open.yaml", "policies: {acl: [{everyone: true, allow: [a]}]}")
	list := write(t, "list.json", "[]")
	null := write(t, "null.json", "null")
	tests := map[string]struct {
		args string
		want string
		code int
	}{
		"no command":         {"acl", `give one of the commands "check", "explain" and "render"; see mcp-broker-router acl --help`, 2},
		"another command":    {"acl frob", `unknown command or argument "frob"; see mcp-broker-router acl --help`, 2},
		"an unknown flag":    {"acl explain --frob", "unknown flag: --frob; see mcp-broker-router acl explain --help", 2},
		"nothing to check":   {"acl check", "name one file of policy values; see mcp-broker-router acl check --help", 2},
		"no such file":       {"acl check /nowhere/p.yaml", `the policies cannot be read from "/nowhere/p.yaml": no such file or directory`, 1},
		"nothing to explain": {"acl explain --user x", "name the file of policy values with --policies", 2},
		"two items":          {"acl explain --policies " + file + " --tool a --prompt b", "--tool, --prompt and --resource exclude each other: explain one item at a time", 2},
		"half an item":       {"acl explain --policies " + file + " --server a", "--server, --own-name and --hint tell about one item: name it with --tool, --prompt or --resource", 2},
		"hints of a prompt":  {"acl explain --policies " + file + " --prompt a --hint readOnly=true", "--hint is about tools: name one with --tool", 2},
		"an unknown hint":    {"acl explain --policies " + file + " --tool a --hint readonly=true", `--hint "readonly=true": want one of readOnly, destructive, idempotent, openWorld, as in readOnly=true`, 2},
		"claims in a list":   {"acl explain --policies " + file + " --tool a --claims-file " + list, "must hold one JSON object, the claims of a token", 1},
		"claims of null":     {"acl explain --policies " + file + " --tool a --claims-file " + null, "must hold one JSON object, the claims of a token: it holds null", 1},
		"users of nobody":    {"acl explain --policies " + open + " --tool a --user x", "these policies have no authentication", 2},
		"a bad address":      {"acl explain --policies " + file + " --admin-address 8090", `--admin-address "8090": want host:port or unix:/path`, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, _, err := run(t, strings.Fields(tt.args)...)
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, tt.code, ExitCode(err))
			assert.Empty(t, stdout)
		})
	}
}
