package catalog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/yosida95/uritemplate/v3"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Input is all that a Snapshot is built from.
type Input struct {
	// Servers are the configured servers. The first of two that give one name keeps it.
	Servers []config.Server
	// VirtualServers are the configured virtual servers. No two have one path.
	VirtualServers []config.VirtualServer
	// Reserved are names of tools that the gateway has itself.
	Reserved []string
	// States is what is known of each server by name.
	States map[string]State
	// Cluster names Envoy's cluster of a server; nil means the server's name.
	Cluster func(*config.Server) string
	// Programmed tells whether Envoy can route to a cluster; nil means that it always can.
	Programmed func(cluster string) bool
	// Carried tells of servers whose calls the broker makes for reasons of its own; nil means none.
	Carried func(*config.Server) bool
	// HasToken tells whether Envoy has the token of a server whose credential is config.ClientCredentials; nil means that it has none.
	HasToken func(*config.Server) bool
	Counting Counting
}

// Build makes a snapshot. It never fails: what cannot be shown is left out and reported.
func Build(in Input) *Snapshot {
	b := builder{in: in, snap: &Snapshot{reserved: in.Reserved, byName: make(map[string]*Server, len(in.Servers))}}
	for i := range in.Servers {
		b.server(&in.Servers[i])
	}
	return b.whole()
}

// whole completes the snapshot once all servers have been taken.
func (b *builder) whole() *Snapshot {
	for kind := range kinds {
		b.finish(kind)
	}
	b.findSites()
	b.views()
	b.snap.servers, b.snap.problems = slices.Clip(b.snap.servers), slices.Clip(b.snap.problems)
	return b.snap
}

type builder struct {
	in       Input
	snap     *Snapshot
	features Features         // of all servers
	hints    map[hints]string // as text, which most tools have in common
}

func (b *builder) server(cfg *config.Server) {
	s := &Server{
		Name: cfg.Name, Fingerprint: Fingerprint(cfg), Cluster: cfg.Name, Authority: cfg.Hostname, Path: cfg.Path,
		Prefix: cfg.ToolPrefix, URIPrefix: cfg.URIPrefix, Timeout: cfg.Timeout, MaxCalls: cfg.MaxCalls, Retries: !isAddress(cfg.Host),
		Pins: pinsOf(cfg), State: b.in.States[cfg.Name], Programmed: true,
	}
	if b.in.Cluster != nil {
		s.Cluster = b.in.Cluster(cfg)
	}
	if b.in.Programmed != nil {
		s.Programmed = b.in.Programmed(s.Cluster)
	}
	s.PerCaller = cfg.Credential.PerCaller()
	s.PerUser = cfg.Credential != nil && cfg.Credential.Kind == config.PerUser
	s.Carried, s.Untrusted = b.carried(cfg), cfg.Untrusted
	if !cfg.Enabled {
		s.State = State{Health: HealthDisabled, Since: s.State.Since}
	}
	if s.State.Health == "" {
		s.State.Health = HealthConnecting
	}
	b.take(s, cfg.TimeoutOf)
}

// isAddress tells an IP address from a name, which may stand for several.
func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// take adds a server and what it offers.
func (b *builder) take(s *Server, timeoutOf func(tool string) time.Duration) {
	b.snap.servers = append(b.snap.servers, s)
	b.snap.byName[s.Name] = s
	if s.State.Listing == nil {
		if s.State.Health == HealthConnecting {
			b.snap.awaited = append(b.snap.awaited, s)
		}
		return
	}
	s.caps = parseCapabilities(s.State.Listing.Capabilities)
	for _, p := range s.State.Listing.Problems {
		b.snap.problems = append(b.snap.problems, Problem{Server: s.Name, Message: p})
	}
	if !s.Programmed {
		b.snap.awaited = append(b.snap.awaited, s)
		return
	}
	b.features.add(s)
	b.features.Instructions = addInstructions(b.features.Instructions, s)
	for kind := range kinds {
		for i, def := range s.State.Listing.Items[kind] {
			b.item(s, timeoutOf, kind, i, def)
		}
	}
}

