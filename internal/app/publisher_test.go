package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// fakeFeed is an Envoy whose acknowledgements the test gives.
type fakeFeed struct {
	mu      sync.Mutex
	fed     []string
	acked   map[string]bool
	serving bool
	fault   map[string]string // by server
	tokens  map[string]string // as fed, by cluster
	holds   map[string]string // as acknowledged
	token   func(*config.Server) (config.Secret, bool)
	changed chan struct{}
}

func newFakeFeed() *fakeFeed {
	return &fakeFeed{acked: map[string]bool{}, serving: true, fault: map[string]string{}, tokens: map[string]string{}, holds: map[string]string{}, changed: make(chan struct{})}
}

func (f *fakeFeed) Feed(clusters []xds.Cluster) (problems []catalog.Problem) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fed = nil
	for _, c := range clusters {
		if message := f.fault[c.Server.Name]; message != "" {
			problems = append(problems, catalog.Problem{Server: c.Server.Name, Message: message})
			continue
		}
		f.fed = append(f.fed, c.Name)
		f.tokens[c.Name] = c.Token.Reveal()
	}
	slices.Sort(f.fed)
	return problems
}

func (f *fakeFeed) Programmed(cluster string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.serving && f.acked[cluster]
}

func (f *fakeFeed) Holds(cluster string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.serving && f.holds[cluster] == f.tokens[cluster]
}

func (f *fakeFeed) Serving() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.serving
}

func (f *fakeFeed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fakeFeed) clusters() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.fed)
}

// change does something to the Envoy and says so.
func (f *fakeFeed) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

// ackAll acknowledges all that was fed.
func (f *fakeFeed) ackAll() {
	f.change(func() {
		for _, c := range f.fed {
			f.acked[c] = true
		}
	})
}

// bench is a publisher under test in a bubble of its own time.
type bench struct {
	*publisher
	t    *testing.T
	feed *fakeFeed
	seen []*catalog.Snapshot
}

// publishing runs the test in a bubble. With no feed, Envoy is configured by someone else.
func publishing(t *testing.T, f *fakeFeed, cfg *config.Config, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, feed: f}
		var clusters feed
		if f != nil {
			f.changed = make(chan struct{}) // channels belong to the bubble that made them
			clusters = f
		}
		b.publisher = newPublisher(cfg, clusters, false, nil, slog.New(slog.DiscardHandler), func(old, now *catalog.Snapshot) {
			if len(b.seen) > 0 {
				assert.Same(t, b.seen[len(b.seen)-1], old, "each snapshot follows the one before")
			}
			b.seen = append(b.seen, now)
		})
		if f != nil {
			b.token = f.token
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.Run(ctx)
		}()
		test(b)
		stop()
		<-done
	})
}

// settle lets the publisher do all that is due within a moment.
func (b *bench) settle() { b.pass(2 * coalesce) }

func (b *bench) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) tools() string {
	var names []string
	for _, it := range b.Snapshot().Items(catalog.Tool) {
		names = append(names, it.PublicName)
	}
	return strings.Join(names, " ")
}

func (b *bench) ready(server string, tools ...string) {
	l := &catalog.Listing{Revision: "2025-11-25"}
	for _, tool := range tools {
		l.Items[catalog.Tool] = append(l.Items[catalog.Tool], json.RawMessage(`{"name":"`+tool+`"}`))
	}
	b.SetState(server, catalog.State{Health: catalog.HealthReady, Listing: l})
}

func at(name, host string, change ...func(*config.Server)) config.Server {
	s := config.Server{Name: name, Scheme: "http", Host: host, Port: 80, Path: "/mcp", Hostname: host, Enabled: true, Timeout: time.Second, MaxCalls: config.DefaultMaxCalls}
	for _, c := range change {
		c(&s)
	}
	return s
}

func servers(s ...config.Server) *config.Config { return &config.Config{Servers: s} }

func clusterAt(s config.Server) string {
	return strings.ReplaceAll(s.Name, "/", ".") + "." + catalog.Fingerprint(&s)
}

func sorted(names ...string) []string {
	slices.Sort(names)
	return names
}

