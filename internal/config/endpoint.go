package config

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const maxPath = 2048

// endpoint fills in where the server is called and by which name. Messages never repeat the URL: a password may be in it.
func (c *compiler) endpoint(s *Server, spec ServerSpec, field string) {
	urlPath, hasPath := c.url(s, spec.URL, child(field, "url"))
	pathField := child(field, "path")
	switch {
	case spec.Path != "":
		s.Path = spec.Path
		if problem := pathProblem(spec.Path); problem != "" {
			c.field(pathField, "%s", problem)
		} else if hasPath && urlPath != spec.Path {
			c.field(pathField, "%q contradicts the path %q of the url; give the path once", spec.Path, urlPath)
		}
	case hasPath:
		s.Path = urlPath
	default:
		s.Path = DefaultPath
	}
	if spec.Hostname != "" {
		host, port, problem := parseAuthority(spec.Hostname)
		if problem != "" {
			c.field(child(field, "hostname"), "%s", problem)
		}
		s.Hostname = authority(host, port)
	}
}

// url fills in scheme, host, port and the hostname that follows from them. It returns the URL's path, if it has a good one.
func (c *compiler) url(s *Server, raw, field string) (path string, hasPath bool) {
	if raw == "" {
		c.field(field, "is required")
		return "", false
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "" || u.Scheme == "" || u.Host == "":
		c.field(field, "is not a URL as in http://host:port/path")
		return "", false
	case u.Scheme != "http" && u.Scheme != "https":
		c.field(field, "the scheme %q must be http or https", u.Scheme)
	}
	if u.User != nil {
		c.field(field, "must not have user or password; use credential")
	}
	if u.RawQuery != "" || u.ForceQuery {
		c.field(field, "must not have a query")
	}
	if strings.Contains(raw, "#") {
		c.field(field, "must not have a fragment")
	}
	host, port, problem := parseAuthority(u.Host)
	if problem != "" {
		c.field(field, "%s", problem)
	}
	s.Scheme, s.Host, s.Hostname = u.Scheme, host, authority(host, port)
	switch {
	case port != 0:
		s.Port = port
	case u.Scheme == "https":
		s.Port = 443
	default:
		s.Port = 80
	}
	return c.urlPath(raw, field)
}

// urlPath cuts the path out as it was written: url.Parse would have it re-encoded.
func (c *compiler) urlPath(raw, field string) (string, bool) {
	_, rest, _ := strings.Cut(raw, "//")
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return "", false
	}
	if problem := pathProblem(rest[slash:]); problem != "" {
		c.field(field, "the path %s", problem)
		return "", false
	}
	return rest[slash:], true
}

// pathProblem says what keeps the text from being sent as a path, or nothing.
func pathProblem(path string) string {
	switch {
	case !strings.HasPrefix(path, "/"):
		return "must start with a slash"
	case len(path) > maxPath:
		return "is longer than 2048 characters"
	}
	for i := range len(path) {
		c := path[i]
		switch {
		case c == '%':
			if len(path) < i+3 || !isHex(path[i+1]) || !isHex(path[i+2]) {
				return "has a % that is not followed by two hexadecimal digits"
			}
		case !isAlphanumeric(rune(c)) && !strings.ContainsRune("/-._~!$&'()*+,;=:@", rune(c)):
			return "has a character that must be percent-encoded, such as a space, ? or #"
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if decoded, _ := url.PathUnescape(segment); decoded == "." || decoded == ".." {
			return `must not have the segments "." and ".."`
		}
	}
	return ""
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

// parseAuthority splits "host" and "host:port" and brings the host to its one form. The port is 0 where there is none.
func parseAuthority(s string) (host string, port uint16, problem string) {
	host = s
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		n, err := strconv.ParseUint(s[i+1:], 10, 16)
		if err != nil || n == 0 {
			return "", 0, "the port must be a number from 1 to 65535"
		}
		host, port = s[:i], uint16(n)
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		if addr, err := netip.ParseAddr(inner); err != nil || !closed || !addr.Is6() || addr.Zone() != "" {
			return "", 0, "what stands in brackets must be an IPv6 address without a zone"
		}
		host = inner
	} else if strings.Contains(host, ":") {
		return "", 0, "an IPv6 address must stand in brackets"
	}
	host, problem = parseHost(host)
	return host, port, problem
}

// parseHost accepts IP addresses and host names, underscores included since container names have them.
func parseHost(s string) (host, problem string) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return addr.String(), ""
	}
	host = strings.ToLower(s)
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return "", "the host must be 1 to 253 characters long"
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if !isDNSLabel(strings.ReplaceAll(label, "_", "x")) {
			return "", "the host must be a name of letters, digits, hyphens and dots, or an IP address; write an international name in its xn-- form"
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return "", "the host looks like an IPv4 address and is none"
	}
	return host, ""
}

// authority joins what parseAuthority split. A dot at the end steers name resolution and is not for servers to see.
func authority(host string, port uint16) string {
	host = strings.TrimSuffix(host, ".")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != 0 {
		host += ":" + strconv.Itoa(int(port))
	}
	return host
}
