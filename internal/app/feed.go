package app

import (
	"errors"
	"log/slog"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/admin"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// envoyFeed feeds the Envoys that connect to our configuration server.
type envoyFeed struct {
	server *xds.Server

	mu       sync.Mutex // guards what follows, and that one feeding follows the other
	options  xds.Options
	clusters []xds.Cluster
	fed      bool // the clusters are known
}

// newEnvoyFeed fails if the settings alone make no configuration for Envoy.
func newEnvoyFeed(o xds.Options, logger *slog.Logger) (*envoyFeed, error) {
	if _, err := xds.Translate(o, nil); err != nil {
		return nil, err
	}
	return &envoyFeed{server: xds.NewServer(logger), options: o}, nil
}

// Feed implements feed. A server that Envoy cannot be told of costs the others nothing (Invariant 12).
func (f *envoyFeed) Feed(clusters []xds.Cluster) []catalog.Problem {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clusters, f.fed = clusters, true
	return f.feed()
}

// SetValues makes these the policy values of Envoys, at once where they are fed already.
func (f *envoyFeed) SetValues(v *xds.PolicyValues) []catalog.Problem {
	if err := f.CheckValues(v); err != nil { // those before stay
		return []catalog.Problem{{Message: "the policy values cannot be given to Envoy: " + err.Error()}}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.options.Values = v
	if !f.fed {
		return nil
	}
	return f.feed()
}

// settings are the options as they are now.
func (f *envoyFeed) settings() xds.Options {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.options
}

// CheckValues tells what of policy values Envoy cannot enforce.
func (f *envoyFeed) CheckValues(v *xds.PolicyValues) error {
	options := f.settings()
	options.Values = v
	_, err := xds.Translate(options, nil)
	return err
}

// feed is called with the lock held.
func (f *envoyFeed) feed() []catalog.Problem {
	clusters := f.clusters
	resources, err := xds.Translate(f.options, clusters)
	var problems []catalog.Problem
	if err != nil {
		var good []xds.Cluster
		for _, c := range clusters {
			if _, err := xds.Translate(f.options, []xds.Cluster{c}); err != nil {
				problems = append(problems, catalog.Problem{Server: c.Server.Name, Message: err.Error()})
				continue
			}
			good = append(good, c)
		}
		resources, err = xds.Translate(f.options, good)
	}
	if err == nil {
		_, err = f.server.Update(resources)
	}
	if err != nil {
		problems = append(problems, catalog.Problem{Message: "the configuration of Envoy cannot be made: " + err.Error()})
	}
	return problems
}

// Programmed implements feed.
func (f *envoyFeed) Programmed(cluster string) bool { return f.server.Programmed(cluster) }

// Holds implements feed.
func (f *envoyFeed) Holds(cluster string) bool { return f.server.Holds(cluster) }

// Changed implements feed.
func (f *envoyFeed) Changed() <-chan struct{} { return f.server.Changed() }

// Serving implements feed.
func (f *envoyFeed) Serving() bool {
	for _, e := range f.server.Status().Envoys {
		if e.Serving {
			return true
		}
	}
	return false
}

// Settled tells whether every Envoy that serves holds all that it is to hold, or has refused it.
func (f *envoyFeed) Settled() bool {
	status := f.server.Status()
	for _, e := range status.Envoys {
		if e.Serving && e.Version != status.Version && len(e.Refused) == 0 {
			return false
		}
	}
	return true
}

// NotReady are the reasons for which an Envoy cannot be fed.
func (f *envoyFeed) NotReady() []string {
	if f.server.Status().Version == "" {
		return []string{"there is no configuration to feed Envoy with"}
	}
	return nil
}

// Refused is the error of a listener that an Envoy would not take, as when its port is taken. Nothing works then.
func (f *envoyFeed) Refused() error {
	for _, e := range f.server.Status().Envoys {
		for _, r := range e.Refused {
			if r.Type == "Listener" {
				return errors.New(r.Message)
			}
		}
	}
	return nil
}

// Status is what the admin interface tells of the Envoys.
func (f *envoyFeed) Status() []admin.Envoy {
	var out []admin.Envoy
	for _, e := range f.server.Status().Envoys {
		envoy := admin.Envoy{Node: e.Node, Build: e.Build, ConnectedSince: e.ConnectedSince, Serving: e.Serving, Version: e.Version}
		for _, r := range e.Refused {
			envoy.Refused = append(envoy.Refused, admin.Refusal(r))
		}
		if r := e.LastRejection; r != nil {
			envoy.LastRejection = &admin.Rejection{Refusal: admin.Refusal{Type: r.Type, Name: r.Name, Message: r.Message}, Time: r.Time}
		}
		out = append(out, envoy)
	}
	return out
}

// Loads are what Envoys tell of the servers' calls; nil as long as none has told.
func (f *envoyFeed) Loads(snap *catalog.Snapshot) map[string]xds.Load {
	clusters := f.server.Loads()
	if clusters == nil {
		return nil
	}
	out := make(map[string]xds.Load, len(clusters))
	for _, server := range snap.Servers() {
		if load, ok := clusters[server.Cluster]; ok {
			out[server.Name] = load
		}
	}
	return out
}
