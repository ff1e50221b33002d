// Command bench measures what the gateway costs: it makes the same calls directly, through a plain Envoy and through the gateway, in turns, and
// compares them. Everything runs on loopback, is started here, and is stopped at the end. It must know nothing of the gateway but what users
// do: its binary, its flags, its configuration file and its endpoint.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The roles in which this binary starts itself again.
const (
	roleUpstream = "upstream-process"
	roleLoad     = "load-process"
)

func main() {
	// A process dies with the thread that started it, by the signal that dieTogether asks for: with this one.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 1 {
		switch args[0] {
		case roleUpstream:
			runtime.GOMAXPROCS(1) // one thread needs no wake-ups of others
			return upstreamMain(ctx, stdin, stdout)
		case roleLoad:
			runtime.GOMAXPROCS(1)
			return loadMain(ctx, stdin, stdout)
		}
	}
	o, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	return bench(ctx, o, stdout, stderr)
}

type options struct {
	rounds, connections  int
	rate                 int
	duration, warmup     time.Duration
	envoyBin, gatewayBin string
	moduleLib            string
	output               string
	rows                 []row
	cases                []benchCase
	pins                 pinning
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	var pin, rowPattern, casePattern string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.rounds, "rounds", 7, "how often each row is measured")
	f.IntVar(&o.connections, "connections", 8, "connections of the load generator, each with a session of its own")
	f.IntVar(&o.rate, "rate", 0, "make so many calls per second, each when it is due, so that a late answer makes no later call late (default: as many as can be)")
	f.DurationVar(&o.duration, "duration", 2*time.Second, "how long one measurement takes")
	f.DurationVar(&o.warmup, "warmup", 300*time.Millisecond, "how long calls are made before each measurement")
	f.StringVar(&o.envoyBin, "envoy", os.Getenv("ENVOY_BIN"), "Envoy's `binary`; hack/envoy.sh prints one (default: $ENVOY_BIN)")
	f.StringVar(&o.gatewayBin, "gateway", "bin/mcp-broker-router", "the gateway's `binary`")
	f.StringVar(&o.moduleLib, "module", "bin/libmcp_gateway.so", "the router module's `library`, of the same build as the gateway")
	f.StringVar(&o.output, "o", "bin/bench.json", "`file` for the results as JSON")
	f.StringVar(&pin, "pin", "auto", "give processes CPUs of their own by taskset: on, off, or auto for where that can be done")
	f.StringVar(&rowPattern, "rows", "", "measure only the rows whose names match this `regexp`")
	f.StringVar(&casePattern, "cases", "", "measure only the cases whose names match this `regexp`")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	errs := []error{o.check(f.Args())}
	var err error
	o.rows, err = matching("rows", rowPattern, rows(), func(r row) string { return r.name })
	errs = append(errs, err)
	o.cases, err = matching("cases", casePattern, benchCases(), func(c benchCase) string { return c.name })
	errs = append(errs, err)
	o.pins, err = choosePinning(pin, usableCPUs(), exec.LookPath)
	errs = append(errs, err)
	for _, path := range []*string{&o.envoyBin, &o.gatewayBin, &o.moduleLib, &o.output} {
		if *path != "" {
			*path, err = filepath.Abs(*path)
			errs = append(errs, err)
		}
	}
	return o, errors.Join(errs...)
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
	in("connections", o.connections >= 1 && o.connections <= 512, "1 to 512")
	in("rate", o.rate >= 0 && o.rate <= 1_000_000, "0 to 1000000")
	in("duration", o.duration >= 50*time.Millisecond && o.duration <= time.Minute, "50ms to 1m")
	in("warmup", o.warmup >= 0 && o.warmup <= time.Minute, "0s to 1m")
	in("o", o.output != "", "a file's name")
	if len(rest) > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q: there are only flags", rest[0]))
	}
	return errors.Join(errs...)
}

func matching[T any](flag, pattern string, all []T, name func(T) string) ([]T, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", flag, err)
	}
	var names []string
	chosen := slices.DeleteFunc(all, func(t T) bool {
		names = append(names, fmt.Sprintf("%q", name(t)))
		return !re.MatchString(name(t))
	})
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-%s=%q matches none of %s", flag, pattern, strings.Join(names, ", "))
	}
	return chosen, nil
}

// bench runs everything, and writes the results only if nothing failed.
func bench(ctx context.Context, o options, stdout, stderr io.Writer) error {
	s, err := newStage(o)
	if err != nil {
		return err
	}
	defer s.stop()
	r := report{Started: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(), Settings: settings{
		Rounds: o.rounds, DurationSeconds: o.duration.Seconds(), WarmupSeconds: o.warmup.Seconds(), Connections: o.connections, Rate: o.rate, Pinning: o.pins,
	}}
	r.Machine.Envoy = version(ctx, o.envoyBin)
	r.Machine.Gateway = version(ctx, o.gatewayBin)
	for _, c := range o.cases {
		all, err := measure(ctx, s, c, o.rows, o, stderr)
		if err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted; nothing was written")
			}
			return err
		}
		r.Cases = append(r.Cases, reportCase(c, all))
	}
	r.Machine.LoadAfter = loadAverage()
	r.print(stdout)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.output), 0o755); err != nil {
		return err
	}
	return os.WriteFile(o.output, append(text, '\n'), 0o644)
}

// version is what a binary says of itself, without its name.
func version(ctx context.Context, bin string) string {
	out, err := exec.CommandContext(ctx, bin, "--version").Output()
	if err != nil {
		return ""
	}
	text := strings.TrimSpace(string(out))
	if i := strings.LastIndex(text, " "); i >= 0 {
		text = text[i+1:]
	}
	// Envoy: commit/version/state/kind/TLS library.
	if parts := strings.Split(text, "/"); len(parts) == 5 {
		return parts[1]
	}
	return text
}
