package authn

import "time"

// schedule says when keys are fetched next: every interval, and sooner where a fetch has failed or somebody asks for it. Fetches that bring nothing
// are further and further apart, up to the interval, so that nobody can cause a storm of them.
type schedule struct {
	interval, pause time.Duration

	last, due time.Time
	// gap is the least time from the last fetch to the next, longer what it is after another fruitless one.
	gap, longer time.Duration
	asked       bool
}

// restart makes a fetch due at once.
func (s *schedule) restart(now time.Time) {
	s.due, s.last = now, time.Time{}
	s.gap, s.longer, s.asked = s.pause, s.pause, false
}

// ask makes the next fetch as early as it may be.
func (s *schedule) ask() {
	s.asked = true
	if at := s.last.Add(s.gap); at.Before(s.due) {
		s.due = at
	}
}

// done notes how a fetch has ended.
func (s *schedule) done(now time.Time, failed, news bool) {
	if failed || s.asked && !news {
		s.gap, s.longer = s.longer, min(2*s.longer, s.interval)
	} else {
		s.gap, s.longer = s.pause, s.pause
	}
	s.last, s.asked = now, false
	s.due = now.Add(s.interval)
	if failed {
		s.due = now.Add(s.gap)
	}
}