func (b *builder) carried(cfg *config.Server) bool {
	if cfg.Untrusted || b.in.Carried != nil && b.in.Carried(cfg) {
		return true
	}
	if cfg.Credential == nil {
		return false
	}
	switch cfg.Credential.Kind {
	case config.TokenExchange, config.PerUser:
		return true
	case config.ClientCredentials:
		return b.in.HasToken == nil || !b.in.HasToken(cfg)
	default:
		return false
	}
}

// addInstructions puts what a server tells of its use behind that of others.
func addInstructions(others string, s *Server) string {
	text := strings.TrimSpace(s.State.Listing.Instructions)
	if text == "" {
		return others
	}
	if others != "" {
		others += "\n\n"
	}
	return others + "# " + s.Name + "\n\n" + text
}

// item adds one definition, the i-th of its kind, unless its public name is taken.
func (b *builder) item(s *Server, timeoutOf func(tool string) time.Duration, kind Kind, i int, def json.RawMessage) {
	member := "name"
	switch kind {
	case Resource:
		member = "uri"
	case Template:
		member = "uriTemplate"
	default:
	}
	name, span, err := stringMember(def, member)
	if err != nil {
		b.report(s, kind, "", err.Error())
		return
	}
	it := &Item{Kind: kind, Server: s, Name: name, PublicName: publicName(s, kind, name), Definition: def, Timeout: s.Timeout}
	l := &b.snap.lists[kind]
	if kind == Tool && !b.pinned(it, i) {
		return
	}
	if kind == Tool && slices.Contains(b.in.Reserved, it.PublicName) {
		b.report(s, kind, it.PublicName, "the gateway has a tool of this name itself; give the server a toolPrefix")
		return
	}
	if owner := l.byName[it.PublicName]; owner != nil {
		b.report(s, kind, it.PublicName, taken(owner, s))
		return
	}
	if it.PublicName != name {
		it.Definition, err = jsonrpc.Splice(def, jsonrpc.Edit{Span: span, New: jsonrpc.AppendQuote(nil, it.PublicName)})
		if err != nil {
			b.report(s, kind, it.PublicName, err.Error())
			return
		}
	}
	switch kind {
	case Tool:
		if it.Params, err = parseParams(def); err != nil {
			b.report(s, kind, it.PublicName, err.Error())
			if s.Revision() == "" {
				return // a server that has sessions too can be called without the headers
			}
		}
		if s.Modern() != "" {
			it.legacy = legacyTool(it.Definition)
		}
		h := parseHints(def)
		it.Hints, it.Replayable, it.Timeout = b.hint(h), h.readOnly || h.idempotent, timeoutOf(name)
		if place := networkRef(def); place != "" {
			b.report(s, kind, it.PublicName, fmt.Sprintf("a schema of its definition refers to %.200q, on the network: the gateway does not fetch that, and what it says can change", place))
		}
		it.Calls = b.in.Counting.counter(it)
	case Template:
		match, err := compileTemplate(it.PublicName)
		if err != nil {
			b.report(s, kind, it.PublicName, err.Error())
			return
		}
		l.templates = append(l.templates, template{match: match, item: it})
		it.Replayable = true
	default:
		it.Replayable = true
	}
	l.add(it)
}

// pinsOf are the pins of a server in order: what is sent to another process is the same whenever it means the same.
func pinsOf(cfg *config.Server) []Pin {
	var out []Pin
	for _, tool := range slices.Sorted(maps.Keys(cfg.Pins)) {
		out = append(out, Pin{tool, cfg.Pins[tool]})
	}
	return out
}

