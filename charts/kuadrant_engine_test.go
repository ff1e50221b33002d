package charts

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// predicate and expression are CEL, as Kuadrant's objects have it.
type predicate struct {
	Predicate string `json:"predicate"`
}

type expression struct {
	Expression string `json:"expression"`
	Value      any    `json:"value"`
}

// authPolicy is of an AuthPolicy what the chart makes use of. It is read strictly: what is not here is not evaluated either.
type authPolicy struct {
	Authentication map[string]struct {
		Anonymous   *struct{} `json:"anonymous"`
		Credentials struct {
			CustomHeader struct {
				Name string `json:"name"`
			} `json:"customHeader"`
		} `json:"credentials"`
		JWT *struct {
			IssuerURL string `json:"issuerUrl"`
			JWKSURL   string `json:"jwksUrl"`
		} `json:"jwt"`
		Overrides map[string]expression `json:"overrides"`
	} `json:"authentication"`
	Authorization map[string]struct {
		Priority        int         `json:"priority"`
		When            []predicate `json:"when"`
		PatternMatching struct {
			Patterns []predicate `json:"patterns"`
		} `json:"patternMatching"`
	} `json:"authorization"`
	Response struct {
		Unauthenticated *denial `json:"unauthenticated"`
		Unauthorized    *denial `json:"unauthorized"`
		Success         struct {
			Headers map[string]signedHeader `json:"headers"`
			Filters map[string]struct {
				JSON struct {
					Properties map[string]expression `json:"properties"`
				} `json:"json"`
			} `json:"filters"`
		} `json:"success"`
	} `json:"response"`
}

type denial struct {
	Code    int                   `json:"code"`
	Message expression            `json:"message"`
	Headers map[string]expression `json:"headers"`
	Body    expression            `json:"body"`
}

type signedHeader struct {
	When      []predicate `json:"when"`
	Wristband struct {
		Issuer         string                `json:"issuer"`
		CustomClaims   map[string]expression `json:"customClaims"`
		TokenDuration  int                   `json:"tokenDuration"`
		SigningKeyRefs []struct {
			Name      string `json:"name"`
			Algorithm string `json:"algorithm"`
		} `json:"signingKeyRefs"`
	} `json:"wristband"`
}

// authorino does with an AuthPolicy what Authorino does: identity, authorization, response, each with its own answer to what cannot be evaluated. It is a model;
// that Authorino itself does the same was seen by hand (docs/guides/kuadrant.md).
type authorino struct {
	policy *authPolicy
	env    *cel.Env
	// keys are the issuer's, and sign the Secrets' by name.
	keys     map[string]*ecdsa.PublicKey
	sign     map[string]*ecdsa.PrivateKey
	programs map[string]cel.Program
}

// answer is what becomes of a request.
type answer struct {
	status  int
	headers map[string]string // the response's, or those that the request gets
	body    string
	auth    map[string]any // what filters are told
}

func newAuthorino(t testing.TB, object *unstructured.Unstructured, secrets ...*unstructured.Unstructured) *authorino {
	t.Helper()
	spec, _, err := unstructured.NestedMap(object.Object, "spec", "rules")
	require.NoError(t, err)
	a := &authorino{policy: &authPolicy{}, programs: map[string]cel.Program{}, keys: map[string]*ecdsa.PublicKey{}, sign: map[string]*ecdsa.PrivateKey{}}
	text, err := json.Marshal(spec)
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(text, a.policy), "the evaluator does not know something that the chart uses")
	options := []cel.EnvOption{ext.Strings(), cel.OptionalTypes()}
	for _, name := range []string{"metadata", "request", "source", "destination", "auth"} {
		options = append(options, cel.Variable(name, cel.ObjectType("google.protobuf.Struct")))
	}
	a.env, err = cel.NewEnv(options...)
	require.NoError(t, err)
	for _, secret := range secrets {
		a.sign[secret.GetName()] = privateKey(t, secretText(t, secret, "key.pem"))
	}
	a.compile(t)
	return a
}

