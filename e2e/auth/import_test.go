package auth_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	administration "github.com/guicassolato/mcp-gateway/internal/keycloak"
)

// importer brings the example realm, under a name of its own, into the Keycloak of all tests.
type importer struct {
	*realm
	document map[string]any
}

func newImporter(t *testing.T) *importer {
	t.Helper()
	k := theKeycloak
	select {
	case <-k.started:
	case <-t.Context().Done():
	}
	require.NoError(t, k.err)
	i := &importer{realm: &realm{keycloak: k, name: "imported-" + strconv.FormatInt(k.realms.Add(1), 10)}}
	i.issuer = k.base + "/realms/" + i.name
	file, err := os.ReadFile(realmFile)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(file, &i.document))
	i.document["realm"] = i.name
	return i
}

// run imports the document and returns what was changed.
func (i *importer) run(t *testing.T) []string {
	t.Helper()
	api, err := administration.New(i.base, administration.Admin{Username: "admin", Password: i.password}, &http.Client{Timeout: time.Minute})
	require.NoError(t, err)
	require.NoError(t, api.Wait(t.Context(), time.Second))
	document, err := json.Marshal(i.document)
	require.NoError(t, err)
	changes := []string{}
	require.NoError(t, api.Import(t.Context(), document, func(change, kind, name string) { changes = append(changes, change+" "+kind+" "+name) }))
	return changes
}

// TestImportRealm: what the chart's job does with any Keycloak, after each upgrade again.
func TestImportRealm(t *testing.T) {
	i := newImporter(t)
	first := i.run(t)
	require.NotEmpty(t, first)
	assert.Equal(t, "created realm "+i.name, first[0])
	assert.Empty(t, i.run(t), "a second time there is nothing to do")
	i.addClient(t, directClient, nil)
	assert.NotEmpty(t, i.token(t, "mcp"), "its users can log in")

	t.Run("what differs is set, what is missing is made", func(t *testing.T) {
		i.admin(t, http.MethodPut, "", map[string]any{"accessTokenLifespan": 17}, nil)
		i.document["accessTokenLifespan"] = 611
		groups := i.find(t, "/groups", "accounting")
		i.admin(t, http.MethodDelete, "/groups/"+groups, nil, nil)
		changes := strings.Join(i.run(t), "\n")
		assert.Contains(t, changes, "updated realm "+i.name)
		assert.Contains(t, changes, "created group accounting")
		var now struct {
			AccessTokenLifespan int `json:"accessTokenLifespan"`
		}
		i.admin(t, http.MethodGet, "", nil, &now)
		assert.Equal(t, 611, now.AccessTokenLifespan)
		assert.Empty(t, i.run(t))
	})
	t.Run("clients of the status page, as the chart adds them", func(t *testing.T) {
		text, err := os.ReadFile(loginClients)
		require.NoError(t, err)
		var more struct{ Clients []any }
		require.NoError(t, json.Unmarshal(text, &more))
		clients, _ := i.document["clients"].([]any)
		i.document["clients"] = append(clients, more.Clients...)
		assert.Equal(t, []string{"created client status-page", "created client status-page-console"}, i.run(t))
		assert.Empty(t, i.run(t))
		var secret struct{ Value string }
		path := "/clients/" + i.find(t, "/clients", "status-page")
		i.admin(t, http.MethodGet, path+"/client-secret", nil, &secret)
		assert.NotEmpty(t, secret.Value, "Keycloak makes it")
		for _, client := range []string{"status-page", "status-page-console"} {
			i.find(t, "/clients/"+i.find(t, "/clients", client)+"/default-client-scopes", "basic")
		}
	})
	t.Run("users are their own", func(t *testing.T) {
		user := i.find(t, "/users", "mcp")
		i.admin(t, http.MethodPut, "/users/"+user+"/reset-password", map[string]any{"type": "password", "value": "another", "temporary": false}, nil)
		assert.Empty(t, i.run(t))
		status, _ := postForm(t, i.tokenEndpoint(), map[string][]string{"grant_type": {"password"}, "client_id": {directClient}, "username": {"mcp"}, "password": {"another"}})
		assert.Equal(t, http.StatusOK, status, "the password that the user chose since is still the user's")
	})
	t.Run("what the document does not name stays", func(t *testing.T) {
		i.admin(t, http.MethodPost, "/groups", map[string]any{"name": "of somebody else"}, nil)
		assert.Empty(t, i.run(t))
		assert.NotEmpty(t, i.find(t, "/groups", "of somebody else"))
	})
}

// TestImportTellsWhatIsWrong has the errors of who sets the job up.
func TestImportTellsWhatIsWrong(t *testing.T) {
	i := newImporter(t)
	for name, c := range map[string]struct {
		base     string
		admin    administration.Admin
		document string
		want     string
	}{
		"a wrong password": {i.base, administration.Admin{Username: "admin", Password: "wrong"}, `{"realm": "x"}`, "cannot log in as the administrator"},
		"no name":          {i.base, administration.Admin{Username: "admin", Password: i.password}, `{}`, `want its name as "realm"`},
		"no JSON":          {i.base, administration.Admin{Username: "admin", Password: i.password}, `realm: x`, "no JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			api, err := administration.New(c.base, c.admin, http.DefaultClient)
			require.NoError(t, err)
			err = api.Import(t.Context(), []byte(c.document), func(string, string, string) { t.Error("nothing is to be changed") })
			require.ErrorContains(t, err, c.want)
		})
	}
}
