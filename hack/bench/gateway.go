package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
)

// gateway is this project's: one broker and router, and an Envoy that it feeds, as in the standalone mode. It has two servers, which are the
// same upstream once without sessions and once with them.
type gateway struct {
	url          string
	broker, with *process
}

const gatewayConfig = `servers:
  - {name: sessionless, url: %[1]s` + pathSessionless + `, toolPrefix: sessionless_}
  - {name: sessionful, url: %[1]s` + pathSessionful + `, toolPrefix: sessionful_}
`

// gateway starts it, all of it connected by Unix sockets.
func (s *stage) gateway(ctx context.Context) (*gateway, error) {
	if s.gate != nil {
		return s.gate, nil
	}
	base, _, err := s.upstream(ctx)
	if err != nil {
		return nil, err
	}
	config, err := s.write("gateway.yaml", fmt.Appendf(nil, gatewayConfig, base))
	if err != nil {
		return nil, err
	}
	listen, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	socket := func(name string) string { return "unix:" + filepath.Join(s.folder, name+".sock") }
	broker, err := s.start("mcp-broker-router", s.command(ctx, partGateway, s.gatewayBin, "--mcp-gateway-config", config, "--log-level", "warn",
		"--mcp-router-address", socket("router"), "--mcp-broker-public-address", socket("broker"), "--admin-address", socket("admin"),
		"--xds-address", socket("xds"), "--envoy-listen-address", listen, "--public-url", "http://"+listen))
	if err != nil {
		return nil, err
	}
	bootstrap, err := s.command(ctx, partGateway, s.gatewayBin, "envoy-bootstrap", "--xds-address", socket("xds")).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("mcp-broker-router envoy-bootstrap: %w", errors.Join(err, broker.fault()))
	}
	envoy, _, err := s.startEnvoy(ctx, "gateway", bootstrap)
	if err != nil {
		return nil, err
	}
	s.gate = &gateway{url: "http://" + listen + "/mcp", broker: broker, with: envoy}
	return s.gate, nil
}

// behindGateway is one server of the gateway.
func (s *stage) behindGateway(ctx context.Context, server string) (target, error) {
	g, err := s.gateway(ctx)
	if err != nil {
		return target{}, err
	}
	t := target{url: g.url, tool: server + "_" + toolName, parts: map[part]*process{partEnvoy: g.with, partGateway: g.broker, partUpstream: s.upstreamProc}}
	if err := t.probe(ctx, g.with); err != nil {
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
