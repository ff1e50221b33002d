package kubesource

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// ConfigKey is the key of the ConfigMap that holds the configuration file.
const ConfigKey = "config.yaml"

// annotationDigest is on everything that belongs to one configuration.
const annotationDigest = "mcp.kagenti.com/config-digest"

// Names are the objects that a configuration lies in.
type Names struct {
	Namespace string
	// Config is a ConfigMap with the configuration file, Credentials a Secret and Certificates a ConfigMap with the files that it calls credentials/KEY and
	// certificates/KEY.
	Config, Credentials, Certificates string
}

// ParseNames reads "namespace/name" of the ConfigMap. The names of the other two follow from it: NAME-config has NAME-credentials and NAME-certificates.
func ParseNames(text string) (Names, error) {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return Names{}, fmt.Errorf("%q: want namespace/name of a ConfigMap", text)
	}
	stem := strings.TrimSuffix(name, "-config")
	return Names{Namespace: namespace, Config: name, Credentials: stem + "-credentials", Certificates: stem + "-certificates"}, nil
}

// String is the ConfigMap as the command line names it.
func (n Names) String() string { return n.Namespace + "/" + n.Config }

// path is what problems call the file.
func (n Names) path() string { return n.String() + "/" + ConfigKey }
