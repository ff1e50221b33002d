package translator

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

const kindSecret = "Secret"

// attached is a file that an entry refers to.
type attached struct {
	// field is what names it, if that is a [secretRef].
	field string
	// key is its name in its folder.
	key  string
	data []byte
	// origin is how its author knows it.
	origin string
}

func (a *attached) path(folder string) string { return folder + "/" + a.key }

// secretRef is a field of an MCPServer that names a value in a Secret of its namespace.
type secretRef struct {
	field     string
	name, key string
}

// secretRefs are all such fields that are given.
func secretRefs(server *v1alpha1.MCPServer) []secretRef {
	var refs []secretRef
	add := func(field string, name v1alpha1.ObjectName, key v1alpha1.DataKey) {
		refs = append(refs, secretRef{field, string(name), cmp.Or(string(key), "token")})
	}
	if ref := server.Spec.CredentialRef; ref != nil {
		add("spec.credentialRef", ref.Name, ref.Key)
	}
	if oauth := server.Spec.OAuth; oauth != nil {
		if c := oauth.ClientCredentials; c != nil {
			add("spec.oauth.clientCredentials.clientSecretRef", c.ClientSecretRef.Name, c.ClientSecretRef.Key)
		}
		if e := oauth.TokenExchange; e != nil {
			add("spec.oauth.tokenExchange.clientSecretRef", e.ClientSecretRef.Name, e.ClientSecretRef.Key)
		}
		if ref := oauth.DiscoveryRef; ref != nil {
			add("spec.oauth.discoveryRef", ref.Name, ref.Key)
		}
	}
	if user := server.Spec.PerUser; user != nil && user.DiscoveryRef != nil {
		add("spec.perUser.discoveryRef", user.DiscoveryRef.Name, user.DiscoveryRef.Key)
	}
	return refs
}

// References are the Secrets and ConfigMaps that an MCPServer refers to, which the translation of it wants to see.
func References(server *v1alpha1.MCPServer) (secrets, configMaps []types.NamespacedName) {
	for _, ref := range secretRefs(server) {
		secrets = append(secrets, types.NamespacedName{Namespace: server.Namespace, Name: ref.name})
	}
	if ref := server.Spec.CACertificateRef; ref != nil {
		key := types.NamespacedName{Namespace: server.Namespace, Name: string(ref.Name)}
		if ref.Kind == kindSecret {
			secrets = append(secrets, key)
		} else {
			configMaps = append(configMaps, key)
		}
	}
	return secrets, configMaps
}

// secret finds what one of them names.
//
// The key changes with the reference and not with the content: a new token changes the Secret alone, but a server that is given another's place and credential
// at once can never be called with the credential that belonged there before, whichever of the two objects reaches the gateway first.
func (x *index) secret(server *v1alpha1.MCPServer, ref secretRef) (*attached, *finding) {
	secret := types.NamespacedName{Namespace: server.Namespace, Name: ref.name}
	object := x.secrets[secret]
	if object == nil {
		return nil, found(v1alpha1.ReasonInvalidCredential, "The Secret %q does not exist: create it with the key %q, or correct %s.", secret, ref.key, ref.field)
	}
	data, ok := object.Data[ref.key]
	if !ok {
		return nil, found(v1alpha1.ReasonInvalidCredential, "The Secret %q has no key %q: add it, or correct %s.key.", secret, ref.key, ref.field)
	}
	return &attached{
		field:  ref.field,
		key:    fmt.Sprintf("%s.%s.%s", server.Namespace, server.Name, shortDigest([]byte(secret.Name+"/"+ref.key), 4)),
		data:   data,
		origin: fmt.Sprintf("the key %q of the Secret %q", ref.key, secret),
	}, nil
}

// certificates finds what caCertificateRef names, and takes the certificates out of it: what else lies there, a private key for example, goes nowhere. Their key
// is their content's digest, so that a thousand servers with one authority need the space of one.
func (x *index) certificates(server *v1alpha1.MCPServer) (*attached, *finding) {
	ref := server.Spec.CACertificateRef
	if ref == nil {
		return nil, nil
	}
	key := types.NamespacedName{Namespace: server.Namespace, Name: string(ref.Name)}
	kind, dataKey := ref.Kind, string(ref.Key)
	if kind == "" {
		kind = "ConfigMap"
	}
	if dataKey == "" {
		dataKey = "ca.crt"
	}
	data, exists, has := x.data(kind, key, dataKey)
	origin := fmt.Sprintf("the key %q of the %s %q", dataKey, kind, key)
	switch {
	case kind != "ConfigMap" && kind != kindSecret:
		return nil, found(v1alpha1.ReasonInvalidCACertificate, "spec.caCertificateRef.kind is %q: it must be ConfigMap or Secret.", kind)
	case !exists:
		return nil, found(v1alpha1.ReasonInvalidCACertificate, "The %s %q does not exist: create it with the key %q, or correct spec.caCertificateRef.", kind, key, dataKey)
	case !has:
		return nil, found(v1alpha1.ReasonInvalidCACertificate, "The %s %q has no key %q: add it, or correct spec.caCertificateRef.key.", kind, key, dataKey)
	}
	kept, err := onlyCertificates(data)
	if err != nil {
		return nil, found(v1alpha1.ReasonInvalidCACertificate, "%s%s %s: put PEM certificates there.", strings.ToUpper(origin[:1]), origin[1:], err)
	}
	return &attached{key: shortDigest(kept, 16) + ".pem", data: kept, origin: origin}, nil
}

func (x *index) data(kind string, key types.NamespacedName, dataKey string) (data []byte, exists, has bool) {
	if kind == kindSecret {
		object := x.secrets[key]
		if object == nil {
			return nil, false, false
		}
		data, has = object.Data[dataKey]
		return data, true, has
	}
	object := x.configMaps[key]
	if object == nil {
		return nil, false, false
	}
	if text, ok := object.Data[dataKey]; ok {
		return []byte(text), true, true
	}
	data, has = object.BinaryData[dataKey]
	return data, true, has
}

func onlyCertificates(data []byte) ([]byte, error) {
	var kept []byte
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("has a certificate that cannot be read (%s)", strings.TrimPrefix(err.Error(), "x509: "))
		}
		kept = append(kept, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
	if len(kept) == 0 {
		return nil, errors.New("has no PEM certificate")
	}
	return kept, nil
}

// shortDigest is the first bytes of the SHA-256, in hexadecimal digits.
func shortDigest(data []byte, bytes int) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:bytes])
}

// files lets package config read what is attached to one entry.
type files map[string][]byte

var _ config.Env = files(nil)

func (f files) LookupEnv(string) (string, bool) { return "", false }

func (f files) ReadFile(path string) ([]byte, error) {
	data, ok := f[path]
	if !ok {
		return nil, fmt.Errorf("is not there: %q", path)
	}
	return data, nil
}
