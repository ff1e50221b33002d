package catalog

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// TestViewIsAFilter proves that a virtual server shows what its patterns say, one by one: the same items in the same order, in pages of any size (Invariants 5, 9).
func TestViewIsAFilter(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 400 {
		var names []string
		for range r.IntN(300) {
			names = append(names, fmt.Sprintf("%c%c%d", 'a'+r.IntN(3), 'a'+r.IntN(3), r.IntN(40)))
		}
		var patterns []string
		for range r.IntN(6) {
			patterns = append(patterns, []string{"*", "a*", "b*", "ab*", "*7", "*1", "c*", "aa3", "ba11", "z*", "none", "*none"}[r.IntN(12)])
		}
		in := one(Tool, named(names...)...)
		in.VirtualServers = []config.VirtualServer{{Name: "v", Tools: patterns}}
		snap := Build(in)
		v := snap.VirtualServer("v")
		var want []string
		for _, it := range snap.Items(Tool) {
			inside := matchesAny(patterns, it.PublicName)
			if inside {
				want = append(want, it.PublicName)
				assert.Same(t, it, v.Find(Tool, it.PublicName))
			} else {
				assert.Nil(t, v.Find(Tool, it.PublicName), "Invariant 5")
			}
		}
		assert.Equal(t, len(want), v.Len(Tool))
		assert.Equal(t, want, publicNames(v, Tool, ""), patterns)
		if len(want) > 0 {
			from := r.IntN(len(want))
			assert.Equal(t, strings.Join(want[from+1:], " "), strings.Join(publicNames(v, Tool, want[from]), " "))
		}
		limit := 1 + r.IntN(40)
		var got []string
		for after := ""; ; {
			page, last := v.Page(Modern, Tool, after, limit)
			if len(page) > 0 {
				got = append(got, strings.Split(string(page), ",")...)
			}
			if last == "" {
				break
			}
			require.Greater(t, last, after, "the pages do not end")
			after = last
		}
		assert.Equal(t, strings.Join(named(want...), " "), strings.Join(got, " "), patterns)
	}
}

func publicNames(v *View, kind Kind, after string) []string {
	var names []string
	for it := range v.After(kind, after) {
		names = append(names, it.PublicName)
	}
	return names
}

// TestViewStops proves that who stops reading is not read on to.
func TestViewStops(t *testing.T) {
	in := one(Tool, named("a", "b", "c", "d")...)
	in.VirtualServers = []config.VirtualServer{{Name: "v", Tools: []string{"a", "c", "d"}}}
	for it := range Build(in).VirtualServer("v").After(Tool, "a") {
		assert.Equal(t, "c", it.PublicName)
		break
	}
}

func TestViewsByName(t *testing.T) {
	in := one(Tool, named("a")...)
	in.VirtualServers = []config.VirtualServer{{Name: "v"}, {Name: "team/w", Description: "d"}}
	snap := Build(in)
	w := snap.VirtualServer("team/w")
	assert.Equal(t, "team/w", w.Name())
	assert.Equal(t, "w", w.Segment())
	assert.Equal(t, "d", w.Description())
	assert.Same(t, w, snap.VirtualServerAt("w"))
	assert.Same(t, snap.VirtualServers()[1], w)
	for _, unknown := range []string{"", "w", "team", "V", "team/v", "team/w/"} {
		assert.Nil(t, snap.VirtualServer(unknown), "Invariant 5: %q", unknown)
	}
	for _, unknown := range []string{"", "team/w", "W", "w/"} {
		assert.Nil(t, snap.VirtualServerAt(unknown), "Invariant 5: %q", unknown)
	}
	assert.Nil(t, Build(Input{}).VirtualServer("v"))
	assert.Nil(t, Build(Input{}).VirtualServerAt("v"))
	all := snap.All()
	assert.Empty(t, all.Name()+all.Segment()+all.Description())
	assert.Equal(t, 1, all.Len(Tool))
}

