package bridge

import (
	"testing"
	"time"
)

// FuzzOpenState proves that a state is opened if it was sealed for this caller and request, and nothing else is.
func FuzzOpenState(f *testing.F) {
	key, b, now := []byte("the key of this test"), Binding{Caller: []byte("alice"), Server: "a"}, time.Unix(1_800_000_000, 0)
	f.Add("", "home", uint16(1))
	f.Add(State{Round: 1, Expires: now.Add(time.Minute)}.Seal(key, b), "", uint16(0))
	f.Add("AAAA", "http://10.0.0.1:8080", uint16(65535))
	f.Fuzz(func(t *testing.T, foreign, home string, round uint16) {
		if s, err := OpenState(key, foreign, b, now); err == nil && s.Seal(key, b) != foreign {
			t.Fatalf("%q was opened, but is not what Seal gives", foreign)
		}
		s := State{Home: home, Round: round, Expires: now.Add(time.Second)}
		text := s.Seal(key, b)
		if got, err := OpenState(key, text, b, now); err != nil || got.Home != home || got.Round != round {
			t.Fatalf("%+v became %+v: %v", s, got, err)
		}
		other := b
		other.Caller = []byte("mallory")
		if _, err := OpenState(key, text, other, now); err == nil {
			t.Fatal("another caller can use it")
		}
	})
}
