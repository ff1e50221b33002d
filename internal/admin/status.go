package admin

import (
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Status is what /status answers. Lists are in one deterministic order and never null.
type Status struct {
	Version  string   `json:"version"`
	Ready    bool     `json:"ready"`
	NotReady []string `json:"notReady,omitempty"`
	// Endpoint is the public URL of the MCP endpoint.
	Endpoint string `json:"endpoint,omitempty"`
	// Started is when the process began, and to count.
	Started  time.Time `json:"started,omitzero"`
	Config   Config    `json:"config"`
	Sessions int       `json:"sessions"`
	// Streams are the open ones of clients, Calls the requests that the broker is answering.
	Streams int      `json:"streams,omitempty"`
	Calls   int      `json:"calls,omitempty"`
	Servers []Server `json:"servers"`
	// VirtualServers stand in the order of the configuration.
	VirtualServers []VirtualServer   `json:"virtualServers"`
	Problems       []catalog.Problem `json:"problems"`
	// ToolCalls says what is known of the calls of Tools.
	ToolCalls Known  `json:"toolCalls"`
	Tools     []Tool `json:"tools"`
	// Prompts, Resources and Templates, like Tools, are what clients see.
	Prompts   []Item `json:"prompts"`
	Resources []Item `json:"resources"`
	Templates []Item `json:"templates"`
	// Policies are left out where there are none.
	Policies *Policies `json:"policies,omitempty"`
	// Envoys are left out where no Envoy is fed.
	Envoys *[]Envoy `json:"envoys,omitempty"`
}

// Policies are the policy values in force, and what is wrong with them or with the file as it stands.
type Policies struct {
	File string `json:"file"`
	// Generation counts the values that have been in force since the process began.
	Generation int       `json:"generation"`
	Loaded     time.Time `json:"loaded"`
	Problems   []string  `json:"problems"`
	// Issuer is empty where callers need no token.
	Issuer string `json:"issuer,omitempty"`
	// KeysFetched is when the issuer's keys were last seen.
	KeysFetched time.Time `json:"keysFetched,omitzero"`
	Keys        int       `json:"keys,omitempty"`
	// EnvoyFed tells whether Envoy takes every change at once; one that is not fed needs a new file for it.
	EnvoyFed bool `json:"envoyFed"`
}

// KeysProblem begins what is wrong with the issuer's keys, and not with the values.
const KeysProblem = "the keys of the issuer: "

// Advice tells what holds meanwhile, and what to do.
func (p *Policies) Advice(problem string) string {
	switch {
	case !strings.HasPrefix(problem, KeysProblem):
		return "The values before them stay in force. Correct them: they are read again at once."
	case p.Keys > 0:
		return "The keys that it had stay in force. Check that this machine reaches the issuer by the very name in authentication.issuer."
	default:
		return "Until they are had, no token can be verified and nobody gets in. Check that this machine reaches the issuer by the very name in authentication.issuer; " +
			"for one without metadata, name its keys by authentication.jwksURI."
	}
}

// Config is the configuration in force, and what is wrong with the file as it stands.
type Config struct {
	File     string    `json:"file"`
	Loaded   time.Time `json:"loaded"`
	Problems []string  `json:"problems"`
}

// Server is one configured server.
type Server struct {
	Name      string    `json:"name"`
	URL       string    `json:"url"`
	State     string    `json:"state"`
	Since     time.Time `json:"since,omitzero"`
	LastError string    `json:"lastError,omitempty"`
	// Advice is what to do for a server that cannot be used.
	Advice     string `json:"advice,omitempty"`
	Programmed bool   `json:"programmed"`
	// Revisions are those that it speaks with the gateway, newest first.
	Revisions []string `json:"revisions,omitempty"`
	// Discovered is when the server's lists were last read to the end, DiscoverySeconds how long that took.
	Discovered       time.Time `json:"discovered,omitzero"`
	DiscoverySeconds float64   `json:"discoverySeconds,omitempty"`
	// Load are all its calls. It is left out where no Envoy tells of those that it carries.
	Load *Load `json:"load,omitempty"`
	// Carried are the calls that the broker carries now: those that it translates, and the first ones of sessions.
	Carried   uint64 `json:"carried"`
	Sessions  bool   `json:"sessions"`
	Tools     int    `json:"tools"`
	Prompts   int    `json:"prompts"`
	Resources int    `json:"resources"`
	Templates int    `json:"templates"`
}

// VirtualServer is one configured virtual server, and how much it has of what clients see.
type VirtualServer struct {
	Name        string `json:"name"`
	Path        string `json:"path"`
	Description string `json:"description,omitempty"`
	Tools       int    `json:"tools"`
	Prompts     int    `json:"prompts"`
	Resources   int    `json:"resources"`
	Templates   int    `json:"templates"`
}

// Tool is one tool as clients see it.
type Tool struct {
	Name    string `json:"name"`
	Server  string `json:"server"`
	OwnName string `json:"ownName"`
	Hints   string `json:"hints"`
	// Hash is that of its definition, by which the configuration can pin it.
	Hash string `json:"hash"`
	ToolCalls
}

// Item is one prompt, resource or resource template as clients see it; a resource's name is its URI.
type Item struct {
	Name    string `json:"name"`
	Server  string `json:"server"`
	OwnName string `json:"ownName"`
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
		Endpoint: o.Endpoint, Started: o.Started, Streams: o.Streams(), Calls: o.Calls(), ToolCalls: o.ToolCalls(),
		Servers: []Server{}, VirtualServers: []VirtualServer{}, Problems: []catalog.Problem{}, Tools: []Tool{}, Prompts: []Item{}, Resources: []Item{}, Templates: []Item{},
	}
	if s.Config.Problems == nil {
		s.Config.Problems = []string{}
	}
	if o.Policies != nil {
		policies := o.Policies()
		policies.Problems = append([]string{}, policies.Problems...)
		s.Policies = &policies
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
		s.Tools = append(s.Tools, Tool{Name: it.PublicName, Server: it.Server.Name, OwnName: it.Name, Hints: it.Hints, Hash: it.Digest.String(), ToolCalls: callsOf(it)})
	}
	s.Prompts, s.Resources, s.Templates = items(snap, catalog.Prompt), items(snap, catalog.Resource), items(snap, catalog.Template)
	perServer, calls := countItems(snap), o.calls()
	for _, server := range snap.Servers() {
		s.Servers = append(s.Servers, o.server(server, perServer[server], calls))
	}
	for _, view := range snap.VirtualServers() {
		s.VirtualServers = append(s.VirtualServers, VirtualServer{
			Name: view.Name(), Path: wire.PathMCP + "/" + view.Segment(), Description: view.Description(),
			Tools: view.Len(catalog.Tool), Prompts: view.Len(catalog.Prompt), Resources: view.Len(catalog.Resource), Templates: view.Len(catalog.Template),
		})
	}
	return s
}