func TestPublisherWithoutFeed(t *testing.T) {
	publishing(t, nil, servers(at("a", "one"), at("team/b", "two")), func(b *bench) {
		require.Len(t, b.Snapshot().Servers(), 2, "there is a snapshot before anything is known")
		assert.Equal(t, "team.b", b.Snapshot().Server("team/b").Cluster, "a static Envoy names clusters by servers")
		b.ready("a", "x", "y")
		b.settle()
		assert.Equal(t, "x y", b.tools())
		b.ready("team/b", "z")
		b.settle()
		assert.Equal(t, "x y z", b.tools())
		b.SetConfig(servers(at("a", "one", func(s *config.Server) { s.ToolPrefix = "a_" })))
		b.settle()
		assert.Equal(t, "a_x a_y", b.tools())
		assert.Nil(t, b.Snapshot().Server("team/b"))
	})
}

// Invariant 2: what was published stays as it was.
func TestPublisherLeavesOldSnapshotsAlone(t *testing.T) {
	publishing(t, nil, servers(at("a", "one")), func(b *bench) {
		before := b.Snapshot()
		b.ready("a", "x")
		b.settle()
		assert.NotSame(t, before, b.Snapshot())
		assert.Empty(t, before.Items(catalog.Tool))
		assert.Equal(t, catalog.HealthConnecting, before.Server("a").State.Health)
	})
}

func TestPublisherGathersChanges(t *testing.T) {
	publishing(t, nil, servers(at("a", "one")), func(b *bench) {
		b.settle()
		before := len(b.seen)
		for range 1000 {
			b.ready("a", "x")
			time.Sleep(time.Millisecond)
		}
		b.settle()
		snapshots := len(b.seen) - before
		assert.LessOrEqual(t, snapshots, int(time.Second/coalesce)+2)
		assert.Greater(t, snapshots, 10, "and nothing waits until all is quiet")
	})
}

func TestPublisherTellsOfNewListings(t *testing.T) {
	publishing(t, nil, servers(at("a", "one")), func(b *bench) {
		l := &catalog.Listing{}
		assert.False(t, b.SetState("a", catalog.State{Health: catalog.HealthConnecting}))
		assert.True(t, b.SetState("a", catalog.State{Health: catalog.HealthReady, Listing: l}))
		assert.False(t, b.SetState("a", catalog.State{Health: catalog.HealthFailing, Listing: l}))
		assert.True(t, b.SetState("a", catalog.State{Health: catalog.HealthReady, Listing: &catalog.Listing{}}))
	})
}

func TestPublisherIsReadyOnceAllServersWereTried(t *testing.T) {
	cfg := servers(at("good", "one"), at("dead", "two"), at("off", "three", func(s *config.Server) { s.Enabled = false }))
	publishing(t, nil, cfg, func(b *bench) {
		b.settle()
		assert.Equal(t, []string{`server "dead" has not been tried yet`, `server "good" has not been tried yet`}, b.NotReady())
		b.ready("good")
		b.settle()
		assert.Equal(t, []string{`server "dead" has not been tried yet`}, b.NotReady())
		b.SetState("dead", catalog.State{Health: catalog.HealthFailing, LastError: "refused"})
		b.settle()
		assert.Empty(t, b.NotReady())
		b.SetState("dead", catalog.State{Health: catalog.HealthConnecting})
		b.settle()
		assert.Empty(t, b.NotReady(), "what was ready stays so")
	})
}

func TestPublisherWaitsForASilentServerSomeTimeOnly(t *testing.T) {
	publishing(t, nil, servers(at("hangs", "one")), func(b *bench) {
		b.pass(patience - time.Millisecond)
		assert.NotEmpty(t, b.NotReady())
		b.pass(time.Second)
		assert.Empty(t, b.NotReady())
	})
}

func TestPublisherOffersWhatEnvoyHas(t *testing.T) {
	a := at("team/a", "one")
	publishing(t, newFakeFeed(), servers(a), func(b *bench) {
		b.ready("team/a", "x")
		b.settle()
		assert.Equal(t, []string{clusterAt(a)}, b.feed.clusters())
		assert.Empty(t, b.tools(), "Envoy has not acknowledged the cluster")
		assert.False(t, b.Snapshot().Server("team/a").Programmed)
		b.feed.ackAll()
		b.settle()
		assert.Equal(t, "x", b.tools())
		assert.Equal(t, clusterAt(a), b.Snapshot().Server("team/a").Cluster)
	})
}

