package xds_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// limitService is a global rate limit service that counts by the configuration which is printed for the real one, reads it as that does, and has
// windows that never end.
type limitService struct {
	servicev3.UnimplementedRateLimitServiceServer

	address string

	mu      sync.Mutex // guards the rest
	file    limitLevels
	domain  string
	counts  map[string]uint32
	asked   int
	failing bool
	silent  bool
	strayed []string // what was asked that no limit is for
}

type limitLevels []struct {
	Key, Value string
	RateLimit  *struct {
		Unit     string
		Requests uint32 `yaml:"requests_per_unit"`
	} `yaml:"rate_limit"`
	Descriptors limitLevels
}

func startLimitService(t *testing.T) *limitService {
	t.Helper()
	s := &limitService{address: freeAddress(t)}
	s.listen(t)
	return s
}

// listen serves until the test ends, or the function that it returns is called.
func (s *limitService) listen(t *testing.T) (stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", s.address)
	require.NoError(t, err)
	server := grpc.NewServer()
	servicev3.RegisterRateLimitServiceServer(server, s)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	stop = sync.OnceFunc(func() {
		server.Stop()
		<-served
	})
	t.Cleanup(stop)
	return stop
}

// asValue is the service as policy values name it; nothing where Envoy counts itself. The timeout is that of a busy machine.
func (s *limitService) asValue() string {
	if s == nil {
		return ""
	}
	return "  rateLimitService: {address: \"" + s.address + "\", timeout: 5s}\n"
}

