package main

import (
	"cmp"
	"context"
)

// row is one way that a call can take. A new one is one more entry of rows.
type row struct {
	name, about string
	// reach starts what the row needs for a case, if nobody has yet, and says where its calls go.
	reach func(ctx context.Context, s *stage, c *benchCase) (target, error)
}

// The rows that ratios, the noise and the targets refer to.
const (
	directRow         = "direct"
	baseRow           = "plain Envoy A"
	noiseRow          = "plain Envoy B"
	nativeRow         = "Envoy's mcp_router"
	extProcRow        = "gateway, ext_proc"
	extProcTCPRow     = "gateway, ext_proc, TCP"
	extProcHeadersRow = "gateway, ext_proc, headers first"
	extProcGuardRow   = "gateway, ext_proc, policies"
	extProcSessionRow = "gateway, ext_proc, session"
	moduleRow         = "gateway, module"
	moduleGuardRow    = "gateway, module, policies"
	moduleSessionRow  = "gateway, module, session"
	extProcWatchedRow = "gateway, ext_proc, telemetry"
	moduleWatchedRow  = "gateway, module, telemetry"
	extProcSampledRow = "gateway, ext_proc, telemetry, sampled"
	moduleSampledRow  = "gateway, module, telemetry, sampled"
)

func rows() []row {
	// through is a gateway, before the case's server or always the same one.
	through := func(adapter gatewaySpec, server string) func(context.Context, *stage, *benchCase) (target, error) {
		return func(ctx context.Context, s *stage, c *benchCase) (target, error) {
			adapter.catalog = c.catalog
			if adapter.watched {
				return s.watched(ctx, adapter, cmp.Or(server, c.server), c)
			}
			return s.behindGateway(ctx, adapter, cmp.Or(server, c.server), c)
		}
	}
	plain := func(name string) func(context.Context, *stage, *benchCase) (target, error) {
		return func(ctx context.Context, s *stage, c *benchCase) (target, error) { return s.plain(ctx, name, c) }
	}
	return []row{
		{directRow, "no proxy: what the load generator and the upstream can do", func(ctx context.Context, s *stage, c *benchCase) (target, error) {
			base, up, err := s.upstream(ctx)
			return target{url: base + c.path, tool: c.tool, listed: c.upstreamLists(), parts: map[part]*process{partUpstream: up}}, err
		}},
		{baseRow, "an Envoy that only carries: the limit, and the base of the ratios", plain("a")},
		{noiseRow, "an identical second one: how far it is from the first is the noise", plain("b")},
		{
			nativeRow, "Envoy's own filters for MCP, work in progress there, which aggregate two servers; the answer is not one of a session",
			func(ctx context.Context, s *stage, c *benchCase) (target, error) { return s.native(ctx, c) },
		},
		{extProcRow, "ext_proc over a Unix socket; the server keeps no sessions", through(gatewaySpec{}, "")},
		{extProcTCPRow, "ext_proc over TCP, as between containers", through(gatewaySpec{tcp: true}, "")},
		{extProcHeadersRow, "ext_proc with --route-from-headers: the headers are shown first, and the body where it is wanted", through(gatewaySpec{headers: true}, "")},
		{extProcGuardRow, "ext_proc with policies: a token is verified, a rule allows the call, a rate limit counts it", through(gatewaySpec{guarded: true}, "")},
		{extProcSessionRow, "ext_proc over a Unix socket; the server keeps sessions, so that its answers are looked at", through(gatewaySpec{}, serverSessionful)},
		{extProcWatchedRow, "ext_proc with metrics of each call, and a span of it, sent by OTLP", through(gatewaySpec{watched: true}, "")},
		{extProcSampledRow, "the same with a span of each tenth call", through(gatewaySpec{watched: true, sampled: true}, "")},
		{moduleRow, "the router inside of Envoy; the server keeps no sessions", through(gatewaySpec{module: true}, "")},
		{moduleGuardRow, "the same with policies, as with ext_proc", through(gatewaySpec{module: true, guarded: true}, "")},
		{moduleSessionRow, "the router inside of Envoy; the server keeps sessions, so that its answers are looked at", through(gatewaySpec{module: true}, serverSessionful)},
		{moduleWatchedRow, "the router inside of Envoy, with metrics and spans as with ext_proc", through(gatewaySpec{module: true, watched: true}, "")},
		{moduleSampledRow, "the same with a span of each tenth call", through(gatewaySpec{module: true, watched: true, sampled: true}, "")},
	}
}
