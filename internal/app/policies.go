package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/admin"
	"github.com/guicassolato/mcp-gateway/internal/authn"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/kubesource"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/telemetry"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// policiesOptions are what policies need to know.
type policiesOptions struct {
	// File or Document is where the values are.
	File     string
	Document *kubesource.Document
	// Elsewhere tells that an Envoy that is not fed is told the same values by somebody else.
	Elsewhere bool

	Logger  *slog.Logger
	Metrics *telemetry.PolicyMetrics
	// Feed gives the values to Envoy; it is nil where Envoy is not fed.
	Feed valuesFeed
	// ResourceMetadata and Scopes are what refused clients are told.
	ResourceMetadata string
	Scopes           []string
	Keys             authn.KeysOptions
}

// valuesFeed is how Envoys learn of policy values.
type valuesFeed interface {
	CheckValues(v *xds.PolicyValues) error
	SetValues(v *xds.PolicyValues) []catalog.Problem
}

// policies are the policy values in force and the keys of their issuer. They see to it that Envoy, which enforces the values, and the broker, which
// shows and serves by them, have the same ones.
type policies struct {
	policiesOptions

	keys     *authn.Keys
	verifier *authn.Verifier
	now      atomic.Pointer[inForce]
	started  time.Time
	seen     tokensSeen

	feeding sync.Mutex // Envoy is given one thing after the other
	fed     atomic.Pointer[authn.KeySet]

	mu       sync.Mutex // guards what follows
	problems []string   // of the file as it stands
	unfed    []string   // of giving the values to Envoy
}

// inForce is one generation of values. It is never modified.
type inForce struct {
	values     *policyValues
	generation int
	loaded     time.Time
}

// newPolicies reads the values of a file, which must be good; a document may come later. Nothing is fetched before Run.
func newPolicies(o policiesOptions) (*policies, error) {
	p := &policies{policiesOptions: o, started: time.Now()}
	var values *policyValues
	if o.Document == nil {
		var err error
		if values, err = p.kind().Load(o.File, config.OS()); err != nil {
			return nil, fmt.Errorf("the policies cannot be used:\n%w", err)
		}
	}
	p.keys = authn.NewKeys(o.Keys)
	p.seen.keys = p.keys
	p.verifier = authn.NewVerifier(p.state, authn.Options{Missed: p.keys.Missed})
	if values == nil {
		p.now.Store(&inForce{values: unknownValues()})
		p.push()
		return p, nil
	}
	p.take(values)
	return p, nil
}

// unknownValues stand for those that nobody has told yet: they allow nothing (Invariant 5).
func unknownValues() *policyValues { return &policyValues{set: &policy.Set{ACL: []policy.Rule{}}} }

// Unknown tells that there have been no values yet.
func (p *policies) Unknown() bool { return p.now.Load().generation == 0 }

// source is where the values are, as it is told to people.
func (p *policies) source() string {
	if p.Document != nil {
		return "ConfigMap " + p.Document.String()
	}
	return p.File
}

// take puts values in force, here and at Envoy.
func (p *policies) take(values *policyValues) {
	next := &inForce{values: values, generation: 1, loaded: time.Now()}
	if old := p.now.Load(); old != nil {
		next.generation = old.generation + 1
	}
	p.now.Store(next)
	p.keys.Set(values.set.Authentication)
	p.Metrics.Taken(next.loaded, next.generation)
	p.push()
}

// push gives Envoy the values and the keys as they are now.
func (p *policies) push() {
	if p.Feed == nil {
		return
	}
	p.feeding.Lock()
	defer p.feeding.Unlock()
	set, keys := p.state()
	var jwks []byte
	if a := set.Authentication; a != nil && keys.Issuer == a.Issuer {
		jwks = keys.JWKS
	}
	var unfed []string
	for _, problem := range p.Feed.SetValues(p.forEnvoy(set, jwks)) {
		unfed = append(unfed, problem.Message)
		p.Logger.Error("policy values cannot be given to Envoy", "server", problem.Server, "error", problem.Message)
	}
	p.fed.Store(keys)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unfed = unfed
}

// state is what tokens are verified by.
func (p *policies) state() (*policy.Set, *authn.KeySet) {
	return p.now.Load().values.set, p.keys.Current()
}

func (p *policies) forEnvoy(set *policy.Set, jwks []byte) *xds.PolicyValues {
	return &xds.PolicyValues{Set: set, JWKS: jwks, ResourceMetadata: p.ResourceMetadata, Scopes: p.Scopes}
}

// kind is the values' file. What Envoy cannot enforce is as bad as what cannot be read: it is refused, never dropped.
func (p *policies) kind() config.FileKind[*policyValues] {
	if p.Document != nil {
		return withAuthorizer(p.file())
	}
	return p.file()
}

func (p *policies) file() config.FileKind[*policyValues] {
	return policyFile(func(set *policy.Set) error {
		if now := p.now.Load(); now != nil && now.generation > 0 && opens(now.values.set, set) {
			return errOpens
		}
		if p.Feed == nil {
			return nil
		}
		return p.Feed.CheckValues(p.forEnvoy(set, nil))
	})
}

// Run keeps the keys and the values fresh until the context ends.
func (p *policies) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { p.refresh(ctx) })
	options := config.FileOptions[*policyValues]{Logger: p.Logger, OnChange: p.changed, OnError: p.refused, OnRecover: p.recovered}
	if p.Document != nil {
		kubesource.FollowDocument(ctx, p.Document, p.kind(), options)
		return
	}
	options.Current = p.now.Load().values
	config.WatchFile(ctx, p.File, config.OS(), p.kind(), options)
}

