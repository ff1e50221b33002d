package upstream

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/credential"
)

// Credentials has the tokens of servers whose credential is one. A nil answer means that there is none to send.
type Credentials interface {
	// Shared is for requests that are made for all callers.
	Shared(s *config.Server) credential.Tokens
	// Caller is for requests that are made for the one caller with this bearer token.
	Caller(s *config.Server, token config.Secret) credential.Tokens
}

// sentIn is the header that carries a token, and what stands before it.
type sentIn struct{ header, prefix string }

// authorize takes a server's credential in: what is static becomes a header, and the rest is asked for with each request.
func (e *Endpoint) authorize(cfg config.Server, c *config.Credential) {
	if c.PerCaller() {
		e.perCaller = &cfg
	}
	e.sentIn = sentIn{c.Header, c.Prefix}
	if c.Kind != config.StaticCredential {
		if e.opts.Credentials != nil {
			e.tokens = e.opts.Credentials.Shared(&cfg)
		}
		c = c.Discovery
	}
	if c == nil {
		return
	}
	value := c.HeaderValue()
	e.header.Set(c.Header, value.Reveal())
	if bare := c.Value.Reveal(); bare != "" {
		e.secrets = append(e.secrets, bare)
	}
}

// PerCaller tells whether requests that are made for a caller need that caller's token; see [Endpoint.For].
func (e *Endpoint) PerCaller() bool { return e.perCaller != nil }

// For is the endpoint for requests that are made for the caller with this Authorization header. Where the server's credential is the same for
// all callers, it is the endpoint itself; else it has nothing of what the gateway reads the lists with.
func (e *Endpoint) For(authorization config.Secret) *Endpoint {
	if e.perCaller == nil {
		return e
	}
	out := *e
	out.perCaller, out.used, out.tokens = nil, &usedTokens{}, nil
	out.header = e.header.Clone()
	out.header.Del(e.sentIn.header)
	if e.opts.Credentials != nil {
		out.tokens = e.opts.Credentials.Caller(e.perCaller, bearer(authorization))
	}
	return &out
}

// bearer is the token of an Authorization header, empty if it has none.
func bearer(authorization config.Secret) config.Secret {
	scheme, token, ok := strings.Cut(authorization.Reveal(), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return config.NewSecret("")
	}
	return config.NewSecret(strings.TrimSpace(token))
}

// sendWithToken sends a request with a token. A server that answers 401 has done nothing: it is asked once more if there is another token.
func (e *Endpoint) sendWithToken(req *http.Request, what string) (*http.Response, error) {
	token, err := e.token(req, what)
	if err != nil {
		return nil, err
	}
	resp, err := e.roundTrip(req, what)
	if err != nil {
		return nil, err
	}
	if judged, ok := e.tokens.(credential.Judged); ok && resp.StatusCode == http.StatusForbidden && req.Method == http.MethodPost {
		judged.Forbidden(token)
	}
	if resp.StatusCode != http.StatusUnauthorized {
		return resp, nil
	}
	e.tokens.Rejected(token)
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // the refusal is the answer then
		}
	}
	if next, err := e.token(again, what); err != nil || next.Equal(token) {
		return resp, nil //nolint:nilerr // likewise
	}
	discard(resp)
	return e.roundTrip(again, what)
}

func (e *Endpoint) token(req *http.Request, what string) (config.Secret, error) {
	token, err := e.tokens.Token(req.Context())
	if err != nil {
		return token, fmt.Errorf("server %q: %s: %w", e.name, what, err)
	}
	e.used.add(token.Reveal())
	req.Header.Set(e.sentIn.header, e.sentIn.prefix+token.Reveal())
	return token, nil
}

// usedTokens are the last tokens that were sent, which no error may show.
type usedTokens struct {
	mu     sync.Mutex
	tokens []string
}

// maxUsed is how many answers a server may be behind with what it repeats of a request.
const maxUsed = 4

func (u *usedTokens) add(token string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if slices.Contains(u.tokens, token) {
		return
	}
	if len(u.tokens) == maxUsed {
		u.tokens = u.tokens[1:]
	}
	u.tokens = append(slices.Clip(u.tokens), token)
}

func (u *usedTokens) all() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.tokens
}
