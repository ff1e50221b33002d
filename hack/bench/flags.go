package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

type options struct {
	rounds, rate         int
	connections          numberList
	duration, warmup     time.Duration
	envoyBin, gatewayBin string
	moduleLib            string
	output, plot         string
	rows                 []row
	cases                []benchCase
	facts                []fact
	growths              []growth
	pins                 pinning
}

// The suites: what is measured and for how long, where flags say nothing else.
const (
	suiteFull   = "full"
	suiteQuick  = "quick"
	suiteGrowth = "growth"
)

func parseFlags(args []string, stderr io.Writer) (options, error) {
	o := options{connections: numberList{1, 8, 64}}
	var suite, pin, rowPattern, casePattern string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&suite, "suite", suiteFull, "which cases: full, quick for the most important ones with 8 connections and shorter rounds, or growth for how the cost grows with servers, tools and sessions")
	f.IntVar(&o.rounds, "rounds", 7, "how often each row is measured")
	f.Var(&o.connections, "connections", "connections of the load generator, each with a session of its own: `numbers`, separated by commas. The first case is measured with each, the others with the middle one")
	f.IntVar(&o.rate, "rate", 0, "make so many calls per second, each when it is due, so that a late answer makes no later call late (default: as many as can be)")
	f.DurationVar(&o.duration, "duration", 600*time.Millisecond, "how long one measurement takes")
	f.DurationVar(&o.warmup, "warmup", 150*time.Millisecond, "how long calls are made before each measurement")
	f.StringVar(&o.envoyBin, "envoy", os.Getenv("ENVOY_BIN"), "Envoy's `binary`; hack/envoy.sh prints one (default: $ENVOY_BIN)")
	f.StringVar(&o.gatewayBin, "gateway", "bin/mcp-broker-router", "the gateway's `binary`")
	f.StringVar(&o.moduleLib, "module", "bin/libmcp_gateway.so", "the router module's `library`, of the same build as the gateway")
	f.StringVar(&o.output, "o", "bin/bench.json", "`file` for the results as JSON")
	f.StringVar(&o.plot, "plot", "bin/bench.svg", "`file` for the plot as SVG")
	f.StringVar(&pin, "pin", "auto", "give processes CPUs of their own by taskset: on, off, or auto for where that can be done")
	f.StringVar(&rowPattern, "rows", "", "measure only the rows whose names match this `regexp`")
	f.StringVar(&casePattern, "cases", "", "measure only the cases whose names match this `regexp`")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	errs := []error{o.choose(suite, given(f)), o.check(f.Args()), o.filter(rowPattern, casePattern)}
	var err error
	o.pins, err = choosePinning(pin, usableCPUs(), exec.LookPath)
	errs = append(errs, err)
	for _, path := range []*string{&o.envoyBin, &o.gatewayBin, &o.moduleLib, &o.output, &o.plot} {
		if *path != "" {
			*path, err = filepath.Abs(*path)
			errs = append(errs, err)
		}
	}
	o.cases = settled(o.cases, o.connections)
	return o, errors.Join(errs...)
}

// given tells which flags were.
func given(f *flag.FlagSet) func(name string) bool {
	names := map[string]bool{}
	f.Visit(func(f *flag.Flag) { names[f.Name] = true })
	return func(name string) bool { return names[name] }
}

// choose takes a suite's cases, and its times unless they were given.
func (o *options) choose(suite string, given func(flag string) bool) error {
	o.cases, o.facts, o.growths = benchCases(), facts(), growths()
	switch suite {
	case suiteFull:
		return nil
	case suiteGrowth:
		o.cases, o.facts = nil, nil
		return nil
	case suiteQuick:
		o.growths = nil
		o.cases = slices.DeleteFunc(o.cases, func(c benchCase) bool { return !c.quick })
		if !given("connections") {
			o.connections = numberList{usualConnections}
		}
		if !given("duration") {
			o.duration = 400 * time.Millisecond
		}
		return nil
	}
	return fmt.Errorf("-suite=%q: want %q, %q or %q", suite, suiteFull, suiteQuick, suiteGrowth)
}

// filter keeps what the patterns match. That of the cases is for facts and growths as well.
func (o *options) filter(rowPattern, casePattern string) error {
	var errs []error
	var err error
	if o.rows, err = matching("rows", rowPattern, rows(), func(r row) string { return r.name }); err == nil && len(o.rows) == 0 {
		err = noMatch("rows", rowPattern, rows(), func(r row) string { return r.name })
	}
	errs = append(errs, err)
	cases := o.cases
	if o.cases, err = matching("cases", casePattern, cases, func(c benchCase) string { return c.name }); err != nil {
		return errors.Join(append(errs, err)...)
	}
	o.facts, _ = matching("cases", casePattern, o.facts, func(f fact) string { return f.name }) // as good a pattern as before
	o.growths, _ = matching("cases", casePattern, o.growths, func(g growth) string { return g.name })
	if len(o.cases)+len(o.facts)+len(o.growths) == 0 {
		errs = append(errs, noMatch("cases", casePattern, cases, func(c benchCase) string { return c.name }))
	}
	return errors.Join(errs...)
}

func matching[T any](flag, pattern string, all []T, name func(T) string) ([]T, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", flag, err)
	}
	return slices.DeleteFunc(slices.Clone(all), func(t T) bool { return !re.MatchString(name(t)) }), nil
}

func noMatch[T any](flag, pattern string, all []T, name func(T) string) error {
	var names []string
	for _, t := range all {
		names = append(names, strconv.Quote(name(t)))
	}
	return fmt.Errorf("-%s=%q matches none of %s", flag, pattern, strings.Join(names, ", "))
}

// check finds what is out of bounds. The bounds keep a run's time and memory finite.
func (o *options) check(rest []string) error {
	var errs []error
	in := func(flag string, ok bool, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("-%s: want %s", flag, want))
		}
	}
	in("rounds", o.rounds >= 1 && o.rounds <= 1000, "1 to 1000")
	in("connections", len(o.connections) > 0 && slices.Min(o.connections) >= 1 && slices.Max(o.connections) <= 512, "numbers from 1 to 512")
	in("rate", o.rate >= 0 && o.rate <= 1_000_000, "0 to 1000000")
	in("duration", o.duration >= 50*time.Millisecond && o.duration <= time.Minute, "50ms to 1m")
	in("warmup", o.warmup >= 0 && o.warmup <= time.Minute, "0s to 1m")
	in("o", o.output != "", "a file's name")
	in("plot", o.plot != "", "a file's name")
	if len(rest) > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q: there are only flags", rest[0]))
	}
	return errors.Join(errs...)
}

// numberList is a flag's numbers, each once and sorted.
type numberList []int

func (l *numberList) String() string {
	var out []string
	for _, n := range *l {
		out = append(out, strconv.Itoa(n))
	}
	return strings.Join(out, ",")
}

func (l *numberList) Set(text string) error {
	var out numberList
	for field := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil {
			return fmt.Errorf("%q is no number", field)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	*l = slices.Compact(out)
	return nil
}
