package translator

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

const listKey = "servers:\n"

// entry makes the configuration's entry of a server, of its own fields and of the way that its route has. It leaves out what is the default anyway.
func entry(server *v1alpha1.MCPServer, way *way, secrets []*attached, certificates *attached) (config.ServerSpec, *finding) {
	spec := config.ServerSpec{
		Name:       keyOf(server).String(),
		URL:        way.url(server),
		Hostname:   way.authority(),
		ToolPrefix: server.Spec.ToolPrefix,
		URIPrefix:  server.Spec.URIPrefix,
		Untrusted:  server.Spec.Untrusted,
		Headers:    headers(server, way.headers),
	}
	if !way.secure(server) {
		// What Envoy does for TLS no route says, but a DestinationRule or nobody: the broker, which knows the certificates, makes the calls.
		spec.Cluster = way.backend.cluster
	}
	if !server.IsEnabled() {
		spec.Enabled = new(bool)
	}
	spec.Credential = credential(server, secrets)
	if l := server.Spec.Limits; l != nil {
		spec.MaxCalls, spec.MaxConnections, spec.MaxBytesPerSecond = number(l.Calls), number(l.Connections), number(l.BytesPerSecond)
	}
	if way.secure(server) {
		spec.TLS = tlsOf(server, way.backend, certificates)
	}
	var problem *finding
	if spec.Timeout, problem = callTimeout(server, way); problem != nil {
		return spec, problem
	}
	if spec.Tools, problem = tools(server); problem != nil {
		return spec, problem
	}
	spec.Pin, problem = pins(server)
	return spec, problem
}

func number(n *int32) *int {
	if n == nil {
		return nil
	}
	whole := int(*n)
	return &whole
}

func pins(server *v1alpha1.MCPServer) (map[string]string, *finding) {
	var pins map[string]string
	for _, tool := range server.Spec.Tools {
		if tool.Pin == "" {
			continue
		}
		if !config.IsHash(tool.Pin) {
			return nil, found(v1alpha1.ReasonInvalid, "spec.tools has the pin %q for the tool %q: write sha256: and 64 lower-case hexadecimal digits, as /status of the broker shows them.", tool.Pin, tool.Name)
		}
		if pins == nil {
			pins = map[string]string{}
		}
		pins[tool.Name] = tool.Pin
	}
	return pins, nil
}

func tlsOf(server *v1alpha1.MCPServer, b *backend, certificates *attached) *config.TLSSpec {
	spec := config.TLSSpec{ServerName: b.serverName}
	if server.Spec.TLS != nil && server.Spec.TLS.ServerName != "" {
		spec.ServerName = server.Spec.TLS.ServerName
	}
	if certificates != nil {
		spec.CAFile = certificates.path(CertificateFolder)
	}
	if spec == (config.TLSSpec{}) {
		return nil
	}
	return &spec
}

// headers are those of the route and, before them, those of the MCPServer itself. They are nil where there are none.
func headers(server *v1alpha1.MCPServer, route map[string]string) map[string]string {
	if len(route)+len(server.Spec.Headers) == 0 {
		return nil
	}
	merged := maps.Clone(route)
	if merged == nil {
		merged = map[string]string{}
	}
	for _, h := range server.Spec.Headers {
		delete(merged, strings.ToLower(string(h.Name)))
	}
	for _, h := range server.Spec.Headers {
		merged[string(h.Name)] = h.Value
	}
	return merged
}

// callTimeout is the shorter one of what the MCPServer and the route allow: both are limits, and the MCPServer's is never absent, since it has a default.
func callTimeout(server *v1alpha1.MCPServer, way *way) (*config.Duration, *finding) {
	timeout := config.DefaultTimeout
	if t := server.Spec.Timeouts; t != nil && t.Call != "" {
		var err error
		if timeout, err = time.ParseDuration(string(t.Call)); err != nil {
			return nil, found(v1alpha1.ReasonInvalid, "spec.timeouts.call is %q: write whole numbers with a unit h, m, s or ms, as in 30s.", t.Call)
		}
	}
	if way.timeout > 0 && (timeout == 0 || way.timeout < timeout) {
		timeout = way.timeout
		way.notes = append(way.notes, fmt.Sprintf("A call ends after %s, as the route's timeouts say.", timeout))
	}
	if timeout == config.DefaultTimeout {
		return nil, nil
	}
	return (*config.Duration)(&timeout), nil
}

func tools(server *v1alpha1.MCPServer) (map[string]config.ToolSpec, *finding) {
	var tools map[string]config.ToolSpec
	for _, tool := range server.Spec.Tools {
		if tool.Timeout == nil {
			continue
		}
		timeout, err := time.ParseDuration(string(*tool.Timeout))
		if err != nil {
			return nil, found(v1alpha1.ReasonInvalid, "spec.tools has the timeout %q for the tool %q: write whole numbers with a unit h, m, s or ms, as in 30s.", *tool.Timeout, tool.Name)
		}
		if tools == nil {
			tools = map[string]config.ToolSpec{}
		}
		tools[tool.Name] = config.ToolSpec{Timeout: (*config.Duration)(&timeout)}
	}
	return tools, nil
}

