package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

const (
	maxDocument  = 1 << 20
	maxRedirects = 5
)

// source is where the keys of an issuer are.
type source struct {
	// jwksURI is empty where the issuer's metadata tells.
	issuer, jwksURI string
}

func sourceOf(a *policy.Authentication) *source {
	if a == nil {
		return nil
	}
	return &source{issuer: a.Issuer, jwksURI: a.JWKSURI}
}

// exposed tells whether anybody between here and the issuer could put in keys of his own.
func (s *source) exposed() bool {
	u, err := url.Parse(s.issuer)
	if s.jwksURI != "" {
		u, err = url.Parse(s.jwksURI)
	}
	if err != nil || u.Scheme != "http" {
		return false
	}
	host := u.Hostname()
	return host != "localhost" && !strings.HasSuffix(host, ".localhost") && !net.ParseIP(host).IsLoopback()
}

// fetcher gets documents from an issuer.
type fetcher struct {
	client http.Client
}

func newFetcher(client *http.Client) *fetcher {
	f := &fetcher{}
	if client != nil {
		f.client = *client
	}
	f.client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) > maxRedirects:
			return fmt.Errorf("more than %d redirects", maxRedirects)
		case r.URL.Scheme != via[0].URL.Scheme:
			return fmt.Errorf("a redirect from %q to %q is not followed", via[0].URL.Scheme, r.URL.Scheme)
		}
		return nil
	}
	return f
}

// keys fetches the keys as they are now, which may be none.
func (f *fetcher) keys(ctx context.Context, s *source) (*ring, error) {
	uri := s.jwksURI
	if uri == "" {
		var err error
		if uri, err = f.discover(ctx, s.issuer); err != nil {
			return nil, err
		}
	}
	doc, err := f.get(ctx, uri)
	if err != nil {
		return nil, fmt.Errorf("cannot fetch the keys: %w", err)
	}
	r, err := parseRing(doc)
	if err != nil {
		return nil, fmt.Errorf("cannot use the keys at %q: %w", uri, err)
	}
	return r, nil
}

// discover asks the issuer's metadata for the address of the keys: by OpenID Connect Discovery, then by RFC 8414.
func (f *fetcher) discover(ctx context.Context, issuer string) (string, error) {
	places, err := metadataOf(issuer)
	if err != nil {
		return "", err
	}
	errs := make([]error, 0, len(places))
	for _, place := range places {
		uri, err := f.readMetadata(ctx, issuer, place)
		if err == nil {
			return uri, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("cannot find the keys of the issuer %q: %w", issuer, errors.Join(errs...))
}

// metadataOf are the addresses at which an issuer's metadata may be.
func metadataOf(issuer string) ([]string, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the issuer %q is no URL, so that it has no metadata: set jwksURI", issuer)
	}
	root, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	return []string{root + path + "/.well-known/openid-configuration", root + "/.well-known/oauth-authorization-server" + path}, nil
}

func (f *fetcher) readMetadata(ctx context.Context, issuer, place string) (string, error) {
	doc, err := f.get(ctx, place)
	if err != nil {
		return "", err
	}
	var meta struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(doc, &meta); err != nil {
		return "", fmt.Errorf("the metadata at %q is not JSON: %w", place, err)
	}
	if meta.Issuer != issuer {
		return "", fmt.Errorf("the metadata at %q is of the issuer %q: the policies must name that very issuer", place, meta.Issuer)
	}
	u, err := url.Parse(meta.JWKSURI)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("the metadata at %q has no usable jwks_uri: %q", place, meta.JWKSURI)
	}
	if u.Scheme == "http" && strings.HasPrefix(place, "https:") {
		return "", fmt.Errorf("the metadata at %q has the jwks_uri %q, which is not protected: want https", place, meta.JWKSURI)
	}
	return meta.JWKSURI, nil
}

func (f *fetcher) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%q answers with status %d", address, resp.StatusCode)
	}
	doc, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %w", address, err)
	}
	if len(doc) > maxDocument {
		return nil, fmt.Errorf("%q is larger than %d bytes", address, maxDocument)
	}
	return doc, nil
}