// pinned tells whether a tool, the i-th of its server, is the one that the configuration pins, if it pins one (Invariant 5).
func (b *builder) pinned(it *Item, i int) bool {
	it.Digest = it.Server.State.Listing.digest(i)
	pin := it.Server.pin(it.Name)
	if pin == "" || pin == it.Digest.String() {
		return true
	}
	b.report(it.Server, Tool, it.PublicName, fmt.Sprintf("its definition has the hash %s, and the configuration pins %s: look at what the server says of it before you change the pin", it.Digest, pin))
	return false
}

func taken(owner *Item, s *Server) string {
	if owner.Server == s {
		return fmt.Sprintf("the server offers two %ss of this name; the first one is shown", owner.Kind)
	}
	remedy := "give one of the two servers a toolPrefix"
	if owner.Kind == Resource || owner.Kind == Template {
		remedy = "set uriPrefix for one of the two servers"
	}
	return fmt.Sprintf("server %q already offers a %s of this name; %s", owner.Server.Name, owner.Kind, remedy)
}

// compileTemplate makes the pattern of what a URI template can become. The library panics where package regexp refuses
// the pattern, as it does for one with a thousand variables.
func compileTemplate(text string) (match *regexp.Regexp, err error) {
	t, err := uritemplate.New(text)
	if err != nil {
		return nil, fmt.Errorf("it is not a URI template (RFC 6570): %w", err)
	}
	defer func() {
		if recover() != nil {
			match, err = nil, errors.New("the URI template is too complex")
		}
	}()
	return t.Regexp(), nil
}

func (b *builder) report(s *Server, kind Kind, name, message string) {
	b.snap.problems = append(b.snap.problems, Problem{Server: s.Name, Kind: kind.String(), Name: name, Message: message})
}

func (b *builder) finish(kind Kind) {
	l := &b.snap.lists[kind]
	slices.SortFunc(l.items, func(x, y *Item) int { return cmp.Compare(x.PublicName, y.PublicName) })
	slices.SortFunc(l.templates, func(x, y template) int { return cmp.Compare(x.item.PublicName, y.item.PublicName) })
	h := sha256.New()
	for i, it := range l.items {
		it.place = i
		// The length keeps two lists from looking alike when bytes move from one definition to the next.
		h.Write(strconv.AppendInt(nil, int64(len(it.Definition)), 10))
		h.Write([]byte{':'})
		h.Write(it.Definition)
	}
	h.Sum(l.sum[:0])
	l.items = slices.Clip(l.items) // readers get it: what one appends must not reach another
	l.join()
}

func publicName(s *Server, kind Kind, name string) string {
	switch kind {
	case Tool, Prompt:
		return s.Prefix + name
	default:
		return s.PublicURI(name)
	}
}

// uriPrefix begins the public URIs of a server with URIPrefix. It is a scheme as RFC 3986 has it, which the slash of
// "namespace/name" may not be part of; no name has a dot, so two servers never get one prefix.
// uriPrefixStart begins the URIs of servers that have a prefix.
const uriPrefixStart = "mcp+"

func uriPrefix(server string) string {
	return uriPrefixStart + strings.ReplaceAll(server, "/", ".") + ":"
}

// maxName is the longest name or URI in bytes: routed calls carry it in headers, which have a limit.
const maxName = 4096

// stringMember finds a member of an object that must be a non-empty string.
func stringMember(object json.RawMessage, member string) (string, jsonrpc.Span, error) {
	span, err := jsonrpc.Lookup(object, whole(object), member)
	if ambiguous := (*jsonrpc.Error)(nil); errors.As(err, &ambiguous) {
		return "", span, errors.New(ambiguous.Message)
	}
	if err != nil {
		return "", span, err
	}
	if !span.Present() {
		return "", span, fmt.Errorf("its definition has no %q", member)
	}
	value, err := jsonrpc.Unquote(span.Of(object))
	switch {
	case err != nil || value == "":
		return "", span, fmt.Errorf("%q of its definition is not a string that can be used", member)
	case len(value) > maxName:
		return "", span, fmt.Errorf("%q of its definition has %d bytes, more than the %d that can be routed", member, len(value), maxName)
	}
	return value, span, nil
}