// url always has its path, and its port where that is not the scheme's own.
func (w *way) url(server *v1alpha1.MCPServer) string {
	scheme, usual := "http", int32(80)
	if w.secure(server) {
		scheme, usual = "https", 443
	}
	host := w.backend.host
	if w.backend.port != usual {
		host = net.JoinHostPort(host, strconv.Itoa(int(w.backend.port)))
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return scheme + "://" + host + w.path
}

// authority is empty where it would be the URL's own.
func (w *way) authority() string {
	if w.hostname == "" && w.backend.serverName != "" {
		return w.backend.serverName
	}
	return w.hostname
}

// secure tells whether the server is called by https: if its backend says so, or if its MCPServer says how to verify it.
func (w *way) secure(server *v1alpha1.MCPServer) bool {
	return w.backend.secure || server.Spec.CACertificateRef != nil || server.Spec.TLS != nil && server.Spec.TLS.ServerName != ""
}

// marshal writes the file that has this one entry.
func marshal(spec config.ServerSpec) ([]byte, error) {
	document, err := encode(config.File{Servers: []config.ServerSpec{spec}})
	if err != nil {
		return nil, fmt.Errorf("the entry of %q %w", spec.Name, err)
	}
	return document, nil
}

// check has the file mode itself judge an entry: a file with one that it refuses would be refused whole.
func check(spec config.ServerSpec, env files) config.Problems {
	document, err := marshal(spec)
	if err != nil {
		return config.Problems{{Message: err.Error()}}
	}
	return checkDocument(document, env)
}

func checkDocument(document []byte, env files) config.Problems {
	_, err := config.Parse("", document, env)
	if err == nil {
		return nil
	}
	var problems config.Problems
	if errors.As(err, &problems) {
		return problems
	}
	return config.Problems{{Message: err.Error()}}
}

// judge puts what the file mode says of an entry into the words of the object that it comes from.
func judge(server *v1alpha1.MCPServer, document []byte, secrets []*attached, certificates *attached) []finding {
	env := files{}
	origins := map[string]string{}
	attach := func(folder string, a *attached) {
		env[a.path(folder)] = a.data
		origins[a.path(folder)] = a.origin
	}
	for _, secret := range secrets {
		attach(CredentialFolder, secret)
	}
	if certificates != nil {
		attach(CertificateFolder, certificates)
	}
	var findings []finding
	for _, problem := range checkDocument(document, env) {
		reason, field := sourceOf(server, strings.TrimPrefix(problem.Field, "servers[0]."))
		message := inWordsOfObjects(problem.Message)
		for path, origin := range origins {
			message = strings.ReplaceAll(message, fmt.Sprintf("the file %q", path), origin)
		}
		if reason == v1alpha1.ReasonInvalidCredential {
			message += "; correct the Secret"
		}
		findings = append(findings, *found(reason, "%s: %s.", field, message))
	}
	return findings
}

// inWordsOfObjects names what an author of objects has in place of the file's keys.
func inWordsOfObjects(message string) string {
	message, _, _ = strings.Cut(message, " on line ")
	return strings.NewReplacer(
		"use credential with its key header, which keeps the value out of this file", "use spec.credentialRef of the MCPServer, which keeps the value in a Secret",
		"use the server's key hostname", "use a URLRewrite of the hostname in the route",
		"hostname and path are keys of the server", "use a URLRewrite in the route",
	).Replace(message)
}

// sourceOf tells where the value of an entry's field comes from, and which reason a problem of it is.
func sourceOf(server *v1alpha1.MCPServer, field string) (reason, source string) {
	switch {
	case field == "credential" || strings.HasPrefix(field, "credential."):
		return credentialSourceOf(server, strings.TrimPrefix(strings.TrimPrefix(field, "credential"), "."))
	case field == "tls.caFile":
		return v1alpha1.ReasonInvalidCACertificate, "spec.caCertificateRef"
	case field == "url":
		return v1alpha1.ReasonInvalid, fmt.Sprintf("The URL that follows from spec.path and the HTTPRoute %q", server.Spec.TargetRef.Name)
	case field == "hostname":
		return v1alpha1.ReasonInvalid, fmt.Sprintf("The hostname that follows from the HTTPRoute %q", server.Spec.TargetRef.Name)
	case field == "name":
		return v1alpha1.ReasonInvalid, "metadata.name"
	case field == "timeout":
		return v1alpha1.ReasonInvalid, "spec.timeouts.call"
	}
	return v1alpha1.ReasonInvalid, "spec." + field
}
