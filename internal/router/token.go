package router

import "strings"

// bearerToken is the token of an Authorization header of the one form that everybody reads alike, and empty for any other: the scheme, one space,
// and three parts of base64url, none of them empty. What reads a token out of anything else may read another one than the router and the broker do.
func bearerToken(authorization string) string {
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok {
		token, ok = strings.CutPrefix(authorization, "bearer ")
	}
	if !ok {
		return ""
	}
	parts := 0
	for part := range strings.SplitSeq(token, ".") {
		if parts++; part == "" || strings.ContainsFunc(part, notBase64URL) {
			return ""
		}
	}
	if parts != 3 {
		return ""
	}
	return token
}

func notBase64URL(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
}
