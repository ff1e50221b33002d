package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// one is the input with one server "a" that offers these definitions of a kind.
func one(kind Kind, defs ...string) Input {
	l := &Listing{}
	for _, def := range defs {
		l.Items[kind] = append(l.Items[kind], json.RawMessage(def))
	}
	return Input{
		Servers: []config.Server{{Name: "a", Enabled: true}},
		States:  map[string]State{"a": {Health: HealthReady, Listing: l}},
	}
}

func named(names ...string) []string {
	defs := make([]string, len(names))
	for i, name := range names {
		defs[i] = `{"name":"` + name + `"}`
	}
	return defs
}

func TestEmpty(t *testing.T) {
	snap := Build(Input{})
	for kind := range kinds {
		assert.Nil(t, snap.Find(kind, "x"))
		page, last := snap.All().Page(Modern, kind, "", 10)
		assert.Empty(t, page)
		assert.Empty(t, last)
	}
	assert.Nil(t, snap.All().FindResource("file:///x"))
	assert.Nil(t, snap.Server("x"))
	assert.Equal(t, Features{}, snap.All().Features())
}

// TestImmutable proves Invariant 2: what readers get cannot be used to change what others get, and building anew leaves
// the earlier snapshot as it was.
func TestImmutable(t *testing.T) {
	in := one(Tool, append(named("c", "a", "b"), `{}`)...)
	snap := Build(in)
	page, _ := snap.All().Page(Modern, Tool, "", 1)
	_ = append(page, "overwritten"...)
	_ = append(snap.Items(Tool), &Item{PublicName: "overwritten"})
	_ = append(snap.Servers(), &Server{Name: "overwritten"})
	_ = append(snap.Problems(), Problem{Server: "overwritten"})
	whole, _ := snap.All().Page(Modern, Tool, "", 10)
	assert.Equal(t, strings.Join(named("a", "b", "c"), ","), string(whole))
	for _, full := range []bool{
		cap(snap.Items(Tool)) == len(snap.Items(Tool)), cap(snap.Servers()) == len(snap.Servers()),
		cap(snap.Problems()) == len(snap.Problems()), cap(page) == len(page),
	} {
		assert.True(t, full, "a reader that appends writes into what others read")
	}

	sum := snap.Sum(Tool)
	in.States["a"] = State{Health: HealthReady, Listing: one(Tool, named("z")...).States["a"].Listing}
	in.Servers[0].ToolPrefix = "p_"
	next := Build(in)
	assert.NotNil(t, next.Find(Tool, "p_z"))
	assert.NotNil(t, snap.Find(Tool, "a"))
	assert.Nil(t, snap.Find(Tool, "p_z"))
	assert.Equal(t, sum, snap.Sum(Tool))
	assert.Empty(t, snap.Server("a").Prefix)
}

func TestBuildIsDeterministic(t *testing.T) {
	names := make([]string, 50)
	for i := range names {
		names[i] = fmt.Sprint("t", i)
	}
	want := Build(one(Tool, named(names...)...))
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		got := Build(one(Tool, named(names...)...))
		assert.Equal(t, want.Sum(Tool), got.Sum(Tool), "Invariant 9: the order is ours, not the server's")
	}
}

// TestSum proves that a change of content is noticed, not only one of names.
func TestSum(t *testing.T) {
	def := `{"name":"a","description":"d","n":9007199254740993}`
	base := Build(one(Tool, def, `{"name":"b"}`))
	assert.Equal(t, base.Sum(Tool), Build(one(Tool, def, `{"name":"b"}`)).Sum(Tool))
	seen := map[[32]byte]string{base.Sum(Tool): def}
	differs := func(defs ...string) {
		t.Helper()
		snap := Build(one(Tool, defs...))
		require.Len(t, snap.Items(Tool), len(defs), defs)
		text := strings.Join(defs, " ")
		assert.NotContains(t, seen, snap.Sum(Tool), text)
		seen[snap.Sum(Tool)] = text
	}
	for i := range def {
		changed := []byte(def)
		if c := changed[i]; c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			changed[i] ^= 1
		}
		if string(changed) != def && json.Valid(changed) && bytes.Contains(changed, []byte(`"name":`)) && !bytes.Contains(changed, []byte(`"name":"b"`)) {
			differs(string(changed), `{"name":"b"}`)
		}
	}
	assert.Greater(t, len(seen), 20)
	differs(def)
	differs(def+" ", `{"name":"b"}`)
	differs(def, `{"name":"b"}`, `{"name":"c"}`)
	assert.NotEqual(t, base.Sum(Tool), base.Sum(Prompt))
}