// TestHintsMeanWhatTheyDoInPolicies proves that a virtual server shows the very tools that a policy with the same hints allows, and has no others called.
func TestHintsMeanWhatTheyDoInPolicies(t *testing.T) {
	words := []string{"readOnly", "destructive", "idempotent", "openWorld"}
	var defs []string
	for i := range 81 { // each annotation is true, false or left out
		said := `"title":"t"`
		for j, n := 0, i; j < len(words); j, n = j+1, n/3 {
			if n%3 > 0 {
				said += fmt.Sprintf(`,"%sHint":%t`, words[j], n%3 == 1)
			}
		}
		defs = append(defs, fmt.Sprintf(`{"name":"t%02d","annotations":{%s}}`, i, said))
	}
	in := one(Tool, defs...)
	for i := 1; i < 81; i++ {
		hints := map[string]bool{}
		for j, n := 0, i; j < len(words); j, n = j+1, n/3 {
			if n%3 > 0 {
				hints[words[j]] = n%3 == 1
			}
		}
		in.VirtualServers = append(in.VirtualServers, config.VirtualServer{Name: fmt.Sprint("v", i), Tools: []string{"*"}, Hints: hints})
	}
	snap := Build(in)
	for _, v := range snap.VirtualServers() {
		pattern := policy.Pattern{Kind: policy.Tool, Hints: v.virtual.Hints}
		for _, it := range snap.Items(Tool) {
			allowed := pattern.Match(policy.Request{Kind: policy.Tool, Name: it.Name, PublicName: it.PublicName, Hints: it.Hints})
			assert.Equal(t, allowed, v.Find(Tool, it.PublicName) != nil, "%v: %s", v.virtual.Hints, it.Definition)
		}
	}
}

// TestViewOfResources is about URIs that no list has: those of templates.
func TestViewOfResources(t *testing.T) {
	in := one(Template, `{"uriTemplate":"file:///{+path}"}`, `{"uriTemplate":"other://{name}"}`)
	in.States["a"].Listing.Items[Resource] = append(in.States["a"].Listing.Items[Resource],
		[]byte(`{"uri":"file:///reports/2024.md"}`), []byte(`{"uri":"file:///secret"}`))
	in.VirtualServers = []config.VirtualServer{
		{Name: "reports", Resources: []string{"file:///reports/*"}},
		{Name: "one", Resources: []string{"file:///reports/2025.md"}},
		{Name: "markdown", Resources: []string{"*.md"}},
		{Name: "template", Resources: []string{"file:///{+path}"}},
		{Name: "tools", Tools: []string{"*"}},
		{Name: "server", Servers: []string{"a"}},
	}
	snap := Build(in)
	tests := map[string]map[string]Kind{
		"reports":  {"file:///reports/2024.md": Resource, "file:///reports/2025.md": Template},
		"one":      {"file:///reports/2025.md": Template},
		"markdown": {"file:///reports/2024.md": Resource, "file:///reports/2025.md": Template, "other://x.md": Template},
		// What the template gives is in it, also where the server lists it by itself.
		"template": {"file:///reports/2024.md": Template, "file:///reports/2025.md": Template, "file:///secret": Template},
		"tools":    {},
		"server": {
			"file:///reports/2024.md": Resource, "file:///reports/2025.md": Template, "file:///secret": Resource,
			"other://x.md": Template, "other://x": Template,
		},
	}
	for name, want := range tests {
		for _, uri := range []string{"file:///reports/2024.md", "file:///reports/2025.md", "file:///secret", "other://x.md", "other://x", "nowhere://x"} {
			it := snap.VirtualServer(name).FindResource(uri)
			kind, inside := want[uri]
			if assert.Equal(t, inside, it != nil, "%s: %s", name, uri) && inside {
				assert.Equal(t, kind, it.Kind, "%s: %s", name, uri)
			}
		}
	}
	assert.Empty(t, publicNames(snap.VirtualServer("one"), Template, ""), "a URI does not show the template that gives it")
}

