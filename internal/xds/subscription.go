package xds

import (
	"maps"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// subscription is what one Envoy wants of one type, has been sent and has taken. It belongs to the goroutine of its stream, except for taken
// and refused, which the server's lock guards.
type subscription struct {
	typeURL string
	// all says that the Envoy wants whatever there is; names are those that it asked for by name.
	all   bool
	names map[string]bool
	// sent are the versions that the Envoy was told last; the version of a name that it was told does not exist is empty.
	sent map[string]string
	// answered says that the Envoy got a first response, which it waits for even where there is nothing to send.
	answered bool
	// pending is the one response that is not answered yet; nil means none.
	pending *response
	// retry are the names of a refused response in portions, so that what is refused in it is found and the rest gets through.
	retry [][]string

	// taken are the versions that the Envoy has acknowledged.
	taken map[string]string
	// refused are the resources that the Envoy refused, which are not sent again until they change.
	refused map[string]refusal
}

// response is what was sent under one nonce.
type response struct {
	nonce    string
	versions map[string]string
	removed  []string
}

// refusal is a version that an Envoy would not take.
type refusal struct {
	version string
	message string
}

func newSubscription(req *discoveryv3.DeltaDiscoveryRequest) *subscription {
	s := &subscription{
		typeURL: req.GetTypeUrl(),
		names:   map[string]bool{},
		sent:    map[string]string{},
		taken:   map[string]string{},
		refused: map[string]refusal{},
	}
	// An Envoy that first asks for no name wants whatever there is.
	s.all = len(req.GetResourceNamesSubscribe()) == 0
	maps.Copy(s.sent, req.GetInitialResourceVersions())
	maps.Copy(s.taken, req.GetInitialResourceVersions())
	return s
}

// subscribe follows the Envoy's change of mind. What it asks for, even again, it does not have.
func (s *subscription) subscribe(add, drop []string, first bool) {
	for _, name := range add {
		if name == "*" {
			s.all = true
			continue
		}
		s.names[name] = true
		if !first {
			delete(s.sent, name)
		}
	}
	for _, name := range drop {
		if name == "*" {
			s.all = false
			continue
		}
		delete(s.names, name)
		if !s.all {
			delete(s.sent, name)
		}
	}
}

func (s *subscription) wants(name string) bool { return s.all || s.names[name] }

// due is what the Envoy is to be sent: resources that are new to it, resources that changed, names that it asked for in vain, and names that
// are gone.
type due struct {
	fresh, changed, missing, gone []string
}

func (d due) empty() bool {
	return len(d.fresh)+len(d.changed)+len(d.missing)+len(d.gone) == 0
}

func (s *subscription) due(want map[string]*resource) due {
	var d due
	for name, r := range want {
		if !s.wants(name) || s.refused[name].version == r.version {
			continue
		}
		switch s.sent[name] {
		case "":
			d.fresh = append(d.fresh, name)
		case r.version:
		default:
			d.changed = append(d.changed, name)
		}
	}
	for name, version := range s.sent {
		if want[name] == nil && version != "" {
			d.gone = append(d.gone, name)
		}
	}
	for name := range s.names {
		if _, told := s.sent[name]; !told && want[name] == nil {
			d.missing = append(d.missing, name)
		}
	}
	for _, names := range [][]string{d.fresh, d.changed, d.missing, d.gone} {
		slices.Sort(names)
	}
	return d
}

// portion takes the next portion of a refused response, without what is no longer wanted.
func (s *subscription) portion(want map[string]*resource) []string {
	for len(s.retry) > 0 {
		var names []string
		for _, name := range s.retry[0] {
			if r := want[name]; r != nil && s.wants(name) && s.refused[name].version != r.version {
				names = append(names, name)
			}
		}
		s.retry = s.retry[1:]
		if len(names) > 0 {
			return names
		}
	}
	return nil
}

// record notes a response as sent.
func (s *subscription) record(nonce string, want map[string]*resource, upserts, removals []string) *response {
	r := &response{nonce: nonce, versions: make(map[string]string, len(upserts)), removed: removals}
	for _, name := range upserts {
		r.versions[name] = want[name].version
		s.sent[name] = want[name].version
	}
	for _, name := range removals {
		delete(s.sent, name)
		if s.names[name] {
			s.sent[name] = ""
		}
	}
	s.pending, s.answered = r, true
	return r
}

// accept notes that the pending response was taken.
func (s *subscription) accept() {
	for name, version := range s.pending.versions {
		s.taken[name] = version
		delete(s.refused, name)
	}
	for _, name := range s.pending.removed {
		delete(s.taken, name)
		delete(s.refused, name)
	}
	s.pending = nil
}

// reject notes that the pending response was refused. Envoy says so of a response as a whole, whatever it took of it: one resource alone is
// the culprit, several are tried again in halves.
func (s *subscription) reject(message string) (culprit string, found bool) {
	rejected := s.pending
	s.pending = nil
	for _, name := range rejected.removed {
		delete(s.taken, name)
	}
	names := slices.Sorted(maps.Keys(rejected.versions))
	for _, name := range names {
		// The Envoy keeps what it had.
		if version, ok := s.taken[name]; ok {
			s.sent[name] = version
		} else {
			delete(s.sent, name)
		}
	}
	switch half := len(names) / 2; {
	case len(names) == 0:
		return "", true
	case half > 0:
		s.retry = append([][]string{names[:half], names[half:]}, s.retry...)
		return "", false
	default:
		s.refused[names[0]] = refusal{version: rejected.versions[names[0]], message: message}
		return names[0], true
	}
}
