package admin

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRefusalPage: it brings all that it needs, and its policy lets it have just that.
func TestRefusalPage(t *testing.T) {
	for signOut, link := range map[string]bool{"/out": true, "": false} {
		p, err := NewRefusalPage(signOut)
		require.NoError(t, err)
		for _, write := range []func(http.ResponseWriter){p.Unknown, func(w http.ResponseWriter) { p.NotFor(w, "") }} {
			rec := httptest.NewRecorder()
			write(rec)
			body := rec.Body.String()
			_, style, _ := strings.Cut(body, "<style>")
			style, _, _ = strings.Cut(style, "</style>")
			require.Greater(t, len(style), 1000)
			hash := sha256.Sum256([]byte(style))
			assert.Contains(t, rec.Header().Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(hash[:])+"';")
			assert.NotContains(t, body, "<script")
			assert.NotContains(t, body, "/assets/", "whoever sees it gets none")
			assert.Contains(t, body, "What to do:")
			assert.Equal(t, link, strings.Contains(body, ">Sign out</a>"))
		}
	}
}

// TestSignOut: there is a link where one is logged in.
func TestSignOut(t *testing.T) {
	o := busy()
	_, body := page(t, o, "/")
	assert.NotContains(t, body, "Sign out")
	o.SignOut = "/out"
	_, body = page(t, o, "/")
	assert.Contains(t, body, `<a href="/out">Sign out</a>`)
}
