// Package archtest holds the import graph of this module to the design: who may know whom is a test, each rule with its
// reason.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/guicassolato/mcp-gateway/"

type rule struct {
	reason string
	// from are the packages that the rule is about, by prefix of their path in this module; except are left out.
	from, except []string
	// never are the prefixes of import paths that none of them may depend on, directly or not.
	never []string
	// direct restricts the rule to direct imports.
	direct bool
}

func rules() []rule {
	in := func(names ...string) []string {
		for i := range names {
			names[i] = module + "internal/" + names[i]
		}
		return names
	}
	return []rule{
		{reason: "leaves know nothing of this module", from: []string{"internal/wire", "internal/jsonrpc", "internal/sse", "internal/config", "internal/tracecontext", "internal/strongbox", "internal/tally"}, never: []string{module}},
		{reason: "what is told of ended calls depends on nobody who tells it or takes it", from: []string{"internal/callreport"}, never: in("app", "authn", "broker", "catalog", "config", "envoymodule", "extproc", "replica", "router", "session", "tally", "telemetry", "xds")},
		{reason: "what replicas share is kept without knowing what it is", from: []string{"internal/store"}, never: []string{module}},
		{reason: "the router decides, the broker answers: neither knows the other", from: []string{"internal/router"}, never: in("broker", "upstream", "extproc", "envoymodule", "answer", "replica", "xds", "app")},
		{reason: "what becomes of an answer does not depend on who shows it", from: []string{"internal/answer"}, never: append(in("extproc", "envoymodule", "replica", "broker", "upstream", "xds"), "github.com/envoyproxy/")},
		{reason: "what is pushed to routers is pushed whatever they are", from: []string{"internal/replica"}, never: append(in("extproc", "envoymodule", "broker", "upstream", "xds"), "github.com/envoyproxy/")},
		{reason: "what runs inside of Envoy brings along no more than it needs", from: []string{"internal/envoymodule", "cmd/envoy-module"}, never: append(in("extproc", "broker", "upstream", "xds", "telemetry"), "google.golang.org/grpc", "github.com/envoyproxy/go-control-plane", "github.com/prometheus", "go.opentelemetry.io/")},
		{
			reason: "the module SDK registers itself in init and belongs to the module alone", from: []string{"internal/", "cmd/"},
			except: []string{"internal/envoymodule", "cmd/envoy-module"}, never: []string{"github.com/envoyproxy/envoy/"},
		},
		{reason: "the broker is a server behind the router, which it must not know", from: []string{"internal/broker"}, never: in("router", "extproc", "xds", "app")},
		{reason: "the model is built from what others learn; it opens no connection", from: []string{"internal/catalog", "internal/session"}, never: in("broker", "router", "upstream", "relay")},
		{reason: "the model and the sessions know no HTTP", from: []string{"internal/catalog", "internal/session"}, never: []string{"net/http"}, direct: true},
		{reason: "the router is pure: it opens no connection", from: []string{"internal/router", "internal/relay"}, never: in("upstream", "broker", "xds")},
		{reason: "translation between the eras is pure: messages in, messages out", from: []string{"internal/bridge"}, never: in("broker", "router", "upstream", "session", "relay", "catalog", "xds")},
		{reason: "translation knows no HTTP", from: []string{"internal/bridge"}, never: []string{"net/http"}, direct: true},
		{reason: "who calls does not depend on what is called", from: []string{"internal/authn"}, never: in("broker", "router", "xds", "extproc", "upstream", "session", "relay", "catalog", "config")},
		{reason: "tokens are got without knowing for whose calls, nor what replicas share them by", from: []string{"internal/credential"}, never: in("upstream", "broker", "router", "session", "store", "catalog", "xds")},
		{reason: "pages for users know neither the protocol nor what is called", from: []string{"internal/consent"}, never: in("broker", "router", "xds", "extproc", "upstream", "session", "relay", "catalog", "credential", "policy", "authn")},
		{reason: "operators are told of what is, by functions: nothing depends on how it is shown", from: []string{"internal/admin", "internal/telemetry"}, never: in("broker", "router", "xds", "extproc", "upstream", "session", "relay")},
		{reason: "workers do not know who asks", from: []string{"internal/upstream"}, never: in("broker", "router", "session", "relay", "xds")},
		{reason: "what Envoy is told does not depend on routing decisions", from: []string{"internal/xds"}, never: in("router", "broker", "session", "upstream", "extproc")},
		{
			reason: "Envoy's vocabulary stays in one place", from: []string{"internal/", "cmd/"}, except: []string{"internal/extproc", "internal/xds", "internal/app"},
			never: []string{"github.com/envoyproxy/go-control-plane"}, direct: true,
		},
		{reason: "Redis' vocabulary stays in one place", from: []string{"internal/", "cmd/"}, except: []string{"internal/store"}, never: []string{"github.com/redis/"}, direct: true},
		{reason: "an SDK's typed layers lose bytes", from: []string{"internal/", "cmd/"}, never: []string{"github.com/mark3labs/mcp-go", "github.com/modelcontextprotocol/go-sdk"}},
		{reason: "Kubernetes adds convenience: nothing here needs it", from: []string{"internal/", "cmd/"}, except: []string{"internal/controller", "internal/kubesource", "internal/translator", "internal/k8stest"}, never: []string{"k8s.io/", "sigs.k8s.io/"}, direct: true},
		{reason: "translation is pure: objects in, configuration and statuses out", from: []string{"internal/translator"}, never: append(in("broker", "router", "upstream", "xds", "session"), "k8s.io/client-go", "sigs.k8s.io/controller-runtime")},
		{reason: "the Kubernetes API is for every program that wants to use it: it brings nothing along", from: []string{"api/"}, never: []string{module + "internal/", "k8s.io/client-go", "sigs.k8s.io/controller-runtime"}},
		{reason: "only the composition root composes", from: []string{"internal/"}, except: []string{"internal/app"}, never: in("app")},
		{reason: "tests' tools stay in tests", from: []string{"internal/", "cmd/", "examples/"}, never: []string{"github.com/stretchr/testify", "github.com/google/go-cmp"}},
	}
}

type pkg struct {
	ImportPath    string
	Imports, Deps []string
}

func TestImportGraph(t *testing.T) {
	pkgs := list(t)
	for _, r := range rules() {
		matched := false
		for _, p := range pkgs {
			path := strings.TrimPrefix(p.ImportPath, module)
			if !hasPrefix(path, r.from) || hasPrefix(path, r.except) {
				continue
			}
			matched = true
			deps := p.Deps
			if r.direct {
				deps = p.Imports
			}
			for _, d := range deps {
				if hasPrefix(d, r.never) {
					t.Errorf("%s depends on %s: %s", path, d, r.reason)
				}
			}
		}
		require.True(t, matched, "the rule %q is about no package at all", r.reason)
	}
}

func hasPrefix(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(path, p) })
}

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps=false", "-json=ImportPath,Imports,Deps", module+"...").Output()
	require.NoError(t, err, "go list")
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		require.NoError(t, err)
		pkgs = append(pkgs, p)
	}
}
