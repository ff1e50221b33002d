package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a value that no printer and no encoder shows. [Secret.Reveal] is the one way to it.
type Secret struct {
	// A comparison with == would compare pointers and take time that depends on the values.
	_ [0]func()
	// The pointer keeps the value from printers that look into unexported fields, where no method of Secret is asked.
	value *string
}

// NewSecret wraps the value.
func NewSecret(value string) Secret {
	return Secret{value: &value}
}

// Reveal returns the value, for the one place that sends it.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Equal compares in a time that does not depend on where the values differ.
func (s Secret) Equal(other Secret) bool {
	a, b := sha256.Sum256([]byte(s.Reveal())), sha256.Sum256([]byte(other.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Format covers every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

func (s Secret) String() string { return redacted }

// GoString is for those who call it themselves; package fmt calls Format.
func (s Secret) GoString() string { return redacted }

// LogValue is what package slog logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is what JSON, XML and other encoders write.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalYAML is what YAML encoders write.
func (s Secret) MarshalYAML() (any, error) { return redacted, nil }
