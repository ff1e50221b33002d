package kubesource

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// files are what a configuration is read from, as they are at one time. Nothing else can be read: what a ConfigMap says must not lead to the files and variables
// of the process.
type files struct {
	names        Names
	config       *corev1.ConfigMap // nil where there is none, as the others
	credentials  *corev1.Secret
	certificates *corev1.ConfigMap
}

var _ config.Env = files{}

// LookupEnv implements config.Env.
func (files) LookupEnv(string) (string, bool) { return "", false }

// ReadFile implements config.Env.
func (f files) ReadFile(name string) ([]byte, error) {
	folder, key := path.Split(strings.TrimPrefix(name, f.names.String()+"/"))
	switch {
	case name == f.names.path():
		return keyOf("ConfigMap", f.names.Config, f.config, ConfigKey)
	case folder == "credentials/" && f.credentials == nil:
		return nil, fmt.Errorf("is not there: the Secret %q does not exist", f.names.Namespace+"/"+f.names.Credentials)
	case folder == "credentials/":
		if data, ok := f.credentials.Data[key]; ok {
			return data, nil
		}
		return nil, fmt.Errorf("is not there: the Secret %q has no key %q", f.names.Namespace+"/"+f.names.Credentials, key)
	case folder == "certificates/":
		return keyOf("ConfigMap", f.names.Certificates, f.certificates, key)
	}
	return nil, errors.New("cannot be read: a configuration in a ConfigMap may name files in credentials/ and certificates/ only")
}

func keyOf(kind, name string, m *corev1.ConfigMap, key string) ([]byte, error) {
	if m == nil {
		return nil, fs.ErrNotExist
	}
	if text, ok := m.Data[key]; ok {
		return []byte(text), nil
	}
	if data, ok := m.BinaryData[key]; ok {
		return data, nil
	}
	return nil, fmt.Errorf("is not there: the %s %q has no key %q", kind, m.Namespace+"/"+name, key)
}

// whole tells whether all three are of one writing. Those that say nothing of it count as whole: they were made by hand.
func (f files) whole() bool {
	if f.config == nil || f.config.Annotations[annotationDigest] == "" {
		return true
	}
	want := f.config.Annotations[annotationDigest]
	return f.credentials != nil && f.credentials.Annotations[annotationDigest] == want &&
		f.certificates != nil && f.certificates.Annotations[annotationDigest] == want
}

// version is another one as soon as one of the three is.
func (f files) version() string {
	var b strings.Builder
	for _, m := range []*corev1.ConfigMap{f.config, f.certificates} {
		if m != nil {
			fmt.Fprintf(&b, "%s/%s", m.UID, m.ResourceVersion)
		}
		b.WriteByte(';')
	}
	if f.credentials != nil {
		fmt.Fprintf(&b, "%s/%s", f.credentials.UID, f.credentials.ResourceVersion)
	}
	return b.String()
}
