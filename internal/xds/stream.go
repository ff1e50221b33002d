package xds

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// stream is one connected Envoy. The server's lock guards it.
type stream struct {
	node  string
	build string
	since time.Time
	subs  map[string]*subscription
	nonce uint64
	// acknowledged is the version of the last snapshot that the Envoy holds whole.
	acknowledged string
	rejection    *Rejection
	// wake says that there may be something to send.
	wake chan struct{}
}

func (st *stream) poke() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

func (st *stream) introduce(n *corev3.Node) {
	st.node = n.GetId()
	if v := n.GetUserAgentBuildVersion().GetVersion(); v != nil {
		st.build = fmt.Sprintf("%s %d.%d.%d", n.GetUserAgentName(), v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
}

// receive applies one request. A refusal in it is returned once there is one resource to blame, or none.
func (st *stream) receive(req *discoveryv3.DeltaDiscoveryRequest, now time.Time) *Rejection {
	sub, known := st.subs[req.GetTypeUrl()]
	if !known {
		sub = newSubscription(req)
		st.subs[req.GetTypeUrl()] = sub
	}
	sub.subscribe(req.GetResourceNamesSubscribe(), req.GetResourceNamesUnsubscribe(), !known)
	if sub.pending == nil || req.GetResponseNonce() != sub.pending.nonce {
		return nil
	}
	if req.GetErrorDetail() == nil {
		sub.accept()
		return nil
	}
	message := req.GetErrorDetail().GetMessage()
	culprit, found := sub.reject(message)
	if !found {
		return nil
	}
	st.rejection = &Rejection{Type: shortType(sub.typeURL), Name: culprit, Message: message, Time: now}
	return st.rejection
}

// next makes the next response. Whatever the Envoy waits for is sent at once; what changes or goes waits for its turn.
func (st *stream) next(want *snapshot) *discoveryv3.DeltaDiscoveryResponse {
	busy := false
	for _, t := range st.types() {
		sub := st.subs[t]
		if sub.pending == nil {
			if upserts, removals, ok := sub.batch(want.types[t], busy); ok {
				return st.respond(sub, want.types[t], upserts, removals)
			}
		}
		// A cluster does not wait for a secret: the Envoy asks for the secret once it has the cluster.
		busy = busy || t != secretType && (sub.pending != nil || len(sub.retry) > 0)
	}
	if busy {
		return nil
	}
	for _, t := range slices.Backward(st.types()) {
		sub := st.subs[t]
		if d := sub.due(want.types[t]); sub.pending == nil && len(d.gone) > 0 {
			return st.respond(sub, want.types[t], nil, d.gone)
		}
	}
	return nil
}

// batch is what a subscription may be sent now.
func (s *subscription) batch(want map[string]*resource, busy bool) (upserts, removals []string, ok bool) {
	if names := s.portion(want); names != nil {
		return names, nil, true
	}
	d := s.due(want)
	upserts = d.fresh
	if !busy {
		upserts = append(upserts, d.changed...)
	}
	return quickFirst(upserts, want), d.missing, len(upserts)+len(d.missing) > 0 || !s.answered
}

// quickFirst leaves slow resources for the next response if there are others: Envoy acknowledges a response when all of it is ready, so a name
// that does not resolve would hold up every server, and at the start the listener too.
func quickFirst(names []string, want map[string]*resource) []string {
	slow := func(name string) bool { return want[name].slow }
	if quick := slices.DeleteFunc(slices.Clone(names), slow); len(quick) > 0 {
		return quick
	}
	return names
}

// types are the subscribed types in the order of sending; any that this server has nothing of come last.
func (st *stream) types() []string {
	var out, others []string
	for _, t := range typeOrder() {
		if st.subs[t] != nil {
			out = append(out, t)
		}
	}
	for t := range st.subs {
		if !slices.Contains(out, t) {
			others = append(others, t)
		}
	}
	slices.Sort(others)
	return append(out, others...)
}

func (st *stream) respond(sub *subscription, want map[string]*resource, upserts, removals []string) *discoveryv3.DeltaDiscoveryResponse {
	st.nonce++
	sent := sub.record(strconv.FormatUint(st.nonce, 10), want, upserts, removals)
	resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: sub.typeURL, Nonce: sent.nonce, RemovedResources: removals}
	for _, name := range upserts {
		resp.Resources = append(resp.Resources, want[name].proto())
	}
	return resp
}

// settle notes that the Envoy holds the whole snapshot, if it does, and tells whether that is news.
func (st *stream) settle(want *snapshot) bool {
	if st.acknowledged == want.version || !st.serving() {
		return false
	}
	for t, sub := range st.subs {
		if sub.pending != nil || len(sub.retry) > 0 || len(sub.refusals(want.types[t])) > 0 || !sub.due(want.types[t]).empty() {
			return false
		}
	}
	st.acknowledged = want.version
	return true
}

// serving tells whether the Envoy has a listener.
func (st *stream) serving() bool {
	sub := st.subs[listenerType]
	return sub != nil && len(sub.taken) > 0
}

// holds tells whether the Envoy can send calls to a cluster. A credential that changes in place does not count as missing.
func (st *stream) holds(want *snapshot, cluster string) bool {
	sub := st.subs[clusterType]
	if sub == nil || sub.taken[cluster] != want.types[clusterType][cluster].version {
		return false
	}
	if want.types[secretType][cluster] == nil {
		return true
	}
	secrets := st.subs[secretType]
	return secrets != nil && secrets.taken[cluster] != ""
}

// ended makes an ordinary end of an error that is none.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func shortType(typeURL string) string {
	return typeURL[strings.LastIndexByte(typeURL, '.')+1:]
}
