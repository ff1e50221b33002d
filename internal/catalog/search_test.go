package catalog

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// searched has two servers with tools of all sorts.
func searched(tb testing.TB) *Snapshot {
	tb.Helper()
	servers := map[string][]string{
		"tracker": {
			`{"name":"create_issue","title":"Open an issue","description":"Makes a new issue in a project.","inputSchema":{"type":"object","properties":{"project":{},"labelNames":{}}}}`,
			`{"name":"list_issues","description":"Issues of a project, the newest first."}`,
			`{"name":"closeIssue","description":"Ends it."}`,
			`{"name":"comment","description":"Says something about an issue."}`,
		},
		"weather": {
			`{"name":"forecast","description":"What the weather will be in a city."}`,
			`{"name":"alert","annotations":{"title":"Warnings of storms"}}`,
			`{"name":"größe","description":"天気予報"}`,
			`{"name":"odd","title":7,"description":["issue"],"inputSchema":{"properties":[]}}`,
		},
	}
	in := Input{States: map[string]State{}}
	for _, name := range []string{"tracker", "weather"} {
		in.Servers = append(in.Servers, config.Server{Name: name, ToolPrefix: name[:1] + "_", Scheme: "http", Host: "h", Port: 80, Path: "/mcp", Enabled: true})
		l := &Listing{}
		for _, def := range servers[name] {
			require.True(tb, json.Valid([]byte(def)))
			l.Items[Tool] = append(l.Items[Tool], json.RawMessage(def))
		}
		in.States[name] = State{Health: HealthReady, Listing: l}
	}
	in.VirtualServers = []config.VirtualServer{{Name: "v", Tools: []string{"t_c*", "w_*"}}}
	return Build(in)
}

func found(items []*Item) string {
	var names []string
	for _, it := range items {
		names = append(names, it.PublicName)
	}
	return strings.Join(names, " ")
}

func TestSearch(t *testing.T) {
	snap := searched(t)
	const all = "t_closeIssue t_comment t_create_issue t_list_issues w_alert w_forecast w_größe w_odd"
	for _, c := range []struct{ text, server, want string }{
		{"", "", all},
		{" ,.-_ ", "", all},
		{"", "weather", "w_alert w_forecast w_größe w_odd"},
		{"issue", "", "t_create_issue t_list_issues t_closeIssue t_comment"},
		{"Issues", "", "t_create_issue t_list_issues t_closeIssue t_comment"},
		{"issue", "weather", ""},
		{"close issue", "", "t_closeIssue t_create_issue t_list_issues t_comment"},
		{"cities", "", "w_forecast"},
		{"fore", "", "w_forecast"},
		{"fo", "", ""},
		{"label names", "", "t_create_issue"},
		{"storm warning", "", "w_alert"},
		{"t_comment", "", "t_comment t_closeIssue t_create_issue t_list_issues"},
		{"天気", "", "w_größe"},
		{"GRÖSSE größe", "", "w_größe"},
		{"nothing of the kind", "", "t_list_issues w_alert w_forecast"},
		{"weather", "", "w_forecast w_alert w_größe w_odd"},
		{"weather", "nowhere", ""},
	} {
		assert.Equal(t, c.want, found(snap.All().Search(c.text, c.server)), "%q of %q", c.text, c.server)
	}
}

// TestSearchSeesWhatTheViewHas proves that a search is no way round a virtual server (Invariant 5), and finds the same each time.
func TestSearchSeesWhatTheViewHas(t *testing.T) {
	snap := searched(t)
	v := snap.VirtualServer("v")
	assert.Equal(t, "t_create_issue t_closeIssue t_comment", found(v.Search("issue", "")))
	assert.Equal(t, "t_closeIssue t_comment t_create_issue w_alert w_forecast w_größe w_odd", found(v.Search("", "")))
	assert.Empty(t, v.Search("t_list_issues", "")[3:], "its name is not enough")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { assert.Equal(t, "t_create_issue t_closeIssue t_comment", found(v.Search("issue", ""))) })
	}
	all.Wait()
	assert.Empty(t, Build(Input{}).All().Search("x", ""))
}

func TestSearchTakesAnything(t *testing.T) {
	snap := searched(t)
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		text := make([]byte, r.IntN(60))
		for i := range text {
			text[i] = byte(r.IntN(256))
		}
		snap.All().Search(string(text), "")
	}
	snap.All().Search(strings.Repeat("issue close list ", 10000), "")
}

func TestReservedNamesAreLeftOutAndReported(t *testing.T) {
	in := one(Tool, `{"name":"call_tool"}`, `{"name":"other"}`)
	in.Reserved = []string{"call_tool"}
	snap := Build(in)
	assert.Nil(t, snap.Find(Tool, "call_tool"))
	assert.NotNil(t, snap.Find(Tool, "other"))
	require.Len(t, snap.Problems(), 1)
	assert.Equal(t, Problem{Server: "a", Kind: "tool", Name: "call_tool", Message: "the gateway has a tool of this name itself; give the server a toolPrefix"}, snap.Problems()[0])
	in.Servers[0].ToolPrefix = "a_"
	assert.Empty(t, Build(in).Problems())
}

// wordy is what a snapshot of ten thousand tools is built of whose descriptions have words in common.
func wordy() Input {
	r := rand.New(rand.NewPCG(3, 4))
	var defs []string
	words := make([]string, 3000)
	for i := range words {
		words[i] = fmt.Sprintf("%c%c%c%d", 'a'+r.IntN(26), 'a'+r.IntN(26), 'a'+r.IntN(26), i)
	}
	for i := range 10000 {
		text := "Gets the items of a project."
		for range 30 {
			text += " " + words[r.IntN(len(words))]
		}
		defs = append(defs, fmt.Sprintf(`{"name":"tool_%05d_%s","description":%q,"inputSchema":{"type":"object","properties":{"project":{},"id":{}}}}`, i, words[r.IntN(len(words))], text))
	}
	return one(Tool, defs...)
}

func BenchmarkSearchAmong10000(b *testing.B) {
	snap := Build(wordy())
	snap.All().Search("items", "")
	for name, text := range map[string]string{"rare": "abc x12", "common": "get the items of a project by id", "whole": "tool_00042"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				snap.All().Search(text, "")
			}
		})
	}
}

func BenchmarkIndexOf10000(b *testing.B) {
	snap := Build(wordy())
	b.ReportAllocs()
	for b.Loop() {
		indexOf(snap.Items(Tool))
	}
}
