package admin

import (
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// Status is what /status answers. Lists are in one deterministic order and never null.
type Status struct {
	Version  string            `json:"version"`
	Ready    bool              `json:"ready"`
	NotReady []string          `json:"notReady,omitempty"`
	Config   Config            `json:"config"`
	Sessions int               `json:"sessions"`
	Servers  []Server          `json:"servers"`
	Problems []catalog.Problem `json:"problems"`
	Tools    []Tool            `json:"tools"`
	// Envoys are left out where no Envoy is fed.
	Envoys *[]Envoy `json:"envoys,omitempty"`
}

// Config is the configuration in force, and what is wrong with the file as it stands.
type Config struct {
	File     string    `json:"file"`
	Loaded   time.Time `json:"loaded"`
	Problems []string  `json:"problems"`
}

// Server is one configured server.
type Server struct {
	Name       string    `json:"name"`
	URL        string    `json:"url"`
	State      string    `json:"state"`
	Since      time.Time `json:"since,omitzero"`
	LastError  string    `json:"lastError,omitempty"`
	Programmed bool      `json:"programmed"`
	Revision   string    `json:"revision,omitempty"`
	Sessions   bool      `json:"sessions"`
	Tools      int       `json:"tools"`
	Prompts    int       `json:"prompts"`
	Resources  int       `json:"resources"`
	Templates  int       `json:"templates"`
}

// Tool is one tool as clients see it.
type Tool struct {
	Name    string `json:"name"`
	Server  string `json:"server"`
	OwnName string `json:"ownName"`
	Hints   string `json:"hints"`
}

// Envoy is one connected Envoy.
type Envoy struct {
	Node           string    `json:"node"`
	Build          string    `json:"build,omitempty"`
	ConnectedSince time.Time `json:"connectedSince"`
	Serving        bool      `json:"serving"`
	// Version is that of the last configuration that it holds whole.
	Version       string     `json:"version,omitempty"`
	Refused       []Refusal  `json:"refused,omitempty"`
	LastRejection *Rejection `json:"lastRejection,omitempty"`
}

// Refusal is a part of the present configuration that an Envoy would not take.
type Refusal struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Message string `json:"message"`
}

// Rejection is a Refusal, past or present, at the time when it came.
type Rejection struct {
	Refusal
	Time time.Time `json:"time"`
}

func (o *Options) status() Status {
	notReady := o.NotReady()
	s := Status{
		Version: o.Version, Ready: len(notReady) == 0, NotReady: notReady, Config: o.Config(), Sessions: o.Sessions(),
		Servers: []Server{}, Problems: []catalog.Problem{}, Tools: []Tool{},
	}
	if s.Config.Problems == nil {
		s.Config.Problems = []string{}
	}
	if o.Envoys != nil {
		envoys := append([]Envoy{}, o.Envoys()...)
		s.Envoys = &envoys
	}
	snap := o.Snapshot()
	if snap == nil {
		return s
	}
	s.Problems = append(s.Problems, o.Problems()...)
	s.Problems = append(s.Problems, snap.Problems()...)
	for _, it := range snap.Items(catalog.Tool) {
		s.Tools = append(s.Tools, Tool{Name: it.PublicName, Server: it.Server.Name, OwnName: it.Name, Hints: it.Hints})
	}
	perServer := countItems(snap)
	for _, server := range snap.Servers() {
		s.Servers = append(s.Servers, o.server(server, perServer[server]))
	}
	return s
}

func (o *Options) server(s *catalog.Server, n counts) Server {
	return Server{
		Name: s.Name, URL: o.URL(s.Name), State: string(s.State.Health), Since: s.State.Since, LastError: s.State.LastError,
		Programmed: s.Programmed, Revision: s.Revision(), Sessions: s.Sessions(),
		Tools: n.tools, Prompts: n.prompts, Resources: n.resources, Templates: n.templates,
	}
}

// counts are how many items of a server clients see.
type counts struct{ tools, prompts, resources, templates int }

func countItems(snap *catalog.Snapshot) map[*catalog.Server]counts {
	out := make(map[*catalog.Server]counts, len(snap.Servers()))
	count := func(kind catalog.Kind, add func(*counts)) {
		for _, it := range snap.Items(kind) {
			n := out[it.Server]
			add(&n)
			out[it.Server] = n
		}
	}
	count(catalog.Tool, func(n *counts) { n.tools++ })
	count(catalog.Prompt, func(n *counts) { n.prompts++ })
	count(catalog.Resource, func(n *counts) { n.resources++ })
	count(catalog.Template, func(n *counts) { n.templates++ })
	return out
}
