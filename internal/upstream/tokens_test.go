package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/credential"
)

// wallet gives tokens one after the other, the next one when one was rejected.
type wallet struct {
	mu       sync.Mutex
	tokens   []string
	err      error
	rejected []string
}

func (w *wallet) Token(context.Context) (config.Secret, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return config.NewSecret(w.tokens[0]), w.err
}

func (w *wallet) Rejected(token config.Secret) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rejected = append(w.rejected, token.Reveal())
	if len(w.tokens) > 1 {
		w.tokens = w.tokens[1:]
	}
}

// purse has one wallet for all callers and one for each.
type purse struct {
	shared  *wallet
	callers map[string]*wallet
}

func (p purse) Shared(*config.Server) credential.Tokens {
	if p.shared == nil {
		return nil
	}
	return p.shared
}

func (p purse) Caller(_ *config.Server, token config.Secret) credential.Tokens {
	if w := p.callers[token.Reveal()]; w != nil {
		return w
	}
	return nil
}

func withKind(kind config.CredentialKind) func(*config.Server) {
	return func(cfg *config.Server) {
		cfg.Credential = &config.Credential{Kind: kind, Header: "authorization", Prefix: "Bearer ", Client: &config.OAuthClient{}}
	}
}

func sentWith(s *script) (out []string) {
	for _, r := range s.requests("") {
		out = append(out, r.Method+" "+r.Header.Get("Authorization"))
	}
	return out
}

func TestSharedToken(t *testing.T) {
	s := newScript()
	e := serve(t, s, EndpointOptions{Credentials: purse{shared: &wallet{tokens: []string{"s3cr3t-1"}}}}, withKind(config.ClientCredentials))
	o, err := e.Open(t.Context(), raw(`{}`))
	require.NoError(t, err)
	_, err = e.Call(t.Context(), o.Session, "tools/list", nil)
	require.NoError(t, err)
	require.NoError(t, e.Delete(t.Context(), o.Session))
	assert.Equal(t, []string{
		"initialize Bearer s3cr3t-1", "notifications/initialized Bearer s3cr3t-1", "tools/list Bearer s3cr3t-1", " Bearer s3cr3t-1",
	}, sentWith(s))
	assert.Same(t, e, e.For(config.NewSecret("Bearer callers")), "all callers get the same")
}

func TestNoTokenNoRequest(t *testing.T) {
	s := newScript()
	broken := errors.New("the authorization server is down")
	e := serve(t, s, EndpointOptions{Credentials: purse{shared: &wallet{tokens: []string{""}, err: broken}}}, withKind(config.ClientCredentials))
	_, err := e.Open(t.Context(), raw(`{}`))
	require.ErrorIs(t, err, broken)
	require.EqualError(t, err, `server "weather": initialize: the authorization server is down`)
	assert.Empty(t, s.requests(""))
}

// A server that answers 401 has done nothing: the request is made once more, whole, with another token, and with no third one.
func TestTokenThatIsRefused(t *testing.T) {
	for _, tt := range []struct {
		accepted string
		tokens   []string
		want     []string
		ok       bool
	}{
		{"t0ken-2", []string{"t0ken-1", "t0ken-2", "t0ken-3"}, []string{"t0ken-1", "t0ken-2"}, true},
		{"t0ken-3", []string{"t0ken-1", "t0ken-2", "t0ken-3"}, []string{"t0ken-1", "t0ken-2"}, false},
		{"t0ken-3", []string{"t0ken-1"}, []string{"t0ken-1"}, false},
	} {
		s := newScript()
		s.on["tools/call"] = func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
			if r.Header.Get("Authorization") != "Bearer "+tt.accepted {
				http.Error(w, "not "+r.Header.Get("Authorization"), http.StatusUnauthorized)
				return
			}
			answerJSON(w, m, `{}`)
		}
		e := serve(t, s, EndpointOptions{Credentials: purse{shared: &wallet{tokens: tt.tokens}}}, withKind(config.ClientCredentials))
		_, err := e.Call(t.Context(), Session{}, "tools/call", raw(`{"n":9007199254740993}`))
		var got []string
		for _, r := range s.requests("") {
			got = append(got, r.Header.Get("Authorization")[len("Bearer "):])
			assert.Contains(t, r.Body, `{"n":9007199254740993}`)
		}
		assert.Equal(t, tt.want, got)
		if tt.ok {
			require.NoError(t, err)
			continue
		}
		var status *StatusError
		require.ErrorAs(t, err, &status)
		assert.Equal(t, http.StatusUnauthorized, status.Status)
		assert.NotContains(t, fmt.Sprintf("%v %+v", err, err), "t0ken", "the server repeats what it was sent")
	}
}