// TestSame proves that a virtual server's list counts as changed when anything in it does, and only then.
func TestSame(t *testing.T) {
	view := func(patterns []string, defs ...string) *View {
		in := one(Tool, defs...)
		in.VirtualServers = []config.VirtualServer{{Name: "v", Tools: patterns}}
		return Build(in).VirtualServer("v")
	}
	inside, outside := `{"name":"a1","description":"d"}`, `{"name":"b"}`
	base := view([]string{"a*"}, inside, outside, `{"name":"a2"}`)
	for name, tt := range map[string]struct {
		other *View
		want  bool
	}{
		"nothing changed":          {view([]string{"a*"}, inside, outside, `{"name":"a2"}`), true},
		"another way to say it":    {view([]string{"a1", "*2"}, inside, outside, `{"name":"a2"}`), true},
		"something else changed":   {view([]string{"a*"}, inside, `{"name":"b","description":"new"}`, `{"name":"a2"}`), true},
		"something else came":      {view([]string{"a*"}, `{"name":"0"}`, inside, outside, `{"name":"a2"}`), true},
		"something else went":      {view([]string{"a*"}, inside, `{"name":"a2"}`), true},
		"a definition changed":     {view([]string{"a*"}, `{"name":"a1","description":"e"}`, outside, `{"name":"a2"}`), false},
		"an item came":             {view([]string{"a*"}, inside, outside, `{"name":"a2"}`, `{"name":"a3"}`), false},
		"an item went":             {view([]string{"a*"}, inside, outside), false},
		"one for another":          {view([]string{"a*"}, inside, outside, `{"name":"a3"}`), false},
		"another choice":           {view([]string{"a1", "b"}, inside, outside, `{"name":"a2"}`), false},
		"everything of a snapshot": {Build(one(Tool, inside, `{"name":"a2"}`)).All(), true},
	} {
		assert.Equal(t, tt.want, base.Same(tt.other, Tool), name)
		assert.Equal(t, tt.want, tt.other.Same(base, Tool), name)
		assert.True(t, base.Same(tt.other, Prompt), name)
	}
}

// A page of a virtual server is no way to write into what others read (Invariant 2).
func TestViewIsImmutable(t *testing.T) {
	in := one(Tool, named("a", "b", "c")...)
	in.VirtualServers = []config.VirtualServer{{Name: "v", Tools: []string{"a", "c"}}, {Name: "w", Tools: []string{"a"}}}
	snap := Build(in)
	for _, v := range snap.VirtualServers() {
		page, _ := v.Page(Modern, Tool, "", 1)
		_ = append(page, "overwritten"...)
		page, _ = v.Page(Modern, Tool, "", 10)
		_ = append(page, "overwritten"...)
	}
	whole, _ := snap.All().Page(Modern, Tool, "", 10)
	assert.Equal(t, strings.Join(named("a", "b", "c"), ","), string(whole))
}

// virtual adds virtual servers to an input, each with a tenth of the tools, in places that are far from each other.
func virtual(in Input, n int) Input {
	for i := range n {
		in.VirtualServers = append(in.VirtualServers, config.VirtualServer{
			Name: fmt.Sprintf("v%d", i), Tools: []string{fmt.Sprintf("*tool_%d", i%10), "s1*"}, Servers: []string{fmt.Sprintf("server-%d", i)},
		})
	}
	return in
}

// TestVirtualServersAreSmall bounds what 50 virtual servers add to a snapshot of 10 000 tools.
func TestVirtualServersAreSmall(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	in := many(1000, 10)
	before := heap()
	plain := Build(in)
	middle := heap()
	with := Build(virtual(in, 50))
	after := heap()
	t.Logf("a snapshot: %d KiB; with 50 virtual servers: %d KiB", (middle-before)>>10, (after-middle)>>10)
	assert.Less(t, (after-middle)-(middle-before), int64(512<<10))
	assert.Equal(t, 10_000, plain.All().Len(Tool))
	assert.Equal(t, 2008, with.VirtualServer("v0").Len(Tool))
}

func BenchmarkBuildWithVirtualServers(b *testing.B) {
	in := virtual(many(1000, 10), 50)
	b.ReportAllocs()
	for b.Loop() {
		if snap := Build(in); snap.VirtualServer("v49").Len(Tool) == 0 {
			b.Fatal("empty")
		}
	}
}

func BenchmarkViewPage(b *testing.B) {
	in := virtual(many(1000, 10), 1)
	in.VirtualServers = append(in.VirtualServers, config.VirtualServer{Name: "together", Tools: []string{"s*"}})
	snap := Build(in)
	for name, v := range map[string]*View{"all": snap.All(), "together": snap.VirtualServer("together"), "scattered": snap.VirtualServer("v0")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if page, _ := v.Page(Modern, Tool, "s4", 1000); len(page) == 0 {
					b.Fatal("empty")
				}
			}
		})
	}
}
