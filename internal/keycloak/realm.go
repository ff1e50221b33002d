// Package keycloak brings a realm into a Keycloak by its administration API: what is missing is made, what differs is set, and what the
// document does not speak of stays. Doing it again does nothing.
//
// Users are made and never changed, since from then on their passwords and groups are theirs. Nothing is ever deleted.
//
// It must know nothing of the gateway, which any other identity provider serves as well.
package keycloak

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// Report is told of every change as it is made, such as "created", "client", "mcp-inspector".
type Report func(change, kind, name string)

// parts are the members of a realm's document that are things of their own; all others are settings of the realm itself.
func parts() []string {
	return []string{
		"roles", "groups", "users", "clientScopes", "defaultDefaultClientScopes", "defaultOptionalClientScopes", "clients", "clientProfiles", "clientPolicies", "components",
	}
}

// left are members that are used when the realm is made, and not looked at once it is there.
func left() []string {
	return []string{
		"authenticationFlows", "authenticatorConfig", "clientScopeMappings", "defaultRole", "federatedUsers", "identityProviderMappers", "identityProviders",
		"organizations", "protocolMappers", "requiredActions", "scopeMappings", "userFederationMappers", "userFederationProviders",
	}
}

// importer brings one realm.
type importer struct {
	*API
	realm  string // its path
	report Report
}

// Import brings the realm of a document, which is Keycloak's own representation of one.
func (a *API) Import(ctx context.Context, document []byte, report Report) error {
	var doc object
	if err := decode(document, &doc); err != nil {
		return fmt.Errorf("the realm's document is no JSON object: %w", err)
	}
	name := text(doc, "realm")
	if name == "" {
		return errors.New("the realm's document names no realm: want its name as \"realm\"")
	}
	i := importer{API: a, realm: "/" + url.PathEscape(name), report: report}
	var there object
	switch err := i.do(ctx, http.MethodGet, i.realm, nil, &there); {
	case isStatus(err, http.StatusNotFound):
		if err := i.do(ctx, http.MethodPost, "", doc, nil); err != nil {
			return fmt.Errorf("the realm %q cannot be made: %w", name, err)
		}
		report("created", "realm", name)
		// What Keycloak adds to every new realm may differ from what the document wants.
		if err := i.do(ctx, http.MethodGet, i.realm, nil, &there); err != nil {
			return fmt.Errorf("the new realm %q cannot be read: %w", name, err)
		}
		for _, key := range left() {
			delete(doc, key)
		}
	case err != nil:
		return fmt.Errorf("the realm %q cannot be read: %w", name, err)
	}
	if err := i.update(ctx, name, there, doc); err != nil {
		return fmt.Errorf("the realm %q: %w", name, err)
	}
	return nil
}

