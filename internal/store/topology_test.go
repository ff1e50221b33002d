package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/store"
)

// certificate makes a certificate for 127.0.0.1 that is its own CA, and returns its files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return cert, key
}

// terminate is what speaks TLS at an address before a server that does not. A connection ends where the server's does.
func terminate(t *testing.T, address, server, cert, key string) {
	t.Helper()
	terminateFor(t, address, server, cert, key, "")
}

// terminateFor lets in nobody but clients with a certificate of an authority, unless that is empty.
func terminateFor(t *testing.T, address, server, cert, key, clientCA string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clientCA != "" {
		authority, err := os.ReadFile(clientCA)
		require.NoError(t, err)
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		require.True(t, config.ClientCAs.AppendCertsFromPEM(authority))
	}
	l, err := tls.Listen("tcp", address, config)
	require.NoError(t, err)
	var wait sync.WaitGroup
	t.Cleanup(wait.Wait)
	t.Cleanup(func() { _ = l.Close() })
	pass := func(client net.Conn) {
		defer func() { _ = client.Close() }()
		back, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server)
		if err != nil {
			return
		}
		ended := context.AfterFunc(t.Context(), func() { _ = client.Close() })
		defer ended()
		go func() {
			_, _ = io.Copy(back, client)
			_ = back.Close()
		}()
		_, _ = io.Copy(client, back)
	}
	wait.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { pass(client) })
		}
	})
}

func TestRedisTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	address, plain := testbed.FreeAddress(t), testbed.FreeAddress(t)
	p := startRedis(t, plain)
	terminate(t, address, plain, cert, key)
	o := store.Options{URL: "rediss://" + address, CAFile: cert, Timeout: generous}
	testAll(t, o)

	otherCA, _ := certificate(t)
	for want, o := range map[string]store.Options{
		"certificate signed by unknown authority": {URL: "rediss://" + address},
		"x509: ": {URL: "rediss://" + address, CAFile: otherCA},
	} {
		o.Timeout = generous
		wantTame(t, connect(t, o), generous, o.URL, want)
	}
	wantTame(t, connect(t, store.Options{URL: "redis://" + address, Timeout: generous}), generous, "redis://"+address, "")
	// One without TLS waits for the end of a line.
	impatient := store.Options{URL: "rediss://" + plain, CAFile: cert, Timeout: 100 * time.Millisecond}
	wantTame(t, connect(t, impatient), time.Second, "rediss://"+plain, "no answer within 100ms")

	s := connect(t, o)
	busy(t, s)
	p.Kill()
	startRedis(t, plain)
	require.Nil(t, load(t, s, "k"), "though TLS does not tell that its connections are closed")
}

// TestRedisClientCertificate: a server that wants a certificate is shown the one that is in the files at the time of each connection.
func TestRedisClientCertificate(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	clientCert, clientKey := certificate(t)
	otherCert, otherKey := certificate(t)
	address, plain := testbed.FreeAddress(t), testbed.FreeAddress(t)
	p := startRedis(t, plain)
	terminateFor(t, address, plain, cert, key, clientCert)
	o := store.Options{URL: "rediss://" + address, CAFile: cert, CertFile: clientCert, KeyFile: clientKey}
	testAll(t, o)
	for _, o := range []store.Options{{}, {CertFile: otherCert, KeyFile: otherKey}} {
		o.URL, o.CAFile, o.Timeout = "rediss://"+address, cert, generous
		wantTame(t, connect(t, o), generous, o.URL, "certificate")
	}

	copyOver := func(from, to string) {
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, content, 0o600))
	}
	renewedCert, renewedKey := filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	copyOver(otherCert, renewedCert)
	copyOver(otherKey, renewedKey)
	s := connect(t, store.Options{URL: "rediss://" + address, CAFile: cert, CertFile: renewedCert, KeyFile: renewedKey, Timeout: generous})
	_, err := s.Load(t.Context(), "k")
	require.ErrorContains(t, err, "certificate")
	copyOver(clientCert, renewedCert)
	copyOver(clientKey, renewedKey)
	require.NoError(t, s.Create(t.Context(), "k", nil, life), "a renewed one needs no restart")
	require.NoError(t, os.WriteFile(renewedKey, []byte("half"), 0o600))
	p.Kill()
	startRedis(t, plain)
	require.NoError(t, s.Create(t.Context(), "k", nil, life), "the last good one is kept")
}