// A server that moves is called where it was until Envoy knows the way to where it is.
func TestPublisherReplacesAServerWithoutAGap(t *testing.T) {
	before, after := at("a", "one"), at("a", "two")
	publishing(t, newFakeFeed(), servers(before), func(b *bench) {
		b.ready("a", "x")
		b.settle()
		b.feed.ackAll()
		b.settle()
		b.SetConfig(servers(after))
		b.SetState("a", catalog.State{Health: catalog.HealthConnecting})
		b.settle()
		assert.Equal(t, sorted(clusterAt(before), clusterAt(after)), b.feed.clusters(), "the new cluster joins the old one")
		assert.Equal(t, clusterAt(before), b.Snapshot().Server("a").Cluster)
		assert.Equal(t, "x", b.tools())

		b.feed.ackAll()
		b.settle()
		assert.Equal(t, clusterAt(before), b.Snapshot().Server("a").Cluster, "nothing is known of the new one yet")
		b.ready("a", "y")
		b.settle()
		assert.Equal(t, clusterAt(after), b.Snapshot().Server("a").Cluster)
		assert.Equal(t, "y", b.tools())
		for _, s := range b.seen[2:] {
			assert.NotEmpty(t, s.Items(catalog.Tool), "no snapshot in between was without tools")
		}

		b.pass(minLinger - time.Second)
		assert.Equal(t, sorted(clusterAt(before), clusterAt(after)), b.feed.clusters(), "calls may be in flight")
		b.pass(2 * time.Second)
		assert.Equal(t, []string{clusterAt(after)}, b.feed.clusters())
	})
}

func TestPublisherDoesNotWaitForEverForTheNewAddress(t *testing.T) {
	for name, f := range map[string]*fakeFeed{"fed": newFakeFeed(), "static": nil} {
		t.Run(name, func(t *testing.T) {
			publishing(t, f, servers(at("a", "one")), func(b *bench) {
				ack := func() {
					b.settle()
					if b.feed != nil {
						b.feed.ackAll()
						b.settle()
					}
				}
				b.ready("a", "x")
				ack()
				b.SetConfig(servers(at("a", "two")))
				b.SetState("a", catalog.State{Health: catalog.HealthConnecting})
				ack()
				assert.Equal(t, "x", b.tools())
				b.pass(patience)
				assert.Empty(t, b.tools())
				assert.Equal(t, catalog.HealthConnecting, b.Snapshot().Server("a").State.Health)
			})
		})
	}
}

// Invariant 8: what Envoy will not take does not replace what it has.
func TestPublisherKeepsWhatWorks(t *testing.T) {
	before, after := at("a", "one"), at("a", "two")
	publishing(t, newFakeFeed(), servers(before), func(b *bench) {
		b.ready("a", "x")
		b.settle()
		b.feed.ackAll()
		b.settle()
		b.SetConfig(servers(after))
		b.ready("a", "y")
		b.pass(2 * maxLinger)
		assert.Equal(t, "x", b.tools(), "the new cluster was never acknowledged")
		assert.Equal(t, sorted(clusterAt(before), clusterAt(after)), b.feed.clusters())
		assert.Equal(t, "http://one:80/mcp", b.view.Load().urls["a"])
	})
}

func TestPublisherTakesSettingsOverAtOnce(t *testing.T) {
	publishing(t, newFakeFeed(), servers(at("a", "one")), func(b *bench) {
		b.ready("a", "x")
		b.settle()
		b.feed.ackAll()
		b.settle()
		b.SetConfig(servers(at("a", "one", func(s *config.Server) { s.ToolPrefix = "p_" })))
		b.settle()
		assert.Equal(t, "p_x", b.tools(), "the cluster is the same one")
	})
}

