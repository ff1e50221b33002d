package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain lets the test's binary take the roles in which the benchmark starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && slices.Contains([]string{roleUpstream, roleLoad, roleStubborn}, os.Args[1]) {
		if os.Args[1] == roleStubborn {
			_, _ = os.Stderr.WriteString("last words\n")
			os.Exit(3)
		}
		if err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// roleStubborn is a helper that fails at once.
const roleStubborn = "stubborn-process"

func TestAWholeRunWithoutEnvoy(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new")
	file, plot := filepath.Join(folder, "bench.json"), filepath.Join(folder, "bench.svg")
	var stdout, stderr bytes.Buffer
	require.NoError(t, run(t.Context(), []string{
		"-rows", "^direct$", "-cases", "call, 1 KiB$", "-connections", "1,3", "-rounds", "2", "-duration", "100ms", "-warmup", "10ms", "-pin", "off", "-o", file, "-plot", plot,
	}, nil, &stdout, &stderr))
	assert.Contains(t, stdout.String(), "2 alternating rounds of 0.1 s")
	assert.Contains(t, stdout.String(), "not measured", "targets are named even so")
	assert.FileExists(t, plot)

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var got report
	require.NoError(t, json.Unmarshal(text, &got))
	require.Len(t, got.Cases, 2)
	for i, connections := range []int{1, 3} {
		require.Len(t, got.Cases[i].Rows, 1)
		assert.Equal(t, connections, got.Cases[i].Connections)
		direct := got.Cases[i].Rows[0]
		assert.Equal(t, "direct", direct.Name)
		assert.Positive(t, direct.CallsPerSecond)
		assert.Len(t, direct.Rounds, 2)
		assert.Nil(t, direct.Ratio, "there is no plain Envoy to compare with")
	}
}

func TestAnInterruptStopsEverythingAndWritesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench.json")
	ctx, cancel := context.WithCancel(t.Context())
	progress := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "round 1 ") {
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		return len(p), nil
	})
	began := time.Now()
	err := run(ctx, []string{"-rows", "^direct$", "-cases", "call, 1 KiB$", "-duration", "60s", "-pin", "off", "-o", file}, nil, progress, progress)
	require.ErrorContains(t, err, "interrupted")
	assert.Less(t, time.Since(began), 30*time.Second)
	assert.NoFileExists(t, file)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestARowThatFailsNamesItselfAndTheReason(t *testing.T) {
	s, err := newStage(options{})
	require.NoError(t, err)
	defer s.stop()
	o := options{rounds: 1, duration: 50 * time.Millisecond}
	c := settled(benchCases()[:1], []int{1})[0]
	for _, tt := range []struct {
		name  string
		reach func(ctx context.Context, s *stage, c *benchCase) (target, error)
		want  string
	}{
		{"cannot be reached", func(context.Context, *stage, *benchCase) (target, error) {
			return target{}, errors.New("no such thing")
		}, "no such thing"},
		{"has no Envoy", func(ctx context.Context, s *stage, c *benchCase) (target, error) { return s.plain(ctx, "a", c) }, "hack/envoy.sh"},
		{"answers wrongly", func(ctx context.Context, s *stage, _ *benchCase) (target, error) {
			base, _, err := s.upstream(ctx)
			return target{url: base + pathSessionful, tool: "unknown"}, err
		}, "the only tool"},
		{"dies", func(ctx context.Context, s *stage, _ *benchCase) (target, error) {
			base, _, err := s.upstream(ctx)
			if err != nil {
				return target{}, err
			}
			dead, _, err := s.helper(ctx, partEnvoy, roleStubborn)
			if err != nil {
				return target{}, err
			}
			<-dead.ended
			return target{url: base + pathSessionless, tool: toolName, parts: map[part]*process{partEnvoy: dead}}, nil
		}, "last words"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := measure(t.Context(), s, &c, []row{{name: "mine", reach: tt.reach}}, o, &bytes.Buffer{})
			require.ErrorContains(t, err, `row "mine"`)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestStopEndsProcessesThatWouldNotEndByThemselves(t *testing.T) {
	s, err := newStage(options{})
	require.NoError(t, err)
	_, up, err := s.upstream(t.Context())
	require.NoError(t, err)
	require.NoError(t, up.fault())
	folder := s.folder
	s.stop()
	require.Error(t, up.fault())
	assert.NoDirExists(t, folder)
}

func TestEveryRowAndCaseHasANameOfItsOwn(t *testing.T) {
	var names, rowNames []string
	for _, r := range rows() {
		names = append(names, r.name)
	}
	rowNames = slices.Clone(names)
	for _, c := range benchCases() {
		names = append(names, c.name)
		assert.Subset(t, rowNames, c.rows, c.name)
		if c.rows != nil {
			assert.Contains(t, c.rows, baseRow, c.name)
			assert.Contains(t, c.rows, noiseRow, c.name)
		}
	}
	for _, f := range facts() {
		names = append(names, f.name)
	}
	for _, g := range growths() {
		names = append(names, g.name)
	}
	for _, name := range []string{caseCall, caseHalf, caseHeaders, caseManyList, caseFreshOne, caseFreshNo, caseMany} {
		assert.Contains(t, names, name, "targets refer to it")
	}
	slices.Sort(names)
	assert.Equal(t, slices.Compact(slices.Clone(names)), names)
}

func TestSettled(t *testing.T) {
	got := settled([]benchCase{{name: "each", eachConnections: true}, {name: "middle"}, {name: "own", connections: 1, metric: latency50, body: 7}}, []int{64, 1, 8})
	var connections []int
	for _, c := range got {
		connections = append(connections, c.connections)
	}
	assert.Equal(t, []int{1, 8, 64, 8, 1}, connections)
	assert.Equal(t, benchCase{name: "middle", work: workCall, server: serverSessionless, path: pathSessionless, tool: toolName, body: 1024, connections: 8, metric: callsPerSecond}, got[3])
	assert.Equal(t, latency50, got[4].metric)
	assert.Equal(t, 7, got[4].body)
}

func TestFlags(t *testing.T) {
	o, err := parseFlags([]string{"-rows", "plain", "-pin", "off", "-gateway", "bin/x"}, &bytes.Buffer{})
	require.NoError(t, err)
	assert.Len(t, o.rows, 2)
	assert.Equal(t, 7, o.rounds)
	assert.Equal(t, 600*time.Millisecond, o.duration)
	assert.Len(t, o.facts, len(facts()))
	assert.Len(t, o.cases, len(benchCases())+2, "the first case is measured with three numbers of connections")
	assert.True(t, filepath.IsAbs(o.gatewayBin), "processes run in another folder")

	_, err = parseFlags([]string{"-rounds", "0", "-connections", "9999", "-duration", "1h", "-rows", "nothing", "-cases", "(", "-pin", "maybe", "-suite", "slow", "rest"}, &bytes.Buffer{})
	for _, want := range []string{"-rounds", "-connections", "-duration", `-rows="nothing"`, "-cases", "-pin", `-suite="slow"`, `"rest"`} {
		require.ErrorContains(t, err, want, "all mistakes are told at once")
	}
	_, err = parseFlags([]string{"-cases", "nothing"}, &bytes.Buffer{})
	require.ErrorContains(t, err, `-cases="nothing"`)
	_, err = parseFlags([]string{"-connections", "1,x"}, &bytes.Buffer{})
	require.ErrorContains(t, err, `"x" is no number`)
}

func TestTheQuickSuite(t *testing.T) {
	quick, err := parseFlags([]string{"-suite", "quick"}, &bytes.Buffer{})
	require.NoError(t, err)
	full, err := parseFlags(nil, &bytes.Buffer{})
	require.NoError(t, err)
	assert.Less(t, quick.duration, full.duration)
	assert.Less(t, len(quick.cases), len(full.cases)/2)
	assert.Equal(t, numberList{usualConnections}, quick.connections)

	quick, err = parseFlags([]string{"-suite", "quick", "-duration", "5s", "-connections", "4"}, &bytes.Buffer{})
	require.NoError(t, err)
	assert.Equal(t, 5*time.Second, quick.duration, "what is given counts")
	assert.Equal(t, numberList{4}, quick.connections)
}

func TestOneFactAlone(t *testing.T) {
	o, err := parseFlags([]string{"-cases", "^start$"}, &bytes.Buffer{})
	require.NoError(t, err)
	assert.Empty(t, o.cases)
	assert.Len(t, o.facts, 1)
}

func TestLayOut(t *testing.T) {
	assert.Nil(t, layOut(nil))
	assert.Nil(t, layOut([]int{3}), "one CPU cannot be shared out")
	for n := 2; n <= 8; n++ {
		cpus := make([]int, n)
		for i := range cpus {
			cpus[i] = 2 * i
		}
		p := layOut(cpus)
		require.Len(t, p, 4)
		assert.Equal(t, "0", p[partEnvoy])
		for _, other := range []part{partGateway, partUpstream, partLoad} {
			assert.NotContains(t, strings.Split(p[other], ","), "0", "%d CPUs: Envoy has one of its own", n)
		}
	}
	assert.Equal(t, "6,8,10", layOut([]int{0, 2, 4, 6, 8, 10})[partGateway])
}

func TestChoosePinning(t *testing.T) {
	have := func(string) (string, error) { return "/usr/bin/taskset", nil }
	lack := func(string) (string, error) { return "", errors.New("not found") }
	two := []int{0, 1}
	for _, c := range []struct {
		name, flag string
		cpus       []int
		look       func(string) (string, error)
		pinned, ok bool
	}{
		{"auto", "auto", two, have, true, true},
		{"auto without taskset", "auto", two, lack, false, true},
		{"auto with one CPU", "auto", two[:1], have, false, true},
		{"off", "off", two, have, false, true},
		{"on", "on", two, have, true, true},
		{"on without taskset", "on", two, lack, false, false},
		{"on with one CPU", "on", two[:1], have, false, false},
		{"nonsense", "perhaps", two, have, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := choosePinning(c.flag, c.cpus, c.look)
			assert.Equal(t, c.ok, err == nil, "%v", err)
			assert.Equal(t, c.pinned, p != nil)
		})
	}
	assert.Equal(t, []string{"taskset", "--cpu-list", "0", "envoy", "-c"}, layOut(two).command(partEnvoy, []string{"envoy", "-c"}))
	assert.Equal(t, []string{"envoy"}, pinning(nil).command(partEnvoy, []string{"envoy"}))
}

func rate(calls ...int) []round {
	var out []round
	for _, n := range calls {
		out = append(out, round{
			outcome: outcome{Calls: n, P50: 100 * time.Microsecond, P99: time.Millisecond}, took: time.Second,
			cpu: map[part]time.Duration{partEnvoy: 900 * time.Millisecond, partLoad: 950 * time.Millisecond},
		})
	}
	return out
}

func TestReport(t *testing.T) {
	all := []series{
		{row: row{name: "direct"}, rounds: rate(9000, 9000, 9000, 9000, 9000, 9000)},
		{row: row{name: baseRow}, rounds: rate(1000, 2000, 1000, 1000, 1000, 1000)},
		{row: row{name: noiseRow}, rounds: rate(1010, 2020, 1010, 1010, 1010, 1010)},
		{row: row{name: "gateway"}, rounds: rate(500, 1000, 400, 600, 500, 500)},
	}
	got := reportCase(&benchCase{name: "work", connections: 8, metric: callsPerSecond}, all, 0)
	require.NotNil(t, got.Noise)
	assert.InDelta(t, 1.01, got.Noise.Median, 1e-9)
	assert.Nil(t, got.Rows[1].Ratio, "the base is not compared with itself")

	gateway := got.Rows[3]
	assert.Equal(t, 500.0, gateway.CallsPerSecond)
	assert.Equal(t, 0.5, gateway.Ratio.Median, "a round that was quick for both changes no ratio")
	assert.Equal(t, interval{Low: 0.4, High: 0.6, Confidence: 1 - 2.0/64}, *gateway.Ratio.Interval)
	assert.InDelta(t, 5.4e6/3500, gateway.CPU[partEnvoy], 1e-6)
	assert.InDelta(t, 0.9, gateway.Busy[partEnvoy], 1e-9)
	assert.Equal(t, 100.0, gateway.P50)

	_, err := json.Marshal(got)
	require.NoError(t, err)
}

func TestPrint(t *testing.T) {
	r := report{Settings: settings{Rounds: 6, DurationSeconds: 1}, Cases: []caseReport{reportCase(&benchCase{name: "work", metric: callsPerSecond}, []series{
		{row: row{name: baseRow}, rounds: rate(1000, 1000, 1000, 1000, 1000, 1000)},
		{row: row{name: noiseRow}, rounds: rate(990, 990, 990, 990, 990, 990)},
		{row: row{name: "gateway"}, rounds: rate(500, 500, 500, 500, 500, 400)},
	}, 0)}}
	var out strings.Builder
	r.print(&out)
	assert.Contains(t, out.String(), "processes not pinned")
	for line := range strings.Lines(out.String()) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "gateway" && fields[1] != "the" {
			assert.Equal(t, []string{"gateway", "500", "0.500", "0.400", "…", "0.500", "-1.0", "%", "100", "1000"}, fields[:10])
		}
	}
	assert.Contains(t, out.String(), "gateway: the load generator was busy for 95 % of the time")
}

func TestARunTooShortForAnIntervalStillMakesJSON(t *testing.T) {
	got := reportCase(&benchCase{metric: callsPerSecond}, []series{{row: row{name: baseRow}, rounds: rate(1)}, {row: row{name: "x"}, rounds: rate(2)}}, 0)
	assert.Nil(t, got.Rows[1].Ratio.Interval)
	assert.False(t, math.IsNaN(got.Rows[1].Ratio.Median))
	var out strings.Builder
	got.print(&out, settings{})
	assert.Contains(t, out.String(), "2.000")
}

func TestTailKeepsTheEnd(t *testing.T) {
	l := &tail{most: 5}
	for _, s := range []string{"abc", "defg", "0123456789"} {
		n, err := l.Write([]byte(s))
		require.NoError(t, err)
		assert.Equal(t, len(s), n)
	}
	assert.Equal(t, "56789", l.String())
}
