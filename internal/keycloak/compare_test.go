package keycloak

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCovers(t *testing.T) {
	for name, c := range map[string]struct {
		there, wanted string
		want          bool
	}{
		"the same":                      {`{"a": 1, "b": ["x", "y"]}`, `{"a": 1, "b": ["x", "y"]}`, true},
		"more is there":                 {`{"a": 1, "b": 2}`, `{"a": 1}`, true},
		"another value":                 {`{"a": 1}`, `{"a": 2}`, false},
		"another type":                  {`{"a": "1"}`, `{"a": 1}`, false},
		"a list in another order":       {`{"a": ["x", "y"]}`, `{"a": ["y", "x"]}`, true},
		"a longer list":                 {`{"a": ["x", "y"]}`, `{"a": ["x"]}`, false},
		"nothing for an empty object":   {`{}`, `{"a": {}}`, true},
		"nothing for an empty list":     {`{}`, `{"a": []}`, true},
		"nothing for a value":           {`{}`, `{"a": false}`, false},
		"deeper":                        {`{"a": {"b": {"c": 1, "d": 2}}}`, `{"a": {"b": {"c": 1}}}`, true},
		"objects in lists say more":     {`{"a": [{"id": 7, "n": "x"}]}`, `{"a": [{"n": "x"}]}`, true},
		"large numbers are not rounded": {`{"a": 9007199254740993}`, `{"a": 9007199254740992}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var there, wanted object
			require.NoError(t, decode([]byte(c.there), &there))
			require.NoError(t, decode([]byte(c.wanted), &wanted))
			assert.Equal(t, c.want, covers(there, wanted))
			if c.want {
				return
			}
			assert.True(t, covers(merge(there, wanted), wanted), "what is merged has what is wanted")
		})
	}
}

func TestNewRefuses(t *testing.T) {
	good := Admin{Username: "admin", Password: "hunter2"}
	for base, admin := range map[string]Admin{"": good, "keycloak:8080": good, "ftp://keycloak": good, "http://keycloak": {Username: "admin"}, "https://keycloak": {ClientID: "job"}} {
		_, err := New(base, admin, http.DefaultClient)
		require.Error(t, err, base)
		assert.NotContains(t, err.Error(), "hunter2")
	}
}
