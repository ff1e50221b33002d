package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// examples are the example servers that standalone runs.
type examples struct {
	children []*child
	// file is a configuration of them.
	file string
}

// exampleKinds are the example servers, which give their names to the servers of the configuration.
func exampleKinds() []string { return []string{"weather", "time"} }

// startExamples starts one server of each kind on a free port, and writes a configuration for them.
func startExamples(ctx context.Context, bin, dir string, stderr io.Writer) (_ *examples, err error) {
	e := &examples{file: filepath.Join(dir, "config.yaml")}
	defer func() {
		if err != nil {
			e.stop(0, nil)
		}
	}()
	var addresses []<-chan string
	for _, kind := range exampleKinds() {
		c, address, err := startExample(bin, kind, stderr)
		if err != nil {
			return nil, err
		}
		e.children = append(e.children, c)
		addresses = append(addresses, address)
	}
	var file config.File
	for i, kind := range exampleKinds() {
		url, err := await(ctx, e.children[i], addresses[i])
		if err != nil {
			return nil, err
		}
		file.Servers = append(file.Servers, config.ServerSpec{Name: kind, URL: url, ToolPrefix: kind + "_"})
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(file); err != nil {
		return nil, fmt.Errorf("cannot write the example servers' configuration: %w", err)
	}
	return e, os.WriteFile(e.file, text.Bytes(), 0o600)
}

// startExample starts a server and tells where it listens once it says so itself: no port can be taken in between.
func startExample(bin, kind string, stderr io.Writer) (*child, <-chan string, error) {
	address := make(chan string, 1)
	var once sync.Once
	said := func(line string) {
		if _, url, ok := strings.Cut(line, "listening on "); ok {
			once.Do(func() { address <- strings.TrimSpace(url) })
			return
		}
		_, _ = io.WriteString(stderr, kind+": "+line+"\n")
	}
	c, err := startChild("example server "+kind, nil, said, bin, "--kind", kind, "--addr", "127.0.0.1:0")
	return c, address, err
}

func await(ctx context.Context, c *child, address <-chan string) (string, error) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case url := <-address:
		return url, nil
	case <-c.done:
		return "", c.ended()
	case <-timeout.C:
		return "", fmt.Errorf("%s does not listen after %v", c.name, patience)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// stop ends the servers, all at once.
func (e *examples) stop(grace time.Duration, hurry <-chan struct{}) {
	var wait sync.WaitGroup
	for _, c := range e.children {
		wait.Go(func() { c.stop(grace, hurry) })
	}
	wait.Wait()
}
