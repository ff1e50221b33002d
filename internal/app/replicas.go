package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/store"
)

// This file is about several processes that are one gateway.

// envStoreURL is the place for a URL with a password, which flags would show to everybody on the machine; the others are for sentinels that want one.
const (
	envStoreURL         = "MCP_GATEWAY_STORE_URL"
	envSentinelUser     = "MCP_GATEWAY_STORE_SENTINEL_USER"
	envSentinelPassword = "MCP_GATEWAY_STORE_SENTINEL_PASSWORD" //nolint:gosec // the name of a variable
)

const (
	flagStore     = "store-url"
	flagStoreCA   = "store-ca-file"
	flagStoreCert = "store-cert-file"
	flagStoreKey  = "store-key-file"
	flagReplica   = "replica-url"
)

// replicaSettings are those of a gateway that is one of several.
type replicaSettings struct{ storeURL, storeCA, storeCert, storeKey, url string }

func (s *replicaSettings) flags(f *pflag.FlagSet) {
	f.StringVar(&s.storeURL, flagStore, "", "`URL` of a Redis or Valkey in which replicas share the sessions of clients and the tokens that callers' own were exchanged for: redis://, rediss:// for TLS, redis+sentinel:// or redis+cluster://. With a password, use the environment variable "+envStoreURL+". Empty: both are in this process alone")
	f.StringVar(&s.storeCA, flagStoreCA, "", "`file` with the root certificates, as PEM, of that server (default: the machine's)")
	f.StringVar(&s.storeCert, flagStoreCert, "", "`file` with a certificate, as PEM, for a server that wants one of its clients. It is read again for each connection")
	f.StringVar(&s.storeKey, flagStoreKey, "", "`file` with the key of that certificate, as PEM")
	f.StringVar(&s.url, flagReplica, "", "`URL` under which the brokers of other replicas reach the broker of this one, like http://10.0.0.7:8080, or the IP address alone for the port of --"+flagBroker+": what waits for input here is handed over to it. Let only them and Envoy reach it")
}

// check takes an IP address for the URL at it, given where the broker listens: what a pod knows of itself is no more than that, and a URL has brackets for
// addresses of one kind.
func (s *replicaSettings) check(broker string) error {
	if s.url == "" {
		return nil
	}
	if ip, err := netip.ParseAddr(s.url); err == nil && ip.Zone() == "" {
		_, port, err := net.SplitHostPort(broker)
		if _, socket := socketPath(broker); socket || err != nil || port == "0" {
			return fmt.Errorf("--%s %q: want http://host:port, since --%s has no port that is known before", flagReplica, s.url, flagBroker)
		}
		s.url = "http://" + net.JoinHostPort(ip.String(), port)
	}
	if u, err := url.Parse(s.url); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return fmt.Errorf("--%s %q: want http://host:port or an IP address", flagReplica, s.url)
	}
	return nil
}

// openStore is what replicas share; nil for one alone.
func (g *gateway) openStore(lookup func(string) (string, bool), generated bool) (store.Store, error) {
	s := &g.settings.replicas
	at, source := s.storeURL, "--"+flagStore
	if v, _ := lookup(envStoreURL); v != "" {
		if at != "" {
			return nil, usagef("both --%s and %s are given: keep one of them", flagStore, envStoreURL)
		}
		at, source = strings.TrimRight(v, "\r\n"), envStoreURL // which comes from a file of a Secret's
	}
	if generated && (at != "" || s.url != "") {
		return nil, usagef("replicas share the session key: give it to each of them, with --%s or %s", flagKey, envSessionKey)
	}
	if at == "" {
		for flag, given := range map[string]string{flagStoreCA: s.storeCA, flagStoreCert: s.storeCert, flagStoreKey: s.storeKey} {
			if given != "" {
				return nil, usagef("--%s needs --%s", flag, flagStore)
			}
		}
		return nil, nil
	}
	fromSecret := func(name string) string {
		v, ok := lookup(name)
		if !ok {
			return ""
		}
		return strings.TrimRight(v, "\r\n")
	}
	opened, err := store.Open(store.Options{
		URL: at, CAFile: s.storeCA, CertFile: s.storeCert, KeyFile: s.storeKey,
		SentinelUser: fromSecret(envSentinelUser), SentinelPassword: fromSecret(envSentinelPassword), Logger: g.logger,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	return measuredStore{opened, g.metrics.Replicas()}, nil
}

// knowSession makes a session known here that another replica began. An error means that nobody can tell whether there is one.
func (g *gateway) knowSession(ctx context.Context, token string) error {
	if _, err := g.sessions.Find(ctx, token); err != nil && !errors.Is(err, session.ErrUnknown) {
		return err
	}
	return nil
}
