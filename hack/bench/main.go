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
	"runtime"
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

// bench runs everything, and writes the results only if nothing failed.
func bench(ctx context.Context, o options, stdout, stderr io.Writer) error {
	s, err := newStage(o)
	if err != nil {
		return err
	}
	defer s.stop()
	r := report{Started: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(), Settings: settings{
		Rounds: o.rounds, DurationSeconds: o.duration.Seconds(), WarmupSeconds: o.warmup.Seconds(), Pinning: o.pins,
	}}
	r.Machine.Envoy = version(ctx, o.envoyBin)
	r.Machine.Gateway = version(ctx, o.gatewayBin)
	// Facts come first: what the cases start would take the CPU from them.
	if r.Facts, err = findAll(ctx, s, o, stderr); err == nil {
		r.Cases, err = measureAll(ctx, s, o, stderr)
	}
	if err == nil {
		r.Growth, err = measureGrowths(ctx, s, o, stderr)
	}
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted; nothing was written")
		}
		return err
	}
	r.Machine.LoadAfter = loadAverage()
	r.Targets = r.judge(aims())
	r.print(stdout)
	_, _ = fmt.Fprintf(stdout, "\nDone after %s; all of it is in %s, and the ratios are drawn in %s\n", time.Since(r.Started).Round(time.Second), o.output, o.plot)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(writeFile(o.output, append(text, '\n')), writeFile(o.plot, r.plot()))
}

// writeFile writes a result, and makes its folder.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
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