// TestPageWhileItemsComeAndGo proves that a client which pages through a changing list gets, in order and once, each item
// that was there all the time (Invariant 9).
func TestPageWhileItemsComeAndGo(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		stable, all := map[string]bool{}, []string{}
		for i := range 1 + r.IntN(30) {
			name := fmt.Sprintf("%03d-%d", r.IntN(1000), i)
			stable[name] = r.IntN(2) == 0
			all = append(all, name)
		}
		var got []string
		for after, pages := "", 0; ; pages++ {
			require.Less(t, pages, 100, "the pages do not end")
			now := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return !stable[n] && r.IntN(2) == 0 })
			limit := 1 + r.IntN(5)
			page, last := Build(one(Tool, named(now...)...)).All().Page(Modern, Tool, after, limit)
			names := names(t, page)
			require.LessOrEqual(t, len(names), limit)
			got = append(got, names...)
			if last == "" {
				break
			}
			require.Equal(t, last, names[len(names)-1])
			after = last
		}
		require.True(t, slices.IsSorted(got), "%v", got)
		require.Len(t, slices.Compact(slices.Clone(got)), len(got), "an item came twice: %v", got)
		for name, always := range stable {
			if always {
				require.Contains(t, got, name)
			}
		}
	}
}

func names(t *testing.T, page []byte) (names []string) {
	t.Helper()
	var items []struct{ Name string }
	require.NoError(t, json.Unmarshal([]byte("["+string(page)+"]"), &items), "%s", page)
	for _, it := range items {
		names = append(names, it.Name)
	}
	return names
}

func TestPageBounds(t *testing.T) {
	snap := Build(one(Tool, named("a", "b", "c")...))
	for name, tc := range map[string]struct {
		after string
		limit int
		want  string
		last  string
	}{
		"first":                   {"", 2, "a b", "b"},
		"exactly to the end":      {"", 3, "a b c", ""},
		"all":                     {"", math.MaxInt, "a b c", ""},
		"rest of unlimited":       {"a", math.MaxInt, "b c", ""},
		"after one that is gone":  {"aa", 1, "b", "b"},
		"after the last":          {"c", 2, "", ""},
		"after all":               {"zzz", 2, "", ""},
		"before all":              {"\x00", 1, "a", "a"},
		"no limit is no items":    {"", 0, "", ""},
		"negative limit is empty": {"", -1, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			page, last := snap.All().Page(Modern, Tool, tc.after, tc.limit)
			assert.Equal(t, tc.want, strings.Join(names(t, page), " "))
			assert.Equal(t, tc.last, last)
		})
	}
}

func TestFindResource(t *testing.T) {
	in := Input{States: map[string]State{}}
	add := func(name string, uriPrefix bool, resources, templates []string) {
		l := &Listing{}
		for _, uri := range resources {
			l.Items[Resource] = append(l.Items[Resource], json.RawMessage(`{"uri":"`+uri+`"}`))
		}
		for _, uri := range templates {
			l.Items[Template] = append(l.Items[Template], json.RawMessage(`{"uriTemplate":"`+uri+`"}`))
		}
		in.Servers = append(in.Servers, config.Server{Name: name, Enabled: true, URIPrefix: uriPrefix})
		in.States[name] = State{Listing: l}
	}
	add("wide", false, nil, []string{"file:///{+path}", "broken:{"})
	add("exact", false, []string{"file:///a/b", "x://a.b"}, []string{"file:///{name}", "{+any}.odd"})
	add("team/own", true, []string{"file:///a/b"}, []string{"file:///{+path}"})
	snap := Build(in)
	require.Len(t, snap.Problems(), 1, "the broken template")
	for uri, want := range map[string]string{
		"file:///a/b":                  "exact",
		"file:///a/c":                  "wide",
		"file:///a":                    "wide", // both templates fit: the first in order
		"x://a.b":                      "exact",
		"x://a+b":                      "", // a dot is no pattern
		"x://a.b\n":                    "",
		"prefix file:///a":             "",
		"broken:":                      "",
		"mcp+team.own:file:///a/b":     "team/own",
		"mcp+team.own:file:///z":       "team/own",
		"mcp+team/own:file:///z":       "",
		"mcp+other:file:///z":          "",
		"mcp+team.own:mcp+x:file:///z": "team/own",
		"file:///":                     "wide",
		"":                             "",
	} {
		owner := ""
		if it := snap.All().FindResource(uri); it != nil {
			owner = it.Server.Name
		}
		assert.Equal(t, want, owner, "%q", uri)
	}
	assert.Equal(t, Resource, snap.All().FindResource("file:///a/b").Kind)
	assert.Equal(t, Template, snap.All().FindResource("file:///a/c").Kind)
}

