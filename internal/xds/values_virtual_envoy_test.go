package xds_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// TestValuesChallengeAtVirtualServers proves that whoever is refused at a virtual server is told of that one's metadata, and that nothing is told
// where nobody asks for tokens.
func TestValuesChallengeAtVirtualServers(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	key := newIssuer(t, "k")
	set := parseValues(t, "  acl: [{groups: [staff], allow: [x_*]}]\n")
	g := startWithValues(t, values(set, jwks(t, key)), a)
	call := namedTool("y_a")
	call.Metadata[wire.KeyVirtualServer], call.Metadata[wire.KeyVirtualServerPath] = "team/reports", "reports"
	at := func(challenge string) string {
		return strings.Replace(challenge, resourceMetadata, resourceMetadata+"/reports", 1)
	}
	staff := "Bearer " + key.token(t, goodClaims(map[string]any{"groups": "staff"}))
	for name, tt := range map[string]struct {
		authorization, challenge string
		status                   int
	}{
		"no token":      {"", at(challengeNone), http.StatusUnauthorized},
		"a bad token":   {strings.Replace(staff, ".", ".e30", 1), at(challengeInvalid), http.StatusUnauthorized},
		"too few right": {staff, at(challengeScope), http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			if tt.authorization != "" {
				headers = []string{"authorization", tt.authorization}
			}
			got := send(t, http.MethodPost, g.url(), call.body(t), headers...)
			require.Equal(t, tt.status, got.status, got.body)
			require.Equal(t, []string{tt.challenge}, got.header.Values("WWW-Authenticate"))
			require.Contains(t, got.body, `"id":1,`)
		})
	}

	open, err := policy.Parse("values", []byte("policies: {acl: [{everyone: true, allow: [x_*]}]}"))
	require.NoError(t, err)
	g.change(t, values(open, nil), a)
	got := send(t, http.MethodPost, g.url(), call.body(t))
	require.Equal(t, http.StatusForbidden, got.status, got.body)
	require.Empty(t, got.header.Values("WWW-Authenticate"))
}
