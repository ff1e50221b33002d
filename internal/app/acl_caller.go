package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// aclCaller is somebody as the command line describes them.
type aclCaller struct {
	user                  string
	groups, roles, scopes []string
	claimsFile            string
}

func (a *aclCaller) flags(f *pflag.FlagSet) {
	f.StringVar(&a.user, "user", "", "`name` of the caller")
	f.StringSliceVar(&a.groups, "groups", nil, "`groups` of the caller, separated by commas")
	f.StringSliceVar(&a.roles, "roles", nil, "`roles` of the caller, separated by commas")
	f.StringSliceVar(&a.scopes, "scopes", nil, "`scopes` of the caller's token, separated by commas")
	f.StringVar(&a.claimsFile, "claims-file", "", "JSON `file` with the claims of a token; --user, --groups, --roles and --scopes add to them. With none of these, the caller has no token")
}

// identity is nil for a caller without a token.
func (a *aclCaller) identity(set *policy.Set, given func(flag string) bool) (*policy.Identity, error) {
	claims := map[string]any{}
	if a.claimsFile != "" {
		data, err := os.ReadFile(a.claimsFile)
		if err != nil {
			return nil, fmt.Errorf("--claims-file: %w", err)
		}
		err = json.Unmarshal(data, &claims)
		if err == nil && claims == nil {
			err = errors.New("it holds null")
		}
		if err != nil {
			return nil, fmt.Errorf("--claims-file %q: must hold one JSON object, the claims of a token: %w", a.claimsFile, err)
		}
	}
	if !given("user") && !given("groups") && !given("roles") && !given("scopes") && a.claimsFile == "" {
		return nil, nil //nolint:nilnil // nobody is nil, as everywhere
	}
	if set.Authentication == nil {
		return nil, usagef("these policies have no authentication: they know no users, groups, roles, scopes or claims; leave these flags out")
	}
	var n policy.Names
	if given("user") {
		n.Users = []string{a.user}
	}
	if given("groups") {
		n.Groups = append([]string{}, a.groups...)
	}
	if given("roles") {
		n.Roles = append([]string{}, a.roles...)
	}
	if given("scopes") {
		n.Scopes = append([]string{}, a.scopes...)
	}
	return set.IdentifyAs(claims, n), nil
}

// describe is one line about the caller.
func describe(id *policy.Identity) string {
	if id == nil {
		return "without a token"
	}
	parts := []string{}
	add := func(what string, values []string) {
		if len(values) > 0 {
			parts = append(parts, what+" "+strings.Join(values, ", "))
		}
	}
	add("user", id.Users)
	add("groups", id.Groups)
	add("roles", id.Roles)
	add("scopes", id.Scopes)
	if len(parts) == 0 {
		return "with a token that names no user, groups, roles or scopes"
	}
	return strings.Join(parts, "; ")
}