func TestPublicURIsStayURIs(t *testing.T) {
	for _, name := range []string{"a", "team/a", "a-1/b-2"} {
		s := &Server{Name: name, URIPrefix: true}
		public := publicName(s, Resource, "file:///x?y#z")
		u, err := url.Parse(public)
		require.NoError(t, err)
		assert.Equal(t, "mcp+"+strings.ReplaceAll(name, "/", "."), u.Scheme)
		assert.Equal(t, "file:///x?y#z", s.OwnURI(public))
		assert.Equal(t, "file:///x", s.OwnURI("file:///x"), "another's URI stays")
		assert.Equal(t, public, (&Server{Name: name}).OwnURI(public), "without uriPrefix nothing is taken off")
	}
}

// TestFingerprint proves that a backend session is not reused when what it depends on has changed, and is when not.
func TestFingerprint(t *testing.T) {
	base := func() config.Server {
		return config.Server{
			Name: "a", Scheme: "https", Host: "h", Port: 1, Path: "/p", Hostname: "h", Enabled: true,
			Headers:    []config.Header{{Name: "x-a", Value: "1"}},
			Credential: &config.Credential{Header: "authorization", Prefix: "Bearer ", Value: config.NewSecret("hunter2")},
			TLS:        &config.TLS{ServerName: "h", CA: []byte("ca")},
		}
	}
	of := func(s config.Server) string {
		return Build(Input{Servers: []config.Server{s}}).Server("a").Fingerprint
	}
	want := of(base())
	assert.NotContains(t, want, "hunter2")
	for name, change := range map[string]func(*config.Server){
		"scheme": func(s *config.Server) { s.Scheme = "http" }, "host": func(s *config.Server) { s.Host = "i" },
		"port": func(s *config.Server) { s.Port = 2 }, "path": func(s *config.Server) { s.Path = "/q" },
		"hostname":      func(s *config.Server) { s.Hostname = "i" },
		"header value":  func(s *config.Server) { s.Headers[0].Value = "2" },
		"header name":   func(s *config.Server) { s.Headers[0].Name = "x-b" },
		"no header":     func(s *config.Server) { s.Headers = nil },
		"credential":    func(s *config.Server) { s.Credential.Value = config.NewSecret("hunter3") },
		"no credential": func(s *config.Server) { s.Credential = nil },
		"server name":   func(s *config.Server) { s.TLS.ServerName = "i" },
		"ca":            func(s *config.Server) { s.TLS.CA = []byte("cb") },
	} {
		s := base()
		change(&s)
		assert.NotEqual(t, want, of(s), name)
	}
	for name, change := range map[string]func(*config.Server){
		"prefix": func(s *config.Server) { s.ToolPrefix = "p_" }, "timeout": func(s *config.Server) { s.Timeout = 1 },
	} {
		s := base()
		change(&s)
		assert.Equal(t, want, of(s), name)
	}
}

func TestServerAccessors(t *testing.T) {
	s := &Server{}
	assert.False(t, s.Sessions())
	assert.Empty(t, s.Revision())
	assert.False(t, s.Offers("logging"))
	in := one(Tool, named("t")...)
	in.States["a"].Listing.Revision = "2025-06-18"
	in.States["a"].Listing.Capabilities = json.RawMessage(`{"logging":{},"prompts":null}`)
	s = Build(in).Server("a")
	assert.Equal(t, "a", s.Cluster, "without Cluster the name is the cluster's")
	assert.True(t, s.Programmed)
	assert.Equal(t, "2025-06-18", s.Revision())
	assert.True(t, s.Offers("logging"))
	assert.False(t, s.Offers("prompts"))
	assert.False(t, s.Offers("tools"))
}

func TestKindString(t *testing.T) {
	got := []string{}
	for kind := range kinds + 1 {
		got = append(got, kind.String())
	}
	assert.Equal(t, []string{"tool", "prompt", "resource", "resource template", "item"}, got)
}

// FuzzBuild builds from foreign definitions. Whatever a server says, nothing panics and what is shown is JSON.
func FuzzBuild(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a","uri":"x://a","uriTemplate":"x://{a}"}`, `{"name":"é\u0000"}`, `{}`, `[]`, `1`, ` {"name":"a"}`,
		`{"name":"a","annotations":{"readOnlyHint":true}}`, `{"uriTemplate":"{a*}{+b,c:9999}{?d}{#e}"}`,
	} {
		f.Add([]byte(seed), "p_", true)
	}
	f.Fuzz(func(t *testing.T, def []byte, prefix string, uriPrefix bool) {
		if !json.Valid(def) {
			return // the workers that read listings let no such thing pass
		}
		l := &Listing{}
		for kind := range kinds {
			l.Items[kind] = []json.RawMessage{def, json.RawMessage(`{"name":"z","uri":"z","uriTemplate":"z"}`)}
		}
		snap := Build(Input{
			Servers: []config.Server{{Name: "ns/a", Enabled: true, ToolPrefix: prefix, URIPrefix: uriPrefix}},
			States:  map[string]State{"ns/a": {Listing: l}},
		})
		checkConsistent(t, snap)
		snap.All().FindResource(string(def))
	})
}
