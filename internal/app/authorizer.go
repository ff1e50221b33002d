package app

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/guicassolato/mcp-gateway/internal/authn"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/kubesource"
)

// withAuthorizer also reads the public key beside the values, of an engine that enforces them and signs what a caller may have. From then on nothing is
// shown without its word.
func withAuthorizer(kind config.FileKind[*policyValues]) config.FileKind[*policyValues] {
	load := kind.Load
	kind.Load = func(name string, env config.Env) (*policyValues, error) {
		values, err := load(name, env)
		if err != nil {
			return nil, err
		}
		key, err := env.ReadFile(path.Join(path.Dir(name), kubesource.AuthorizerKey))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return values, nil
		case err == nil:
			values.grants, err = authn.NewGrantVerifier(authn.GrantOptions{PublicKeyPEM: key})
		}
		if err != nil {
			return nil, fmt.Errorf("%s beside %s: %w", kubesource.AuthorizerKey, name, err)
		}
		values.sum = sha256.Sum256(slices.Concat(values.sum[:], key))
		return values, nil
	}
	return kind
}

// engines are the policy engines whose lists count: the one that the command line names, and the one that the policies name.
func (a *access) engines() []*authn.GrantVerifier {
	var out []*authn.GrantVerifier
	if a.grants != nil {
		out = append(out, a.grants)
	}
	if a.policies != nil {
		if named := a.policies.now.Load().values.grants; named != nil {
			out = append(out, named)
		}
	}
	return out
}

// granted is the list of a policy engine. Without a good one nothing is granted (Invariant 5).
func granted(engine *authn.GrantVerifier, lists []string) *authn.Grants {
	if len(lists) != 1 {
		return nil
	}
	grants, err := engine.Parse(lists[0])
	if err != nil {
		return nil
	}
	return grants
}
