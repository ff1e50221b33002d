package config

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const hidden = "s3cr3t-v4lue"

// carriers are the ways in which a secret ends up in something that is printed.
func carriers() map[string]any {
	secret := NewSecret(hidden)
	cred := Credential{Header: "authorization", Prefix: "Bearer ", Value: secret}
	type private struct{ inner Secret }
	return map[string]any{
		"value":                        secret,
		"pointer":                      &secret,
		"slice":                        []Secret{secret},
		"map":                          map[string]Secret{"k": secret},
		"any":                          []any{secret, &secret},
		"credential":                   cred,
		"pointer to credential":        &cred,
		"config":                       &Config{Servers: []Server{{Name: "a", Credential: &cred}}},
		"whole header":                 cred.HeaderValue(),
		"in an unexported field":       private{secret},
		"behind an unexported pointer": struct{ p *private }{&private{secret}},
	}
}

func TestSecretIsNotPrintedByAnyVerb(t *testing.T) {
	for name, carrier := range carriers() {
		for _, verb := range "vdsqxXobBcUeEfFgGtTpO!" {
			for _, flags := range []string{"", "+", "#", " ", "0", "-20", ".3", "+#"} {
				assertHidden(t, name, fmt.Sprintf("%"+flags+string(verb), carrier))
			}
		}
		assertHidden(t, name, fmt.Sprint(carrier))
		assertHidden(t, name, fmt.Errorf("wrapped: %v", carrier).Error())
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		assert.Equal(t, "[redacted]", fmt.Sprintf(verb, NewSecret(hidden)), verb)
	}
	assert.Equal(t, "[redacted]", NewSecret(hidden).String())
	assert.Equal(t, "[redacted]", NewSecret(hidden).GoString())
}

func TestSecretIsNotPrintedByAnyEncoder(t *testing.T) {
	for name, carrier := range carriers() {
		if data, err := json.Marshal(carrier); assert.NoError(t, err, name) {
			assertHidden(t, name, string(data))
		}
		if data, err := yaml.Marshal(carrier); assert.NoError(t, err, name) {
			assertHidden(t, name, string(data))
		}
		// XML has no maps; what it refuses it must refuse without showing it.
		data, err := xml.Marshal(carrier)
		assertHidden(t, name, string(data)+fmt.Sprint(err))

		var log bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
			logger := slog.New(handler)
			logger.Info("m", "k", carrier)
			logger.With("k", carrier).WithGroup("g").Info("m", slog.Group("h", "k", carrier))
		}
		require.NotEmpty(t, log.String())
		assertHidden(t, name, log.String())
	}
	data, err := json.Marshal(map[string]any{"k": NewSecret(hidden)})
	require.NoError(t, err)
	assert.JSONEq(t, `{"k":"[redacted]"}`, string(data))
	data, err = yaml.Marshal(map[string]any{"k": NewSecret(hidden)})
	require.NoError(t, err)
	assert.YAMLEq(t, `k: "[redacted]"`, string(data))
}

func assertHidden(t *testing.T, carrier, printed string) {
	t.Helper()
	hex, upper := fmt.Sprintf("%x", hidden), fmt.Sprintf("%X", hidden)
	for _, form := range []string{hidden, hex, upper, hidden[:3]} {
		assert.NotContains(t, printed, form, carrier)
	}
}

func TestSecretReveals(t *testing.T) {
	assert.Equal(t, hidden, NewSecret(hidden).Reveal())
	assert.Empty(t, Secret{}.Reveal())
	cred := Credential{Prefix: "Bearer ", Value: NewSecret(hidden)}
	assert.Equal(t, "Bearer "+hidden, cred.HeaderValue().Reveal())
}

func TestSecretEqual(t *testing.T) {
	tests := []struct {
		a, b Secret
		want bool
	}{
		{NewSecret("a"), NewSecret("a"), true},
		{NewSecret("a"), NewSecret("b"), false},
		{NewSecret("a"), NewSecret("aa"), false},
		{NewSecret(""), Secret{}, true},
		{NewSecret("a"), Secret{}, false},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, tt.a.Equal(tt.b), "%q %q", tt.a.Reveal(), tt.b.Reveal())
		assert.Equal(t, tt.want, tt.b.Equal(tt.a), "%q %q", tt.b.Reveal(), tt.a.Reveal())
	}
}
