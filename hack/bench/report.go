package main

import (
	"runtime"
	"time"
)

// report is what is written as JSON.
type report struct {
	Started  time.Time      `json:"started"`
	Machine  machine        `json:"machine"`
	Settings settings       `json:"settings"`
	Cases    []caseReport   `json:"cases"`
	Facts    []factReport   `json:"facts,omitempty"`
	Growth   []growthReport `json:"growth,omitempty"`
	Targets  []targetReport `json:"targets"`
}

type machine struct {
	CPU         string `json:"cpu"`
	CPUs        int    `json:"cpus"`
	MemoryBytes uint64 `json:"memoryBytes"`
	Kernel      string `json:"kernel"`
	Go          string `json:"go"`
	Envoy       string `json:"envoy"`
	Gateway     string `json:"gateway"`
	LoadBefore  string `json:"loadBefore"` // load averages of 1, 5 and 15 minutes
	LoadAfter   string `json:"loadAfter"`
}

type settings struct {
	Rounds          int     `json:"rounds"`
	DurationSeconds float64 `json:"durationSeconds"`
	WarmupSeconds   float64 `json:"warmupSeconds"`
	Pinning         pinning `json:"pinning,omitempty"`
}

type caseReport struct {
	Name        string `json:"name"`
	About       string `json:"about"`
	Connections int    `json:"connections"`
	// Rate is that of all connections together, at which calls were due; 0 where each was made after the other.
	Rate int `json:"callsPerSecondDue,omitempty"`
	// Metric is what the ratios are of.
	Metric metric      `json:"ratiosOf"`
	Rows   []rowReport `json:"rows"`
	// Noise is the ratio of the second plain Envoy to the first.
	Noise *ratioReport `json:"noise,omitempty"`
}

// factReport is what has no ratio.
type factReport struct {
	Name     string    `json:"name"`
	About    string    `json:"about"`
	Readings []reading `json:"readings"`
}

type rowReport struct {
	Name           string           `json:"name"`
	About          string           `json:"about"`
	CallsPerSecond float64          `json:"callsPerSecond"` // this and the latencies: medians of the rounds
	P50            float64          `json:"p50Microseconds"`
	P99            float64          `json:"p99Microseconds"`
	Ratio          *ratioReport     `json:"ratio,omitempty"` // of the case's metric, to the first plain Envoy
	CPU            map[part]float64 `json:"cpuMicrosecondsPerCall,omitempty"`
	Busy           map[part]float64 `json:"cpusBusy,omitempty"`
	Memory         map[part]float64 `json:"memoryMiB,omitempty"` // at the end of the last round
	// ExtraTrips is how many requests the upstream got for each call that only led up to one.
	ExtraTrips float64 `json:"extraTripsPerCall"`
	// AnswerBytes is how large the body of an answer is on average.
	AnswerBytes float64       `json:"answerBytes"`
	Rounds      []roundReport `json:"rounds"`
}

type ratioReport struct {
	Median   float64   `json:"median"`
	Interval *interval `json:"interval,omitempty"`
	Rounds   []float64 `json:"rounds"`
}

type roundReport struct {
	Calls          int              `json:"calls"`
	CallsPerSecond float64          `json:"callsPerSecond"`
	P50            float64          `json:"p50Microseconds"`
	P99            float64          `json:"p99Microseconds"`
	CPU            map[part]float64 `json:"cpuMicroseconds,omitempty"`
	Memory         map[part]float64 `json:"memoryMiB,omitempty"`
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func reportCase(c *benchCase, all []series, rate int) caseReport {
	out := caseReport{Name: c.name, About: c.about, Connections: c.connections, Rate: rate, Metric: c.metric}
	var base []float64
	for _, s := range all {
		if s.row.name == baseRow {
			base = values(s.rounds, c.metric.of)
		}
	}
	for _, s := range all {
		r := s.report()
		if base != nil && s.row.name != baseRow {
			r.Ratio = newRatio(values(s.rounds, c.metric.of), base)
		}
		if s.row.name == noiseRow {
			out.Noise = r.Ratio
		}
		out.Rows = append(out.Rows, r)
	}
	return out
}

// newRatio compares two rows round by round.
func newRatio(of, to []float64) *ratioReport {
	per := ratios(of, to)
	return &ratioReport{Median: median(per), Interval: medianInterval(per, 0.95), Rounds: per}
}

func (s *series) rates() []float64 {
	return values(s.rounds, round.callsPerSecond)
}

// rates are those of the rounds.
func (r *rowReport) rates() []float64 {
	out := make([]float64, len(r.Rounds))
	for i, one := range r.Rounds {
		out[i] = one.CallsPerSecond
	}
	return out
}

func values(rounds []round, f func(round) float64) []float64 {
	out := make([]float64, len(rounds))
	for i, r := range rounds {
		out[i] = f(r)
	}
	return out
}

func (s *series) report() rowReport {
	out := rowReport{
		Name: s.row.name, About: s.row.about, CallsPerSecond: median(s.rates()),
		P50:         median(values(s.rounds, func(r round) float64 { return microseconds(r.P50) })),
		P99:         median(values(s.rounds, func(r round) float64 { return microseconds(r.P99) })),
		AnswerBytes: median(values(s.rounds, func(r round) float64 { return r.AnswerBytes })),
		CPU:         map[part]float64{}, Busy: map[part]float64{}, Memory: map[part]float64{},
	}
	var asked counts
	// CPU time comes in steps of 10 ms: sums over all rounds are finer than medians of them.
	var calls, took float64
	for _, r := range s.rounds {
		calls += float64(r.Calls)
		took += microseconds(r.took)
		one := roundReport{Calls: r.Calls, CallsPerSecond: r.callsPerSecond(), P50: microseconds(r.P50), P99: microseconds(r.P99), CPU: map[part]float64{}, Memory: map[part]float64{}}
		for name, d := range r.cpu {
			one.CPU[name] = microseconds(d)
			out.CPU[name] += microseconds(d)
		}
		for name, bytes := range r.rss {
			out.Memory[name] = float64(bytes) / (1 << 20)
			one.Memory[name] = out.Memory[name]
		}
		asked.Calls += r.counts.Calls
		asked.Openings += r.counts.Openings
		out.Rounds = append(out.Rounds, one)
	}
	for name, sum := range out.CPU {
		out.CPU[name], out.Busy[name] = sum/calls, sum/took
	}
	if asked.Calls > 0 {
		out.ExtraTrips = float64(asked.Openings) / float64(asked.Calls)
	}
	return out
}

func thisMachine() machine {
	return machine{CPU: cpuModel(), CPUs: runtime.NumCPU(), MemoryBytes: memory(), Kernel: kernel(), Go: runtime.Version(), LoadBefore: loadAverage()}
}
