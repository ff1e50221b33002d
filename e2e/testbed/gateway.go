package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// Mode is how the gateway and Envoy are put together.
type Mode string

// The modes.
const (
	// Standalone is one process that brings its Envoy along and feeds it.
	Standalone Mode = "standalone"
	// Fed is the broker/router beside an Envoy that was started with the printed bootstrap.
	Fed Mode = "fed"
	// Static is the broker/router beside an Envoy with the printed file, which nobody feeds.
	Static Mode = "static"
)

// Options are how a Gateway is started.
type Options struct {
	Mode    Mode // empty means Standalone
	Servers []config.ServerSpec
	// VirtualServers are the choices among them.
	VirtualServers []config.VirtualServerSpec
	// Flags are for the gateway, EnvoyFlags for whichever command of it tells Envoy what to do.
	Flags      []string
	EnvoyFlags []string
	// Policies is the path of a file with policy values; empty means none.
	Policies string
	// Store is the URL of what the gateway shares with others, in a mode with a process of its own; empty means that there are none.
	Store string
	Env   []string
	// HotRestart lets an Envoy beside the gateway be followed by another that takes over from it: see HotRestart.
	HotRestart bool
	// Plain wants a gateway without the race detector, whatever the tests have: what it costs is measured. The package has to begin with MainPlain.
	Plain bool
}

// Gateway is a running gateway with its Envoy.
type Gateway struct {
	Mode Mode
	// Base is the public address, Endpoint the MCP endpoint there.
	Base, Endpoint string
	Admin          string
	// Config is the path of the configuration file.
	Config string
	// Broker is the broker's own address, EnvoyAdmin Envoy's admin interface; empty in a standalone gateway.
	Broker, EnvoyAdmin string
	Process            *Process
	// Envoy is nil in a standalone gateway.
	Envoy *Process

	command      Command
	envoyCommand Command
	more         []*Process // Envoys
}

// ServerSpec is the configuration of a server with its name as prefix.
func ServerSpec(name, url string) config.ServerSpec {
	return config.ServerSpec{Name: name, URL: url, ToolPrefix: name + "_"}
}

// WriteConfig writes a configuration file in place.
func WriteConfig(t testing.TB, path string, servers ...config.ServerSpec) {
	t.Helper()
	WriteFile(t, path, config.File{Servers: servers})
}

