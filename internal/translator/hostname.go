package translator

import "strings"

// intersect is the hostnames that two of the Gateway API have in common, each a name, a name behind "*." or, for any name, nothing.
func intersect(a, b string) (string, bool) {
	a, b = strings.ToLower(a), strings.ToLower(b)
	switch {
	case a == "" || a == "*":
		return b, true
	case b == "" || b == "*" || a == b:
		return a, true
	case covers(a, b):
		return b, true
	case covers(b, a):
		return a, true
	}
	return "", false
}

// covers tells whether the first is a wildcard that the second, itself one or not, is within. "*.example.com" stands for one label or more.
func covers(wildcard, host string) bool {
	suffix, ok := strings.CutPrefix(wildcard, "*")
	return ok && strings.HasPrefix(suffix, ".") && strings.HasSuffix(host, suffix) && len(host) > len(suffix)
}

// concrete tells whether the hostname is one name, which a request can be sent to.
func concrete(host string) bool { return host != "" && !strings.HasPrefix(host, "*") }
