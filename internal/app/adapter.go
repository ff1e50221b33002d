package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// How Envoy asks the router.
const (
	flagAdapter = "router"

	adapterAuto    = "auto"
	adapterModule  = "module"
	adapterExtProc = "extproc"
)

// checkTime is how long an Envoy may take to try the module.
const checkTime = 20 * time.Second

// chooseAdapter decides how Envoy asks the router, and says so.
func (a *standalone) chooseAdapter(ctx context.Context, bin string) error {
	if a.settings.router == adapterExtProc {
		a.progress("router: ext_proc, as --%s says", flagAdapter)
		return nil
	}
	path, err := a.settings.modulePath()
	if err == nil {
		a.settings.moduleAddress = a.socket("module")
		err = a.tryModule(ctx, bin, path)
	}
	switch {
	case err == nil:
		a.envoyEnv = xds.ModuleEnv(filepath.Dir(path))
		a.progress("router: module %q inside of Envoy, which has loaded it", path)
		return nil
	case a.settings.router == adapterModule:
		return fmt.Errorf("--%s=%s: %w", flagAdapter, adapterModule, err)
	default:
		a.settings.moduleAddress = ""
		a.progress("router: ext_proc, since the module does not fit: %v", err)
		return ctx.Err()
	}
}

// modulePath is where the module is, under the only name that Envoy looks for.
func (s *standaloneSettings) modulePath() (string, error) {
	path := s.module
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		path = filepath.Join(filepath.Dir(self), xds.ModuleFile)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if filepath.Base(path) != xds.ModuleFile {
		return "", fmt.Errorf("the router module %q has to be called %s", path, xds.ModuleFile)
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("there is no router module at %q; hack/envoy-module.sh builds one", path)
	}
	return path, nil
}

// tryModule has the very Envoy load the very module.
func (a *standalone) tryModule(ctx context.Context, bin, path string) error {
	a.settings.version = a.version
	options, err := a.settings.envoyOptions()
	if err != nil {
		return err
	}
	file, err := xds.ModuleCheck(options)
	if err != nil {
		return err
	}
	config := filepath.Join(a.dir, "module-check.yaml")
	if err := os.WriteFile(config, file, 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "--mode", "validate", "-c", config, "-l", "warn")
	cmd.Env = append(plainEnvironment(os.LookupEnv), xds.ModuleEnv(filepath.Dir(path))...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), errors.New("trying the router module took too long"))
	}
	if err != nil {
		return fmt.Errorf("%s does not load the router module %q (%w): %s", bin, path, err, reason(string(out)))
	}
	return nil
}

// reason is what the module said itself, else the last line of Envoy's, without what is before the reason in it.
func reason(out string) string {
	last := ""
	for line := range strings.Lines(out) {
		if _, own, ok := strings.Cut(line, "Failed to load configuration: "); ok {
			return strings.TrimSpace(own)
		}
		if words := strings.TrimSpace(line); words != "" {
			last = words
		}
	}
	if _, words, ok := strings.Cut(last, "error initializing configuration "); ok {
		_, words, _ = strings.Cut(words, "': ")
		return words
	}
	return last
}