// compile finds every expression, so that one that does not compile is found even where no request needs it.
func (a *authorino) compile(t testing.TB) {
	t.Helper()
	for text, isBool := range a.expressions() {
		checked, issues := a.env.Compile(text)
		require.NoError(t, issues.Err(), text)
		if isBool {
			out := checked.OutputType()
			require.True(t, out.IsExactType(types.BoolType) || out.IsExactType(types.DynType), "%s is of type %s", text, out)
		}
		program, err := a.env.Program(checked)
		require.NoError(t, err)
		a.programs[text] = program
	}
}

// expressions are all of them, and whether they must be true or false.
func (a *authorino) expressions() map[string]bool {
	all := map[string]bool{}
	predicates := func(of []predicate) {
		for _, p := range of {
			all[p.Predicate] = true
		}
	}
	values := func(of map[string]expression) {
		for _, e := range of {
			if e.Expression != "" {
				all[e.Expression] = false
			}
		}
	}
	for _, identity := range a.policy.Authentication {
		values(identity.Overrides)
	}
	for _, rule := range a.policy.Authorization {
		predicates(rule.When)
		predicates(rule.PatternMatching.Patterns)
	}
	for _, d := range []*denial{a.policy.Response.Unauthenticated, a.policy.Response.Unauthorized} {
		if d != nil {
			values(d.Headers)
		}
	}
	for _, h := range a.policy.Response.Success.Headers {
		predicates(h.When)
		values(h.Wristband.CustomClaims)
	}
	for _, f := range a.policy.Response.Success.Filters {
		values(f.JSON.Properties)
	}
	return all
}

// input is the JSON that expressions see, as Authorino makes it: what is empty is not there.
func (a *authorino) input(headers map[string]string, auth map[string]any) (map[string]any, error) {
	auth = maps.Clone(auth)
	maps.DeleteFunc(auth, func(_ string, v any) bool { return v == nil || reflect.ValueOf(v).Len() == 0 })
	text, err := json.Marshal(map[string]any{"request": map[string]any{"headers": headers}, "auth": auth})
	if err != nil {
		return nil, err
	}
	data := &structpb.Struct{}
	if err := protojson.Unmarshal(text, data); err != nil {
		return nil, err
	}
	in := map[string]any{}
	for _, name := range []string{"metadata", "request", "source", "destination", "auth"} {
		in[name] = data.GetFields()[name]
	}
	return in, nil
}

func (a *authorino) value(e expression, in map[string]any) (any, error) {
	if e.Expression == "" {
		return e.Value, nil
	}
	out, _, err := a.programs[e.Expression].Eval(in)
	if err != nil {
		return nil, err
	}
	native, err := out.ConvertToNative(reflect.TypeFor[*structpb.Value]())
	if err != nil {
		return nil, err
	}
	v, ok := native.(*structpb.Value)
	if !ok {
		return nil, fmt.Errorf("%q has no value of JSON", e.Expression)
	}
	return v.AsInterface(), nil
}

// holds tells whether all predicates are true.
func (a *authorino) holds(predicates []predicate, in map[string]any) (bool, error) {
	for _, p := range predicates {
		out, _, err := a.programs[p.Predicate].Eval(in)
		if err != nil || out != types.True {
			return false, err
		}
	}
	return true, nil
}

// check decides on a request.
func (a *authorino) check(headers map[string]string) (answer, error) {
	auth := map[string]any{"authorization": map[string]any{}}
	if err := a.identify(headers, auth); err != nil {
		delete(auth, "identity")
		return a.denied(a.policy.Response.Unauthenticated, 401, headers, auth)
	}
	allowed, err := a.authorize(headers, auth)
	if err != nil {
		return answer{}, err
	}
	if !allowed {
		return a.denied(a.policy.Response.Unauthorized, 403, headers, auth)
	}
	return a.succeed(headers, auth)
}

var errRefused = errors.New("the token is not accepted")

func (a *authorino) identify(headers map[string]string, auth map[string]any) error {
	for _, identity := range a.policy.Authentication {
		if identity.Anonymous != nil {
			auth["identity"] = map[string]any{"anonymous": true}
			return nil
		}
		claims, err := a.verify(headers[identity.Credentials.CustomHeader.Name])
		if err != nil {
			return err
		}
		auth["identity"] = claims
		in, err := a.input(headers, auth)
		if err != nil {
			return err
		}
		changed := maps.Clone(claims)
		for name, e := range identity.Overrides {
			if changed[name], err = a.value(e, in); err != nil {
				return err
			}
		}
		auth["identity"] = changed
	}
	return nil
}

