package credential

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// metadataLife is how long an issuer's metadata count as fresh.
	metadataLife = time.Hour
	// metadataPause is how long nobody asks again after a failure.
	metadataPause = time.Second
)

// endpoint is where tokens are had, found once in a while by the issuer's metadata.
type endpoint struct {
	mu    sync.Mutex
	url   string
	err   error
	until time.Time // of url, or of err where there is no url
}

// find returns the token endpoint. Metadata that cannot be had anew are good for as long as they must be.
func (e *endpoint) find(ctx context.Context, c *client) (string, error) {
	if c.cfg.TokenURL != "" {
		return c.cfg.TokenURL, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Now().Before(e.until) {
		return e.url, e.err
	}
	found, err := c.discover(ctx)
	switch {
	case err == nil:
		e.url, e.err, e.until = found, nil, time.Now().Add(metadataLife)
	case e.url != "":
		e.until = time.Now().Add(time.Minute)
	default:
		e.err, e.until = err, time.Now().Add(metadataPause)
	}
	return e.url, e.err
}

// discover asks at both of the well-known places: that of OpenID Connect Discovery, then that of RFC 8414.
func (c *client) discover(ctx context.Context) (string, error) {
	u, err := url.Parse(c.cfg.Issuer)
	if err != nil {
		return "", (&request{server: c.cfg.Issuer}).fault("its URL cannot be used")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	root := u.Scheme + "://" + u.Host
	var first error
	for _, place := range []string{root + path + "/.well-known/openid-configuration", root + "/.well-known/oauth-authorization-server" + path} {
		found, err := c.metadata(ctx, place)
		if err == nil {
			return found, nil
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}

func (c *client) metadata(ctx context.Context, place string) (string, error) {
	r := &request{server: place}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return "", r.fault("its URL cannot be used")
	}
	req.Header.Set("Accept", "application/json")
	status, body, err := r.do(c.http, req)
	if err != nil {
		return "", err
	}
	if status != http.StatusOK {
		return "", r.refusal(status, body)
	}
	var meta struct {
		Issuer        string `json:"issuer"`
		TokenEndpoint string `json:"token_endpoint"`
	}
	if json.Unmarshal(body, &meta) != nil {
		return "", r.fault("answered with what are no metadata")
	}
	if meta.Issuer != c.cfg.Issuer {
		// Whoever answers for another issuer must not be sent this one's secret.
		return "", r.fault("names another issuer: " + meta.Issuer)
	}
	end, err := url.Parse(meta.TokenEndpoint)
	if err != nil || end.Host == "" || end.User != nil || end.Scheme != "https" && end.Scheme != "http" {
		return "", r.fault("names no token_endpoint that can be used")
	}
	if end.Scheme == "http" && strings.HasPrefix(c.cfg.Issuer, "https:") {
		return "", r.fault("names a token_endpoint without TLS")
	}
	return meta.TokenEndpoint, nil
}