// What is done for a caller is done with that caller's token alone: neither the one that lists are read with nor another caller's goes along.
func TestCallersTokens(t *testing.T) {
	discovery := func(cfg *config.Server) {
		withKind(config.TokenExchange)(cfg)
		cfg.Credential.Discovery = &config.Credential{Header: "authorization", Prefix: "Bearer ", Value: config.NewSecret("reader")}
	}
	callers := map[string]*wallet{"alice": {tokens: []string{"for-alice"}}, "bob": {tokens: []string{"for-bob"}}}
	for name, change := range map[string]func(*config.Server){"shared": withKind(config.TokenExchange), "static": discovery} {
		s := newScript()
		p := purse{callers: callers}
		if name == "shared" {
			p.shared = &wallet{tokens: []string{"reader"}}
		}
		e := serve(t, s, EndpointOptions{Credentials: p}, change)
		require.True(t, e.PerCaller())
		for _, authorization := range []string{"Bearer alice", "bearer  bob ", "Basic alice", "Bearer mallory", ""} {
			_, err := e.For(config.NewSecret(authorization)).Call(t.Context(), Session{}, "tools/list", nil)
			require.NoError(t, err)
		}
		_, err := e.Call(t.Context(), Session{}, "tools/list", nil)
		require.NoError(t, err)
		assert.Equal(t, []string{
			"tools/list Bearer for-alice", "tools/list Bearer for-bob", "tools/list ", "tools/list ", "tools/list ", "tools/list Bearer reader",
		}, sentWith(s), name)
		assert.False(t, e.For(config.NewSecret("Bearer alice")).PerCaller())
	}
}

// judgedWallet is one whose tokens a server may forbid.
type judgedWallet struct {
	*wallet

	forbidden []string
}

func (w *judgedWallet) Forbidden(token config.Secret) {
	w.forbidden = append(w.forbidden, token.Reveal())
}

type judgedPurse struct{ *judgedWallet }

func (p judgedPurse) Shared(*config.Server) credential.Tokens                { return nil }
func (p judgedPurse) Caller(*config.Server, config.Secret) credential.Tokens { return p.judgedWallet }

// A credential of a user's goes in the header that the configuration names, in place of the one for listing, and a message that is forbidden with
// it tells against it. A stream that is forbidden does not: many servers have none.
func TestCredentialOfAUser(t *testing.T) {
	s := newScript()
	w := &judgedWallet{wallet: &wallet{tokens: []string{"k3y-of-alice"}}}
	e := serve(t, s, EndpointOptions{Credentials: judgedPurse{w}}, func(cfg *config.Server) {
		cfg.Credential = &config.Credential{
			Kind: config.PerUser, Header: "x-api-key", Prefix: "key ",
			Discovery: &config.Credential{Header: "x-api-key", Prefix: "key ", Value: config.NewSecret("reader")},
		}
	})
	_, err := e.Call(t.Context(), Session{}, "tools/list", nil)
	require.NoError(t, err)
	alice := e.For(config.NewSecret("Bearer alice"))
	_, err = alice.Call(t.Context(), Session{}, "tools/list", nil)
	require.NoError(t, err)
	var sent []string
	for _, r := range s.requests("") {
		sent = append(sent, r.Header.Get("X-Api-Key")+r.Header.Get("Authorization"))
	}
	assert.Equal(t, []string{"key reader", "key k3y-of-alice"}, sent)

	forbid := func(rw http.ResponseWriter, r *http.Request, _ *jsonMessage) {
		http.Error(rw, "not with "+r.Header.Get("X-Api-Key"), http.StatusForbidden)
	}
	s.on["GET"], s.on["tools/call"] = forbid, forbid
	resp, err := alice.Get(t.Context(), Session{}, "")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Empty(t, w.forbidden)
	_, err = alice.Call(t.Context(), Session{}, "tools/call", nil)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "k3y-of-alice")
	assert.Equal(t, []string{"k3y-of-alice"}, w.forbidden)
}
