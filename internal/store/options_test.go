package store_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/store"
)

// TestURL: what is read of a good one is seen by what is shown of it.
func TestURL(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"redis://h:6379", "redis://h:6379/0"},
		{"redis://h:6379/", "redis://h:6379/0"},
		{"redis://user:pw@h:6379/3", "redis://h:6379/3"},
		{"rediss://:p%40%2F%25@[::1]:6379/15", "rediss://[::1]:6379/15"},
		{"redis://user:a:b@h.example:1/1", "redis://h.example:1/1"},
		{"redis+sentinel://h:1/m", "redis+sentinel://h:1/m/0"},
		{"rediss+sentinel://u:pw@h:1,10.0.0.1:2,[::1]:3/my%2Fmaster/4", "rediss+sentinel://h:1,10.0.0.1:2,[::1]:3/my%2Fmaster/4"},
		{"redis+cluster://h:1", "redis+cluster://h:1"},
		{"rediss+cluster://u:pw@h:1,i:2/0", "rediss+cluster://h:1,i:2"},
	} {
		o := store.Options{URL: c.url}
		require.Equal(t, fmt.Sprintf(`{URL:%s CAFile:"" CertFile:"" Prefix:"" Timeout:0s}`, c.want), o.String())
		s, err := store.Open(o)
		require.NoError(t, err, c.url)
		require.NoError(t, s.Close())
	}
}

func TestBadURL(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"", "there is no URL of a server"},
		{"pw", "it must begin with redis://"},
		{"h:6379", "it must begin with redis://"},
		{"http://u:pw@h:6379", `or with "rediss" in place of "redis" for TLS`},
		{"redis+x://u:pw@h:6379", "it must begin with"},
		{"redis+tls://h:6379", "it must begin with"},
		{"redis://", "address 1 of the server must be host:port"},
		{"redis://pw", "must be host:port"},
		{"redis://h:", "must be host:port"},
		{"redis://:6379", "must be host:port"},
		{"redis://h:pw", "must be host:port"},
		{"redis://h:0", "must be host:port"},
		{"redis://h:65536", "must be host:port"},
		{"redis://::1:6379", "an IPv6 host in brackets"},
		{"redis://h w:6379", "must be host:port"},
		{"redis://h:6379\n", "must be host:port"},
		{"redis://h:1,i:2/0", "only redis+sentinel:// and redis+cluster:// can have"},
		{"redis+cluster://h:1,pw/0", "address 2 of the server must be host:port"},
		{"redis+cluster://h:1,/0", "address 2 of the server must be host:port"},
		{"redis://u:pw/pw@h:1/0", "must be percent-encoded"},
		{"redis://u:pw?pw@h:1/0", "must be percent-encoded"},
		{"redis://u:pw#pw@h:1/0", "must be percent-encoded"},
		{"redis://u:pw%zz@h:1/0", `"%25" is the character itself`},
		{"redis://pw@h:1/0", "no user:password or :password"},
		{"redis://user:@h:1/0", "no user:password or :password"},
		{"redis://h:1/pw", "must be a number"},
		{"redis://h:1/-1", "must be a number"},
		{"redis://h:1/0/1", "must be a number"},
		{"redis://h:1/0?pw=pw", `it must not have a "?" or "#"`},
		{"redis+sentinel://h:1", "must stand /master/db"},
		{"redis+sentinel://h:1//0", "must stand /master/db"},
		{"redis+sentinel://h:1/m/pw", "must be a number"},
		{"redis+cluster://h:1/1", "a cluster has no database but 0"},
	} {
		o := store.Options{URL: c.url}
		_, err := store.Open(o)
		require.ErrorContains(t, err, c.want, c.url)
		require.NotContains(t, err.Error(), "pw", c.url)
		require.NotContains(t, o.String(), "pw", c.url)
	}
}

func TestBadOptions(t *testing.T) {
	folder := t.TempDir()
	noCA := filepath.Join(folder, "no-ca.pem")
	require.NoError(t, os.WriteFile(noCA, []byte("not PEM"), 0o600))
	for want, o := range map[string]store.Options{
		"cannot read CA certificates: open":     {URL: "rediss://h:1", CAFile: filepath.Join(folder, "missing")},
		"there is no CA certificate (PEM) in":   {URL: "rediss://h:1", CAFile: noCA},
		"certificates for a server without T":   {URL: "redis://h:1", CAFile: noCA},
		"the timeout must be positive, not -1s": {URL: "redis://h:1", Timeout: -time.Second},
	} {
		_, err := store.Open(o)
		require.ErrorContains(t, err, want)
	}
	_, err := store.Open(store.Options{URL: "redis://h", Timeout: -1})
	require.ErrorContains(t, err, "host:port")
	require.ErrorContains(t, err, "the timeout must be positive", "all at once")
}

// TestOptionsHidePassword: whatever shows them.
func TestOptionsHidePassword(t *testing.T) {
	o := store.Options{URL: "redis+sentinel://user:hunter2@h:1/m/0", SentinelUser: "user", SentinelPassword: "hunter2", Prefix: "p:"}
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		_, _ = fmt.Fprintf(&shown, verb+verb+verb, o, &o, []any{o, struct{ O store.Options }{o}, map[string]store.Options{"o": o}})
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		slog.New(h).Info("m", "o", o, "p", &o, "s", struct{ O store.Options }{o})
	}
	require.NoError(t, json.NewEncoder(&shown).Encode(map[string]any{"o": o, "p": &o}))
	yaml, err := o.MarshalYAML()
	require.NoError(t, err)
	_, _ = fmt.Fprint(&shown, yaml, o.GoString())
	s, err := store.Open(o)
	require.NoError(t, err)
	_, _ = fmt.Fprintf(&shown, "%v %+v %#v", s, s, s)
	require.NoError(t, s.Close())
	require.Contains(t, shown.String(), "redis+sentinel://h:1/m/0")
	for _, private := range []string{"hunter2", "user", fmt.Sprintf("%x", "hunter2")} {
		require.NotContains(t, shown.String(), private)
	}
}
