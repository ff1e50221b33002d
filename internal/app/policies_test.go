package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/authn"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/protectedresource"
	"github.com/guicassolato/mcp-gateway/internal/telemetry"
	"github.com/guicassolato/mcp-gateway/internal/wire"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

const testIssuer = "https://issuer.example.com"

// withTokens are values that ask for tokens.
func withTokens(rest string) string {
	return "policies:\n  authentication: {issuer: " + testIssuer + ", audiences: [gateway]}\n" + rest
}

// issuerOf answers for the test's issuer, with whatever keys there are at the time.
type issuerOf struct {
	mu   sync.Mutex
	keys []jose.JSONWebKey
	down bool
}

func (i *issuerOf) set(down bool, keys ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down, i.keys = down, keys
}

func (i *issuerOf) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.down {
		return nil, errors.New("the issuer is down")
	}
	rec := httptest.NewRecorder()
	if strings.HasSuffix(r.URL.Path, "/keys") {
		set := jose.JSONWebKeySet{}
		for _, k := range i.keys {
			set.Keys = append(set.Keys, k.Public())
		}
		_ = json.NewEncoder(rec).Encode(set)
	} else {
		_ = json.NewEncoder(rec).Encode(map[string]string{"issuer": testIssuer, "jwks_uri": testIssuer + "/keys"})
	}
	return rec.Result(), nil
}

func signingKey(t testing.TB, id string) jose.JSONWebKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return jose.JSONWebKey{Key: k, KeyID: id, Algorithm: "ES256", Use: "sig"}
}

// token is a signed token for a subject as the value of an Authorization header.
func token(t testing.TB, k jose.JSONWebKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k}, nil)
	require.NoError(t, err)
	all := map[string]any{"iss": testIssuer, "aud": "gateway", "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range claims {
		all[name] = v
	}
	text, err := json.Marshal(all)
	require.NoError(t, err)
	signed, err := signer.Sign(text)
	require.NoError(t, err)
	compact, err := signed.CompactSerialize()
	require.NoError(t, err)
	return "Bearer " + compact
}

// valuesSeen is an Envoy that takes values.
type valuesSeen struct {
	mu    sync.Mutex
	taken []*xds.PolicyValues
	fault error
}

func (f *valuesSeen) CheckValues(*xds.PolicyValues) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

func (f *valuesSeen) SetValues(v *xds.PolicyValues) []catalog.Problem {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken = append(f.taken, v)
	return nil
}

func (f *valuesSeen) last() *xds.PolicyValues {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.taken[len(f.taken)-1]
}

type policyBed struct {
	*policies

	t      *testing.T
	issuer *issuerOf
	envoy  *valuesSeen
	log    *strings.Builder
	key    jose.JSONWebKey
}

// startPolicies reads values from a file.
func startPolicies(t *testing.T, values string, change ...func(*policyBed)) *policyBed {
	t.Helper()
	b := &policyBed{t: t, issuer: &issuerOf{}, envoy: &valuesSeen{}, log: &strings.Builder{}, key: signingKey(t, "first")}
	b.issuer.set(false, b.key)
	for _, c := range change {
		c(b)
	}
	metrics := telemetry.NewMetrics("test", telemetry.Sources{})
	var err error
	logger := slog.New(slog.NewTextHandler(&lockedWriter{w: b.log}, nil))
	b.policies, err = newPolicies(policiesOptions{
		File: write(t, "policies.yaml", values), Logger: logger, Metrics: metrics.Policies(), Feed: b.envoy,
		ResourceMetadata: "https://mcp.example.com/m", Scopes: []string{"basic", "groups"},
		Keys: authn.KeysOptions{Logger: logger, Client: &http.Client{Transport: b.issuer}},
	})
	require.NoError(t, err)
	return b
}

