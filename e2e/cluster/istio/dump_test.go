package istio_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// filter is an HTTP filter as Envoy says that it has it.
type filter struct {
	Name     string       `json:"name"`
	Disabled bool         `json:"disabled"`
	Config   filterConfig `json:"typed_config"`
}

// filterConfig is what of the configurations of policies is looked at.
type filterConfig struct {
	// Of those that decide on access, and of those that verify tokens; see access.
	Rules json.RawMessage `json:"rules"`
	// Of those that verify tokens.
	Providers map[string]any `json:"providers"`
	// Of those that count.
	Descriptors []any `json:"descriptors"`
}

// access are the policies of a filter that decides on access.
func (c filterConfig) access() (denying bool, policies int) {
	var rules struct {
		Action   string         `json:"action"`
		Policies map[string]any `json:"policies"`
	}
	if json.Unmarshal(c.Rules, &rules) != nil {
		return false, 0 // those of another filter
	}
	return rules.Action == "DENY", len(rules.Policies)
}

// route is a route as Envoy says that it has it.
type route struct {
	Name  string `json:"name"`
	Match struct {
		Prefix string `json:"prefix"`
		Path   string `json:"path_separated_prefix"`
	} `json:"match"`
	Route struct {
		Cluster       string `json:"cluster"`
		ClusterHeader string `json:"cluster_header"`
	} `json:"route"`
	Direct *struct {
		Status int `json:"status"`
	} `json:"direct_response"`
	Filters map[string]any `json:"typed_per_filter_config"`
}

type virtualHost struct {
	Domains []string `json:"domains"`
	Routes  []route  `json:"routes"`
}

// dump is what of Envoy's configuration dump is looked at.
type dump struct {
	Configs []struct {
		Type             string `json:"@type"`
		DynamicListeners []struct {
			Name        string `json:"name"`
			ActiveState struct {
				Listener listener `json:"listener"`
			} `json:"active_state"`
			ErrorState *struct {
				Details string `json:"details"`
			} `json:"error_state"`
		} `json:"dynamic_listeners"`
		DynamicRoutes []struct {
			RouteConfig struct {
				VirtualHosts []virtualHost `json:"virtual_hosts"`
			} `json:"route_config"`
		} `json:"dynamic_route_configs"`
		DynamicClusters []struct {
			Cluster struct {
				Name string `json:"name"`
			} `json:"cluster"`
		} `json:"dynamic_active_clusters"`
	} `json:"configs"`
}

type listener struct {
	FilterChains []struct {
		Filters []struct {
			Config struct {
				HTTPFilters []filter `json:"http_filters"`
			} `json:"typed_config"`
		} `json:"filters"`
	} `json:"filter_chains"`
}

func (w *world) dump(t *testing.T) dump {
	t.Helper()
	var d dump
	if err := json.Unmarshal([]byte(testbed.Get(t, w.admin+"/config_dump").Body), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// filters is the chain of the one listener that is in force, in its order, and what Envoy says of a listener that it refused.
func (w *world) filters(t *testing.T) (chain []filter, refused string) {
	t.Helper()
	for _, c := range w.dump(t).Configs {
		for _, l := range c.DynamicListeners {
			if l.ErrorState != nil {
				refused += l.ErrorState.Details
			}
			for _, fc := range l.ActiveState.Listener.FilterChains {
				for _, f := range fc.Filters {
					chain = append(chain, f.Config.HTTPFilters...)
				}
			}
		}
	}
	return chain, refused
}

// routes are those of a virtual host in force, in their order.
func (w *world) routes(t *testing.T, domain string) []route {
	t.Helper()
	var out []route
	for _, c := range w.dump(t).Configs {
		for _, rc := range c.DynamicRoutes {
			for _, vh := range rc.RouteConfig.VirtualHosts {
				for _, d := range vh.Domains {
					if d == domain {
						out = append(out, vh.Routes...)
					}
				}
			}
		}
	}
	return out
}

func (w *world) clusters(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, c := range w.dump(t).Configs {
		for _, dc := range c.DynamicClusters {
			out = append(out, dc.Cluster.Name)
		}
	}
	return out
}

// awaitWired waits until what the EnvoyFilters say is in force.
func (w *world) awaitWired(t *testing.T) {
	t.Helper()
	testbed.Await(t, "the EnvoyFilters to be in force", func() bool {
		chain, _ := w.filters(t)
		routes := w.routes(t, endpointHost)
		return len(chain) > 0 && chain[0].Name == "mcp-gateway-cors" && len(routes) > 0 && strings.HasPrefix(routes[0].Name, "mcp-gateway-")
	})
}

func names(chain []filter) []string {
	var out []string
	for _, f := range chain {
		out = append(out, f.Name)
	}
	return out
}

func routeNames(routes []route) []string {
	var out []string
	for _, r := range routes {
		out = append(out, r.Name)
	}
	return out
}
