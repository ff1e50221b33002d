package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/kubesource"
)

const flagConfigMap = "config-map"

// kube is what a gateway does with the cluster that it runs in.
type kube struct {
	names    kubesource.Names
	source   *kubesource.Source
	reporter *kubesource.Reporter

	mu sync.Mutex // guards the rest
	// taken is when the first configuration came, zero before; ready says that its servers have been tried.
	taken time.Time
	ready bool
}

// configSource is where the configuration is, as it is told to people.
func (s *settings) configSource() string {
	if s.kube.configMap != "" {
		return "ConfigMap " + s.kube.configMap
	}
	return s.configFile
}

// firstConfig is the configuration to begin with: that of the file, which must be good, or in a cluster an empty one, since what makes the real one may be later.
func (g *gateway) firstConfig() (*config.Config, error) {
	if g.settings.kube.configMap != "" {
		var err error
		if g.kube, err = newKube(g); err != nil {
			return nil, err
		}
		g.watched.cfg = &config.Config{}
		return g.watched.cfg, nil
	}
	cfg, err := config.Load(g.settings.configFile, config.OS())
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be used:\n%w", err)
	}
	g.watched.taken(cfg)
	return cfg, nil
}

// snapshotChanged tells of every snapshot that is published.
func (g *gateway) snapshotChanged(old, now *catalog.Snapshot) {
	g.broker.SnapshotChanged(old, now)
	if g.kube != nil {
		g.kube.reporter.Changed()
	}
}

// newKube prepares everything and connects to nothing.
func newKube(g *gateway) (*kube, error) {
	s := &g.settings.kube
	names, err := kubesource.ParseNames(s.configMap)
	if err != nil {
		return nil, usagef("--%s %w", flagConfigMap, err)
	}
	cluster, _, err := kubesource.Cluster(s.kubeconfig)
	if err != nil {
		return nil, err
	}
	k := &kube{names: names}
	if k.source, err = kubesource.NewSource(cluster, names, g.logger); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("the name of this machine: %w", err)
	}
	k.reporter, err = kubesource.NewReporter(kubesource.ReporterOptions{
		Cluster: cluster, Names: names, Namespaces: s.namespaces, Identity: host + "_" + strings.ToLower(rand.Text()[:8]), Logger: g.logger,
		Snapshot: g.configured,
	})
	return k, err
}

// Run follows the configuration and reports what becomes of it, until the context ends.
func (k *kube) Run(ctx context.Context, o config.WatchOptions) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { k.reporter.Run(ctx) })
	take := o.OnChange
	o.Current = nil
	o.OnChange = func(cfg *config.Config) {
		take(cfg)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.taken.IsZero() {
			k.taken = time.Now()
		}
	}
	k.source.Run(ctx, o)
}

// configured is the snapshot, once it has all servers and virtual servers of the configuration, and nil before.
func (g *gateway) configured() *catalog.Snapshot {
	g.kube.mu.Lock()
	taken := !g.kube.taken.IsZero()
	g.kube.mu.Unlock()
	if !taken {
		return nil
	}
	cfg, snap := g.watched.current(), g.publisher.Snapshot()
	for i := range cfg.Servers {
		if snap.Server(cfg.Servers[i].Name) == nil {
			return nil
		}
	}
	for i := range cfg.VirtualServers {
		if snap.VirtualServer(cfg.VirtualServers[i].Name) == nil {
			return nil
		}
	}
	return snap
}

// notReady are the reasons for which the gateway has nothing to offer yet.
func (k *kube) notReady(g *gateway) []string {
	snap := g.configured()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.ready:
		return nil
	case k.taken.IsZero():
		return []string{fmt.Sprintf("there is no good configuration in the ConfigMap %q yet", k.names)}
	case time.Since(k.taken) < patience && (snap == nil || len(g.publisher.view.Load().waiting) > 0):
		return []string{"not all servers have been tried yet"}
	}
	k.ready = true
	return nil
}
