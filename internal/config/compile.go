package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxToolPrefix is as long as a tool name may be by MCP's own advice.
const maxToolPrefix = 64

// compiler validates a File and makes the Config of it. It goes on after a problem, so that all are found.
type compiler struct {
	*report
	env Env
}

func compile(r *report, env Env, file File) *Config {
	c := &compiler{report: r, env: env}
	config := &Config{Servers: make([]Server, 0, len(file.Servers))}
	owners := map[string]string{}
	for i, spec := range file.Servers {
		field := fmt.Sprintf("servers[%d]", i)
		if r.spoilt[field] {
			continue
		}
		c.name(spec.Name, field, owners)
		config.Servers = append(config.Servers, c.server(spec, field))
	}
	config.VirtualServers = c.virtualServers(file, owners)
	return config
}

// name checks one name and that no server before has it.
func (c *compiler) name(name, server string, owners map[string]string) {
	field := child(server, "name")
	if name == "" {
		c.field(field, "is required")
		return
	}
	namespace, label, namespaced := strings.Cut(name, "/")
	if !isDNSLabel(namespace) || namespaced && !isDNSLabel(label) {
		c.field(field, "%q must be a DNS label (lower-case letters, digits and inner hyphens, at most 63), or two as namespace/name", name)
	}
	if owner, taken := owners[name]; taken {
		c.field(field, "the name %q is already taken by %s on line %d", name, owner, c.place(child(owner, "name")).line)
		return
	}
	owners[name] = server
}

func isDNSLabel(s string) bool {
	inner := func(c rune) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' }
	return s != "" && len(s) <= 63 && strings.Trim(s, "-") == s && !strings.ContainsFunc(s, func(c rune) bool { return !inner(c) })
}

func (c *compiler) server(spec ServerSpec, field string) Server {
	s := Server{
		Name:       spec.Name,
		Enabled:    spec.Enabled == nil || *spec.Enabled,
		ToolPrefix: spec.ToolPrefix,
		URIPrefix:  spec.URIPrefix,
		Untrusted:  spec.Untrusted,
	}
	c.endpoint(&s, spec, field)
	s.Cluster = spec.Cluster
	c.cluster(spec.Cluster, child(field, "cluster"))
	c.toolPrefix(spec.ToolPrefix, child(field, "toolPrefix"))
	s.Headers = c.headers(spec.Headers, child(field, "headers"))
	if spec.Credential != nil {
		s.Credential = c.credential(*spec.Credential, s.Enabled, child(field, "credential"))
		c.headerOnce(spec.Headers, s.Credential.Header, field)
	}
	s.Timeout = c.timeout(spec.Timeout, DefaultTimeout, child(field, "timeout"))
	s.ToolTimeouts = c.toolTimeouts(spec.Tools, child(field, "tools"))
	s.Pins = c.pins(spec.Pin, child(field, "pin"))
	s.MaxCalls = c.most(spec.MaxCalls, DefaultMaxCalls, child(field, "maxCalls"))
	s.MaxConnections = c.most(spec.MaxConnections, 0, child(field, "maxConnections"))
	s.MaxBytesPerSecond = c.most(spec.MaxBytesPerSecond, 0, child(field, "maxBytesPerSecond"))
	s.TLS = c.tls(&s, spec.TLS, child(field, "tls"))
	return s
}

// maxCluster is longer than any name that a Kubernetes host and port make.
const maxCluster = 512

// cluster checks what is to be the value of a header, and must not lead to the gateway itself.
func (c *compiler) cluster(name, field string) {
	switch {
	case len(name) > maxCluster:
		c.field(field, "is %d characters long; at most %d are allowed", len(name), maxCluster)
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		c.field(field, "%q must be printable ASCII without spaces", name)
	case strings.HasPrefix(name, "mcp_"):
		c.field(field, "%q is a cluster of the gateway's own: no name that starts with mcp_ can be a server's", name)
	}
}

func (c *compiler) toolPrefix(prefix, field string) {
	if len(prefix) > maxToolPrefix {
		c.field(field, "is %d characters long; at most %d are allowed", len(prefix), maxToolPrefix)
	}
	bad := strings.IndexFunc(prefix, func(r rune) bool {
		return !strings.ContainsRune("_-./", r) && !isAlphanumeric(r)
	})
	if bad >= 0 {
		c.field(field, "%q must be made of what tool names may have: letters, digits and _ - . /", prefix)
	}
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func (c *compiler) timeout(given *Duration, otherwise time.Duration, field string) time.Duration {
	if given == nil {
		return otherwise
	}
	d := time.Duration(*given)
	switch {
	case d < 0:
		c.field(field, "%q must not be negative; 0s means no limit", d)
	case d > 0 && d < time.Millisecond:
		// Proxies count in milliseconds: less than one would turn into none, which means no limit.
		c.field(field, "%q is less than 1ms; 0s means no limit", d)
	}
	return d
}

// most is a number of things at once, or in a second.
func (c *compiler) most(given *int, otherwise uint32, field string) uint32 {
	if given == nil {
		return otherwise
	}
	if *given < 0 {
		c.field(field, "%d must not be negative; 0 means no limit", *given)
		return otherwise
	}
	return uint32(*given) //nolint:gosec // the decoder bounds it
}

// toolTimeouts is nil where no tool differs.
func (c *compiler) toolTimeouts(tools map[string]ToolSpec, field string) map[string]time.Duration {
	var timeouts map[string]time.Duration
	for name, tool := range tools {
		member := child(field, name)
		c.toolName(name, member)
		if tool.Timeout == nil {
			continue
		}
		if timeouts == nil {
			timeouts = map[string]time.Duration{}
		}
		timeouts[name] = c.timeout(tool.Timeout, 0, child(member, "timeout"))
	}
	return timeouts
}

func (c *compiler) toolName(name, field string) {
	if name == "" || strings.ContainsFunc(name, isControl) {
		c.field(field, "a tool's name must not be empty or have control characters")
	}
}

// IsHash tells whether a definition can be pinned by it.
func IsHash(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}

// pins is nil where no tool is pinned.
func (c *compiler) pins(pins map[string]string, field string) map[string]string {
	for name, hash := range pins {
		member := child(field, name)
		c.toolName(name, member)
		if !IsHash(hash) {
			c.field(member, "%q must be sha256: and 64 lower-case hexadecimal digits, as /status shows them", hash)
		}
	}
	if len(pins) == 0 {
		return nil
	}
	return pins
}

// readFile reads a file that the configuration names, with its path resolved against the configuration file's folder.
func (c *compiler) readFile(path string, limit int, limitText, field string) ([]byte, bool) {
	data, err := c.env.ReadFile(path)
	switch {
	case err != nil:
		c.field(field, "the file %q %s", path, reason(err))
	case len(data) > limit:
		c.field(field, "the file %q is larger than %s", path, limitText)
	default:
		return data, true
	}
	return nil, false
}

func (c *compiler) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(c.file), path)
}

// sortedKeys is for reports and results that must not depend on a map's order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
