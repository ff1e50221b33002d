package dataplane_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/guidetest"
)

var update = flag.Bool("update", false, "write the transcripts of the matrix anew")

// TestMatrix: every client does everything that there is with every server. What it sent, what the server received of it and what the client got is in
// testdata/matrix/CLIENT-SERVER.txtar.
func TestMatrix(t *testing.T) {
	t.Parallel()
	servers := startMatrixServers(t)
	var all []config.ServerSpec
	for _, s := range servers {
		all = append(all, spec(s.name, s.url))
	}
	g := testbed.StartGateway(t, testbed.Options{Servers: all})
	g.AwaitTools(t, "legacy_say", "modern_say", "plain_say")
	// What the gateway has asked for itself must be over before clients begin.
	for _, s := range servers {
		s.await(t, map[string]string{"legacy": "GET", "modern": "subscriptions/listen", "plain": "notifications/initialized"}[s.name])
	}
	documented := guidetest.Methods(t, "../../docs/guides/protocol-versions.md")
	for _, revision := range []string{"2025-06-18", legacyRevision, modernRevision} {
		for _, server := range servers {
			t.Run(revision+"-"+server.name, func(t *testing.T) {
				asDocumented(t, documented, revision == modernRevision, server.name, matrixPair(t, newMatrixClient(t, g.Endpoint, revision, server)))
			})
		}
	}
}

// asDocumented holds what became of each method to the guide's table: every method is in it that anything is done about, and the other way round.
func asDocumented(t *testing.T, documented []guidetest.Method, stateless bool, server string, outcomes map[string]string) {
	t.Helper()
	// Between the families the gateway makes requests of its own of a client's, so that nothing is seen to be passed.
	passes := map[bool]string{false: "legacy", true: "modern"}[stateless] == server
	for _, m := range documented {
		want := m.WithSession
		if stateless {
			want = m.Stateless
		}
		got := outcomes[m.Name]
		if want == "unknown" || passes {
			assert.Equal(t, want, got, m.Name)
		} else {
			assert.Contains(t, []string{"answered by the gateway", "passed to its server"}, got, m.Name)
		}
		delete(outcomes, m.Name)
	}
	for method, got := range outcomes {
		assert.Equal(t, "unknown", got, "%s is not in the guide", method)
	}
}

// matrixPair does all rows, compares with the transcript, and returns what became of each method, in the guide's words.
func matrixPair(t *testing.T, c *matrixClient) map[string]string {
	t.Helper()
	out := &txtar.Archive{Comment: fmt.Appendf(nil, matrixHead, c.revision, map[string]string{
		"legacy": "with sessions, of 2025-11-25", "modern": "of 2026-07-28", "plain": "of 2025-11-25, which gives no session ids",
	}[c.server.name])}
	p := &placeholders{}
	add := func(name string, seen *rowTranscript) {
		for _, side := range []struct{ name, text string }{{"sent", seen.sent()}, {"received", seen.seen()}, {"got", seen.got()}} {
			out.Files = append(out.Files, txtar.File{Name: name + " – " + side.name, Data: []byte(p.replace(side.text))})
		}
	}
	outcomes := map[string]string{}
	c.server.begin()
	for _, r := range matrixRows() {
		seen := c.run(r)
		add(r.name, seen)
		if r.name == r.method && !strings.HasPrefix(r.method, "notifications/") {
			outcomes[r.method] = seen.outcome(r.method)
		}
		if r.first && !c.modern() {
			fresh := newMatrixClient(t, c.Endpoint, c.revision, c.server)
			fresh.open()
			add(r.name+", first of a session", fresh.run(r))
		}
	}
	path := filepath.Join("testdata", "matrix", c.revision+"-"+c.server.name+".txtar")
	got := string(txtar.Format(out))
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return outcomes
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("run with -update if this is right (-want +got):\n%s", diff)
	}
	return outcomes
}

const matrixHead = `A client of %s and a server %s: what the client sent, what the server received of it, and what the client got, for
everything that there is to send. What differs from run to run stands in angle brackets, the same for the same value. Headers that all messages
of a kind have are left out, and so are event streams that the gateway opens beside a row.

`

// placeholders stand for what differs from run to run. The same value has the same one.
type placeholders struct {
	names map[string]string
	count map[string]int
}

// random are the values that differ, by what they are.
func random() []struct {
	kind    string
	pattern *regexp.Regexp
} {
	return []struct {
		kind    string
		pattern *regexp.Regexp
	}{
		{"session", regexp.MustCompile(`AQ[A-Za-z0-9_-]{70,}`)},
		{"session of the server", regexp.MustCompile(`upstream-session-\d+`)},
		{"state", regexp.MustCompile(`\bA[A-Za-z0-9_-]{58}`)},
		{"id", regexp.MustCompile(`mcp-gateway/[0-9a-f]+/\d+`)},
		{"task", regexp.MustCompile(`gwt\.[A-Za-z0-9_.-]+`)},
		{"sealed", regexp.MustCompile(`gw\.[a-z]\.[A-Za-z0-9/_-]+\.[A-Za-z0-9_.-]+`)},
	}
}

func (p *placeholders) replace(text string) string {
	if p.names == nil {
		p.names, p.count = map[string]string{}, map[string]int{}
	}
	for _, r := range random() {
		text = r.pattern.ReplaceAllStringFunc(text, func(value string) string {
			if p.names[value] == "" {
				p.count[r.kind]++
				p.names[value] = fmt.Sprintf("<%s %d>", r.kind, p.count[r.kind])
			}
			return p.names[value]
		})
	}
	return text
}
