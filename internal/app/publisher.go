package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/tally"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

const (
	// coalesce is the least time between two snapshots, and maxCoalesce the longest for which a snapshot that takes long to make keeps the next one waiting.
	coalesce    = 20 * time.Millisecond
	maxCoalesce = time.Second
	// restShare is how many times as long as the making of a snapshot the rest after it is. Each snapshot has all servers in it: without rest, thousands that
	// are listed one after the other would have as many made, of which each takes longer than the one before, and the CPU from those that list.
	restShare = 2
	// patience is how long a server that has not answered yet is waited for: by readiness, and by what it takes the place of.
	patience = 5 * time.Second
	// minLinger is the least time for which Envoy keeps the cluster of a server that is no longer called, maxLinger the
	// time where calls have no limit.
	minLinger = time.Minute
	maxLinger = time.Hour
)

// feed is how Envoys learn of clusters. Without one, Envoy is configured by someone else.
type feed interface {
	// Feed makes these clusters what Envoys are to hold. What cannot be given to Envoy is left out and reported.
	Feed(clusters []xds.Cluster) []catalog.Problem
	// Programmed tells whether calls that are labelled with the cluster arrive.
	Programmed(cluster string) bool
	// Holds tells whether Envoys have the token that the cluster was fed with last.
	Holds(cluster string) bool
	// Serving tells whether there is an Envoy that takes requests.
	Serving() bool
	// Changed is closed as soon as one of the answers may have changed.
	Changed() <-chan struct{}
}

// view is what was published last. It is never modified.
type view struct {
	snapshot *catalog.Snapshot
	urls     map[string]string
	problems []catalog.Problem
	waiting  []string // servers that nothing is known of yet
}

// publisher is the one place where snapshots are made: one at a time, from the configuration, what is known of the servers
// and what Envoys can do.
type publisher struct {
	feed     feed
	foreign  bool // somebody else feeds Envoys
	reserved []string
	onChange func(old, now *catalog.Snapshot)
	before   func(next *catalog.Snapshot) // it is published; nil means that nobody has to know
	logger   *slog.Logger
	view     atomic.Pointer[view]
	ready    atomic.Bool
	wake     chan struct{}
	// token is what Envoys are given for a server whose token is fetched; nil means that there are no such servers.
	token func(*config.Server) (config.Secret, bool)

	history catalog.History
	// counters are those of tools; nil means that nobody counts.
	counters *tally.Set

	mu     sync.Mutex // guards what follows
	cfg    *config.Config
	states map[string]catalog.State

	// The rest belongs to the loop.
	started  time.Time
	shown    map[string]entry         // by server
	wanted   map[string]entry         // by server
	changed  map[string]time.Time     // since when another entry than the shown one is wanted, by server
	linger   map[string]lingering     // by cluster
	fed      map[string]string        // the prefixes of tools of clusters
	tokens   map[string]config.Secret // of clusters, as far as they have one
	held     map[string]bool          // clusters of which Envoys have a good token, if not the last
	acked    map[string]bool          // clusters
	problems []catalog.Problem        // of feeding
}

// entry is one server as it is shown, or is to be.
type entry struct {
	server      config.Server
	fingerprint string
	cluster     string
	state       catalog.State
}

// lingering is a cluster that only calls in flight still use.
type lingering struct {
	server config.Server
	until  time.Time
}

// newPublisher publishes the servers of the configuration, of which nothing is known yet.
func newPublisher(cfg *config.Config, f feed, foreign bool, reserved []string, logger *slog.Logger, onChange func(old, now *catalog.Snapshot)) *publisher {
	p := &publisher{
		feed: f, foreign: foreign, reserved: reserved, onChange: onChange, logger: logger, wake: make(chan struct{}, 1),
		cfg: cfg, states: map[string]catalog.State{}, started: time.Now(),
		shown: map[string]entry{}, wanted: map[string]entry{}, changed: map[string]time.Time{},
		linger: map[string]lingering{}, acked: map[string]bool{}, held: map[string]bool{},
	}
	p.publish(p.started)
	return p
}

// Snapshot is the current snapshot, never nil.
func (p *publisher) Snapshot() *catalog.Snapshot { return p.view.Load().snapshot }

// SetConfig takes a new configuration.
func (p *publisher) SetConfig(cfg *config.Config) {
	p.mu.Lock()
	p.cfg = cfg
	configured := map[string]bool{}
	for i := range cfg.Servers {
		configured[cfg.Servers[i].Name] = true
	}
	p.history.Keep(configured)
	maps.DeleteFunc(p.states, func(name string, _ catalog.State) bool { return !configured[name] })
	p.mu.Unlock()
	p.poke()
}

// SetState takes what is now known of a server, and tells whether it has listed something new.
func (p *publisher) SetState(name string, st catalog.State) (listed bool) {
	p.mu.Lock()
	listed = st.Listing != nil && st.Listing != p.states[name].Listing
	p.states[name] = st
	p.mu.Unlock()
	if listed {
		for _, c := range p.history.Note(name, st.Listing, time.Now()) {
			p.logger.Warn("tool definition changed", "server", name, "tool", c.Tool, "old", c.Old.String(), "new", c.New.String())
		}
	}
	p.poke()
	return listed
}

