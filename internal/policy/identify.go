package policy

import (
	"encoding/json"
	"slices"
	"strings"
)

// Identify reads the caller from the claims of a verified token.
func (s *Set) Identify(claims map[string]any) *Identity {
	paths := defaultClaims()
	if s.Authentication != nil {
		paths = s.Authentication.Claims
	}
	claims, _ = plain(claims).(map[string]any)
	id := &Identity{
		Users:  texts(find(claims, paths.User)),
		Groups: texts(find(claims, paths.Groups)),
		Roles:  texts(find(claims, paths.Roles)),
		Scopes: scopes(find(claims, paths.Scopes)),
		Claims: claims,
	}
	id.Issuer, _ = claims["iss"].(string)
	id.Subject, _ = claims["sub"].(string)
	if len(id.Users) > 0 {
		id.User = id.Users[0]
	}
	return id
}

// find walks down from member to member; nil where there is none.
func find(claims map[string]any, path []string) any {
	var at any = claims
	for _, name := range path {
		members, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = members[name]
	}
	return at
}

// texts are the strings of a claim that is one or a list of them. What else stands in the list is as if it were not there.
func texts(claim any) []string {
	switch claim := claim.(type) {
	case string:
		return []string{claim}
	case []string:
		return claim
	case []any:
		var out []string
		for _, item := range claim {
			if text, ok := item.(string); ok {
				out = append(out, text)
			}
		}
		return out
	}
	return nil
}

// scopes are those of a list, or of one string in which spaces stand between them.
func scopes(claim any) []string {
	if text, ok := claim.(string); ok {
		return slices.DeleteFunc(strings.Split(text, " "), func(scope string) bool { return scope == "" })
	}
	return texts(claim)
}

// plain makes numbers that were kept as text into what every policy engine sees: doubles.
func plain(claim any) any {
	switch claim := claim.(type) {
	case json.Number:
		number, err := claim.Float64()
		if err != nil {
			return nil
		}
		return number
	case map[string]any:
		out := make(map[string]any, len(claim))
		for name, member := range claim {
			out[name] = plain(member)
		}
		return out
	case []any:
		out := make([]any, len(claim))
		for i, item := range claim {
			out[i] = plain(item)
		}
		return out
	}
	return claim
}