func items(snap *catalog.Snapshot, kind catalog.Kind) []Item {
	out := []Item{}
	for _, it := range snap.Items(kind) {
		out = append(out, Item{Name: it.PublicName, Server: it.Server.Name, OwnName: it.Name})
	}
	return out
}

// calls are those of all servers, by who carries them.
type calls struct{ envoy, broker map[string]Load }

func (o *Options) calls() calls { return calls{o.Loads(), o.Carried()} }

// of are the calls of one server; nil where no Envoy tells.
func (c calls) of(server string) *Load {
	if c.envoy == nil {
		return nil
	}
	load, more := c.envoy[server], c.broker[server]
	return &Load{Active: load.Active + more.Active, Rate: load.Rate + more.Rate, Errors: load.Errors + more.Errors}
}

func (o *Options) server(s *catalog.Server, n counts, calls calls) Server {
	var revisions []string
	if s.State.Listing != nil {
		revisions = s.State.Listing.Revisions()
	}
	d := o.Discovery(s.Name)
	return Server{
		Name: s.Name, URL: o.URL(s.Name), State: string(s.State.Health), Since: s.State.Since, LastError: s.State.LastError,
		Advice: Advice(s), Discovered: d.At, DiscoverySeconds: d.Took.Seconds(),
		Programmed: s.Programmed, Revisions: revisions, Sessions: s.Sessions(),
		Load: calls.of(s.Name), Carried: calls.broker[s.Name].Active,
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
