package keycloak

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// object is one of Keycloak's representations, of which nothing is known but what is written here.
type object = map[string]any

// Admin is who changes the realm: a user, or a client with a service account.
type Admin struct {
	Realm                  string
	Username, Password     string
	ClientID, ClientSecret string
}

// API is the administration of a Keycloak.
type API struct {
	base   string
	admin  Admin
	client *http.Client
	token  string
	until  time.Time
}

// New speaks to the Keycloak at a URL, such as http://keycloak:8080.
func New(base string, admin Admin, client *http.Client) (*API, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("the URL of Keycloak is %q: want one such as https://keycloak.example.com", base)
	}
	if admin.Realm == "" {
		admin.Realm = "master"
	}
	if (admin.Username == "" || admin.Password == "") && (admin.ClientID == "" || admin.ClientSecret == "") {
		return nil, errors.New("nobody may change the realm: want the name and the password of an administrator, or the id and the secret of a client")
	}
	return &API{base: strings.TrimSuffix(base, "/"), admin: admin, client: client}, nil
}

// statusError is an answer other than success.
type statusError struct {
	method, path string
	status       int
	words        string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s %q: Keycloak answered %d: %s", e.method, e.path, e.status, e.words)
}

func isStatus(err error, status int) bool {
	var e *statusError
	return errors.As(err, &e) && e.status == status
}

// Wait waits until Keycloak serves the realm of its administrators: while it starts it answers with errors, or not at all.
func (a *API) Wait(ctx context.Context, every time.Duration) error {
	path := "/realms/" + url.PathEscape(a.admin.Realm)
	for {
		err := a.send(ctx, http.MethodGet, path, nil, nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%q does not serve: %w", a.base, err)
		case <-time.After(every):
		}
	}
}

// login gets a token, unless there is one that still holds for a while.
func (a *API) login(ctx context.Context) error {
	if time.Now().Before(a.until) {
		return nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {a.admin.ClientID}, "client_secret": {a.admin.ClientSecret}}
	if a.admin.ClientID == "" {
		form = url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {a.admin.Username}, "password": {a.admin.Password}}
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	path := "/realms/" + url.PathEscape(a.admin.Realm) + "/protocol/openid-connect/token"
	if err := a.send(ctx, http.MethodPost, path, form, &answer); err != nil {
		return fmt.Errorf("cannot log in as the administrator: %w", err)
	}
	a.token, a.until = answer.AccessToken, time.Now().Add(time.Duration(answer.ExpiresIn)*time.Second/2)
	return nil
}

// do sends a request of the administrator's.
func (a *API) do(ctx context.Context, method, path string, in, out any) error {
	if err := a.login(ctx); err != nil {
		return err
	}
	return a.send(ctx, method, "/admin/realms"+path, in, out)
}

// send sends JSON, or a form, and reads JSON.
func (a *API) send(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	media := "application/json"
	switch in := in.(type) {
	case nil:
	case url.Values:
		body, media = strings.NewReader(in.Encode()), "application/x-www-form-urlencoded"
	default:
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %q: %w", method, path, err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return fmt.Errorf("%s %q: %w", method, path, err)
	}
	req.Header.Set("Content-Type", media)
	if strings.HasPrefix(path, "/admin/") {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return fmt.Errorf("%s %q: %w", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("%s %q: %w", method, path, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return &statusError{method, path, resp.StatusCode, strings.TrimSpace(string(data[:min(len(data), 500)]))}
	}
	if out == nil {
		return nil
	}
	if err := decode(data, out); err != nil {
		return fmt.Errorf("%s %q: the answer is no JSON: %w", method, path, err)
	}
	return nil
}

// decode keeps numbers as they are written.
func decode(data []byte, out any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(out)
}
