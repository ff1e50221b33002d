package auth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// keycloakBin is the variable with the script that starts Keycloak.
const keycloakBin = "KEYCLOAK_SCRIPT"

// theKeycloak is the one of all tests.
var theKeycloak *keycloak

// keycloak is a running Keycloak.
type keycloak struct {
	base, password string
	log            string
	// started is closed once it serves, or with err.
	started chan struct{}
	err     error
	realms  atomic.Int64

	sharing sync.Mutex // guards what follows
	shared  *realm

	mu     sync.Mutex // guards the administrator's token, which lives for a minute
	master string
	until  time.Time
}

// startKeycloak begins to start it and returns; tests wait for it when they need it.
func startKeycloak() (stop func(), err error) {
	script := os.Getenv(keycloakBin)
	if script == "" {
		return nil, fmt.Errorf("%s is not set: use \"make test-auth\"", keycloakBin)
	}
	dir, err := os.MkdirTemp("", "mcp-gateway-keycloak-")
	if err != nil {
		return nil, err
	}
	// From a range of its own: those of package testbed begin above it.
	port, err := freePort(11000, 12000)
	if err != nil {
		return nil, err
	}
	k := &keycloak{
		base: "http://127.0.0.1:" + strconv.Itoa(port), password: rand.Text(), log: filepath.Join(dir, "log"), started: make(chan struct{}),
	}
	log, err := os.Create(k.log)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(script, "start", "--port", strconv.Itoa(port), "--data", filepath.Join(dir, "data"), "--realm", realmFile)
	cmd.Env = append(os.Environ(), "KC_BOOTSTRAP_ADMIN_USERNAME=admin", "KC_BOOTSTRAP_ADMIN_PASSWORD="+k.password)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithUs()
	begun, ended := make(chan error), make(chan struct{})
	go func() {
		// A child that dies with us dies with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		begun <- err
		if err == nil {
			_ = cmd.Wait()
			close(ended)
		}
	}()
	if err := <-begun; err != nil {
		return nil, fmt.Errorf("cannot start Keycloak: %w", err)
	}
	go k.await(ended)
	theKeycloak = k
	return func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(testbed.Patience):
			_ = cmd.Process.Kill()
			<-ended
		}
		_ = log.Close()
		_ = os.RemoveAll(dir)
	}, nil
}

func freePort(from, to int) (int, error) {
	for range 100 {
		b := make([]byte, 2)
		_, _ = rand.Read(b) // never fails
		port := from + (int(b[0])<<8|int(b[1]))%(to-from)
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port for Keycloak")
}

// await waits until Keycloak serves: until then it refuses connections or answers 503.
func (k *keycloak) await(ended <-chan struct{}) {
	defer close(k.started)
	deadline := time.After(3 * time.Minute)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			k.err = errors.New("keycloak ended before it served")
			return
		case <-deadline:
			k.err = errors.New("keycloak does not serve")
			return
		case <-tick.C:
		}
		resp, err := http.Get(k.base + "/realms/mcp")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
}

const (
	realmFile    = "../../config/oauth/mcp-realm.json"
	policiesFile = "../../config/oauth/policies.yaml"
	// directClient is added to each realm: a client that gets tokens for a user's name and password, without a browser.
	directClient = "tests"
)

// realm is the example's realm under a name of its own.
type realm struct {
	*keycloak

	name, issuer string
}

// sharedRealm is the one of all tests that change nothing in it.
func sharedRealm(t *testing.T) *realm {
	t.Helper()
	k := theKeycloak
	k.sharing.Lock()
	defer k.sharing.Unlock()
	if k.shared == nil {
		k.shared = newRealm(t)
	}
	return k.shared
}

// newRealm is a realm of the test's own, with what it changes in the example's.
func newRealm(t *testing.T, changes ...func(representation map[string]any)) *realm {
	t.Helper()
	k := theKeycloak
	select {
	case <-k.started:
	case <-t.Context().Done():
	}
	if k.err != nil {
		log, _ := os.ReadFile(k.log)
		t.Fatalf("%v:\n%s", k.err, log)
	}
	r := &realm{keycloak: k, name: "mcp-" + strconv.FormatInt(k.realms.Add(1), 10)}
	r.issuer = k.base + "/realms/" + r.name
	file, err := os.ReadFile(realmFile)
	require.NoError(t, err)
	var representation map[string]any
	require.NoError(t, json.Unmarshal(file, &representation))
	representation["realm"] = r.name
	for _, change := range changes {
		change(representation)
	}
	r.masterAdmin(t, http.MethodPost, "/admin/realms", representation, nil)
	r.addClient(t, directClient, nil)
	return r
}

// addClient adds a public client of the password grant, with the default scopes unless others are given.
func (r *realm) addClient(t *testing.T, id string, attributes map[string]string, scopes ...string) {
	t.Helper()
	c := map[string]any{"clientId": id, "publicClient": true, "standardFlowEnabled": false, "directAccessGrantsEnabled": true, "attributes": attributes}
	if len(scopes) > 0 {
		c["defaultClientScopes"] = scopes
	}
	r.admin(t, http.MethodPost, "/clients", c, nil)
}

// admin calls the administration of the realm. A nil body or result means none.
func (r *realm) admin(t *testing.T, method, path string, body, result any) {
	t.Helper()
	r.masterAdmin(t, method, "/admin/realms/"+r.name+path, body, result)
}

func (k *keycloak) masterAdmin(t *testing.T, method, path string, body, result any) {
	t.Helper()
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		require.NoError(t, err)
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, k.base+path, content)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+k.masterToken(t))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Less(t, resp.StatusCode, 300, "%s %s: %s", method, path, out)
	if result != nil {
		require.NoError(t, json.Unmarshal(out, result), string(out))
	}
}

func (k *keycloak) masterToken(t *testing.T) string {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Now().Before(k.until) {
		return k.master
	}
	master := &realm{keycloak: k, issuer: k.base + "/realms/master"}
	k.master = master.grant(t, url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {k.password}})
	k.until = time.Now().Add(30 * time.Second)
	return k.master
}

func postForm(t *testing.T, target string, form url.Values) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testbed.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(out)
}

func (r *realm) tokenEndpoint() string { return r.issuer + "/protocol/openid-connect/token" }

// token is an access token for a user of the realm, whose password is the same as the name.
func (r *realm) token(t *testing.T, user string) string {
	t.Helper()
	return r.tokenOf(t, directClient, user)
}

func (r *realm) tokenOf(t *testing.T, client, user string) string {
	t.Helper()
	return r.grant(t, url.Values{"grant_type": {"password"}, "client_id": {client}, "username": {user}, "password": {user}})
}

func (r *realm) grant(t *testing.T, form url.Values) string {
	t.Helper()
	status, body := postForm(t, r.tokenEndpoint(), form)
	require.Equal(t, http.StatusOK, status, body)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.NotEmpty(t, answer.AccessToken)
	return answer.AccessToken
}

// find is the id of what the administration lists under a path, by its name.
func (r *realm) find(t *testing.T, path, name string) string {
	t.Helper()
	var all []struct{ ID, Name, Username, ClientID string }
	r.admin(t, http.MethodGet, path, nil, &all)
	for _, one := range all {
		if one.Name == name || one.Username == name || one.ClientID == name {
			return one.ID
		}
	}
	t.Fatalf("%s has no %q", path, name)
	return ""
}
