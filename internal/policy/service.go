package policy

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	defaultDomain         = "mcp-gateway"
	defaultServiceTimeout = 50 * time.Millisecond
	minServiceTimeout     = time.Millisecond
	maxServiceTimeout     = 5 * time.Second
)

func (p *parser) rateLimitService(v value) *RateLimitService {
	p.global = true
	s := &RateLimitService{Domain: defaultDomain, Timeout: defaultServiceTimeout}
	members, ok := p.mapping(v, "address", "domain", "timeout", "failClosed")
	if !ok {
		return s
	}
	if _, given := members["address"]; !given {
		p.refuse(v, `the key "address" is missing`)
	}
	for key, member := range members {
		switch key {
		case "address":
			s.Address = p.address(member)
		case "domain":
			s.Domain = p.domain(member)
		case "timeout":
			s.Timeout = p.duration(member, minServiceTimeout, maxServiceTimeout)
		case "failClosed":
			s.FailClosed, _ = p.flag(member)
		}
	}
	return s
}

func (p *parser) address(v value) string {
	text, ok := p.text(v, "an address, as in ratelimit.example.com:8081")
	if !ok {
		return ""
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil || !isHost(host, strings.HasPrefix(text, "[")) {
		p.refuse(v, `%q must be "host:port", as in ratelimit.example.com:8081 or [2001:db8::1]:8081`, text)
		return ""
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		p.refuse(v, "%q has the port %q, which must be a number from 1 to 65535", text, port)
	}
	return text
}

// isHost takes a name or an address. In brackets there is an address.
func isHost(host string, bracketed bool) bool {
	if bracketed {
		ip, err := netip.ParseAddr(host)
		return err == nil && ip.Zone() == ""
	}
	return host != "" && !strings.ContainsFunc(host, func(c rune) bool { return !isNameRune(c) })
}

func (p *parser) domain(v value) string {
	text, ok := p.text(v, "a name")
	if ok && (len(text) > maxName || strings.ContainsFunc(text, func(c rune) bool { return !isNameRune(c) })) {
		p.refuse(v, "%q must be made of at most %d letters, digits and _ - .", text, maxName)
	}
	return text
}

// window refuses what the service that counts has no unit for.
func (p *parser) window(v value) time.Duration {
	problems := len(p.problems)
	d := p.duration(v, minWindow, maxWindow)
	if p.global && len(p.problems) == problems && WindowUnit(d) == "" {
		p.refuse(v, "%q is nothing that a rate limit service counts in: with policies.rateLimitService it must be 1s, 1m, 1h or 24h", short(d))
	}
	return d
}

// WindowUnit is the unit that is exactly as long as the window, in the words of the service's configuration, or empty.
func WindowUnit(window time.Duration) string {
	switch window {
	case time.Second:
		return "second"
	case time.Minute:
		return "minute"
	case time.Hour:
		return "hour"
	case 24 * time.Hour:
		return "day"
	default:
		return ""
	}
}
