package translator

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// MaxSize is how much the configuration, the credentials and the certificates may each have: a ConfigMap or Secret holds 1 MiB, and the names of the keys and
// what the API server keeps beside the data need their share of it.
const MaxSize = 1<<20 - 16<<10

// The folders beside the configuration file in which its entries look for the keys of [Output].Credentials and [Output].Certificates.
const (
	CredentialFolder  = "credentials"
	CertificateFolder = "certificates"
)

// Output is what a translation makes. Everything in it is in one order, whatever the order of the input.
type Output struct {
	// Config is the configuration file. Where Fits is false it must not be written: it is whole, but there is no room for it.
	Config []byte
	// Digest is the SHA-256 of Config in hexadecimal digits. Written beside the credentials, it tells a reader whether both are of one translation.
	Digest string
	// Credentials are the keys of a Secret that Config refers to as credentials/KEY.
	Credentials map[string]config.Secret
	// Certificates are PEM certificates, and nothing but certificates, that Config refers to as certificates/KEY.
	Certificates map[string][]byte
	// Fits tells whether each of the three has its room.
	Fits bool

	// Servers are the servers in Config, in its order.
	Servers []Server
	// VirtualServers are the virtual servers in Config, in its order.
	VirtualServers []VirtualServer

	// Endpoint are the hostnames by which clients come to the broker, and Bypasses the ways on which they would come to a server without it.
	Endpoint []string
	Bypasses []Path

	// ServerStatuses and VirtualServerStatuses are in order of namespace and name.
	ServerStatuses        []ServerStatus
	VirtualServerStatuses []VirtualServerStatus

	// Problems are what is wrong with the whole and not with one object.
	Problems []Problem
}

// Server is what is known of a server in the configuration beside its entry.
type Server struct {
	// Name is its name in the configuration, "namespace/name".
	Name string
	// Key is the MCPServer.
	Key     types.NamespacedName
	Enabled bool
	// URL is where the broker calls it, and Hostname the :authority that it sees; empty means the URL's own.
	URL, Hostname string
	// Cluster is the name that Istio gives to the server's Envoy cluster: outbound|PORT||HOST.
	Cluster string
	// TLS is nil for a server that speaks plain HTTP.
	TLS *TLS
}

// TLS is how the way to a server is secured.
type TLS struct {
	// ServerName is what the certificate must be for.
	ServerName string
	// Certificates is a key of [Output].Certificates; empty means the system's roots.
	Certificates string
}

// VirtualServer is a virtual server in the configuration.
type VirtualServer struct {
	// Name is its name in the configuration, "namespace/name".
	Name string
	// Key is the MCPVirtualServer.
	Key types.NamespacedName
	// Path is where clients find it.
	Path string
}

// ServerStatus is what the status of an MCPServer shall say, as far as it follows from objects.
type ServerStatus struct {
	Key types.NamespacedName
	// Conditions are Accepted, ResolvedRefs and Programmed, with the times of the object's own conditions where those have not changed.
	Conditions []metav1.Condition
	Endpoint   string
	// Route is the HTTPRoute that leads to the server, empty where that could not be followed.
	Route types.NamespacedName
	// Written tells whether the configuration that is in force has an entry of the object, this one or an older one.
	Written bool
	// Changed tells whether the object's status says anything else now.
	Changed bool
	// Release says that the object is another gateway's and none of the rest applies: what this gateway once wrote into the status is to be taken back.
	Release bool
}

// VirtualServerStatus is what the status of an MCPVirtualServer shall say, as far as it follows from objects.
type VirtualServerStatus struct {
	Key        types.NamespacedName
	Conditions []metav1.Condition
	Path       string
	// Shared says that the object may be other gateways' as well, whose controllers have a say in its status too.
	Shared bool
	// Written, Changed and Release are as in [ServerStatus].
	Written, Changed, Release bool
}

// Reasons of a [Problem].
const (
	ProblemGatewayNotFound = "GatewayNotFound"
	ProblemTooLarge        = "TooLarge"
	ProblemNoEndpoint      = "NoEndpoint"
	ProblemEndpointHost    = "EndpointHost"
)

// Problem is something that no single object is to blame for.
type Problem struct {
	Reason, Message string
}
