package store

import (
	"strings"
	"testing"
)

// FuzzURL proves that no URL is read that cannot be shown and read again as the same, and that no error and nothing shown has the password.
func FuzzURL(f *testing.F) {
	for _, seed := range []string{
		"redis://h:6379", "rediss://:%s@[::1]:6379/15", "rediss+sentinel://u:%s@h:1,10.0.0.1:2/my%2Fmaster/4", "redis+cluster://u:%s@h:1,i:2",
		"redis://u:%s@h:1/x", "redis://u:%s/@h:1", "http://u:%s@h", "redis://u:%s@h:1?a#b",
	} {
		f.Add(seed)
	}
	const password = "hunter2hunter2"
	f.Fuzz(func(t *testing.T, pattern string) {
		if strings.Contains(pattern, password) {
			t.Skip("it is what is looked for")
		}
		// The password stands where a password stands, be the rest what it may.
		url := strings.Replace(pattern, ":%s@", ":"+password+"@", 1)
		got, err := parseURL(url)
		if err != nil {
			if strings.Contains(err.Error(), password) {
				t.Fatalf("the error shows it: %v", err)
			}
			return
		}
		shown := got.String()
		if got.password == password && strings.Contains(shown, password) {
			t.Fatalf("%q shows it", shown)
		}
		again, err := parseURL(shown)
		if err != nil || again.String() != shown || again.kind != got.kind || again.tls != got.tls || again.master != got.master || again.db != got.db {
			t.Fatalf("%q was read, and shown as %q, which is %+v: %v", url, shown, again, err)
		}
	})
}