func TestPublisherRemovesAtOnceAndForgetsLater(t *testing.T) {
	unlimited := func(s *config.Server) { s.ToolTimeouts = map[string]time.Duration{"slow": 0} }
	tests := map[string]struct {
		server config.Server
		next   *config.Config
		linger time.Duration
	}{
		"a server with short calls": {at("a", "one"), servers(), minLinger},
		"a server with long calls":  {at("a", "one", func(s *config.Server) { s.Timeout = 5 * time.Minute }), servers(), 5 * time.Minute},
		"a server without limits":   {at("a", "one", unlimited), servers(), maxLinger},
		"a server that is disabled": {at("a", "one"), servers(at("a", "one", func(s *config.Server) { s.Enabled = false })), minLinger},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			publishing(t, newFakeFeed(), servers(tt.server), func(b *bench) {
				b.ready("a", "x")
				b.settle()
				b.feed.ackAll()
				b.settle()
				b.SetConfig(tt.next)
				b.settle()
				assert.Empty(t, b.tools())
				b.pass(tt.linger - time.Second)
				assert.Equal(t, []string{clusterAt(tt.server)}, b.feed.clusters())
				b.pass(2 * time.Second)
				assert.Empty(t, b.feed.clusters())
				assert.Empty(t, b.linger)
				assert.Empty(t, b.acked)
			})
		})
	}
}

func TestPublisherTakesAServerBack(t *testing.T) {
	a := at("a", "one")
	publishing(t, newFakeFeed(), servers(a), func(b *bench) {
		b.settle()
		b.feed.ackAll()
		b.settle()
		b.SetConfig(servers())
		b.settle()
		b.SetConfig(servers(a))
		b.ready("a", "x")
		b.pass(2 * minLinger)
		assert.Equal(t, []string{clusterAt(a)}, b.feed.clusters())
		assert.Equal(t, "x", b.tools())
	})
}

// The stream of configuration may break while Envoy goes on; but an Envoy that is there and lacks the cluster counts.
func TestPublisherWhenEnvoyIsGone(t *testing.T) {
	publishing(t, newFakeFeed(), servers(at("a", "one")), func(b *bench) {
		b.ready("a", "x")
		b.settle()
		b.feed.ackAll()
		b.settle()
		b.feed.change(func() { b.feed.serving = false })
		b.settle()
		assert.Equal(t, "x", b.tools())
		b.feed.change(func() { b.feed.serving, b.feed.acked = true, map[string]bool{} })
		b.settle()
		assert.Empty(t, b.tools())
	})
}

func TestPublisherReportsWhatEnvoyCannotBeGiven(t *testing.T) {
	f := newFakeFeed()
	f.fault["bad"] = "no roots"
	publishing(t, f, servers(at("bad", "one"), at("good", "two")), func(b *bench) {
		b.ready("good", "x")
		b.settle()
		b.feed.ackAll()
		b.settle()
		assert.Equal(t, []catalog.Problem{{Server: "bad", Message: "no roots"}}, b.view.Load().problems)
		assert.Equal(t, "x", b.tools())
		b.SetConfig(servers(at("good", "two")))
		b.pass(2 * minLinger)
		assert.Empty(t, b.view.Load().problems)
	})
}

// Envoy is only fed anew when there is news for it.
func TestPublisherFeedsOnlyNews(t *testing.T) {
	f := newFakeFeed()
	publishing(t, f, servers(at("a", "one")), func(b *bench) {
		b.settle()
		f.change(func() { f.fed = []string{"untouched"} })
		for range 10 {
			b.ready("a", "x")
			b.settle()
		}
		assert.Equal(t, []string{"untouched"}, f.clusters())
		b.SetConfig(servers(at("a", "one", func(s *config.Server) { s.ToolPrefix = "a_" })))
		b.settle()
		assert.Equal(t, []string{clusterAt(at("a", "one"))}, f.clusters(), "Envoy looks at prefixes")
	})
}

// A limit that changes is another cluster, which takes the place of the one before as soon as Envoy has it, and the backend sessions stay.
func TestPublisherFeedsLimits(t *testing.T) {
	for name, change := range map[string]func(*config.Server){
		"calls":          func(s *config.Server) { s.MaxCalls = 20 },
		"no limit":       func(s *config.Server) { s.MaxCalls = 0 },
		"connections":    func(s *config.Server) { s.MaxConnections = 4 },
		"bytes a second": func(s *config.Server) { s.MaxBytesPerSecond = 1 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeFeed()
			publishing(t, f, servers(at("a", "one")), func(b *bench) {
				b.ready("a", "x")
				b.settle()
				f.ackAll()
				b.settle()
				before := b.Snapshot().Server("a")
				b.SetConfig(servers(at("a", "one", change)))
				b.settle()
				require.Len(t, f.clusters(), 2)
				assert.Equal(t, before.Cluster, b.Snapshot().Server("a").Cluster, "until Envoy has the other")
				f.ackAll()
				b.settle()
				assert.NotEqual(t, before.Cluster, b.Snapshot().Server("a").Cluster)
				assert.Contains(t, f.clusters(), b.Snapshot().Server("a").Cluster)
				assert.Equal(t, before.Fingerprint, b.Snapshot().Server("a").Fingerprint)
				assert.Equal(t, "x", b.tools())
			})
		})
	}
}

