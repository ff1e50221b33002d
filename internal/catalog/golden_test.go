package catalog

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// input is a configuration and what the servers said of themselves; definitions are JSON as text, so that no byte of them
// depends on YAML.
type input struct {
	Servers []struct {
		Name         string
		Disabled     bool
		Unprogrammed bool
		Prefix       string
		URIPrefix    bool                     `yaml:"uriPrefix"`
		ToolTimeouts map[string]time.Duration `yaml:"toolTimeouts"`
		Pins         map[string]string
		Listing      *struct {
			Sessions     bool
			Capabilities string
			Instructions string
			Problems     []string
			Tools        []string
			Prompts      []string
			Resources    []string
			Templates    []string
		}
	}
	VirtualServers []config.VirtualServer `yaml:"virtualServers"`
}

// output is all that a snapshot shows.
type output struct {
	Servers   []outServer
	Tools     []outItem `yaml:",omitempty"`
	Prompts   []outItem `yaml:",omitempty"`
	Resources []outItem `yaml:",omitempty"`
	Templates []outItem `yaml:",omitempty"`
	Problems  []Problem `yaml:",omitempty"`
	Features  Features
	Virtual   []outView `yaml:",omitempty"`
}

// outView is what a virtual server shows.
type outView struct {
	Name, Segment                        string
	Description                          string   `yaml:",omitempty"`
	Tools, Prompts, Resources, Templates []string `yaml:",flow,omitempty"`
	Features                             Features
}

type outServer struct {
	Name, Cluster string
	Health        Health
	Sessions      bool
	Programmed    bool
}

type outItem struct {
	Public     string
	Server     string
	Own        string
	Hints      string `yaml:",omitempty"`
	Replayable bool
	Timeout    time.Duration
	Definition string
}

func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.in.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		base := strings.TrimSuffix(path, ".in.yaml")
		t.Run(filepath.Base(base), func(t *testing.T) {
			in := readInput(t, path)
			snap := Build(in)
			got, err := yaml.Marshal(show(snap))
			require.NoError(t, err)
			golden := base + ".out.yaml"
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "run the test with -update")
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
			checkConsistent(t, snap)
		})
	}
}

func TestGoldenFilesHaveInputs(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.out.yaml")
	require.NoError(t, err)
	for _, path := range paths {
		assert.FileExists(t, strings.TrimSuffix(path, ".out.yaml")+".in.yaml")
	}
}

func readInput(t *testing.T, path string) Input {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	var file input
	require.NoError(t, dec.Decode(&file))
	in := Input{VirtualServers: file.VirtualServers, States: map[string]State{}, Cluster: func(s *config.Server) string { return "cluster/" + s.Name }}
	unprogrammed := map[string]bool{}
	for _, s := range file.Servers {
		in.Servers = append(in.Servers, config.Server{
			Name: s.Name, Scheme: "http", Host: "backend", Port: 80, Path: "/mcp", Enabled: !s.Disabled,
			ToolPrefix: s.Prefix, URIPrefix: s.URIPrefix, Timeout: time.Minute, ToolTimeouts: s.ToolTimeouts, Pins: s.Pins,
		})
		unprogrammed["cluster/"+s.Name] = s.Unprogrammed
		if s.Listing == nil {
			continue
		}
		l := &Listing{
			Sessions: s.Listing.Sessions, Capabilities: json.RawMessage(s.Listing.Capabilities),
			Instructions: s.Listing.Instructions, Problems: s.Listing.Problems,
		}
		for kind, defs := range [kinds][]string{s.Listing.Tools, s.Listing.Prompts, s.Listing.Resources, s.Listing.Templates} {
			for _, def := range defs {
				require.True(t, json.Valid([]byte(def)), "%s", def)
				l.Items[kind] = append(l.Items[kind], json.RawMessage(def))
			}
		}
		in.States[s.Name] = State{Health: HealthReady, Listing: l}
	}
	in.Programmed = func(cluster string) bool { return !unprogrammed[cluster] }
	return in
}

func show(snap *Snapshot) output {
	out := output{Problems: snap.Problems(), Features: snap.All().Features()}
	for _, s := range snap.Servers() {
		out.Servers = append(out.Servers, outServer{s.Name, s.Cluster, s.State.Health, s.Sessions(), s.Programmed})
	}
	lists := [kinds]*[]outItem{&out.Tools, &out.Prompts, &out.Resources, &out.Templates}
	for kind := range kinds {
		for _, it := range snap.Items(kind) {
			*lists[kind] = append(*lists[kind], outItem{
				it.PublicName, it.Server.Name, it.Name, it.Hints, it.Replayable, it.Timeout, string(it.Definition),
			})
		}
	}
	for _, v := range snap.VirtualServers() {
		o := outView{Name: v.Name(), Segment: v.Segment(), Description: v.Description(), Features: v.Features()}
		for kind, names := range [kinds]*[]string{&o.Tools, &o.Prompts, &o.Resources, &o.Templates} {
			for it := range v.After(Kind(kind), "") {
				*names = append(*names, it.PublicName)
			}
		}
		out.Virtual = append(out.Virtual, o)
	}
	return out
}

// checkConsistent holds what is true of every snapshot.
func checkConsistent(t *testing.T, snap *Snapshot) {
	t.Helper()
	for kind := range kinds {
		items := snap.Items(kind)
		var whole []byte
		for i, it := range items {
			assert.Same(t, it, snap.Find(kind, it.PublicName))
			assert.Same(t, it.Server, snap.Server(it.Server.Name))
			assert.Equal(t, kind, it.Kind)
			if i > 0 {
				assert.Less(t, items[i-1].PublicName, it.PublicName, "Invariant 9: one order, no name twice")
				whole = append(whole, ',')
			}
			whole = append(whole, it.Definition...)
			assert.True(t, json.Valid(it.Definition), "%s", it.Definition)
			if kind == Resource || kind == Template {
				assert.Equal(t, it.Name, it.Server.OwnURI(it.PublicName))
			}
		}
		page, last := snap.All().Page(Modern, kind, "", len(items)+1)
		assert.Equal(t, string(whole), string(page))
		assert.Empty(t, last)
	}
}
