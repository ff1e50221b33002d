package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// maxMetadata is more than any such document has.
const maxMetadata = 1 << 20

// challenged asks for a session without a token, and wants to be told where to get one.
func (p *prober) challenged(ctx context.Context) (string, error) {
	body := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":%s}`, initializeParams())
	resp, err := p.anonymous.Post(ctx, upstream.Session{}, body, nil)
	if err != nil {
		return "", plain(err)
	}
	defer func() { _ = resp.Body.Close() }()
	header := resp.Header.Get("WWW-Authenticate")
	switch {
	case resp.StatusCode < http.StatusMultipleChoices:
		_ = p.anonymous.Delete(ctx, upstream.Session{ID: resp.Header.Get(wire.HeaderSessionID), Revision: wire.LatestSession})
		return "", fmt.Errorf("it was let through (HTTP %d): the policies are accepted and not in force; look at the status of the policy objects and at the log of what enforces them", resp.StatusCode)
	case resp.StatusCode != http.StatusUnauthorized:
		return "", fmt.Errorf("it was answered with HTTP %d in place of 401%s", resp.StatusCode, said(resp.Body))
	case resp.Header.Get(wire.HeaderRefusedBy) != "":
		return "", fmt.Errorf("it was refused by the broker, which has no part in most calls: the policies are accepted and not in force; look at the status of the policy objects and at the log of what enforces them")
	case header == "":
		return "", fmt.Errorf("it was refused with 401 and without WWW-Authenticate, so that no client would log in")
	}
	found := regexp.MustCompile(`(?i)\bresource_metadata="?([^",\s]+)`).FindStringSubmatch(header)
	if found == nil {
		return "", fmt.Errorf("it was refused with WWW-Authenticate %q, which names no resource_metadata, so that no client would find the login", header)
	}
	if p.metadata, err = url.Parse(found[1]); err != nil || p.metadata.Host == "" {
		return "", fmt.Errorf("the resource_metadata %q is no URL that a client can open", found[1])
	}
	return "refused with 401, which leads to " + found[1], nil
}

// said is how an error quotes the beginning of an answer.
func said(body io.Reader) string {
	text, _ := io.ReadAll(io.LimitReader(body, 200))
	if len(text) == 0 {
		return ""
	}
	return fmt.Sprintf(": %q", strings.TrimSpace(string(text)))
}

// readMetadata reads the document that the refusal named, at the gateway that is probed: what the public URL leads to is for those outside.
func (p *prober) readMetadata(ctx context.Context) (string, error) {
	at := *p.URL
	at.Path, at.RawPath, at.RawQuery = p.metadata.Path, p.metadata.RawPath, p.metadata.RawQuery
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return "", err
	}
	req.Host = cmp.Or(p.Host, p.URL.Host)
	transport := &http.Transport{DisableKeepAlives: true}
	if p.URL.Scheme == "https" {
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: p.serverName()}
		if len(p.CA) > 0 {
			transport.TLSClientConfig.RootCAs = x509.NewCertPool()
			transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(p.CA)
		}
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s was answered with HTTP %d%s: the route of the endpoint must lead %s to the broker, and no policy may ask for a token there",
			p.metadata.Path, resp.StatusCode, said(resp.Body), wire.PathProtectedResource)
	}
	var document struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxMetadata)).Decode(&document); err != nil {
		return "", fmt.Errorf("%s is no JSON: %w", p.metadata.Path, err)
	}
	if len(document.Servers) == 0 {
		return "", fmt.Errorf("%s names no authorization server, so that no client would find the login", p.metadata.Path)
	}
	return fmt.Sprintf("the resource is %s, logins are at %s", document.Resource, strings.Join(document.Servers, ", ")), nil
}