// TestSentinelPassword: sentinels may want a user and a password of their own, which are not those of the servers.
func TestSentinelPassword(t *testing.T) {
	t.Parallel()
	master, open, closed := testbed.FreeAddress(t), testbed.FreeAddress(t), testbed.FreeAddress(t)
	host, port, err := net.SplitHostPort(master)
	require.NoError(t, err)
	startRedis(t, master, "--requirepass", "private")
	monitor := fmt.Sprintf("sentinel monitor main %s %s 1\nsentinel auth-pass main private\n", host, port)
	startSentinel(t, open, monitor+"requirepass private:sentinel\n")
	startSentinel(t, closed, monitor+"user default off\nuser gateway on >private:gateway allchannels +@all\n")
	url := func(address string) string { return "redis+sentinel://:private@" + address + "/main" }
	testAll(t, store.Options{URL: url(open), SentinelPassword: "private:sentinel"})
	testAll(t, store.Options{URL: url(closed), SentinelUser: "gateway", SentinelPassword: "private:gateway"})
	for _, o := range []store.Options{
		{URL: url(open)}, {URL: url(open), SentinelPassword: "private:another"}, {URL: url(closed), SentinelPassword: "private:gateway"},
	} {
		o.Timeout = generous
		wantTame(t, connect(t, o), generous, "redis+sentinel://", "sentinel")
		require.NotContains(t, fmt.Sprintf("%+v %#v %s", o, o, o), "private")
	}
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	master, replica, sentinel := testbed.FreeAddress(t), testbed.FreeAddress(t), testbed.FreeAddress(t)
	host, port, err := net.SplitHostPort(master)
	require.NoError(t, err)
	startRedis(t, master, "--requirepass", "private", "--masterauth", "private", "--repl-diskless-sync-delay", "0")
	startRedis(t, replica, "--requirepass", "private", "--masterauth", "private", "--replicaof", host+" "+port)
	testbed.Await(t, "the replica to be in step", func() bool {
		return strings.Contains(redis(t, replica, "AUTH private", "INFO replication")[1], "master_link_status:up")
	})
	startSentinel(t, sentinel, fmt.Sprintf("sentinel monitor main %s %s 1\nsentinel auth-pass main private\nsentinel down-after-milliseconds main 500\n", host, port))
	testbed.Await(t, "sentinel to know the replica", func() bool { return strings.Contains(redis(t, sentinel, "SENTINEL MASTER main")[0], "num-slaves 1") })

	o := store.Options{URL: "redis+sentinel://default:private@" + testbed.FreeAddress(t) + "," + sentinel + "/main/0"} // of which one is down
	testAll(t, o)
	unknown := connect(t, store.Options{URL: "redis+sentinel://" + sentinel + "/unknown", Timeout: generous})
	wantTame(t, unknown, generous, "redis+sentinel://"+sentinel+"/unknown/0", "sentinel")

	s := connect(t, o)
	require.NoError(t, s.Create(t.Context(), "kept", map[string]string{"f": "x"}, life))
	sub := subscribe(t, s)
	redis(t, master, "AUTH private", "WAIT 1 5000")
	redis(t, sentinel, "SENTINEL FAILOVER main")
	testbed.AwaitWithin(t, 8*time.Second, "the subscription to move, sooner than sentinel makes the old server follow", func() bool {
		sub.mu.Lock()
		defer sub.mu.Unlock()
		return sub.connected == 2
	})
	testbed.Await(t, "the other server to take over", func() bool {
		now, err := s.Swap(t.Context(), "kept", "f", "x", "y")
		return err == nil && now == "y"
	})
	require.Contains(t, redis(t, replica, "AUTH private", "ROLE")[1], "master")
}

// startSentinel writes the configuration that sentinel needs to be a file, since it changes it.
func startSentinel(t *testing.T, address, config string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "bind %s\nport %s\ndir %s\n%s", host, port, t.TempDir(), config), 0o600))
	p := testbed.Start(t, "sentinel", testbed.Command{Path: testbed.Program(t, "REDIS_BIN"), Args: []string{file, "--sentinel"}})
	testbed.AwaitListening(t, p, address)
}

func TestCluster(t *testing.T) {
	t.Parallel()
	address := testbed.FreeAddress(t)
	bus := fmt.Sprint(testbed.FreePort(t))
	p := startRedis(t, address, "--cluster-enabled", "yes", "--cluster-port", bus)
	slots := func() {
		redis(t, address, "CLUSTER ADDSLOTSRANGE 0 16383")
		testbed.Await(t, "the cluster", func() bool { return strings.Contains(redis(t, address, "CLUSTER INFO")[0], "cluster_state:ok") })
	}
	o := store.Options{URL: "redis+cluster://" + testbed.FreeAddress(t) + "," + address} // of which one is down
	before := connect(t, o)
	_, err := before.Load(t.Context(), "k")
	require.ErrorContains(t, err, "load a record at redis+cluster://", "it has no slots yet")
	slots()
	testAll(t, o)

	s := connect(t, o)
	sub := subscribe(t, s)
	p.Kill()
	wantTame(t, s, time.Second, "redis+cluster://", "")
	startRedis(t, address, "--cluster-enabled", "yes", "--cluster-port", bus)
	slots()
	sub.awaitConnected(t, 2)
	testbed.Await(t, "the store to be back", func() bool { return s.Create(context.Background(), "k", nil, life) == nil })
}
