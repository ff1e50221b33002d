package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/admin"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// watched is the configuration in force and what is wrong with the file as it stands.
type watched struct {
	mu       sync.Mutex
	cfg      *config.Config
	loaded   time.Time
	problems []string
}

func (w *watched) taken(cfg *config.Config) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cfg, w.loaded, w.problems = cfg, time.Now(), nil
}

func (w *watched) refused(problems []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = problems
}

func (w *watched) current() *config.Config {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cfg
}

// watch takes every good configuration over and reports every bad one (Invariant 8), until the context ends.
func (g *gateway) watch(ctx context.Context, current *config.Config) {
	file := g.settings.configSource()
	options := config.WatchOptions{
		Logger:  g.logger,
		Current: current,
		OnChange: func(cfg *config.Config) {
			g.logger.InfoContext(ctx, "configuration taken", "file", file, "servers", len(cfg.Servers))
			g.metrics.ConfigTaken(time.Now())
			g.forget(cfg)
			g.retire(cfg) //nolint:contextcheck // what is open with servers ends later
			g.watched.taken(cfg)
			g.applyCredentials(cfg) //nolint:contextcheck // tokens are kept fresh until Close
			g.publisher.SetConfig(cfg)
			g.manager.Apply(cfg) //nolint:contextcheck // workers end by Close, not by a context
		},
		OnError: func(err error) {
			problems := problemsOf(err)
			g.logger.ErrorContext(ctx, "configuration refused; the one before stays in force", "file", file, "problems", len(problems))
			for _, p := range problems {
				g.logger.ErrorContext(ctx, "configuration problem", "problem", p)
			}
			g.metrics.ConfigRefused()
			g.watched.refused(problems)
		},
		OnRecover: func() {
			g.logger.InfoContext(ctx, "configuration is good again and means what is in force", "file", file)
			g.metrics.ConfigRecovered()
			g.watched.refused(nil)
		},
	}
	if g.kube != nil {
		g.kube.Run(ctx, options)
		return
	}
	config.Watch(ctx, file, config.OS(), options)
}

// forget drops the metrics of servers that have left.
func (g *gateway) forget(next *config.Config) {
	kept := map[string]bool{}
	for i := range next.Servers {
		kept[next.Servers[i].Name] = true
	}
	for _, s := range g.watched.current().Servers {
		if !kept[s.Name] {
			g.metrics.Forget(s.Name)
		}
	}
}

// problemsOf takes an error of package config or policy apart.
func problemsOf(err error) []string {
	if out, ok := policyProblems(err); ok {
		return out
	}
	var problems config.Problems
	if !errors.As(err, &problems) {
		return []string{err.Error()}
	}
	out := make([]string, len(problems))
	for i, p := range problems {
		out[i] = p.Error()
	}
	return out
}

// configStatus is what the admin interface tells of the configuration.
func (g *gateway) configStatus() admin.Config {
	g.watched.mu.Lock()
	defer g.watched.mu.Unlock()
	return admin.Config{File: g.settings.configSource(), Loaded: g.watched.loaded, Problems: g.watched.problems}
}