// WriteFile writes a whole configuration file in place.
func WriteFile(t testing.TB, path string, file config.File) {
	t.Helper()
	out, err := yaml.Marshal(file)
	if err == nil {
		err = os.WriteFile(path, out, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// StartGateway starts a gateway and waits until it says that it is ready.
func StartGateway(t testing.TB, o Options) *Gateway {
	t.Helper()
	if o.Mode == "" {
		o.Mode = Standalone
	}
	port, admin := strconv.Itoa(FreePort(t)), FreeAddress(t)
	g := &Gateway{Mode: o.Mode, Base: "http://127.0.0.1:" + port, Admin: "http://" + admin, Config: filepath.Join(t.TempDir(), "config.yaml")}
	g.Endpoint = g.Base + "/mcp"
	WriteFile(t, g.Config, config.File{Servers: o.Servers, VirtualServers: o.VirtualServers})
	flags := append([]string{"--mcp-gateway-config", g.Config, "--admin-address", admin}, o.Flags...)
	if o.Policies != "" {
		flags = append(flags, "--policies", o.Policies)
	}
	bin := o.program(t)
	if o.Mode == Standalone {
		args := []string{"standalone", "--envoy", Program(t, EnvoyBin), "--port", port, "--router", "extproc"}
		if Module() {
			args = append(args, "--router", "module", "--envoy-module", ModuleLib(t))
		}
		// A test's own flags come last, and count.
		g.command = Command{Path: bin, Args: slices.Concat(args, flags, o.EnvoyFlags), Env: o.Env}
	} else {
		g.beside(t, o, flags, port)
	}
	t.Cleanup(func() { // runs after the process has ended, since that is cleaned up first
		if g.Process != nil {
			g.check(t)
		}
	})
	g.StartProcess(t)
	if o.Mode != Standalone {
		g.StartEnvoy(t)
	}
	g.AwaitReady(t)
	return g
}

func (o *Options) program(t testing.TB) string {
	t.Helper()
	if o.Plain {
		return Program(t, plainBin)
	}
	return Program(t, GatewayBin)
}

// beside prepares a gateway and an Envoy that are two processes.
func (g *Gateway) beside(t testing.TB, o Options, flags []string, port string) {
	t.Helper()
	g.Broker, g.EnvoyAdmin = FreeAddress(t), FreeAddress(t)
	addresses := []string{"--mcp-router-address", FreeAddress(t), "--mcp-broker-public-address", g.Broker}
	if o.Store != "" {
		host, _, _ := net.SplitHostPort(g.Broker)
		flags = append(flags, "--store-url", o.Store, "--replica-url", host) // as pods give theirs
	}
	told := append([]string{"--envoy-listen-address", "127.0.0.1:" + port}, o.EnvoyFlags...)
	gateway := slices.Concat(flags, addresses, []string{"--public-url", g.Base})
	var envoy []string
	var env []string
	if g.Mode == Fed {
		feed := FreeAddress(t)
		if Module() {
			gateway = append(gateway, "--mcp-router-module-address", "unix:"+filepath.Join(shortFolder(t), "module.sock"))
			env = xds.ModuleEnv(filepath.Dir(ModuleLib(t)))
		}
		gateway = slices.Concat(gateway, []string{"--xds-address", feed}, told)
		envoy = []string{"envoy-bootstrap", "--xds-address", feed, "--envoy-admin-address", g.EnvoyAdmin}
	} else {
		envoy = slices.Concat([]string{"envoy-config", "--mcp-gateway-config", g.Config, "--envoy-admin-address", g.EnvoyAdmin}, addresses, told)
		if o.Policies != "" {
			envoy = append(envoy, "--policies", o.Policies, "--public-url", g.Base)
		}
	}
	bin := o.program(t)
	g.command = Command{Path: bin, Args: gateway, Env: o.Env}
	print := exec.CommandContext(t.Context(), bin, envoy...)
	print.Env = append(os.Environ(), o.Env...)
	file, err := print.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%s: %v\n%s", envoy[0], err, exit.Stderr)
		}
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	restart := []string{"--disable-hot-restart"}
	if o.HotRestart {
		// Envoys that follow one another share memory under this number; a port that is free belongs to this test.
		restart = []string{"--base-id", strconv.Itoa(FreePort(t)), "--drain-time-s", "1", "--parent-shutdown-time-s", "3", "--restart-epoch", "0"}
	}
	g.envoyCommand = Command{
		Path: Program(t, EnvoyBin), Env: append(env, o.Env...),
		Args: append(restart, "--concurrency", "2", "-l", "warn", "--file-flush-interval-msec", "50", "-c", path),
	}
}

// shortFolder is a temporary one whose path leaves room for the name of a socket.
func shortFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mcp-") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// StartProcess starts the gateway's own process, for the first time or again.
func (g *Gateway) StartProcess(t testing.TB) {
	t.Helper()
	g.Process = Start(t, "gateway ("+string(g.Mode)+")", g.command)
}

// StartEnvoy starts the Envoy beside the gateway, for the first time or again.
func (g *Gateway) StartEnvoy(t testing.TB) {
	t.Helper()
	g.Envoy = Start(t, "envoy ("+string(g.Mode)+")", g.envoyCommand)
}

// HotRestart starts an Envoy that takes over the listeners of the one that runs and then ends it, and returns that one.
func (g *Gateway) HotRestart(t testing.TB) (before *Process) {
	t.Helper()
	before = g.Envoy
	at := slices.Index(g.envoyCommand.Args, "--restart-epoch") + 1
	epoch, err := strconv.Atoi(g.envoyCommand.Args[at])
	if err != nil {
		t.Fatal(err)
	}
	g.envoyCommand.Args = slices.Clone(g.envoyCommand.Args)
	g.envoyCommand.Args[at] = strconv.Itoa(epoch + 1)
	g.StartEnvoy(t)
	return before
}

// AnotherEnvoy starts one more Envoy beside a gateway that feeds them, at the same address: the kernel shares new connections out.
func (g *Gateway) AnotherEnvoy(t testing.TB) {
	t.Helper()
	c := g.envoyCommand
	at := len(c.Args) - 1 // the file
	file, err := os.ReadFile(c.Args[at])
	if err != nil {
		t.Fatal(err)
	}
	_, used, _ := strings.Cut(g.EnvoyAdmin, ":")
	_, free, _ := strings.Cut(FreeAddress(t), ":")
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(file), used, free)), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Args = append(slices.Clone(c.Args[:at]), path)
	g.more = append(g.more, Start(t, "another envoy", c))
}