// refresh fetches keys and gives them to Envoy.
func (p *policies) refresh(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { p.keys.Run(ctx) })
	var last []byte
	for {
		changed := p.keys.Changed()
		if jwks := p.keys.Current().JWKS; string(jwks) != string(last) {
			last = jwks
			p.push()
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// changed takes good values over.
func (p *policies) changed(values *policyValues) {
	p.take(values)
	p.setProblems(nil)
	p.Logger.Info("policies taken", "file", p.source(), "generation", p.now.Load().generation, "rules", len(values.set.ACL))
	if p.Feed == nil && !p.Elsewhere {
		p.Logger.Warn("the Envoy beside this gateway is not fed: it enforces the new policies only once it is started with a new file of envoy-config")
	}
}

// refused reports bad values, in place of which those before stay in force (Invariant 8).
func (p *policies) refused(err error) {
	problems := problemsOf(err)
	if p.Unknown() {
		p.Logger.Error("policies refused; nobody gets anything until there are good ones", "file", p.source(), "problems", len(problems))
	} else {
		p.Logger.Error("policies refused; those before stay in force", "file", p.source(), "problems", len(problems))
	}
	for _, problem := range problems {
		p.Logger.Error("policy problem", "problem", problem)
	}
	p.Metrics.Refused()
	p.setProblems(problems)
}

// recovered hears that the file means again what is in force.
func (p *policies) recovered() {
	p.Logger.Info("policies are good again and mean what is in force", "file", p.source())
	p.Metrics.Recovered()
	p.setProblems(nil)
}

func (p *policies) setProblems(problems []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = problems
}

// NotReady are the reasons for which good tokens are still refused. It gives up waiting: an issuer that is down keeps nobody from what needs no token.
func (p *policies) NotReady() []string {
	if p.Unknown() {
		return []string{fmt.Sprintf("there are no good policies in the %s yet", p.source())}
	}
	set, keys := p.state()
	if set.Authentication == nil || time.Since(p.started) >= patience {
		return nil
	}
	if keys.Fetched.IsZero() {
		return []string{fmt.Sprintf("the keys of the issuer %q have not been fetched yet", set.Authentication.Issuer)}
	}
	if fed := p.fed.Load(); p.Feed != nil && (fed == nil || !bytes.Equal(fed.JWKS, keys.JWKS)) {
		return []string{fmt.Sprintf("Envoy has not been given the keys of the issuer %q yet", set.Authentication.Issuer)}
	}
	return nil
}

// Issuer is whose tokens are believed, empty where callers need none.
func (p *policies) Issuer() string {
	if a := p.now.Load().values.set.Authentication; a != nil {
		return a.Issuer
	}
	return ""
}

// Challenge is what a caller without a good token, or without the right to something, is told (RFC 6750 §3, RFC 9728 §5.1): at a virtual server by the last
// segment of its path, which is empty at the gateway itself.
func (p *policies) Challenge(status int, segment string) string {
	if p.Issuer() == "" {
		return ""
	}
	reason := "invalid_token"
	if status == http.StatusForbidden {
		reason = "insufficient_scope"
	}
	metadata := p.ResourceMetadata
	if segment != "" {
		metadata += "/" + segment
	}
	out := fmt.Sprintf(`Bearer error="%s", resource_metadata="%s"`, reason, metadata)
	if len(p.Scopes) > 0 {
		out += fmt.Sprintf(`, scope="%s"`, strings.Join(p.Scopes, " "))
	}
	return out
}

// Status is what the admin interface tells of the policies.
func (p *policies) Status() admin.Policies {
	now, keys := p.now.Load(), p.keys.Current()
	s := admin.Policies{File: p.source(), Generation: now.generation, Loaded: now.loaded, Issuer: p.Issuer(), EnvoyFed: p.Feed != nil}
	if s.Issuer != "" {
		s.KeysFetched, s.Keys = keys.Fetched, keys.Len()
		if keys.Err != nil {
			s.Problems = append(s.Problems, admin.KeysProblem+keys.Err.Error())
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Problems = append(append(s.Problems, p.problems...), p.unfed...)
	return s
}

// policyValues are policy values as a file has them.
type policyValues struct {
	set *policy.Set
	sum [sha256.Size]byte // of the file
	// grants reads what an engine that enforces the values says of a caller; nil where no such engine is known.
	grants *authn.GrantVerifier
}

func (v *policyValues) equal(other *policyValues) bool {
	return v != nil && other != nil && v.sum == other.sum
}

// errOpens refuses what is far more often half a file, or a broken template, than a decision.
var errOpens = errors.New("the file no longer has the authentication, or the acl, that is in force: a running gateway does not open itself. " +
	"Allow everyone everything by a rule with everyone: true, or start the gateway anew without them")

// opens tells whether values ask for less than those before: for no token any more, or for no right.
func opens(was, is *policy.Set) bool {
	return was.Authentication != nil && is.Authentication == nil || was.ACL != nil && is.ACL == nil
}

// policyFile is how files of policy values are read and watched.
func policyFile(check func(*policy.Set) error) config.FileKind[*policyValues] {
	return config.FileKind[*policyValues]{
		Load: func(path string, env config.Env) (*policyValues, error) {
			file, err := env.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("--%s: %w", flagValues, err)
			}
			set, err := policy.Parse(path, file)
			if err == nil {
				err = check(set)
			}
			if err != nil {
				return nil, err
			}
			return &policyValues{set: set, sum: sha256.Sum256(file)}, nil
		},
		Equal: (*policyValues).equal,
	}
}

// policyProblems takes an error of package policy apart.
func policyProblems(err error) ([]string, bool) {
	var problems policy.Problems
	if !errors.As(err, &problems) {
		return nil, false
	}
	out := make([]string, len(problems))
	for i, p := range problems {
		out[i] = p.Error()
	}
	return out, true
}
