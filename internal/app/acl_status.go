package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/admin"
	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// gatewayStatus asks a running gateway what it has.
type gatewayStatus struct{ address string }

// items are all of the gateway's, in its order.
func (g gatewayStatus) items(ctx context.Context) ([]policy.Request, error) {
	status, err := g.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the gateway at %s what it has (%w); start it, or name its --%s", g.address, err, flagAdmin)
	}
	var out []policy.Request
	for _, it := range status.Tools {
		out = append(out, policy.Request{Kind: policy.Tool, Server: it.Server, Name: it.OwnName, PublicName: it.Name, Hints: it.Hints})
	}
	add := func(kind policy.Kind, items []admin.Item) {
		for _, it := range items {
			out = append(out, policy.Request{Kind: kind, Server: it.Server, Name: it.OwnName, PublicName: it.Name})
		}
	}
	add(policy.Prompt, status.Prompts)
	add(policy.Resource, status.Resources)
	add(policy.Resource, status.Templates)
	return out, nil
}

func (g gatewayStatus) get(ctx context.Context) (*admin.Status, error) {
	if err := checkAddress(flagAdmin, g.address); err != nil {
		return nil, err
	}
	network, address := "tcp", reachable(g.address)
	if path, ok := socketPath(g.address); ok {
		network, address = "unix", path
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, address)
	}}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// A gateway on this machine answers to names of this machine only.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/status", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, bare(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/status answers %s", response.Status)
	}
	var status admin.Status
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		return nil, fmt.Errorf("/status is not what this version understands: %w", err)
	}
	return &status, nil
}
