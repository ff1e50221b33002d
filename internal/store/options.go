package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

const (
	defaultPrefix  = "mcp-gateway:v1:"
	defaultTimeout = 500 * time.Millisecond
)

// Options say where a store is. However they are formatted, logged or encoded, users and passwords are not shown, unless the options are in an unexported
// field of something, where package fmt looks past all methods.
type Options struct {
	// URL names the server or servers:
	//
	//	redis://[user:password@]host:port/db
	//	redis+sentinel://[user:password@]host:port[,host:port]/master/db
	//	redis+cluster://[user:password@]host:port[,host:port]
	//
	// and the same with rediss in place of redis for TLS. What stands for itself in user, password and master's name is percent-encoded. User and
	// password are the servers', not the sentinels'. Without db it is 0.
	URL string
	// SentinelUser and SentinelPassword are for sentinels that want some; empty: none. They stand as they are.
	SentinelUser, SentinelPassword string
	// CAFile has the certificates (PEM) by which the servers' are verified; empty: the system's.
	CAFile string
	// CertFile and KeyFile have the certificate (PEM) that servers, and sentinels, are shown, and its key; empty: none. They are read again for each
	// connection, so that a certificate that is renewed in time needs nobody.
	CertFile, KeyFile string
	// Prefix begins all keys, and the name of the channel; empty: "mcp-gateway:v1:".
	Prefix string
	// Timeout is how long one operation may take; 0: 500 ms.
	Timeout time.Duration
	// Logger is told when a subscription is lost and when it is back; nil: nobody is.
	Logger *slog.Logger
}

// Format covers every verb of package fmt.
func (o Options) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, o.String()) }

func (o Options) String() string {
	where := "[unreadable]"
	if t, err := parseURL(o.URL); err == nil {
		where = t.String()
	}
	return fmt.Sprintf("{URL:%s CAFile:%q CertFile:%q Prefix:%q Timeout:%v}", where, o.CAFile, o.CertFile, o.Prefix, o.Timeout)
}

// GoString is for those who call it themselves; package fmt calls Format.
func (o Options) GoString() string { return o.String() }

// LogValue is what package slog logs.
func (o Options) LogValue() slog.Value { return slog.StringValue(o.String()) }

// MarshalText is what JSON, XML and other encoders write.
func (o Options) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// MarshalYAML is what YAML encoders write.
func (o Options) MarshalYAML() (any, error) { return o.String(), nil }

// read checks the options, all of them, and completes them.
func (o Options) read() (Options, target, *tls.Config, error) {
	t, err := parseURL(o.URL)
	errs := []error{err}
	var config *tls.Config
	if t.tls {
		config, err = trust(o.CAFile)
		errs = append(errs, err, o.show(config))
	} else if (o.CAFile != "" || o.CertFile != "" || o.KeyFile != "") && err == nil {
		errs = append(errs, errors.New("there are certificates for a server without TLS, whose URL would begin with rediss"))
	}
	if err == nil && t.kind != sentinel && (o.SentinelPassword != "" || o.SentinelUser != "") {
		errs = append(errs, errors.New("there is a user or a password for sentinels, and the URL is not one of sentinels: it would begin with redis+sentinel or rediss+sentinel"))
	}
	if o.SentinelPassword == "" && o.SentinelUser != "" {
		errs = append(errs, errors.New("there is a user for sentinels, and no password"))
	}
	if o.Timeout < 0 {
		errs = append(errs, fmt.Errorf("the timeout must be positive, not %v", o.Timeout))
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, t, config, errors.Join(errs...)
}

// trust is how servers' certificates are verified, for the name by which each server is reached.
func trust(file string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return config, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read CA certificates: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("there is no CA certificate (PEM) in %q", file)
	}
	return config, nil
}

// show has servers shown the certificate in the files, if there is one.
func (o Options) show(config *tls.Config) error {
	if o.CertFile == "" && o.KeyFile == "" {
		return nil
	}
	if o.CertFile == "" || o.KeyFile == "" {
		return errors.New("a certificate for servers needs both its file and that of its key")
	}
	first, err := o.certificate()
	if err != nil || config == nil {
		return err
	}
	var last atomic.Pointer[tls.Certificate]
	last.Store(first)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		// While the files are written they may not fit each other.
		if now, err := o.certificate(); err == nil {
			last.Store(now)
		}
		return last.Load(), nil
	}
	return nil
}

func (o Options) certificate() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate %q with the key %q: %w", o.CertFile, o.KeyFile, err)
	}
	return &pair, nil
}
