package config

import (
	"slices"
	"strings"
	"unicode/utf8"
)

const maxHeaderValue = 8 << 10

// headers checks and sorts the static headers. The result is nil where there are none.
func (c *compiler) headers(given map[string]string, field string) []Header {
	var headers []Header
	spelling := map[string]string{}
	for _, name := range sortedKeys(given) {
		member, value, lower := child(field, name), given[name], strings.ToLower(name)
		if first, twice := spelling[lower]; twice {
			c.field(member, "is the same header as %q on line %d", first, c.place(child(field, first)).line)
			continue
		}
		spelling[lower] = name
		switch problem := headerNameProblem(lower); {
		case problem != "":
			c.field(member, "%s", problem)
		case isCredentialHeader(lower):
			c.field(member, "carries a credential; use credential with its key header, which keeps the value out of this file")
		case value == "":
			c.field(member, "has an empty value; take the header out or give it one")
		case len(value) > maxHeaderValue:
			c.field(member, "has a value of more than 8 KiB")
		default:
			if problem := headerValueProblem(value); problem != "" {
				c.field(member, "the value %s", problem)
			}
		}
		headers = append(headers, Header{Name: lower, Value: value})
	}
	slices.SortFunc(headers, func(a, b Header) int { return strings.Compare(a.Name, b.Name) })
	return headers
}

// headerOnce refuses a credential in a header that has a static value too.
func (c *compiler) headerOnce(given map[string]string, credential, server string) {
	for _, name := range sortedKeys(given) {
		if strings.ToLower(name) == credential && !isCredentialHeader(credential) {
			c.field(child(child(server, "headers"), name), "is the credential's header too; give it once")
		}
	}
}

// IsToken tells whether a text is a token, which names of headers are (RFC 9110, section 5.6.2).
func IsToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !isAlphanumeric(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}) < 0
}

// headerNameProblem judges a lower-case name that the configuration wants to set, for a value of either kind.
func headerNameProblem(name string) string {
	switch {
	case strings.HasPrefix(name, ":"):
		return "is a pseudo-header, which the gateway sets; hostname and path are keys of the server"
	case !IsToken(name):
		return "is not a header name"
	case name == "host":
		return "is set by the gateway; use the server's key hostname"
	case isHopByHop(name):
		return "belongs to one connection and cannot be set"
	}
	for _, prefix := range []string{"content-", "mcp-", "x-mcp-", "x-envoy-"} {
		if strings.HasPrefix(name, prefix) {
			return "is set by the gateway: no name that starts with " + prefix + " can be set"
		}
	}
	return ""
}

func isHopByHop(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade":
		return true
	}
	return false
}

func isCredentialHeader(name string) bool {
	switch name {
	case "authorization", "proxy-authorization", "cookie", "api-key":
		return true
	}
	return strings.HasSuffix(name, "-api-key")
}

// headerValueProblem says what keeps a value from being sent, without repeating it.
func headerValueProblem(value string) string {
	switch {
	case !utf8.ValidString(value):
		return "is not valid UTF-8"
	case strings.ContainsFunc(value, isControl):
		return "has a control character, such as a line break or a tab"
	case strings.HasPrefix(value, " ") || strings.HasSuffix(value, " "):
		return "begins or ends with a space"
	}
	return ""
}