// update goes in an order in which everything exists before something else names it.
func (i *importer) update(ctx context.Context, name string, there, doc object) error {
	settings := without(doc, append(parts(), append(left(), "id")...)...)
	if !covers(there, settings) {
		if err := i.do(ctx, http.MethodPut, i.realm, settings, nil); err != nil {
			return err
		}
		i.report("updated", "realm", name)
	}
	for _, key := range left() {
		if _, ok := doc[key]; ok {
			i.report("left as it is", "part of the realm", key)
		}
	}
	roles, _ := doc["roles"].(object)
	realmID := text(there, "id")
	for _, step := range []func() error{
		func() error { return i.list(ctx, "role", "/roles", "name", objects(roles["realm"]), nil) },
		func() error { return i.list(ctx, "group", "/groups", "name", objects(doc["groups"]), nil) },
		func() error {
			return i.list(ctx, "client scope", "/client-scopes", "name", objects(doc["clientScopes"]), i.mappers)
		},
		func() error {
			return i.scopes(ctx, "default client scope", "/default-default-client-scopes", texts(doc["defaultDefaultClientScopes"]))
		},
		func() error {
			return i.scopes(ctx, "optional client scope", "/default-optional-client-scopes", texts(doc["defaultOptionalClientScopes"]))
		},
		func() error { return i.list(ctx, "client", "/clients", "clientId", objects(doc["clients"]), i.client) },
		func() error {
			return i.named(ctx, "client profile", "/client-policies/profiles", "profiles", doc["clientProfiles"])
		},
		func() error {
			return i.named(ctx, "client policy", "/client-policies/policies", "policies", doc["clientPolicies"])
		},
		func() error { return i.components(ctx, realmID, doc["components"]) },
		func() error { return i.users(ctx, objects(doc["users"])) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// apart are the members that have a path of their own below that of what they belong to.
func apart() []string {
	return []string{"protocolMappers", "defaultClientScopes", "optionalClientScopes", "subGroups"}
}

// list brings the members of a list that are known by a name. What belongs to each is brought by inner.
func (i *importer) list(ctx context.Context, kind, path, key string, wanted []object, inner func(ctx context.Context, path, name string, wanted object) error) error {
	if len(wanted) == 0 {
		return nil
	}
	var there []object
	if err := i.do(ctx, http.MethodGet, i.realm+path+"?briefRepresentation=false&max=100000", nil, &there); err != nil {
		return err
	}
	for _, w := range wanted {
		name := text(w, key)
		old, ok := find(there, key, name)
		if !ok {
			if err := i.do(ctx, http.MethodPost, i.realm+path, w, nil); err != nil {
				return fmt.Errorf("%s %q: %w", kind, name, err)
			}
			i.report("created", kind, name)
			continue
		}
		at := i.realm + path + "/" + url.PathEscape(text(old, "id"))
		if kind == "role" {
			at = i.realm + path + "/" + url.PathEscape(name)
		}
		if own := without(w, append(apart(), "id")...); !covers(old, own) {
			if err := i.do(ctx, http.MethodPut, at, merge(old, own), nil); err != nil {
				return fmt.Errorf("%s %q: %w", kind, name, err)
			}
			i.report("updated", kind, name)
		}
		if inner != nil {
			if err := inner(ctx, at, name, w); err != nil {
				return fmt.Errorf("%s %q: %w", kind, name, err)
			}
		}
	}
	return nil
}

// mappers brings the mappers of a client or of a client scope.
func (i *importer) mappers(ctx context.Context, at, owner string, wanted object) error {
	mappers := objects(wanted["protocolMappers"])
	if len(mappers) == 0 {
		return nil
	}
	path := at + "/protocol-mappers/models"
	var there []object
	if err := i.do(ctx, http.MethodGet, path, nil, &there); err != nil {
		return err
	}
	for _, m := range mappers {
		name := text(m, "name")
		old, ok := find(there, "name", name)
		switch {
		case !ok:
			if err := i.do(ctx, http.MethodPost, path, m, nil); err != nil {
				return err
			}
			i.report("created", "mapper of "+owner, name)
		case !covers(old, without(m, "id")):
			if err := i.do(ctx, http.MethodPut, path+"/"+url.PathEscape(text(old, "id")), merge(old, without(m, "id")), nil); err != nil {
				return err
			}
			i.report("updated", "mapper of "+owner, name)
		}
	}
	return nil
}

// client brings what belongs to a client.
func (i *importer) client(ctx context.Context, at, name string, wanted object) error {
	if err := i.mappers(ctx, at, name, wanted); err != nil {
		return err
	}
	below := at[len(i.realm):]
	if err := i.scopes(ctx, "default client scope of "+name, below+"/default-client-scopes", texts(wanted["defaultClientScopes"])); err != nil {
		return err
	}
	return i.scopes(ctx, "optional client scope of "+name, below+"/optional-client-scopes", texts(wanted["optionalClientScopes"]))
}

// scopes adds client scopes to a list of such.
func (i *importer) scopes(ctx context.Context, kind, path string, wanted []string) error {
	if len(wanted) == 0 {
		return nil
	}
	var all, there []object
	if err := i.do(ctx, http.MethodGet, i.realm+"/client-scopes", nil, &all); err != nil {
		return err
	}
	if err := i.do(ctx, http.MethodGet, i.realm+path, nil, &there); err != nil {
		return err
	}
	for _, name := range wanted {
		if _, ok := find(there, "name", name); ok {
			continue
		}
		scope, ok := find(all, "name", name)
		if !ok {
			return fmt.Errorf("%s %q: there is no such client scope", kind, name)
		}
		if err := i.do(ctx, http.MethodPut, i.realm+path+"/"+url.PathEscape(text(scope, "id")), object{}, nil); err != nil {
			return fmt.Errorf("%s %q: %w", kind, name, err)
		}
		i.report("created", kind, name)
	}
	return nil
}

// named brings a list that is read and written as a whole.
func (i *importer) named(ctx context.Context, kind, path, key string, document any) error {
	holder, _ := document.(object)
	wanted := objects(holder[key])
	if len(wanted) == 0 {
		return nil
	}
	var there object
	if err := i.do(ctx, http.MethodGet, i.realm+path, nil, &there); err != nil {
		return err
	}
	list, changes := objects(there[key]), false
	for _, w := range wanted {
		name := text(w, "name")
		at := slices.IndexFunc(list, func(o object) bool { return text(o, "name") == name })
		switch {
		case at < 0:
			list = append(list, w)
			i.report("created", kind, name)
		case !covers(list[at], w):
			list[at] = merge(list[at], w)
			i.report("updated", kind, name)
		default:
			continue
		}
		changes = true
	}
	if !changes {
		return nil
	}
	return i.do(ctx, http.MethodPut, i.realm+path, object{key: list}, nil)
}

// components brings those of each type.
func (i *importer) components(ctx context.Context, realmID string, document any) error {
	byType, _ := document.(object)
	for kind, list := range byType {
		var there []object
		if err := i.do(ctx, http.MethodGet, i.realm+"/components?type="+url.QueryEscape(kind), nil, &there); err != nil {
			return err
		}
		for _, w := range objects(list) {
			if err := i.component(ctx, there, merge(without(w, "id", "subComponents"), object{"providerType": kind, "parentId": realmID})); err != nil {
				return err
			}
		}
	}
	return nil
}

func (i *importer) component(ctx context.Context, there []object, wanted object) error {
	name := text(wanted, "name")
	at := slices.IndexFunc(there, func(o object) bool { return text(o, "name") == name && text(o, "subType") == text(wanted, "subType") })
	method, path, change := http.MethodPost, i.realm+"/components", "created"
	if at >= 0 {
		if covers(there[at], wanted) {
			return nil
		}
		wanted = merge(there[at], wanted)
		method, path, change = http.MethodPut, path+"/"+url.PathEscape(text(there[at], "id")), "updated"
	}
	if err := i.do(ctx, method, path, wanted, nil); err != nil {
		return fmt.Errorf("component %q: %w", name, err)
	}
	i.report(change, "component", name)
	return nil
}

// users makes those that are missing, with their roles.
func (i *importer) users(ctx context.Context, wanted []object) error {
	for _, w := range wanted {
		name := text(w, "username")
		search := i.realm + "/users?exact=true&username=" + url.QueryEscape(name)
		var there []object
		if err := i.do(ctx, http.MethodGet, search, nil, &there); err != nil {
			return err
		}
		if len(there) > 0 {
			continue
		}
		err := i.do(ctx, http.MethodPost, i.realm+"/users", w, nil)
		if err == nil {
			err = i.do(ctx, http.MethodGet, search, nil, &there)
		}
		if err == nil && len(there) == 1 {
			err = i.userRoles(ctx, text(there[0], "id"), texts(w["realmRoles"]))
		}
		if err != nil {
			return fmt.Errorf("user %q: %w", name, err)
		}
		i.report("created", "user", name)
	}
	return nil
}

// userRoles gives a user roles, which the user's own representation doesn't do.
func (i *importer) userRoles(ctx context.Context, id string, names []string) error {
	var roles []object
	for _, name := range names {
		var role object
		if err := i.do(ctx, http.MethodGet, i.realm+"/roles/"+url.PathEscape(name), nil, &role); err != nil {
			return err
		}
		roles = append(roles, role)
	}
	if len(roles) == 0 {
		return nil
	}
	return i.do(ctx, http.MethodPost, i.realm+"/users/"+url.PathEscape(id)+"/role-mappings/realm", roles, nil)
}