// verify asks for the signature and the end of a token and for nothing else, as Authorino does.
func (a *authorino) verify(token string) (map[string]any, error) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, err
	}
	key := a.keys[jws.Signatures[0].Header.KeyID]
	if key == nil {
		return nil, errRefused
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		return nil, err
	}
	if exp, ok := claims["exp"].(float64); !ok || exp < float64(time.Now().Unix()) {
		return nil, errRefused
	}
	return claims, nil
}

func (a *authorino) authorize(headers map[string]string, auth map[string]any) (bool, error) {
	byPriority := map[int][]string{}
	for name, rule := range a.policy.Authorization {
		byPriority[rule.Priority] = append(byPriority[rule.Priority], name)
	}
	for _, priority := range slices.Sorted(maps.Keys(byPriority)) {
		in, err := a.input(headers, auth)
		if err != nil {
			return false, err
		}
		granted, _ := auth["authorization"].(map[string]any)
		granted = maps.Clone(granted)
		for _, name := range byPriority[priority] {
			rule := a.policy.Authorization[name]
			if on, err := a.holds(rule.When, in); err != nil || !on {
				continue // also where it cannot be told
			}
			if ok, err := a.holds(rule.PatternMatching.Patterns, in); err != nil || !ok {
				return false, nil //nolint:nilerr // what cannot be told is refused
			}
			granted[name] = true
		}
		auth["authorization"] = granted
	}
	return true, nil
}

func (a *authorino) denied(d *denial, code int, headers map[string]string, auth map[string]any) (answer, error) {
	out := answer{status: code, headers: map[string]string{}}
	in, err := a.input(headers, auth)
	if err != nil || d == nil {
		return out, err
	}
	for name, e := range d.Headers {
		v, err := a.value(e, in)
		if err != nil {
			return out, fmt.Errorf("header %q: %w", name, err)
		}
		out.headers[name] = fmt.Sprint(v)
	}
	out.status, out.body = d.Code, fmt.Sprint(d.Body.Value)
	return out, nil
}

func (a *authorino) succeed(headers map[string]string, auth map[string]any) (answer, error) {
	out := answer{status: 200, headers: map[string]string{}, auth: map[string]any{}}
	in, err := a.input(headers, auth)
	if err != nil {
		return out, err
	}
	for name, f := range a.policy.Response.Success.Filters {
		values := map[string]any{}
		for key, e := range f.JSON.Properties {
			if values[key], err = a.value(e, in); err != nil {
				return out, fmt.Errorf("filters %q: %w", name, err)
			}
		}
		out.auth[name] = values
	}
	for name, h := range a.policy.Response.Success.Headers {
		if on, err := a.holds(h.When, in); err != nil || !on {
			continue
		}
		if out.headers[name], err = a.wristband(&h, in); err != nil {
			return out, fmt.Errorf("header %q: %w", name, err)
		}
	}
	return out, nil
}

func (a *authorino) wristband(h *signedHeader, in map[string]any) (string, error) {
	w := h.Wristband
	now := time.Now().Unix()
	claims := map[string]any{"iss": w.Issuer, "iat": now, "exp": now + int64(w.TokenDuration), "sub": "a digest"}
	for name, e := range w.CustomClaims {
		v, err := a.value(e, in)
		if err != nil {
			return "", err
		}
		claims[name] = v
	}
	ref := w.SigningKeyRefs[0]
	key := a.sign[ref.Name]
	if key == nil {
		return "", fmt.Errorf("there is no Secret %q", ref.Name)
	}
	return signed(ref.Name, key, claims)
}

// signed is a token.
func signed(kid string, key *ecdsa.PrivateKey, claims map[string]any) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(text)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

func privateKey(t testing.TB, text []byte) *ecdsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(text)
	require.NotNil(t, block, "no PEM")
	require.Equal(t, "EC PRIVATE KEY", block.Type, "Authorino reads the kind of key from this")
	key, err := x509.ParseECPrivateKey(block.Bytes)
	require.NoError(t, err)
	return key
}
