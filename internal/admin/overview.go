package admin

import (
	"net/http"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// Load are the calls of a server.
type Load struct {
	// Active are the calls that go on now.
	Active uint64 `json:"active"`
	// Rate and Errors are the calls that ended, and those of them that failed, per second over the last interval.
	Rate   float64 `json:"rate"`
	Errors float64 `json:"errors"`
}

// Discovery is the last time that a server's lists were read to the end.
type Discovery struct {
	At   time.Time
	Took time.Duration
}

// overviewPage is the front page.
type overviewPage struct {
	frame

	Status         Status
	Endpoint       string
	Streams, Calls int
	Ready, Enabled int
	Troubles       []trouble
	More           int // troubles that are not shown
	Servers        []serverView
	Loaded         bool // Envoys tell of the calls that they carry
}

// serverView is a server on a page.
type serverView struct {
	Server

	Health    string // one word for its color
	Discovery Discovery
}

// trouble is something that somebody should look at.
type trouble struct {
	Level, About, Message, Advice, Link string
}

// maxTroubles are shown on the front page.
const maxTroubles = 25

func (s *site) overview(w http.ResponseWriter, _ *http.Request) {
	page := overviewPage{
		frame: s.frame("Overview", "overview"), Status: s.status(), Endpoint: s.Endpoint, Streams: s.Streams(), Calls: s.Calls(),
	}
	for _, server := range page.Status.Servers {
		page.Servers = append(page.Servers, viewOf(server))
		page.Loaded = server.Load != nil
	}
	for _, server := range page.Servers {
		if server.State != string(catalog.HealthDisabled) {
			page.Enabled++
		}
		if server.Health == "good" {
			page.Ready++
		}
	}
	page.Troubles = troubles(&page.Status, page.Servers)
	if n := len(page.Troubles); n > maxTroubles {
		page.Troubles, page.More = page.Troubles[:maxTroubles], n-maxTroubles
	}
	s.render(w, http.StatusOK, "overview", page)
}

func viewOf(server Server) serverView {
	v := serverView{Server: server, Health: "bad", Discovery: Discovery{At: server.Discovered, Took: time.Duration(server.DiscoverySeconds * float64(time.Second))}}
	switch catalog.Health(server.State) {
	case catalog.HealthDisabled:
		v.Health = "off"
	case catalog.HealthConnecting, "":
		v.State, v.Health = string(catalog.HealthConnecting), "wait"
	case catalog.HealthReady:
		v.Health = "good"
		if !server.Programmed {
			v.State, v.Health = "waits for Envoy", "wait"
		}
	case catalog.HealthFailing:
	}
	return v
}

// Advice says what to do for a server that cannot be used, and is empty for one that can.
func Advice(s *catalog.Server) string {
	switch s.State.Health {
	case catalog.HealthDisabled:
		return "Set enabled to true in its configuration to have it back."
	case catalog.HealthReady:
		if !s.Programmed {
			return "Envoy has not taken its address yet. If that lasts, look at Envoy's refusals below and at its log."
		}
		return ""
	case catalog.HealthFailing:
	case catalog.HealthConnecting:
		return ""
	default:
		return ""
	}
	switch s.State.Cause {
	case catalog.CauseUnauthorized:
		return "The server refuses the gateway's credential, or wants one: correct the credential in its configuration. A changed file or Secret is read at once."
	case catalog.CauseProtocol:
		return "Something answers there that does not speak MCP as it should: check the path of the URL, and that the server speaks Streamable HTTP."
	case catalog.CauseUnreachable:
		return "Check that the server runs and that this machine reaches its address: the name, the port, firewalls and NetworkPolicies, and the certificate if it is https."
	}
	return "The gateway tries again by itself. Its log has more about the server."
}

// troubles are everything that is wrong, the worst first.
func troubles(st *Status, servers []serverView) []trouble {
	var out []trouble
	add := func(level, about, message, advice, link string) {
		out = append(out, trouble{level, about, message, advice, link})
	}
	for _, reason := range st.NotReady {
		add("bad", "Not ready", reason, "", "")
	}
	for _, problem := range st.Config.Problems {
		add("bad", "Configuration", problem, "The configuration before it stays in force. Correct the file: it is read again at once.", "")
	}
	if st.Policies != nil {
		for _, problem := range st.Policies.Problems {
			add("bad", "Policies", problem, st.Policies.Advice(problem), "/access")
		}
	}
	if st.Envoys != nil {
		for _, envoy := range *st.Envoys {
			for _, r := range envoy.Refused {
				add("bad", "Envoy "+envoy.Node, r.Type+" "+r.Name+": "+r.Message, "Envoy keeps what it had under this name.", "")
			}
		}
	}
	for i := range servers {
		if server := &servers[i]; server.Health == "bad" {
			add("bad", "Server "+server.Name, server.LastError, server.Advice, "/servers/"+server.Name)
		}
	}
	for _, p := range st.Problems {
		about := "Server " + p.Server
		if p.Name != "" {
			about += ", " + p.Kind + " " + p.Name
		}
		add("warn", about, p.Message, "", "/servers/"+p.Server)
	}
	return out
}

// serverPage is one server.
type serverPage struct {
	frame

	Server       serverView
	Instructions string
	Implementation,
	Capabilities string
	Problems []catalog.Problem
	Groups   []itemGroup
	Loaded   bool
	counted
	Busiest []row // tools
}

// itemGroup is how many items of a kind a server has.
type itemGroup struct {
	Kind  itemKind
	Count int
}

func (s *site) server(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSuffix(r.PathValue("name"), "/")
	snap := s.Snapshot()
	if snap == nil || snap.Server(name) == nil {
		s.missing(w, `There is no server "`+name+`" in the configuration.`)
		return
	}
	server := snap.Server(name)
	n := countItems(snap)[server]
	page := serverPage{frame: s.frame(name, "overview"), Server: viewOf(s.Options.server(server, n, s.calls()))}
	page.Loaded = page.Server.Load != nil
	page.counted, page.Busiest = s.counted(), s.busiestOf(snap, server)
	for _, kind := range kinds() {
		page.Groups = append(page.Groups, itemGroup{kind, map[catalog.Kind]int{
			catalog.Tool: n.tools, catalog.Prompt: n.prompts, catalog.Resource: n.resources, catalog.Template: n.templates,
		}[kind.kind]})
	}
	for _, p := range append(s.Problems(), snap.Problems()...) {
		if p.Server == name {
			page.Problems = append(page.Problems, p)
		}
	}
	if l := server.State.Listing; l != nil {
		page.Instructions, page.Implementation, page.Capabilities = l.Instructions, pretty(l.ServerInfo), pretty(l.Capabilities)
	}
	s.render(w, http.StatusOK, "server", page)
}
