package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// A token that is not what the policies ask for would be measured as a refusal.
func TestPoliciesFitTheToken(t *testing.T) {
	s, err := newStage(options{})
	require.NoError(t, err)
	defer s.stop()
	path, authorization, err := s.policies(t.Context())
	require.NoError(t, err)
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	var values struct {
		Policies struct {
			Authentication struct {
				Issuer    string
				Audiences []string
				JWKSURI   string `yaml:"jwksURI"`
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(file, &values))
	a := values.Policies.Authentication
	resp, err := http.Get(a.JWKSURI)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var keys jose.JSONWebKeySet
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&keys))

	text, ok := strings.CutPrefix(authorization, "Bearer ")
	require.True(t, ok)
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	require.NoError(t, err)
	var claims jwt.Claims
	var more struct {
		Groups []string `json:"groups"`
	}
	require.NoError(t, token.Claims(keys, &claims, &more))
	require.NoError(t, claims.ValidateWithLeeway(jwt.Expected{Issuer: a.Issuer, AnyAudience: a.Audiences, Time: time.Now()}, 0))
	assert.Contains(t, more.Groups, "bench")
}