// run keeps the keys fresh until it is told to stop.
func (b *policyBed) run() (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.refresh(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestPoliciesAtStart(t *testing.T) {
	feed := &valuesSeen{}
	o := policiesOptions{Logger: slog.New(slog.DiscardHandler), Metrics: telemetry.NewMetrics("", telemetry.Sources{}).Policies(), Feed: feed}
	o.File = filepath.Join(t.TempDir(), "none.yaml")
	_, err := newPolicies(o)
	require.ErrorContains(t, err, "the policies cannot be used:\n--policies: ")
	o.File = write(t, "bad.yaml", "policies: {acl: 1, rateLimits: 2}")
	_, err = newPolicies(o)
	require.ErrorContains(t, err, "policies.acl")
	require.ErrorContains(t, err, "policies.rateLimits", "all problems at once")
	assert.Equal(t, 1, ExitCode(err))
	o.File = write(t, "good.yaml", "policies: {}")
	feed.fault = errors.New("what Envoy cannot do")
	_, err = newPolicies(o)
	require.ErrorContains(t, err, "what Envoy cannot do", "it is refused, not dropped")
	assert.Empty(t, feed.taken)
}

// TestPoliciesKeys: Envoy is given the keys as soon as they are there, and until then none; for a while that is a reason not to be ready.
func TestPoliciesKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startPolicies(t, withTokens("  acl: []"), func(b *policyBed) { b.issuer.set(true) })
		assert.NotContains(t, string(b.envoy.last().JWKS), "first")
		assert.Equal(t, "https://mcp.example.com/m", b.envoy.last().ResourceMetadata)
		stop := b.run()
		defer stop()
		synctest.Wait()
		reasons := b.NotReady()
		require.Len(t, reasons, 1)
		assert.Contains(t, reasons[0], testIssuer)
		time.Sleep(patience)
		assert.Empty(t, b.NotReady(), "it does not wait for ever")
		status := b.Status()
		require.Len(t, status.Problems, 1)
		assert.Contains(t, status.Problems[0], "the issuer is down")
		assert.Zero(t, status.Keys)

		b.issuer.set(false, b.key)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		assert.Contains(t, string(b.envoy.last().JWKS), "first")
		status = b.Status()
		assert.Empty(t, status.Problems)
		assert.Equal(t, 1, status.Keys)
		assert.NotZero(t, status.KeysFetched)

		b.issuer.set(true)
		time.Sleep(2 * time.Minute)
		assert.Contains(t, string(b.envoy.last().JWKS), "first", "an issuer that is down takes no keys along")
		assert.Len(t, b.Status().Problems, 1)
	})
}

// TestPoliciesReload: Invariant 8.
func TestPoliciesReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startPolicies(t, withTokens("  acl: []"))
		stop := b.run()
		defer stop()
		change := func(text string) { // as the watch of the file does
			require.NoError(t, os.WriteFile(b.File, []byte(text), 0o600))
			switch values, err := b.kind().Load(b.File, config.OS()); {
			case err != nil:
				b.refused(err)
			case !values.equal(b.now.Load().values):
				b.changed(values)
			default:
				b.recovered()
			}
			synctest.Wait()
		}
		time.Sleep(time.Second)
		assert.Equal(t, 1, b.Status().Generation)

		change(withTokens("  acl: [{everyone: true, allow: [x]}]"))
		assert.Equal(t, 2, b.Status().Generation)
		assert.Len(t, b.envoy.last().Set.ACL, 1)
		assert.Contains(t, string(b.envoy.last().JWKS), "first", "the keys stay")

		change(withTokens("  acl: [{everyone: true, alow: [x]}, {allow: [x]}]"))
		assert.Equal(t, 2, b.Status().Generation)
		problems := b.Status().Problems
		assert.Greater(t, len(problems), 1)
		assert.Equal(t, len(problems), strings.Count(b.log.String(), `msg="policy problem"`))
		assert.Len(t, b.envoy.last().Set.ACL, 1)

		b.envoy.fault = errors.New("what Envoy cannot do")
		change(withTokens("  acl: []"))
		assert.Equal(t, []string{"what Envoy cannot do"}, b.Status().Problems)
		b.envoy.fault = nil

		change(withTokens("  acl: [{everyone: true, allow: [x]}]"))
		assert.Empty(t, b.Status().Problems)
		assert.Equal(t, 2, b.Status().Generation, "these are in force already")

		for _, open := range []string{"policies: {}", withTokens(""), "policies: {acl: []}"} {
			change(open)
			assert.Equal(t, 2, b.Status().Generation, "a running gateway does not open itself (Invariant 5): %s", open)
			require.Len(t, b.Status().Problems, 1)
			assert.Contains(t, b.Status().Problems[0], "a running gateway does not open itself")
			assert.NotEmpty(t, b.Challenge(http.StatusUnauthorized, ""))
		}
	})
}