func whole(object json.RawMessage) jsonrpc.Span { return jsonrpc.Span{Start: 0, End: len(object)} }

// Fingerprint identifies all that a backend session depends on.
func Fingerprint(cfg *config.Server) string {
	h := sha256.New()
	put := func(parts ...string) {
		for _, p := range parts {
			h.Write(strconv.AppendInt(nil, int64(len(p)), 10))
			h.Write([]byte{':'})
			h.Write([]byte(p))
		}
	}
	put(cfg.URL(), cfg.Hostname)
	for _, hd := range cfg.Headers {
		put(hd.Name, hd.Value)
	}
	putCredential(put, cfg.Credential)
	if t := cfg.TLS; t != nil {
		put(t.ServerName, string(t.CA))
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:6])
}

// putCredential leaves out what is fetched: a token that is renewed makes no other server of it.
func putCredential(put func(parts ...string), c *config.Credential) {
	if c == nil {
		return
	}
	value := c.HeaderValue()
	put(c.Header, value.Reveal())
	if c.Kind != config.StaticCredential {
		put("kind", strconv.Itoa(int(c.Kind)))
	}
	if o := c.Client; o != nil {
		put(o.TokenURL, o.Issuer, o.ID, o.Secret.Reveal(), o.Audience, o.Resource)
		put(o.Scopes...)
	}
}

type capabilities struct {
	names     map[string]bool
	subscribe bool
	tasks     bool
}

func (c capabilities) has(name string) bool { return c.names[name] }

func parseCapabilities(raw json.RawMessage) capabilities {
	var members map[string]json.RawMessage
	c := capabilities{names: map[string]bool{}}
	if json.Unmarshal(raw, &members) != nil {
		return c
	}
	for name, value := range members {
		c.names[name] = len(value) > 0 && !bytes.Equal(value, []byte("null"))
	}
	var resources struct{ Subscribe bool }
	if json.Unmarshal(members["resources"], &resources) == nil {
		c.subscribe = resources.Subscribe
	}
	var extensions map[string]json.RawMessage
	if json.Unmarshal(members["extensions"], &extensions) == nil {
		settings := extensions[wire.ExtensionTasks]
		c.tasks = len(settings) > 0 && settings[0] == '{'
	}
	return c
}

// hints are a tool's annotations with the specification's defaults filled in: a tool that says nothing may be
// destructive and reaches the open world.
type hints struct{ readOnly, destructive, idempotent, openWorld bool }

func parseHints(def json.RawMessage) hints {
	h := hints{
		readOnly:   hint(def, "readOnlyHint", false),
		idempotent: hint(def, "idempotentHint", false),
		openWorld:  hint(def, "openWorldHint", true),
	}
	h.destructive = !h.readOnly && hint(def, "destructiveHint", true)
	return h
}

func hint(def json.RawMessage, name string, fallback bool) bool {
	span, err := jsonrpc.Lookup(def, whole(def), "annotations", name)
	if err != nil {
		return fallback
	}
	switch string(span.Of(def)) {
	case "true":
		return true
	case "false":
		return false
	}
	return fallback
}

// hint is the text of hints.
func (b *builder) hint(h hints) string {
	text, known := b.hints[h]
	if !known {
		if b.hints == nil {
			b.hints = map[hints]string{}
		}
		text = h.String()
		b.hints[h] = text
	}
	return text
}

// String is the value of wire.HeaderHints.
func (h hints) String() string {
	return "readOnly=" + strconv.FormatBool(h.readOnly) + ",destructive=" + strconv.FormatBool(h.destructive) +
		",idempotent=" + strconv.FormatBool(h.idempotent) + ",openWorld=" + strconv.FormatBool(h.openWorld)
}
