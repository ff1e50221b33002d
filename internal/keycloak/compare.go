package keycloak

import (
	"maps"
	"slices"
)

// covers tells whether what is there says all that is wanted. It may say more; lists are compared as sets, in which Keycloak keeps them.
func covers(there, wanted any) bool {
	switch wanted := wanted.(type) {
	case object:
		there, ok := there.(object)
		if !ok {
			return len(wanted) == 0
		}
		for k, v := range wanted {
			if !covers(there[k], v) {
				return false
			}
		}
		return true
	case []any:
		there, ok := there.([]any)
		if !ok || len(there) != len(wanted) {
			return len(wanted) == 0 && len(there) == 0
		}
		for _, v := range wanted {
			if !slices.ContainsFunc(there, func(t any) bool { return covers(t, v) }) {
				return false
			}
		}
		return true
	default:
		return there == wanted
	}
}

// merge is what is there, with what is wanted in its place.
func merge(there, wanted object) object {
	out := maps.Clone(there)
	if out == nil {
		out = object{}
	}
	for k, v := range wanted {
		inner, ok := v.(object)
		if old, both := out[k].(object); ok && both {
			out[k] = merge(old, inner)
			continue
		}
		out[k] = v
	}
	return out
}

// without is a copy that lacks some keys.
func without(o object, keys ...string) object {
	out := maps.Clone(o)
	for _, k := range keys {
		delete(out, k)
	}
	return out
}

// objects are the members of a list that are objects.
func objects(v any) []object {
	list, _ := v.([]any)
	var out []object
	for _, item := range list {
		if o, ok := item.(object); ok {
			out = append(out, o)
		}
	}
	return out
}

func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, item := range list {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func text(o object, key string) string {
	s, _ := o[key].(string)
	return s
}

// find is the object with a value.
func find(list []object, key, value string) (object, bool) {
	i := slices.IndexFunc(list, func(o object) bool { return text(o, key) == value })
	if i < 0 {
		return nil, false
	}
	return list[i], true
}
