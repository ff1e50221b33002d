package probe

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// maxPages is where a list that never ends ends.
const maxPages = 1000

func initializeParams() json.RawMessage {
	return fmt.Appendf(nil, `{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":"mcp-gateway-probe","version":"1"}}`, wire.LatestSession)
}

func (p *prober) initialize(ctx context.Context) (string, error) {
	opened, err := p.caller.Open(ctx, initializeParams())
	if err != nil {
		return "", p.explain(err)
	}
	p.session, p.lost = opened.Session, false
	var result struct {
		ServerInfo struct{ Name, Version string }
	}
	// Only the name is of interest, and only to who reads it.
	_ = json.Unmarshal(opened.Result, &result)
	return fmt.Sprintf("%q speaks revision %s", strings.TrimSpace(result.ServerInfo.Name+" "+result.ServerInfo.Version), opened.Revision), nil
}

// within opens the session anew where the gateway has forgotten it, as it does when its pods are replaced.
func (p *prober) within(try func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		if p.lost {
			if _, err := p.initialize(ctx); err != nil {
				return "", err
			}
		}
		return try(ctx)
	}
}

// list reads every page, and wants the tool that is to be called to be among them.
func (p *prober) list(ctx context.Context) (string, error) {
	var names []string
	params := json.RawMessage(nil)
	for range maxPages {
		raw, err := p.caller.Call(ctx, p.session, "tools/list", params)
		if err != nil {
			return "", p.explain(err)
		}
		var page struct {
			Tools      []struct{ Name string }
			NextCursor *string
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return "", fmt.Errorf("the list cannot be read: %w", err)
		}
		for _, tool := range page.Tools {
			names = append(names, tool.Name)
		}
		if page.NextCursor == nil {
			break
		}
		cursor, err := json.Marshal(*page.NextCursor)
		if err != nil {
			return "", err
		}
		params = fmt.Appendf(nil, `{"cursor":%s}`, cursor)
	}
	if p.Tool != "" && !slices.Contains(names, p.Tool) {
		return "", fmt.Errorf("the tool %q is not among those that the caller may have: %s", p.Tool, few(names))
	}
	return few(names), nil
}

// few names some tools and counts the others.
func few(names []string) string {
	const shown = 10
	switch {
	case len(names) == 0:
		return "no tools"
	case len(names) > shown:
		return fmt.Sprintf("%d tools: %s, …", len(names), strings.Join(names[:shown], ", "))
	}
	return fmt.Sprintf("%d tools: %s", len(names), strings.Join(names, ", "))
}

func (p *prober) call(ctx context.Context) (string, error) {
	arguments := p.Arguments
	if len(arguments) == 0 {
		arguments = json.RawMessage("{}")
	}
	text, failed, err := p.use(ctx, p.Tool, arguments)
	fault := (*jsonrpc.Error)(nil)
	switch {
	case errors.As(err, &fault) && fault.Code == jsonrpc.CodeInvalidParams:
		return "", final{fmt.Errorf("%w: check its arguments", p.explain(err))}
	case err != nil:
		return "", p.explain(err)
	case failed:
		return "", final{fmt.Errorf("the tool says that it failed: %s", text)}
	}
	return text, nil
}

// forbidden makes a call that must be refused, because of who calls and for no other reason.
func (p *prober) forbidden(ctx context.Context) (string, error) {
	_, _, err := p.use(ctx, p.Forbidden, json.RawMessage("{}"))
	fault := (*jsonrpc.Error)(nil)
	switch {
	case err == nil:
		return "", errors.New("the call was let through: the policies are accepted and not in force; look at the status of the policy objects and at the log of what enforces them")
	case errors.As(err, &fault) && fault.Code == jsonrpc.CodeInvalidParams:
		return "", fmt.Errorf("%w: name a tool that the gateway has, by the name that clients use", p.explain(err))
	case status(err) == http.StatusForbidden:
		return "refused with 403", nil
	}
	return "", fmt.Errorf("it was refused, and not because of who calls: %w", p.explain(err))
}

// use calls a tool. The text is the beginning of what it answers.
func (p *prober) use(ctx context.Context, tool string, arguments json.RawMessage) (text string, failed bool, err error) {
	params := append(jsonrpc.AppendQuote([]byte(`{"name":`), tool), `,"arguments":`...)
	raw, err := p.caller.Call(ctx, p.session, "tools/call", append(append(params, arguments...), '}'))
	if err != nil {
		return "", false, err
	}
	var result struct {
		IsError bool
		Content []struct{ Text string }
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return "", false, fmt.Errorf("the answer cannot be read: %w", err)
	}
	for _, c := range result.Content {
		text = strings.TrimSpace(text + " " + c.Text)
	}
	const shown = 200
	if short := bytes.ToValidUTF8([]byte(text[:min(len(text), shown)]), nil); len(short) < len(text) {
		text = string(short) + "…"
	}
	return fmt.Sprintf("%q", text), result.IsError, nil
}

// status is the HTTP status of an answer that was an error; 0 if there was none.
func status(err error) int {
	fault, refused := (*jsonrpc.Error)(nil), (*upstream.StatusError)(nil)
	switch {
	case errors.As(err, &fault):
		return fault.Status
	case errors.As(err, &refused):
		return refused.Status
	}
	return 0
}

// explain says what to do about an answer that was an error.
func (p *prober) explain(err error) error {
	if errors.Is(err, upstream.ErrSessionUnknown) {
		p.lost = true
		return fmt.Errorf("%w: the broker was started anew, or there are several that do not share their sessions", plain(err))
	}
	switch status(err) {
	case http.StatusUnauthorized:
		if p.Token == "" {
			return fmt.Errorf("%w: the gateway asks for a token", plain(err))
		}
		return fmt.Errorf("%w: the token is not accepted; it may be too old, or of another issuer or audience than the policies name", plain(err))
	case http.StatusForbidden:
		return fmt.Errorf("%w: the policies do not allow it to this caller", plain(err))
	case http.StatusNotFound:
		return fmt.Errorf("%w: nothing leads there; check the path, the hostname and the status of the endpoint's HTTPRoute", plain(err))
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return fmt.Errorf("%w: Envoy does not reach the router or the broker; check that their pods are ready", plain(err))
	}
	return plain(err)
}

// plain is an error without advice for those who configure MCP servers.
func plain(err error) error {
	refused, fault := (*upstream.StatusError)(nil), (*jsonrpc.Error)(nil)
	unknown := x509.UnknownAuthorityError{}
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: give the roots of the gateway's certificate", unknown)
	case errors.As(err, &refused) && refused.Location != "":
		return fmt.Errorf("HTTP %d leads to %q: give that URL", refused.Status, refused.Location)
	case errors.As(err, &refused) && refused.Body != "":
		return fmt.Errorf("HTTP %d %q", refused.Status, refused.Body)
	case errors.As(err, &refused):
		return fmt.Errorf("HTTP %d", refused.Status)
	case errors.As(err, &fault):
		return fmt.Errorf("HTTP %d, JSON-RPC error %d %q", fault.Status, fault.Code, fault.Message)
	}
	return err
}