func (p *publisher) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run publishes whenever something has changed, until the context ends.
func (p *publisher) Run(ctx context.Context) {
	for {
		var changed <-chan struct{}
		if p.feed != nil {
			changed = p.feed.Changed()
		}
		began := time.Now()
		again := p.publish(began)
		made := time.Now()
		timer := time.NewTimer(again.Sub(made))
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
		if !pause(ctx, time.Until(rested(began, made))) {
			return
		}
	}
}

// rested is when the next snapshot may be made.
func rested(began, made time.Time) time.Time {
	return began.Add(max(coalesce, made.Sub(began)+min(restShare*made.Sub(began), maxCoalesce)))
}

// pause waits and tells whether the context still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// publish makes a snapshot of all that is known now, and returns when to do so again even if nothing changes.
func (p *publisher) publish(now time.Time) (again time.Time) {
	p.mu.Lock()
	cfg, states := p.cfg, maps.Clone(p.states)
	p.mu.Unlock()

	order := p.want(cfg, states, now)
	p.feedClusters(now)
	again = now.Add(maxLinger)
	servers := make([]config.Server, 0, len(order))
	v := &view{urls: make(map[string]string, len(order)), problems: p.problems}
	for _, name := range order {
		e := p.choose(name, now)
		if old := p.shown[name]; old.cluster != e.cluster || !e.server.Enabled {
			p.retire(old, now)
		}
		if since, waits := p.changed[name]; waits {
			again = earlier(again, since.Add(patience), now)
		}
		p.shown[name] = e
		states[name] = e.state
		servers = append(servers, e.server)
		v.urls[name] = e.server.URL()
	}
	counting := catalog.Counting{Set: p.counters}
	if before := p.view.Load(); before != nil {
		counting.Before = before.snapshot
	}
	v.snapshot = catalog.Build(catalog.Input{
		Counting: counting,
		Servers:  servers, VirtualServers: cfg.VirtualServers, Reserved: p.reserved, States: states, Programmed: p.programmed,
		Cluster:  func(s *config.Server) string { return p.shown[s.Name].cluster },
		HasToken: p.hasToken,
		Carried:  func(s *config.Server) bool { return p.foreign && carriedByBroker(s) },
	})
	v.waiting = p.untried()
	if len(v.waiting) == 0 || now.Sub(p.started) >= patience {
		p.ready.Store(true)
	} else {
		again = earlier(again, p.started.Add(patience), now)
	}
	for _, l := range p.linger {
		again = earlier(again, l.until, now)
	}
	if p.before != nil {
		p.before(v.snapshot)
	}
	if old := p.view.Swap(v); old != nil {
		p.onChange(old.snapshot, v.snapshot)
	}
	return again
}

// earlier is the earlier of two times, of which one that has passed does not count.
func earlier(t, other, now time.Time) time.Time {
	if other.After(now) && other.Before(t) {
		return other
	}
	return t
}

// want takes the configuration in and returns its servers' names in order.
func (p *publisher) want(cfg *config.Config, states map[string]catalog.State, now time.Time) []string {
	order := make([]string, 0, len(cfg.Servers))
	wanted := make(map[string]entry, len(cfg.Servers))
	for i := range cfg.Servers {
		s := cfg.Servers[i]
		e := entry{server: s, fingerprint: catalog.Fingerprint(&s), state: states[s.Name]}
		e.cluster = p.clusterOf(&s, e.fingerprint)
		if last, ok := p.wanted[s.Name]; ok && (last.fingerprint != e.fingerprint || p.feed != nil && last.cluster != e.cluster) {
			p.changed[s.Name] = now
		}
		wanted[s.Name] = e
		order = append(order, s.Name)
	}
	p.wanted = wanted
	for name, e := range p.shown {
		if _, ok := wanted[name]; !ok {
			p.retire(e, now)
			delete(p.shown, name)
			delete(p.changed, name)
		}
	}
	return order
}

// clusterOf names the cluster of a server as it is configured now. Where Envoy is fed, two configurations of a server are
// two clusters, so that both can be there while one takes the other's place.
func (p *publisher) clusterOf(s *config.Server, fingerprint string) string {
	if p.foreign {
		return s.Cluster
	}
	if p.feed == nil {
		return clusterName(s)
	}
	return clusterName(s) + "." + fingerprint + limitsOf(s)
}

// limitsOf tells clusters apart whose servers may be used to another extent, if it is not the usual one. Envoy counts for a cluster.
func limitsOf(s *config.Server) string {
	if s.MaxCalls == config.DefaultMaxCalls && s.MaxConnections == 0 && s.MaxBytesPerSecond == 0 {
		return ""
	}
	return fmt.Sprintf(".%d.%d.%d", s.MaxCalls, s.MaxConnections, s.MaxBytesPerSecond)
}

