package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// gateway is this project's: one broker and router, and an Envoy that it feeds, as in the standalone mode.
type gateway struct {
	url string
	// authorization is what callers send where they must.
	authorization string
	broker, with  *process
}

// gatewaySpec says which gateway.
type gatewaySpec struct {
	module  bool // with the router inside of Envoy, else by ext_proc
	tcp     bool // the router is asked over TCP, else over a Unix socket
	guarded bool // with policies
	headers bool // the router is shown headers first
	watched bool // with metrics and traces, sent by OTLP
	sampled bool // with a trace of each tenth call alone
	catalog catalog
	// sessions is how many are open beside those of the connections.
	sessions int
}

// name is for files, sockets and messages. It is short, since the paths of sockets have to be.
func (g gatewaySpec) name() string {
	name := "ext"
	if g.module {
		name = "module"
	}
	if g.tcp {
		name += "-tcp"
	}
	if g.guarded {
		name += "-guarded"
	}
	if g.headers {
		name += "-headers"
	}
	if g.sessions > 0 {
		name += fmt.Sprintf("-%d", g.sessions)
	}
	if g.watched {
		name += "-watched"
	}
	if g.sampled {
		name += "-sampled"
	}
	return name + "-" + g.catalog.name()
}

// gateway starts one, all of it connected by Unix sockets unless TCP is what is measured.
func (s *stage) gateway(ctx context.Context, spec gatewaySpec) (*gateway, error) {
	if g := s.gateways[spec]; g != nil {
		return g, nil
	}
	base, _, err := s.upstream(ctx)
	if err != nil {
		return nil, err
	}
	name := spec.name()
	config, err := s.write(name+"-config.yaml", spec.catalog.config(base))
	if err != nil {
		return nil, err
	}
	listen, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	g := &gateway{url: "http://" + listen + "/mcp"}
	socket := func(of string) string { return "unix:" + filepath.Join(s.folder, name+"-"+of+".sock") }
	router := socket("router")
	if spec.tcp {
		if router, err = freeAddress(ctx); err != nil {
			return nil, err
		}
	}
	args := []string{
		s.gatewayBin, "--mcp-gateway-config", config, "--log-level", "warn",
		"--mcp-router-address", router, "--mcp-broker-public-address", socket("broker"), "--admin-address", socket("admin"),
		"--xds-address", socket("xds"), "--envoy-listen-address", listen, "--public-url", "http://" + listen,
	}
	var env []string
	if spec.module {
		if err := s.hasModule(); err != nil {
			return nil, err
		}
		args = append(args, "--mcp-router-module-address", socket("module"))
		env = []string{"ENVOY_DYNAMIC_MODULES_SEARCH_PATH=" + filepath.Dir(s.moduleLib), "GODEBUG=cgocheck=0"}
	}
	if spec.headers {
		args = append(args, "--route-from-headers")
	}
	if spec.guarded {
		var policies string
		if policies, g.authorization, err = s.policies(ctx); err != nil {
			return nil, err
		}
		args = append(args, "--policies", policies)
	}
	broker := s.command(ctx, partGateway, args...)
	if spec.watched {
		broker.Env = append(os.Environ(), s.otlp.telemetry(spec)...)
	}
	if g.broker, err = s.start("mcp-broker-router of "+name, broker); err != nil {
		return nil, err
	}
	if g.with, err = s.fedEnvoy(ctx, name, socket("xds"), env, g.broker); err != nil {
		return nil, err
	}
	s.gateways[spec] = g
	return g, nil
}

func (s *stage) hasModule() error {
	if _, err := os.Stat(s.moduleLib); err != nil {
		return fmt.Errorf("there is no router module: %w; hack/envoy-module.sh builds it", err)
	}
	return nil
}

// fedEnvoy is an Envoy that takes its configuration from the gateway.
func (s *stage) fedEnvoy(ctx context.Context, name, xds string, env []string, broker *process) (*process, error) {
	bootstrap, err := s.command(ctx, partGateway, s.gatewayBin, "envoy-bootstrap", "--xds-address", xds).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("mcp-broker-router envoy-bootstrap: %w", errors.Join(err, broker.fault()))
	}
	envoy, _, err := s.startEnvoy(ctx, name, bootstrap, env...)
	return envoy, err
}

// behindGateway is one server of a gateway.
func (s *stage) behindGateway(ctx context.Context, spec gatewaySpec, server string, c *benchCase) (target, error) {
	g, err := s.gateway(ctx, spec)
	if err != nil {
		return target{}, err
	}
	t := target{
		url: g.url, tool: spec.catalog.prefix(server) + c.tool, authorization: g.authorization, listed: c.catalog.all(),
		parts: map[part]*process{partEnvoy: g.with, partGateway: g.broker, partUpstream: s.upstreamProc},
	}
	if err := t.probe(ctx, g.with, c); err != nil {
		return target{}, errors.Join(err, g.broker.fault())
	}
	return t, nil
}

// freeAddress is an address on loopback that nobody listened on a moment ago.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
