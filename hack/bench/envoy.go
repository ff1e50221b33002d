package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// plainEnvoy is an Envoy that only carries: one listener, one cluster, and no filter but the router.
const plainEnvoy = `
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
static_resources:
  listeners:
  - name: plain
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: plain
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: "/"}, route: {cluster: upstream}}]
          http_filters:
%s  clusters:
  - name: upstream
    type: STATIC
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: %s, port_value: %s}}}
`

// onlyRouter carries.
const onlyRouter = `          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
`

// nativeRouter are Envoy's own filters for MCP, which aggregate two servers: the same upstream without sessions and with them.
const nativeRouter = `          - name: envoy.filters.http.mcp
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.mcp.v3.Mcp
              traffic_mode: REJECT_NO_MCP
              max_request_body_size: 1048576
          - name: envoy.filters.http.mcp_router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.mcp_router.v3.McpRouter
              servers:
              - {name: sessionless, mcp_cluster: {cluster: upstream, path: ` + pathSessionless + `}}
              - {name: sessionful, mcp_cluster: {cluster: upstream, path: ` + pathSessionful + `}}
`

var errNoEnvoy = errors.New("no Envoy was named: set -envoy or ENVOY_BIN to the path that hack/envoy.sh prints")

// startEnvoy starts an Envoy with one worker. Its admin address will be found in the file whose path is returned.
func (s *stage) startEnvoy(ctx context.Context, name string, config []byte, env ...string) (p *process, adminFile string, err error) {
	if s.envoyBin == "" {
		return nil, "", errNoEnvoy
	}
	file, err := s.write(name+".yaml", config)
	if err != nil {
		return nil, "", err
	}
	adminFile = filepath.Join(s.folder, name+".admin")
	cmd := s.command(ctx, partEnvoy, s.envoyBin, "--config-path", file, "--concurrency", "1",
		"--disable-hot-restart", "--log-level", "warn", "--admin-address-path", adminFile)
	cmd.Env = append(os.Environ(), env...)
	p, err = s.start("Envoy "+name, cmd)
	return p, adminFile, err
}

// plain is a plain Envoy before the upstream. Those with different names are different processes.
func (s *stage) plain(ctx context.Context, name string, c *benchCase) (target, error) {
	return s.withFilters(ctx, name, onlyRouter, target{url: c.path, tool: c.tool, listed: c.upstreamLists()}, c)
}

// native is an Envoy with its own filters for MCP.
func (s *stage) native(ctx context.Context, c *benchCase) (target, error) {
	return s.withFilters(ctx, "native", nativeRouter, target{url: "/mcp", tool: "sessionless__" + c.tool}, c)
}

// plainProcess is an Envoy before the upstream, by the address that it listens on.
type plainProcess struct {
	*process
	address string
}

// withFilters is an Envoy before the upstream with these filters. Of the target, the path and the tool are given.
func (s *stage) withFilters(ctx context.Context, name, filters string, t target, c *benchCase) (target, error) {
	base, up, err := s.upstream(ctx)
	if err != nil {
		return target{}, err
	}
	p := s.envoys[name]
	if p == nil {
		host, port, err := net.SplitHostPort(strings.TrimPrefix(base, "http://"))
		if err != nil {
			return target{}, err
		}
		started, adminFile, err := s.startEnvoy(ctx, "plain-"+name, fmt.Appendf(nil, plainEnvoy, filters, host, port))
		if err != nil {
			return target{}, err
		}
		p = &plainProcess{process: started}
		if err := p.until(ctx, setupTime, func(ctx context.Context) (err error) {
			p.address, err = listenerAddress(ctx, adminFile)
			return err
		}); err != nil {
			return target{}, err
		}
		s.envoys[name] = p
	}
	t.url, t.parts = "http://"+p.address+t.url, map[part]*process{partEnvoy: p.process, partUpstream: up}
	return t, t.probe(ctx, p.process, c)
}

// listenerAddress asks an Envoy where its only listener listens.
func listenerAddress(ctx context.Context, adminFile string) (string, error) {
	admin, err := os.ReadFile(adminFile)
	if err != nil {
		return "", err
	}
	u := url.URL{Scheme: "http", Host: strings.TrimSpace(string(admin)), Path: "/listeners", RawQuery: "format=json"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var listeners struct {
		Statuses []struct {
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&listeners); err != nil {
		return "", err
	}
	if len(listeners.Statuses) != 1 {
		return "", fmt.Errorf("its admin interface shows %d listeners", len(listeners.Statuses))
	}
	socket := listeners.Statuses[0].Address.Socket
	return fmt.Sprintf("%s:%d", socket.Address, socket.Port), nil
}
