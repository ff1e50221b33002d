package translator

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// Translate makes the configuration and the statuses of the objects.
//
// Servers are in the configuration in order of age, for there the first one keeps a name that two would give. Equal tool prefixes are therefore no conflict by
// themselves: two servers behind one prefix are how a product is split over servers or moved from one to the next, the file mode allows them, and to forbid them
// would guard nothing, since a server with a shorter prefix, or none, can give the same names. Names that clash are left out for the younger server one by
// one, and its condition Ready tells which. What a common prefix is good for here is a hint in the message of the younger one.
func Translate(in Input) Output {
	virtual := byAge(in.MCPVirtualServers, in.Watched)
	x := newIndex(in, virtual)
	var members []*member
	for _, server := range byAge(in.MCPServers, in.Watched) {
		members = append(members, x.member(server))
	}
	noteSharedPrefixes(members)
	out := Output{Credentials: map[string]config.Secret{}, Certificates: map[string][]byte{}}
	if x.gateways[x.gateway] == nil {
		out.problem(ProblemGatewayNotFound, "the Gateway %q does not exist: create it, or let the controller serve another one", x.gateway)
	}
	if in.Broker.Name != "" {
		var others []string
		out.Endpoint, others = x.endpoint(in.Broker)
		if len(others) > 0 {
			out.problem(ProblemEndpointHost, "HTTPRoutes lead %s to the Service %q, where nobody is answered: the endpoint may have %s, whose policies know no other hostname; take them out of the routes, or give them to --endpoint-hosts",
				quoted(others, ", "), in.Broker, cmp.Or(strings.Join(in.EndpointHosts, ", "), "no address in place of a name"))
		}
		if len(out.Endpoint) == 0 {
			out.problem(ProblemNoEndpoint, "no HTTPRoute of the Gateway %q leads to the Service %q, so that there is no endpoint: make one with the endpoint's hostname", x.gateway, in.Broker)
		}
	}
	chosen := x.choices(virtual, members)
	out.write(x, members, chosen)
	written := readWritten(in.Written)
	for _, m := range members {
		out.Bypasses = append(out.Bypasses, m.bypasses()...)
		text, has := written.servers[m.key.String()]
		status := m.status(x, in.Now, out.Fits || text == textOf(m.document))
		status.Written = has
		out.ServerStatuses = append(out.ServerStatuses, status)
	}
	for _, c := range chosen {
		text, has := written.virtualServers[c.key.String()]
		status := c.status(x, in.Now, out.Fits || text == textOf(c.document))
		status.Written = has
		out.VirtualServerStatuses = append(out.VirtualServerStatuses, status)
	}
	slices.SortFunc(out.ServerStatuses, func(a, b ServerStatus) int { return compareKeys(a.Key, b.Key) })
	slices.SortFunc(out.VirtualServerStatuses, func(a, b VirtualServerStatus) int { return compareKeys(a.Key, b.Key) })
	slices.SortFunc(out.Bypasses, comparePaths)
	out.Bypasses = slices.Compact(out.Bypasses)
	return out
}

func (o *Output) problem(reason, format string, args ...any) {
	o.Problems = append(o.Problems, Problem{Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// write makes the file and what lies beside it.
func (o *Output) write(x *index, members []*member, chosen []*choice) {
	var body bytes.Buffer
	fmt.Fprintf(&body, "# The configuration of the Gateway %q, made of its MCPServers: what is changed here is undone.\n", x.gateway)
	body.WriteString(listKey)
	head := body.Len()
	for _, m := range members {
		if !m.usable() {
			continue
		}
		body.Write(m.document[len(listKey):])
		o.Servers = append(o.Servers, m.server())
		if !m.object.IsEnabled() {
			// Its entry names the files, but nobody is to read them.
			continue
		}
		for _, secret := range m.secrets {
			o.Credentials[secret.key] = config.NewSecret(string(secret.data))
		}
		if m.certificates != nil {
			o.Certificates[m.certificates.key] = m.certificates.data
		}
	}
	if body.Len() == head {
		body.Truncate(head - 1)
		body.WriteString(" []\n")
	}
	for _, c := range chosen {
		if !c.usable() {
			continue
		}
		if len(o.VirtualServers) == 0 {
			body.WriteString(virtualListKey)
		}
		body.Write(c.document[len(virtualListKey):])
		o.VirtualServers = append(o.VirtualServers, VirtualServer{Name: c.key.String(), Key: c.key, Path: c.path()})
	}
	o.Config = body.Bytes()
	digest := sha256.Sum256(o.Config)
	o.Digest = hex.EncodeToString(digest[:])
	o.measure(x)
}

// measure reports what has no room. Nothing is cut: half of a configuration would be servers that vanish without a word.
func (o *Output) measure(x *index) {
	credentials, certificates := 0, 0
	for key, value := range o.Credentials {
		credentials += len(key) + len(value.Reveal())
	}
	for key, value := range o.Certificates {
		certificates += len(key) + len(value)
	}
	o.Fits = true
	for _, part := range []struct {
		what string
		size int
	}{{"configuration has", len(o.Config)}, {"credentials have", credentials}, {"CA certificates have", certificates}} {
		if part.size > MaxSize {
			o.Fits = false
			o.problem(ProblemTooLarge, "the %s %d bytes and there is room for %d; nothing new is written before it fits: take MCPServers off the Gateway %q, or move some to another one", part.what, part.size, MaxSize, x.gateway)
		}
	}
}

func (m *member) server() Server {
	s := Server{
		Name: m.spec.Name, Key: m.key, Enabled: m.object.IsEnabled(),
		URL: m.spec.URL, Hostname: m.spec.Hostname, Cluster: m.way.backend.cluster,
	}
	if m.way.secure(m.object) {
		s.TLS = &TLS{ServerName: m.way.backend.host}
		if m.spec.TLS != nil {
			s.TLS.ServerName = cmp.Or(m.spec.TLS.ServerName, s.TLS.ServerName)
		}
		if m.certificates != nil {
			s.TLS.Certificates = m.certificates.key
		}
	}
	return s
}

// noteSharedPrefixes tells the younger of two servers with one prefix whose names come first.
func noteSharedPrefixes(members []*member) {
	owners := map[string]*member{}
	for _, m := range members {
		prefix := m.object.Spec.ToolPrefix
		if prefix == "" || !m.usable() || !m.object.IsEnabled() {
			continue
		}
		if owner := owners[prefix]; owner != nil {
			m.notes = append(m.notes, fmt.Sprintf("The older MCPServer %q has the toolPrefix %q too, and keeps the names that both give.", owner.key, prefix))
		} else {
			owners[prefix] = m
		}
	}
}