// clusterName is a server's cluster in an Envoy that is not fed. A server's name has no dots.
func clusterName(s *config.Server) string { return strings.ReplaceAll(s.Name, "/", ".") }

// choose is the entry to show of a server: the one before, as long as that can be called and the new one cannot.
func (p *publisher) choose(name string, now time.Time) entry {
	next, old := p.wanted[name], p.shown[name]
	since, waits := p.changed[name]
	if !waits {
		return next
	}
	usable := old.server.Enabled && next.server.Enabled && old.state.Listing != nil && p.programmed(old.cluster)
	unknown := next.state.Listing == nil && isUntried(next.state)
	if usable && (!p.programmed(next.cluster) || unknown && now.Sub(since) < patience) {
		return old
	}
	delete(p.changed, name)
	return next
}

// programmed tells whether calls that are labelled with a cluster arrive. While no Envoy is connected, what was there
// before still counts: those that come back have it.
func (p *publisher) programmed(cluster string) bool {
	if p.feed == nil {
		return true
	}
	if p.feed.Programmed(cluster) {
		if _, fed := p.fed[cluster]; fed {
			p.acked[cluster] = true
		}
		return true
	}
	return p.acked[cluster] && !p.feed.Serving()
}

// retire keeps the cluster of an entry that is no longer shown until the calls in flight must have ended.
func (p *publisher) retire(e entry, now time.Time) {
	if p.feed == nil || !e.server.Enabled || e.cluster == "" {
		return
	}
	p.linger[e.cluster] = lingering{server: e.server, until: now.Add(max(longestCall(&e.server), minLinger))}
}

// feedClusters gives Envoys the clusters that are wanted, shown or still in use, if those are others than before.
func (p *publisher) feedClusters(now time.Time) {
	if p.feed == nil {
		return
	}
	clusters := map[string]config.Server{}
	for _, entries := range []map[string]entry{p.shown, p.wanted} {
		for _, e := range entries {
			if e.server.Enabled {
				clusters[e.cluster] = e.server
				delete(p.linger, e.cluster)
			}
		}
	}
	for name, l := range p.linger {
		if now.Before(l.until) {
			clusters[name] = l.server
		} else {
			delete(p.linger, name)
		}
	}
	names := make(map[string]string, len(clusters))
	list := make([]xds.Cluster, 0, len(clusters))
	tokens, renewed := p.currentTokens(clusters)
	for name, server := range clusters {
		names[name] = server.ToolPrefix
		list = append(list, xds.Cluster{Name: name, Server: server, Token: tokens[name]})
	}
	maps.DeleteFunc(p.acked, func(name string, _ bool) bool {
		_, stays := names[name]
		return !stays
	})
	if p.fed == nil || renewed || !maps.Equal(p.fed, names) {
		p.fed, p.tokens = names, tokens
		p.problems = p.feed.Feed(list)
		for _, problem := range p.problems {
			p.logger.Error("server cannot be given to Envoy", "server", problem.Server, "error", problem.Message)
		}
	}
}

// currentTokens are those of the clusters whose servers get one that is fetched, and tells whether Envoys have others. What there is none for
// any more keeps the last, for calls in flight.
func (p *publisher) currentTokens(clusters map[string]config.Server) (tokens map[string]config.Secret, renewed bool) {
	if p.token == nil {
		return nil, false
	}
	tokens = map[string]config.Secret{}
	for name, server := range clusters {
		token, ok := p.token(&server)
		last, had := p.tokens[name]
		if ok {
			tokens[name] = token
			renewed = renewed || !had || !token.Equal(last)
			continue
		}
		delete(p.held, name)
		if had {
			tokens[name] = last
		}
	}
	maps.DeleteFunc(p.held, func(name string, _ bool) bool { return tokens[name].Reveal() == "" })
	return tokens, renewed
}

// hasToken tells whether Envoys have a server's token that is fetched, and one that is still good.
func (p *publisher) hasToken(s *config.Server) bool {
	if p.feed == nil || p.token == nil {
		return false
	}
	if token, ok := p.token(s); !ok || token.Reveal() == "" {
		return false
	}
	cluster := p.shown[s.Name].cluster
	// While another token is on its way, the one before is still good.
	if !p.held[cluster] && p.tokens[cluster].Reveal() != "" && p.feed.Holds(cluster) {
		p.held[cluster] = true
	}
	return p.held[cluster]
}

// untried are the servers of which nothing is known yet.
func (p *publisher) untried() []string {
	var names []string
	for name, e := range p.wanted {
		if e.server.Enabled && isUntried(e.state) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func isUntried(st catalog.State) bool {
	return st.Health == "" || st.Health == catalog.HealthConnecting
}

// NotReady are the reasons for which the catalog is not whole yet.
func (p *publisher) NotReady() []string {
	if p.ready.Load() {
		return nil
	}
	var reasons []string
	for _, name := range p.view.Load().waiting {
		reasons = append(reasons, fmt.Sprintf("server %q has not been tried yet", name))
	}
	return reasons
}