func TestClusterNamesAreApart(t *testing.T) {
	names := map[string]bool{}
	list := []config.Server{at("a", "one"), at("a", "two"), at("a/b", "one"), at("b", "one"), at("b/a", "one")}
	p := &publisher{feed: newFakeFeed()}
	for i := range list {
		names[clusterName(&list[i])] = true
		names[p.clusterOf(&list[i], catalog.Fingerprint(&list[i]))] = true
	}
	assert.Len(t, names, 4+5, "%v", slices.Collect(maps.Keys(names)))
}

func clientCredentials(s *config.Server) {
	s.Credential = &config.Credential{
		Kind: config.ClientCredentials, Header: "authorization", Prefix: "Bearer ",
		Client: &config.OAuthClient{TokenURL: "https://idp/token", ID: "gateway", Secret: config.NewSecret("s3cr3t")},
	}
}

// A token that is fetched reaches Envoys, and again when it is another, under one cluster that never changes. The broker makes the calls until
// Envoys have the first one, and whenever there is none.
func TestPublisherFeedsTokens(t *testing.T) {
	f := newFakeFeed()
	var current atomic.Pointer[string]
	f.token = func(*config.Server) (config.Secret, bool) {
		if token := current.Load(); token != nil {
			return config.NewSecret(*token), true
		}
		return config.Secret{}, false
	}
	s := at("a", "one", clientCredentials)
	publishing(t, f, servers(s), func(b *bench) {
		give := func(token string) {
			current.Store(&token)
			b.poke()
			b.settle()
		}
		carried := func() bool { return b.Snapshot().Server("a").Carried }
		fed := func() string {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.tokens[clusterAt(s)]
		}
		take := func() {
			f.change(func() { f.holds[clusterAt(s)] = f.tokens[clusterAt(s)] })
			b.settle()
		}
		b.ready("a", "x")
		b.settle()
		f.ackAll()
		b.settle()
		assert.Equal(t, "x", b.tools(), "a server without a token is offered: the broker says what is wrong")
		assert.True(t, carried())
		assert.Empty(t, fed())

		give("one")
		assert.Equal(t, "one", fed())
		assert.True(t, carried(), "Envoy does not have the token yet")
		take()
		assert.False(t, carried())

		give("two")
		assert.Equal(t, "two", fed())
		assert.False(t, carried(), "the token before is good until the next has arrived")
		assert.Equal(t, []string{clusterAt(s)}, f.clusters(), "a new token makes no new cluster")
		take()
		assert.False(t, carried())

		current.Store(nil)
		b.poke()
		b.settle()
		assert.True(t, carried())
		assert.Equal(t, "two", fed(), "calls in flight keep what they have")
		give("three")
		assert.True(t, carried())
		take()
		assert.False(t, carried())
	})
}

func TestPublisherWithoutFeedHasTokensCarried(t *testing.T) {
	publishing(t, nil, servers(at("a", "one", clientCredentials)), func(b *bench) {
		b.ready("a", "x")
		b.settle()
		assert.True(t, b.Snapshot().Server("a").Carried)
	})
}

// TestRestAfterSnapshots: making snapshots takes a part of the time, however large they are, and what changes alone is there at once.
func TestRestAfterSnapshots(t *testing.T) {
	t.Parallel()
	began := time.Now()
	for took, want := range map[time.Duration]time.Duration{
		0:                      20 * time.Millisecond,
		time.Millisecond:       20 * time.Millisecond,
		100 * time.Millisecond: 300 * time.Millisecond,
		time.Second:            2 * time.Second,
	} {
		assert.Equal(t, want, rested(began, began.Add(took)).Sub(began), took)
	}
}
