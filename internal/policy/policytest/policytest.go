// Package policytest reads decision tests: which caller may call what, under which policy values. Every engine that enforces those values must come
// to the same outcomes, so the tests know no engine; they hand out claims and requests. It is for tests only.
package policytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// Outcome is what becomes of a request.
type Outcome string

// The outcomes.
const (
	Allowed         Outcome = "allowed"
	Denied          Outcome = "denied"
	Unauthenticated Outcome = "unauthenticated"
	Limited         Outcome = "limited"
)

// File is one file of tests.
type File struct {
	// Name is the file's, without folder and ending.
	Name string
	// Values are the policy values as text, for engines that read them themselves; Set is what they mean.
	Values []byte
	Set    *policy.Set
	// Cases run in their order against one engine. Budgets are full before the first and are shared by all; none is filled up again in between.
	Cases []Case
}

// Case is one test.
type Case struct {
	Name string
	// Claims are those of the caller's token, without "aud" and times: a runner that signs tokens adds them. Nil means that there is no token.
	Claims  map[string]any
	Method  string
	Request policy.Request
	// Repeat is how often the request is made, at least once. Then is the outcome of the last time; all before are allowed.
	Repeat int
	Then   Outcome
}

// Load reads all files of the folder.
func Load(dir string) ([]File, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var files []File
	for _, path := range paths {
		f, err := load(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		files = append(files, *f)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: has no decision tests", dir)
	}
	return files, nil
}

// document is a file as it is written.
type document struct {
	Policies     yaml.Node `yaml:"policies"`
	PoliciesFile string    `yaml:"policiesFile"`
	Cases        []struct {
		Name   string  `yaml:"name"`
		Given  *given  `yaml:"given"`
		When   when    `yaml:"when"`
		Then   Outcome `yaml:"then"`
		Repeat int     `yaml:"repeat"`
	} `yaml:"cases"`
}

type given struct {
	User   string         `yaml:"user"`
	Issuer string         `yaml:"issuer"`
	Groups []string       `yaml:"groups"`
	Roles  []string       `yaml:"roles"`
	Scopes []string       `yaml:"scopes"`
	Claims map[string]any `yaml:"claims"`
}

type when struct {
	Method     string          `yaml:"method"`
	Server     string          `yaml:"server"`
	Tool       string          `yaml:"tool"`
	Prompt     string          `yaml:"prompt"`
	Resource   string          `yaml:"resource"`
	PublicName string          `yaml:"publicName"`
	Hints      map[string]bool `yaml:"hints"`
}

func load(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc document
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&doc); err != nil {
		return nil, err
	}
	f := &File{Name: strings.TrimSuffix(filepath.Base(path), ".yaml")}
	if f.Values, err = doc.values(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if f.Set, err = policy.Parse("policies", f.Values); err != nil {
		return nil, err
	}
	var errs []error
	for _, c := range doc.Cases {
		one := Case{Name: c.Name, Then: c.Then, Repeat: max(c.Repeat, 1)}
		if one.Method, one.Request, err = c.When.request(); err != nil {
			errs = append(errs, fmt.Errorf("case %q: %w", c.Name, err))
		}
		if one.Claims, err = c.Given.claims(f.Set); err != nil {
			errs = append(errs, fmt.Errorf("case %q: %w", c.Name, err))
		}
		switch c.Then {
		case Allowed, Denied, Unauthenticated, Limited:
		default:
			errs = append(errs, fmt.Errorf("case %q: unknown outcome %q", c.Name, c.Then))
		}
		f.Cases = append(f.Cases, one)
	}
	return f, errors.Join(errs...)
}

func (d *document) values(dir string) ([]byte, error) {
	switch {
	case d.PoliciesFile != "" && d.Policies.IsZero():
		return os.ReadFile(filepath.Join(dir, d.PoliciesFile))
	case d.PoliciesFile == "" && !d.Policies.IsZero():
		return yaml.Marshal(map[string]*yaml.Node{"policies": &d.Policies})
	}
	return nil, errors.New("must have one of policies and policiesFile")
}

// claims are those of a token that says who the caller is, at the places where the values look. What the case gives as claims stands over them.
func (g *given) claims(set *policy.Set) (map[string]any, error) {
	if g == nil {
		return nil, nil
	}
	issuer, paths := g.Issuer, policy.Claims{}
	if a := set.Authentication; a != nil {
		paths = a.Claims
		if issuer == "" {
			issuer = a.Issuer
		}
	}
	claims := map[string]any{"iss": issuer, "sub": "subject-of-" + g.User}
	put(claims, paths.User, g.User, g.User != "")
	put(claims, paths.Groups, anys(g.Groups), g.Groups != nil)
	put(claims, paths.Roles, anys(g.Roles), g.Roles != nil)
	put(claims, paths.Scopes, strings.Join(g.Scopes, " "), g.Scopes != nil)
	own, err := asJSON(g.Claims)
	maps.Copy(claims, own)
	return claims, err
}

// put sets the member at the path, if it is given.
func put(claims map[string]any, path []string, value any, given bool) {
	if !given || len(path) == 0 {
		return
	}
	for _, name := range path[:len(path)-1] {
		inner, ok := claims[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			claims[name] = inner
		}
		claims = inner
	}
	claims[path[len(path)-1]] = value
}

func anys(texts []string) []any {
	out := make([]any, len(texts))
	for i, text := range texts {
		out[i] = text
	}
	return out
}

// asJSON gives values the types that they have after a token was decoded.
func asJSON(claims map[string]any) (map[string]any, error) {
	data, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	err = json.Unmarshal(data, &out)
	return out, err
}

func (w *when) request() (method string, r policy.Request, err error) {
	r = policy.Request{Server: w.Server, PublicName: w.PublicName}
	for kind, name := range map[policy.Kind]string{policy.Tool: w.Tool, policy.Prompt: w.Prompt, policy.Resource: w.Resource} {
		if name == "" {
			continue
		}
		if r.Kind != policy.None {
			return "", r, errors.New("asks for more than one item")
		}
		r.Kind, r.Name = kind, name
	}
	method = w.Method
	switch r.Kind {
	case policy.Tool:
		r.Hints, method = Hints(w.Hints), or(method, "tools/call")
	case policy.Prompt:
		method = or(method, "prompts/get")
	case policy.Resource:
		method = or(method, "resources/read")
	case policy.None:
		if method == "" {
			return "", r, errors.New("asks for nothing: it needs tool, prompt, resource or method")
		}
	}
	if r.Kind != policy.None {
		r.PublicName = or(r.PublicName, r.Name)
	}
	return method, r, nil
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Hints writes annotations as the router does, with the specification's defaults for what is not given.
func Hints(given map[string]bool) string {
	get := func(name string, otherwise bool) string {
		if set, ok := given[name]; ok {
			otherwise = set
		}
		return name + "=" + strconv.FormatBool(otherwise)
	}
	return get("readOnly", false) + "," + get("destructive", !given["readOnly"]) + "," + get("idempotent", false) + "," + get("openWorld", true)
}