// load takes the configuration for the values, and forgets what was counted.
func (s *limitService) load(t *testing.T, set *policy.Set) {
	t.Helper()
	if s == nil {
		return
	}
	text, err := xds.RateLimitService(set)
	require.NoError(t, err)
	var file struct {
		Domain      string
		Descriptors limitLevels
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file, s.domain, s.counts = file.Descriptors, file.Domain, map[string]uint32{}
}

func (s *limitService) timesAsked() int {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// become makes the service answer with errors, or not at all.
func (s *limitService) become(failing, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing, s.silent = failing, silent
}

func (s *limitService) ShouldRateLimit(ctx context.Context, r *servicev3.RateLimitRequest) (*servicev3.RateLimitResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	switch {
	case s.silent:
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return nil, ctx.Err()
	case s.failing, r.GetDomain() != s.domain:
		return nil, grpcstatus.Error(codes.Unknown, "dial tcp: connection refused")
	}
	out := &servicev3.RateLimitResponse{OverallCode: servicev3.RateLimitResponse_OK}
	for _, d := range r.GetDescriptors() {
		code := servicev3.RateLimitResponse_OK
		most, known := s.file.find(d.GetEntries())
		if !known {
			s.strayed = append(s.strayed, d.String())
		} else if s.counts[d.String()] >= most {
			code, out.OverallCode = servicev3.RateLimitResponse_OVER_LIMIT, servicev3.RateLimitResponse_OVER_LIMIT
		}
		out.Statuses = append(out.Statuses, &servicev3.RateLimitResponse_DescriptorStatus{Code: code, DurationUntilReset: durationpb.New(42 * time.Second)})
	}
	if out.GetOverallCode() == servicev3.RateLimitResponse_OK {
		for _, d := range r.GetDescriptors() {
			s.counts[d.String()]++
		}
	}
	return out, nil
}

// find looks for the limit that a descriptor leads to, by key and value first and then by key alone.
func (l limitLevels) find(entries []*commonv3.RateLimitDescriptor_Entry) (most uint32, found bool) {
	first, rest := entries[0], entries[1:]
	for _, value := range []string{first.GetValue(), ""} {
		for _, level := range l {
			switch {
			case level.Key != first.GetKey() || level.Value != value:
			case len(rest) > 0:
				return level.Descriptors.find(rest)
			case level.RateLimit != nil:
				return level.RateLimit.Requests, true
			}
		}
	}
	return 0, false
}

func (s *limitService) wrongQuestions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.strayed
}

func TestValuesAskTheServiceWhatItKnows(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	service := startLimitService(t)
	set := parseValues(t, `  rateLimits:
    - {name: all, limit: 5, window: 24h}
    - {per: [user, tool], limit: 4, window: 1h}
    - {per: server, servers: [a], limit: 1000, window: 1s}
`+service.asValue())
	service.load(t, set)
	key := newIssuer(t, "k")
	g := startWithValues(t, values(set, jwks(t, key)), a)
	token := "Bearer " + key.token(t, goodClaims(nil))
	got := send(t, http.MethodPost, g.url(), namedTool("a_x").body(t), "authorization", token)
	require.Equal(t, http.StatusOK, got.status, got.body)
	for name := range got.header {
		require.NotContains(t, strings.ToLower(name), "ratelimit", "how much is left is nobody's business")
	}
	require.Len(t, calls(t, g, token, "a_x", "a_x", "a_x", "a_x", "b_x", "b_x"), 4)
	got = send(t, http.MethodPost, g.url(), namedTool("a_y").body(t), "authorization", token)
	require.Equal(t, http.StatusTooManyRequests, got.status)
	require.Equal(t, "42", got.header.Get("Retry-After"), "as the service says")
	require.Empty(t, got.header.Values("X-Envoy-Ratelimited"))
	require.Empty(t, service.wrongQuestions())
	asked := service.timesAsked()
	require.Equal(t, http.StatusUnauthorized, send(t, http.MethodPost, g.url(), namedTool("a_x").body(t)).status)
	require.Equal(t, asked, service.timesAsked(), "what is refused anyway is not counted")
}

// Whether calls pass that cannot be counted is for the values to say. What is not limited passes in any case.
func TestValuesWithoutTheService(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	set := func(service *limitService, timeout string, failClosed bool) *policy.Set {
		s, err := policy.Parse("values.yaml", fmt.Appendf(nil, "policies:\n  rateLimits: [{tools: [\"slow_*\"], limit: 1, window: 24h}]\n"+
			"  rateLimitService: {address: %q, timeout: %s, failClosed: %t}\n", service.address, timeout, failClosed))
		require.NoError(t, err)
		return s
	}
	service := &limitService{address: freeAddress(t)}
	g := startWithValues(t, values(set(service, "5s", false), nil), a)
	call := func(tool string) answer { return send(t, http.MethodPost, g.url(), namedTool(tool).body(t)) }
	refused := func(t *testing.T) {
		t.Helper()
		got := call("slow_x")
		require.Equal(t, http.StatusServiceUnavailable, got.status)
		require.Equal(t, rpcError("1", -32603, "calls cannot be counted at the moment"), got.body)
		require.Equal(t, "done", call("quick_x").body)
	}
	require.Equal(t, "done", call("slow_x").body)
	g.change(t, values(set(service, "5s", true), nil), a)
	refused(t)

	service.load(t, set(service, "5s", true))
	stop := service.listen(t)
	require.Eventually(t, func() bool { return call("slow_x").status == http.StatusOK }, patience, 20*time.Millisecond)
	require.Equal(t, http.StatusTooManyRequests, call("slow_x").status)
	service.become(true, false)
	refused(t)
	g.change(t, values(set(service, "20ms", true), nil), a)
	service.become(false, true)
	refused(t)
	g.change(t, values(set(service, "20ms", false), nil), a)
	require.Equal(t, "done", call("slow_x").body)
	stop()
	require.Equal(t, "done", call("slow_x").body)
}

// Going over to a service and back drains nothing, and is in force at once.
func TestValuesChangeWhoCounts(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	service := startLimitService(t)
	const limits = "policies:\n  rateLimits: [{limit: 1, window: 24h}]\n"
	parse := func(text string) *policy.Set {
		set, err := policy.Parse("values.yaml", []byte(text))
		require.NoError(t, err)
		return set
	}
	global := parse(limits + service.asValue())
	service.load(t, global)
	g := startWithValues(t, values(&policy.Set{}, nil), a)
	require.Equal(t, []string{"a_x", "a_x"}, calls(t, g, "", "a_x", "a_x"))
	for range 2 {
		g.change(t, values(parse(limits), nil), a)
		require.Equal(t, []string{"a_x"}, calls(t, g, "", "a_x", "a_x"))
		g.change(t, values(global, nil), a)
		require.Equal(t, []string{"a_x"}, calls(t, g, "", "a_x", "a_x"))
		service.load(t, global)
	}
	g.change(t, values(parse("policies:\n"+service.asValue()), nil), a)
	require.Len(t, calls(t, g, "", "a_x", "a_x"), 2)
	require.Contains(t, g.envoy.get(t, "/stats?filter=listener_manager.listener_(modified|in_place)"), "listener_modified: 0")
}