func TestOpens(t *testing.T) {
	parse := func(text string) *policy.Set {
		set, err := policy.Parse("p", []byte(text))
		require.NoError(t, err)
		return set
	}
	whole, open, anyone := parse(withTokens("  acl: []")), parse(withTokens("")), parse("policies: {acl: []}")
	assert.True(t, opens(whole, open))
	assert.True(t, opens(whole, anyone))
	assert.False(t, opens(open, whole))
	assert.False(t, opens(anyone, anyone))
	assert.False(t, opens(whole, whole))
}

func TestChallenge(t *testing.T) {
	b := startPolicies(t, withTokens(""))
	assert.Equal(t, `Bearer error="invalid_token", resource_metadata="https://mcp.example.com/m", scope="basic groups"`, b.Challenge(http.StatusUnauthorized, ""))
	assert.Equal(t, `Bearer error="insufficient_scope", resource_metadata="https://mcp.example.com/m", scope="basic groups"`, b.Challenge(http.StatusForbidden, ""))
	assert.Equal(t, `Bearer error="insufficient_scope", resource_metadata="https://mcp.example.com/m/reports", scope="basic groups"`, b.Challenge(http.StatusForbidden, "reports"))
}

// TestTokensSeen: the first token of a new key has the keys fetched, a known one costs next to nothing.
func TestTokensSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startPolicies(t, withTokens(""))
		stop := b.run()
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		second := signingKey(t, "second")
		b.issuer.set(false, b.key, second)
		old := token(t, b.key, nil)
		b.seen.see(old)
		synctest.Wait()
		assert.Equal(t, 1, b.Status().Keys)
		assert.Zero(t, testing.AllocsPerRun(100, func() { b.seen.see(old) }))
		for _, odd := range []string{"", "Bearer", "Bearer ", "Bearer .", "Bearer a.b.c", "Basic x", "Bearer eyJ9.x.y", "Bearer " + strings.Repeat("a", 1<<20) + ".b.c"} {
			b.seen.see(odd)
		}
		synctest.Wait()
		assert.Equal(t, 1, b.Status().Keys)
		b.seen.see(token(t, second, nil))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		assert.Equal(t, 2, b.Status().Keys)
		assert.Contains(t, string(b.envoy.last().JWKS), "second")
	})
}

// TestTokensSeenAreFew: made-up tokens fill no memory.
func TestTokensSeenAreFew(t *testing.T) {
	keys := authn.NewKeys(authn.KeysOptions{Logger: slog.New(slog.DiscardHandler)})
	seen := &tokensSeen{keys: keys}
	seen.see("Bearer eyJraWQiOiJ4In0.x.y")
	assert.Nil(t, seen.known.Load(), "without an issuer tokens do not matter")
	keys.Set(&policy.Authentication{Issuer: testIssuer})
	known := seen.current()
	known.ids["k"] = true
	for range 2 * maxTokenHeaders {
		text, err := json.Marshal(map[string]string{"kid": "k", "x": rand.Text()})
		require.NoError(t, err)
		seen.see("Bearer " + base64.RawURLEncoding.EncodeToString(text) + ".b.c")
	}
	assert.Len(t, seen.known.Load().headers, maxTokenHeaders)
}

// accessOf asks what a request may have.
func accessOf(a *access, header http.Header, name string) (allowed bool, err error) {
	r := httptest.NewRequest(http.MethodPost, "/mcp", http.NoBody)
	r.Header = header
	may, err := a.of(r)
	if err != nil {
		return false, err
	}
	return may.Allows(policy.Request{Kind: policy.Tool, Server: "s", Name: name, PublicName: "s_" + name}), nil
}