// Envoys are all Envoys beside the gateway.
func (g *Gateway) Envoys() []*Process { return append([]*Process{g.Envoy}, g.more...) }

// AwaitReady waits until the gateway says that it is ready and Envoy takes connections.
func (g *Gateway) AwaitReady(t testing.TB) {
	t.Helper()
	Await(t, "the gateway to be ready", func() bool {
		select {
		case <-g.Process.Exited():
			t.Fatalf("the gateway ended before it was ready:\n%s", g.Process.Output())
		default:
		}
		a, err := tryGet(t, g.Admin+"/readyz")
		return err == nil && a.Status == http.StatusOK
	})
	envoy := g.Envoy
	if envoy == nil {
		envoy = g.Process
	}
	AwaitListening(t, envoy, strings.TrimPrefix(g.Base, "http://"))
}

// check looks for what must never be in the log.
func (g *Gateway) check(t testing.TB) {
	t.Helper()
	for _, alarm := range []string{"DATA RACE", "panic:", "contained a fault"} {
		if strings.Contains(g.Process.Output(), alarm) || g.Envoy != nil && strings.Contains(g.Envoy.Output(), alarm) {
			t.Errorf("the gateway's log has %q:\n%s", alarm, g.Process.Output())
			return
		}
	}
}

// AwaitProgrammed waits until Envoy can route to every server. Where an Envoy of somebody else's is fed, that is a moment after it listens.
func (g *Gateway) AwaitProgrammed(t testing.TB) {
	t.Helper()
	Await(t, "Envoy to know every server", func() bool {
		for _, s := range g.Status(t).Servers {
			if !s.Programmed {
				return false
			}
		}
		return true
	})
}

// AwaitTools waits until the gateway offers all of these tools.
func (g *Gateway) AwaitTools(t testing.TB, names ...string) {
	t.Helper()
	Await(t, "the tools "+strings.Join(names, ", "), func() bool {
		offered := g.Status(t).ToolNames()
		return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(offered, name) })
	})
}

// Status is what the tests read of /status.
type Status struct {
	Ready  bool
	Config struct {
		Problems []string
	}
	Policies *struct {
		Generation, Keys int
		Problems         []string
	}
	Sessions int
	Servers  []struct {
		Name, URL, State, LastError string
		Sessions, Programmed        bool
	}
	Problems []struct{ Server, Kind, Name, Message string }
	Tools    []struct {
		Name, Server, OwnName, Hash string
		Calls, Open, Failed         int
	}
	// ToolCalls says of which calls of tools something is known.
	ToolCalls struct{ Open, Failed string }
	// VirtualServers are counted by what they have.
	VirtualServers []struct {
		Name, Path                           string
		Tools, Prompts, Resources, Templates int
	}
}

// ToolNames are the public names of the tools.
func (s Status) ToolNames() []string {
	var names []string
	for _, tool := range s.Tools {
		names = append(names, tool.Name)
	}
	return names
}

// Status asks the gateway for its status.
func (g *Gateway) Status(t testing.TB) Status {
	t.Helper()
	var s Status
	if err := json.Unmarshal([]byte(Get(t, g.Admin+"/status").Body), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// Metric is the value of a metric with its labels, as text: "mcp_gateway_sessions". It is 0 where there is none.
func (g *Gateway) Metric(t testing.TB, name string) float64 {
	t.Helper()
	for line := range strings.Lines(Get(t, g.Admin+"/metrics").Body) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// Get reads a page.
func Get(t testing.TB, url string) *Answer {
	t.Helper()
	a, err := tryGet(t, url)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func tryGet(t testing.TB, url string) (*Answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}, err
}
