package xds

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Status is what the server knows of its Envoys.
type Status struct {
	// Version is that of the current resources; empty before the first update.
	Version string `json:"version"`
	// Envoys are the connected ones, in order of their names.
	Envoys []EnvoyStatus `json:"envoys"`
}

// EnvoyStatus is one connected Envoy.
type EnvoyStatus struct {
	Node           string    `json:"node"`
	Build          string    `json:"build,omitempty"`
	ConnectedSince time.Time `json:"connectedSince"`
	// Serving says that it has a listener.
	Serving bool `json:"serving"`
	// Version is that of the last resources that it holds whole.
	Version string `json:"version,omitempty"`
	// Refused are the current resources that it would not take. It keeps what it had under those names, if anything.
	Refused []Refused `json:"refused,omitempty"`
	// LastRejection is the last time that it would not take something, whether or not that still matters.
	LastRejection *Rejection `json:"lastRejection,omitempty"`
}

// Refused is one resource that an Envoy would not take.
type Refused struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Message string `json:"message"`
}

// Rejection is a refusal at the time when it came.
type Rejection struct {
	Type    string    `json:"type"`
	Name    string    `json:"name"`
	Message string    `json:"message"`
	Time    time.Time `json:"time"`
}

// Status reports on every connected Envoy that has introduced itself.
func (s *Server) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Status{Envoys: []EnvoyStatus{}}
	if s.current != nil {
		out.Version = s.current.version
	}
	for st := range s.streams {
		if st.node != "" {
			out.Envoys = append(out.Envoys, st.status(s.current))
		}
	}
	slices.SortFunc(out.Envoys, func(a, b EnvoyStatus) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), a.ConnectedSince.Compare(b.ConnectedSince))
	})
	return out
}

func (st *stream) status(want *snapshot) EnvoyStatus {
	out := EnvoyStatus{Node: st.node, Build: st.build, ConnectedSince: st.since, Serving: st.serving(), Version: st.acknowledged}
	if st.rejection != nil {
		r := *st.rejection
		out.LastRejection = &r
	}
	if want != nil {
		for _, t := range st.types() {
			out.Refused = append(out.Refused, st.subs[t].refusals(want.types[t])...)
		}
	}
	return out
}

// refusals are those of the current resources.
func (s *subscription) refusals(want map[string]*resource) []Refused {
	var out []Refused
	for _, name := range slices.Sorted(maps.Keys(s.refused)) {
		if r := want[name]; r != nil && r.version == s.refused[name].version {
			out = append(out, Refused{Type: shortType(s.typeURL), Name: name, Message: s.refused[name].message})
		}
	}
	return out
}