// TestAccessByToken: rights are those of a verified token whose subject is the one that the router binds sessions to.
func TestAccessByToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startPolicies(t, withTokens("  acl: [{users: [ann], allow: [s_look]}]"))
		stop := b.run()
		defer stop()
		time.Sleep(time.Second)
		a := &access{policies: b.policies}
		ann := token(t, b.key, map[string]any{"sub": "1", "preferred_username": "ann"})
		bearer := strings.TrimPrefix(ann, "Bearer ")
		for name, tt := range map[string]struct {
			header http.Header
			want   bool
		}{
			"good":            {http.Header{"Authorization": {ann}}, true},
			"lower case":      {http.Header{"Authorization": {"bearer " + bearer}}, true},
			"none":            {http.Header{}, false},
			"twice":           {http.Header{"Authorization": {ann, ann}}, false},
			"without subject": {http.Header{"Authorization": {token(t, b.key, map[string]any{"preferred_username": "ann"})}}, false},
			"empty subject":   {http.Header{"Authorization": {token(t, b.key, map[string]any{"sub": "", "preferred_username": "ann"})}}, false},
			"foreign key":     {http.Header{"Authorization": {token(t, signingKey(t, "first"), map[string]any{"sub": "1", "preferred_username": "ann"})}}, false},
			"with more":       {http.Header{"Authorization": {ann + " x"}}, false},
		} {
			allowed, err := accessOf(a, tt.header, "look")
			assert.Equal(t, tt.want, allowed, name)
			assert.Equal(t, tt.want, err == nil, "%s: %v", name, err)
			if err != nil {
				assert.NotContains(t, err.Error(), bearer)
			}
		}
		allowed, err := accessOf(a, http.Header{"Authorization": {ann}}, "change")
		require.NoError(t, err)
		assert.False(t, allowed)
	})
}

// TestAccessByGrants: with a trusted policy engine only its good lists count, and values beside it must agree.
func TestAccessByGrants(t *testing.T) {
	engine := signingKey(t, "")
	der, err := x509.MarshalPKIXPublicKey(engine.Public().Key)
	require.NoError(t, err)
	key := write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	list := func(k jose.JSONWebKey, claims map[string]any) string {
		claims["allowed-capabilities"] = `{"tools":{"s":["look","read"]}}`
		return strings.TrimPrefix(token(t, k, claims), "Bearer ")
	}
	good := list(engine, map[string]any{"iss": "engine"})
	a, err := newAccess(&settings{authorizerKeyFile: key, authorizerIssuer: "engine"}, nil)
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		lists []string
		want  bool
	}{
		"good":           {[]string{good}, true},
		"none":           {nil, false},
		"empty":          {[]string{""}, false},
		"two":            {[]string{good, good}, false},
		"another issuer": {[]string{list(engine, map[string]any{"iss": "other"})}, false},
		"expired":        {[]string{list(engine, map[string]any{"iss": "engine", "exp": 1})}, false},
		"foreign key":    {[]string{list(signingKey(t, ""), map[string]any{"iss": "engine"})}, false},
	} {
		header := http.Header{http.CanonicalHeaderKey(wire.HeaderAuthorized): tt.lists}
		allowed, err := accessOf(a, header, "look")
		require.NoError(t, err, name)
		assert.Equal(t, tt.want, allowed, name)
	}
	b := startPolicies(t, "policies: {acl: [{everyone: true, allow: [s_look, s_change]}]}")
	a.policies = b.policies
	for name, want := range map[string]bool{"look": true, "read": false, "change": false} {
		allowed, err := accessOf(a, http.Header{http.CanonicalHeaderKey(wire.HeaderAuthorized): {good}}, name)
		require.NoError(t, err)
		assert.Equal(t, want, allowed, name)
	}
	_, err = newAccess(&settings{authorizerKeyFile: write(t, "no.pem", "nothing")}, nil)
	require.ErrorContains(t, err, "--trusted-authorizer-key-file")
	none, err := newAccess(&settings{}, nil)
	require.NoError(t, err)
	assert.Nil(t, none)
}

// TestAuthorizationServerDefault: clients are sent to the issuer in force, unless the operator says otherwise.
func TestAuthorizationServerDefault(t *testing.T) {
	b := startPolicies(t, withTokens(""))
	g := &gateway{settings: &settings{publicURL: "https://mcp.example.com"}, policies: b.policies}
	read := func() string {
		public, err := g.settings.public()
		require.NoError(t, err)
		m, err := protectedresource.FromEnv(os.LookupEnv, public)
		require.NoError(t, err)
		rec := httptest.NewRecorder()
		g.resourceMetadata(m, public).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, wire.PathProtectedResource+wire.PathMCP, http.NoBody))
		body, err := io.ReadAll(rec.Body)
		require.NoError(t, err)
		return string(body)
	}
	assert.Contains(t, read(), `"authorization_servers":["`+testIssuer+`"]`)
	t.Setenv("OAUTH_AUTHORIZATION_SERVERS", "https://other.example.com")
	assert.Contains(t, read(), `"authorization_servers":["https://other.example.com"]`)
}
