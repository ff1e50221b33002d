package catalog

import (
	"iter"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// Portable is a snapshot on its way to another process, which builds the same one of it. There are no credentials in it, and nothing of how the
// servers fare: two that are equal route alike. All of it can be encoded.
type Portable struct {
	Servers        []PortableServer
	VirtualServers []config.VirtualServer
	// Reserved are names of tools that the gateway has itself.
	Reserved []string
}

// PortableServer is one server with what it lists.
type PortableServer struct {
	Server Server
	// Timeouts are those of tools that have one of their own, in the order of the list.
	Timeouts []ToolTimeout
}

// ToolTimeout is the timeout of one tool, by the server's own name for it.
type ToolTimeout struct {
	Tool    string
	Timeout time.Duration
}

// Portable is the snapshot as another process gets it.
func (s *Snapshot) Portable() *Portable {
	p := &Portable{Servers: make([]PortableServer, len(s.servers)), Reserved: s.reserved}
	place := make(map[*Server]int, len(s.servers))
	for i, server := range s.servers {
		place[server] = i
		p.Servers[i].Server = *server
		p.Servers[i].Server.State = State{Listing: server.State.Listing}
		if server.State.Health == HealthConnecting { // nothing else of it decides
			p.Servers[i].Server.State.Health = HealthConnecting
		}
	}
	for _, it := range s.Items(Tool) {
		if it.Timeout != it.Server.Timeout {
			ps := &p.Servers[place[it.Server]]
			ps.Timeouts = append(ps.Timeouts, ToolTimeout{Tool: it.Name, Timeout: it.Timeout})
		}
	}
	for _, v := range s.views {
		p.VirtualServers = append(p.VirtualServers, *v.virtual)
	}
	return p
}

// Parts takes a Portable apart, and tells of each part whether more follow. What encodes or decodes them one by one needs memory for no more than one:
// each has definitions of about so many bytes.
func (p *Portable) Parts(size int) iter.Seq2[*Portable, bool] {
	return func(yield func(part *Portable, more bool) bool) {
		part := &Portable{VirtualServers: p.VirtualServers, Reserved: p.Reserved}
		for from, to := 0, 0; ; from = to {
			for left := size; to < len(p.Servers) && left > 0; to++ {
				left -= p.Servers[to].size()
			}
			part.Servers = p.Servers[from:to:to]
			if !yield(part, to < len(p.Servers)) || to == len(p.Servers) {
				return
			}
			part = &Portable{}
		}
	}
}

// Append takes the next one of the parts.
func (p *Portable) Append(part *Portable) {
	p.Servers = append(p.Servers, part.Servers...)
	p.VirtualServers = append(p.VirtualServers, part.VirtualServers...)
	p.Reserved = append(p.Reserved, part.Reserved...)
}

// size is about how many bytes the server has.
func (p *PortableServer) size() int {
	n := 1 << 10 // for all that is small
	if l := p.Server.State.Listing; l != nil {
		for _, items := range l.Items {
			for _, item := range items {
				n += len(item)
			}
		}
	}
	return n
}

// Snapshot builds the snapshot again. The Portable must not be modified then.
func (p *Portable) Snapshot(counting Counting) *Snapshot {
	b := builder{in: Input{VirtualServers: p.VirtualServers, Reserved: p.Reserved, Counting: counting}, snap: &Snapshot{reserved: p.Reserved, byName: make(map[string]*Server, len(p.Servers))}}
	for i := range p.Servers {
		s := p.Servers[i].Server
		own := make(map[string]time.Duration, len(p.Servers[i].Timeouts))
		for _, t := range p.Servers[i].Timeouts {
			own[t.Tool] = t.Timeout
		}
		b.take(&s, func(tool string) time.Duration {
			if t, ok := own[tool]; ok {
				return t
			}
			return s.Timeout
		})
	}
	return b.whole()
}
