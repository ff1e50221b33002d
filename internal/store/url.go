package store

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// kind is how servers are found.
type kind string

const (
	single   kind = ""
	sentinel kind = "+sentinel"
	cluster  kind = "+cluster"
)

// target is what a URL says. It is never printed but by String, which leaves user and password out.
type target struct {
	kind           kind
	tls            bool
	addresses      []string
	master         string
	db             int
	user, password string
}

func (t target) String() string {
	s := "redis"
	if t.tls {
		s = "rediss"
	}
	s += string(t.kind) + "://" + strings.Join(t.addresses, ",")
	switch t.kind {
	case sentinel:
		s += "/" + url.PathEscape(t.master) + "/" + strconv.Itoa(t.db)
	case single:
		s += "/" + strconv.Itoa(t.db)
	case cluster:
	}
	return s
}

// parseURL does without url.Parse, which knows but one host and quotes in its errors what may be a part of the password. So nothing of the URL is
// quoted here.
func parseURL(s string) (target, error) {
	if s == "" {
		return target{}, errors.New("there is no URL of a server")
	}
	t, err := parse(s)
	if err != nil {
		return target{}, fmt.Errorf("the server's URL is wrong: %w", err)
	}
	return t, nil
}

func parse(s string) (t target, err error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if ok {
		t.tls, t.kind, ok = parseScheme(scheme)
	}
	if !ok {
		return t, errors.New(`it must begin with redis://, redis+sentinel:// or redis+cluster://, or with "rediss" in place of "redis" for TLS`)
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	authority, path := rest[:end], rest[end:]
	if strings.Contains(path, "@") {
		return t, errors.New(`a "/", "?", "#" or "@" in user, password or master's name must be percent-encoded`)
	}
	if strings.ContainsAny(path, "?#") {
		return t, errors.New(`it must not have a "?" or "#"`)
	}
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		if err := t.parseUser(authority[:i]); err != nil {
			return t, err
		}
		authority = authority[i+1:]
	}
	return t, errors.Join(t.parseAddresses(authority), t.parsePath(path))
}

func parseScheme(s string) (tls bool, k kind, ok bool) {
	s, ok = strings.CutPrefix(s, "redis")
	if !ok {
		return false, "", false
	}
	s, tls = strings.CutPrefix(s, "s")
	switch k = kind(s); k {
	case single, sentinel, cluster:
		return tls, k, true
	}
	return false, "", false
}

func (t *target) parseUser(s string) error {
	user, password, ok := strings.Cut(s, ":")
	if !ok || password == "" {
		return errors.New("before the @ stands no user:password or :password")
	}
	var errUser, errPassword error
	t.user, errUser = url.PathUnescape(user)
	t.password, errPassword = url.PathUnescape(password)
	if errUser != nil || errPassword != nil {
		return errors.New(`a "%" in user or password must be followed by two hexadecimal digits ("%25" is the character itself)`)
	}
	return nil
}

func (t *target) parseAddresses(s string) error {
	for i, address := range strings.Split(s, ",") {
		host, port, err := net.SplitHostPort(address)
		n, errPort := strconv.ParseUint(port, 10, 16)
		if err != nil || errPort != nil || n == 0 || host == "" || strings.ContainsAny(host, " \t\r\n%\\\"'<>{}|^`") {
			return fmt.Errorf("address %d of the server must be host:port, an IPv6 host in brackets", i+1)
		}
		t.addresses = append(t.addresses, address)
	}
	if t.kind == single && len(t.addresses) > 1 {
		return errors.New("it has several addresses, which only redis+sentinel:// and redis+cluster:// can have")
	}
	return nil
}

func (t *target) parsePath(path string) error {
	path = strings.TrimPrefix(path, "/")
	if t.kind == sentinel {
		var master string
		var err error
		master, path, _ = strings.Cut(path, "/")
		if t.master, err = url.PathUnescape(master); err != nil || t.master == "" {
			return errors.New("after the sentinels' addresses must stand /master/db, where master is the name that they know it by")
		}
	}
	if path == "" {
		return nil
	}
	db, err := strconv.ParseUint(path, 10, 16)
	if err != nil {
		return errors.New("the database at its end must be a number")
	}
	if t.kind == cluster && db != 0 {
		return errors.New("a cluster has no database but 0")
	}
	t.db = int(db)
	return nil
}
