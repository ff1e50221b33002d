package main

import "context"

// row is one way that a call can take. A new one is one more entry of rows.
type row struct {
	name, about string
	// reach starts what the row needs, if nobody has yet, and says where its calls go.
	reach func(ctx context.Context, s *stage) (target, error)
}

// The rows that ratios and the noise refer to.
const (
	baseRow  = "plain Envoy A"
	noiseRow = "plain Envoy B"
)

func rows() []row {
	return []row{
		{"direct", "no proxy: what the load generator and the upstream can do", func(ctx context.Context, s *stage) (target, error) {
			base, up, err := s.upstream(ctx)
			return target{url: base + pathSessionless, tool: toolName, parts: map[part]*process{partUpstream: up}}, err
		}},
		{baseRow, "an Envoy that only carries: the limit, and the base of the ratios", func(ctx context.Context, s *stage) (target, error) {
			return s.plain(ctx, "a")
		}},
		{noiseRow, "an identical second one: how far it is from the first is the noise", func(ctx context.Context, s *stage) (target, error) {
			return s.plain(ctx, "b")
		}},
		{"Envoy's mcp_router", "Envoy's own filters for MCP, work in progress there, which aggregate two servers; the answer is not one of a session", func(ctx context.Context, s *stage) (target, error) {
			return s.native(ctx)
		}},
		{"gateway, ext_proc", "ext_proc over a Unix socket; the server keeps no sessions", func(ctx context.Context, s *stage) (target, error) {
			return s.behindGateway(ctx, openGateway, "sessionless")
		}},
		{"gateway, ext_proc, policies", "the same with policies: a token is verified, a rule allows the call, a rate limit counts it", func(ctx context.Context, s *stage) (target, error) {
			return s.behindGateway(ctx, guardedGateway, "sessionless")
		}},
		{"gateway, ext_proc, session", "ext_proc over a Unix socket; the server keeps sessions, so that its answers are looked at", func(ctx context.Context, s *stage) (target, error) {
			return s.behindGateway(ctx, openGateway, "sessionful")
		}},
		{"gateway, module", "the router inside of Envoy; the server keeps no sessions", func(ctx context.Context, s *stage) (target, error) {
			return s.behindGateway(ctx, openModule, "sessionless")
		}},
		{"gateway, module, policies", "the same with policies, as with ext_proc", func(ctx context.Context, s *stage) (target, error) {
			return s.behindGateway(ctx, guardedModule, "sessionless")
		}},
		{"gateway, module, session", "the router inside of Envoy; the server keeps sessions, so that its answers are looked at", func(ctx context.Context, s *stage) (target, error) {
			return s.behindGateway(ctx, openModule, "sessionful")
		}},
	}
}

// benchCase is one kind of work that every row is measured with. A new one is one more entry of benchCases.
type benchCase struct {
	name, about string
	body        int // bytes of a call
}

func benchCases() []benchCase {
	return []benchCase{
		{"tools/call, 1 KiB", "calls of one tool over open sessions, the request's body 1 KiB, a small JSON result", 1024},
	}
}
