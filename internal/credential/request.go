package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

const (
	grantClientCredentials = "client_credentials"
	grantExchange          = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccessToken        = "urn:ietf:params:oauth:token-type:access_token"

	// maxAnswer bounds what is read of an authorization server's answer, maxToken what can be sent as a header.
	maxAnswer = 1 << 20
	maxToken  = 16 << 10
	// unknownLife is how long a token is used of which the authorization server does not say how long it lives.
	unknownLife = 5 * time.Minute
)

// grant is a token and the times that matter to it.
type grant struct {
	token config.Secret
	// renew is when a new one should be asked for, expires when this one must not be used any more.
	renew, expires time.Time
}

// newGrant leaves time for several attempts at another token before this one ends, and for calls on their way.
func newGrant(token config.Secret, life time.Duration, now time.Time) *grant {
	renew := life - min(life/4, 5*time.Minute)
	return &grant{token: token, renew: now.Add(renew), expires: now.Add(life - min(life/10, 5*time.Second))}
}

// client asks one authorization server, as one client.
type client struct {
	cfg  *config.OAuthClient
	http http.RoundTripper

	endpoint endpoint
}

func (c *client) clientCredentials(ctx context.Context) (*grant, error) {
	form := url.Values{"grant_type": {grantClientCredentials}}
	return c.ask(ctx, form)
}

// exchange asks for a token of the caller's for the server, by the caller's own token.
func (c *client) exchange(ctx context.Context, subject config.Secret) (*grant, error) {
	form := url.Values{
		"grant_type":           {grantExchange},
		"subject_token":        {subject.Reveal()},
		"subject_token_type":   {typeAccessToken},
		"requested_token_type": {typeAccessToken},
	}
	return c.ask(ctx, form, subject.Reveal())
}

// ask makes one token request. Secrets are what no error may show, beside the client's own.
func (c *client) ask(ctx context.Context, form url.Values, secrets ...string) (*grant, error) {
	tokenURL, err := c.endpoint.find(ctx, c)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"audience": c.cfg.Audience, "resource": c.cfg.Resource, "scope": strings.Join(c.cfg.Scopes, " ")} {
		if value != "" {
			form.Set(name, value)
		}
	}
	r := &request{server: tokenURL, secrets: append(secrets, c.cfg.Secret.Reveal(), url.QueryEscape(c.cfg.Secret.Reveal()))}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, tokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, r.fault("its URL cannot be used")
	}
	// RFC 6749, section 2.3.1: both parts are form-encoded before they become one header.
	req.SetBasicAuth(url.QueryEscape(c.cfg.ID), url.QueryEscape(c.cfg.Secret.Reveal()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	began := time.Now()
	status, body, err := r.do(c.http, req)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, r.refusal(status, body)
	}
	return r.granted(body, began)
}

// request is one request to an authorization server, as far as errors tell of it.
type request struct {
	server  string
	secrets []string
}

func (r *request) do(transport http.RoundTripper, req *http.Request) (status int, body []byte, err error) {
	req.Header.Set("User-Agent", "mcp-gateway")
	// Past http.Client: a redirect would take the secret elsewhere.
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if req.Context().Err() != nil {
			return 0, nil, r.fault("no answer in time")
		}
		return 0, nil, r.fault(explain(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, r.fault("broke off its answer")
	}
	if len(body) > maxAnswer {
		return 0, nil, r.fault(fmt.Sprintf("answered with more than %d bytes", maxAnswer))
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); resp.StatusCode == http.StatusOK && kind != "application/json" {
		return 0, nil, r.fault(fmt.Sprintf("answered with content type %.60q, not \"application/json\": is this its token endpoint?", kind))
	}
	return resp.StatusCode, body, nil
}

// explain words a failure of the connection without our own port, which would make each error a new one.
func explain(err error) string {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial" && op.Addr != nil:
		return "cannot connect to " + op.Addr.String() + ": " + op.Err.Error()
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// granted reads an answer of success.
func (r *request) granted(body []byte, began time.Time) (*grant, error) {
	var answer struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
	}
	switch err := json.Unmarshal(body, &answer); {
	case err != nil:
		return nil, r.fault("answered with what is no token response")
	case answer.AccessToken == "":
		return nil, r.fault("answered without an access_token")
	case !strings.EqualFold(answer.TokenType, "bearer"):
		return nil, r.fault(fmt.Sprintf("gave a token of type %.40q; only \"Bearer\" can be used", answer.TokenType))
	case !sendable(answer.AccessToken):
		return nil, r.fault(fmt.Sprintf("gave a token that no header can carry: longer than %d bytes, or not visible ASCII", maxToken))
	}
	life := unknownLife
	// Some write the number as a string.
	if s, err := strconv.ParseInt(string(bytes.Trim(answer.ExpiresIn, `"`)), 10, 32); err == nil {
		if life = time.Duration(s) * time.Second; life <= 0 {
			return nil, r.fault("gave a token that has expired already")
		}
	}
	return newGrant(config.NewSecret(answer.AccessToken), life, began), nil
}

// sendable tells whether a header can carry a token.
func sendable(token string) bool {
	return token != "" && len(token) <= maxToken && !strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// refusal reads an answer that is none of success (RFC 6749, section 5.2).
func (r *request) refusal(status int, body []byte) error {
	var answer struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Error == "" {
		return r.fault(fmt.Sprintf("answered with HTTP status %d", status))
	}
	e := r.fault(fmt.Sprintf("answered with HTTP status %d: %s", status, answer.Error))
	if answer.Description != "" {
		e.text += ": " + answer.Description
	}
	e.text = r.redact(e.text)
	if status < http.StatusInternalServerError && status != http.StatusTooManyRequests {
		e.Code = answer.Error
	}
	return e
}

func (r *request) fault(text string) *Error {
	return &Error{Server: r.redact(bare(r.server)), text: r.redact(text)}
}

// bare takes off what may be secret in a URL.
func bare(raw string) string {
	raw, _, _ = strings.Cut(raw, "?")
	return raw
}

// redact hides secrets in what an authorization server said, and makes one short line of it.
func (r *request) redact(text string) string {
	for _, secret := range r.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\ufffd"), func(c rune) bool { return c <= ' ' || c >= 0x7f && c < 0xa0 }), " ")
	const most = 300
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
