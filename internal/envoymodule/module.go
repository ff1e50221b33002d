// Package envoymodule adapts the router to the callbacks of a dynamic module inside of Envoy: the same decision as by ext_proc, without a way to
// another process. A filter runs on its worker's thread and never waits there: what it does not know it asks for, and goes on when it is told. It
// must not know how a decision is made, nor the broker, and no fault in it reaches Envoy.
package envoymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/guicassolato/mcp-gateway/internal/replica"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Module makes filters. There is one in a process.
type Module struct {
	version string

	mu      sync.Mutex // guards what follows
	mirrors map[string]*connection
}

// connection is the mirror of all the filter configurations that name one socket.
type connection struct {
	mirror *replica.Mirror
	users  int
	stop   context.CancelFunc
}

// New makes the module of a version, which must be that of the hub's program.
func New(version string) *Module { return &Module{version: version, mirrors: map[string]*connection{}} }

// Create takes a filter configuration.
func (m *Module) Create(handle shared.HttpFilterConfigHandle, config []byte) (shared.HttpFilterFactory, error) {
	var c wire.ModuleConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("the router module's configuration: %w", err)
	}
	if c.Socket == "" {
		return nil, fmt.Errorf("the router module's configuration names no socket: %.100q", config)
	}
	if c.Version != "" && c.Version != m.version {
		return nil, fmt.Errorf("the router module is of version %q, and the gateway of %q: build them together", m.version, c.Version)
	}
	return &factory{module: m, socket: c.Socket, mirror: m.use(c.Socket, handle)}, nil
}

// CreatePerRoute refuses: there is nothing to say about a route.
func (m *Module) CreatePerRoute([]byte) (any, error) {
	return nil, fmt.Errorf("the router module has no configuration per route")
}

// use is the mirror of a socket, which runs as long as it has users.
func (m *Module) use(socket string, handle shared.HttpFilterConfigHandle) *replica.Mirror {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.mirrors[socket]
	if s == nil {
		ctx, cancel := context.WithCancel(context.Background())
		s = &connection{stop: cancel, mirror: replica.NewMirror(socket, m.version, func(message string) {
			handle.Log(shared.LogLevelError, "%s", message)
		})}
		m.mirrors[socket] = s
		go s.mirror.Run(ctx)
	}
	s.users++
	return s.mirror
}

func (m *Module) release(socket string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.mirrors[socket]
	if s.users--; s.users == 0 {
		s.stop()
		delete(m.mirrors, socket)
	}
}

// factory makes the filters of one configuration.
type factory struct {
	module *Module
	socket string
	mirror *replica.Mirror
	pool   sync.Pool // of filters
}

// Create makes the filter of one request.
func (f *factory) Create(handle shared.HttpFilterHandle) shared.HttpFilter {
	x, ok := f.pool.Get().(*filter)
	if !ok {
		x = &filter{}
	}
	x.begin(f, handle)
	return x
}

// OnDestroy ends the use of a configuration.
func (f *factory) OnDestroy() { f.module.release(f.socket) }
