package config

import (
	"context"
	"log/slog"
	"time"
)

const (
	defaultDebounce = 100 * time.Millisecond
	defaultPoll     = 500 * time.Millisecond

	// drasticFactor is how much longer than anything else a drastic content must hold still.
	drasticFactor = 5
)

// WatchOptions tells [Watch] whom to tell.
type WatchOptions = FileOptions[*Config]

// FileOptions tells [WatchFile] whom to tell. The callbacks come from one goroutine, never two at a time; a nil one is not called.
type FileOptions[T any] struct {
	// Logger hears of trouble with watching itself; what becomes of the file goes to the callbacks.
	Logger *slog.Logger
	// Current is the content already in force, as it was loaded. Without it OnChange is called for the first good one.
	Current T

	// OnChange gets every good content that differs from the one before.
	OnChange func(T)
	// OnError gets a bad one's problems, once for each content; the good one stays in force.
	OnError func(error)
	// OnRecover says that after OnError the file means again what is in force. If it means anything else, OnChange says so instead.
	OnRecover func()

	// Debounce is how long a new content must hold still before it counts; by default 100ms, and always five times as long for a
	// drastic one.
	Debounce time.Duration
	// Poll is how often the content is compared without any event; by default 500ms. It finds what a file system does not announce.
	Poll time.Duration
}

func (o FileOptions[T]) withDefaults() FileOptions[T] {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Debounce <= 0 {
		o.Debounce = defaultDebounce
	}
	if o.Poll <= 0 {
		o.Poll = defaultPoll
	}
	return o
}

// FileKind is a kind of file that can be watched.
type FileKind[T any] struct {
	// Load reads the file, and whatever it refers to, by env and by nothing else.
	Load func(path string, env Env) (T, error)
	// Equal tells whether two contents mean the same. The first good one of a watch is compared with the zero T.
	Equal func(a, b T) bool
	// Drastic tells of a content that takes so much away that it is far more often a file that is being written than one that is meant.
	Drastic func(good, next T) bool
}

// configFile is the gateway's configuration. What removes every server, or every virtual server, is drastic.
func configFile() FileKind[*Config] {
	return FileKind[*Config]{
		Load:  Load,
		Equal: (*Config).Equal,
		Drastic: func(good, next *Config) bool {
			return good != nil && (len(good.Servers) > 0 && len(next.Servers) == 0 || len(good.VirtualServers) > 0 && len(next.VirtualServers) == 0)
		},
	}
}

// Watch reads the configuration at path again whenever it or something that it refers to changes, until ctx is done.
func Watch(ctx context.Context, path string, env Env, opts WatchOptions) {
	WatchFile(ctx, path, env, configFile(), opts)
}

// WatchFile reads the file at path again whenever it or something that it refers to changes, until ctx is done. It compares contents: an
// event without a difference in meaning calls nobody.
func WatchFile[T any](ctx context.Context, path string, env Env, kind FileKind[T], opts FileOptions[T]) {
	opts = opts.withDefaults()
	announced := announceFolders(opts.Logger)
	defer announced.close()
	w := &watcher[T]{path: path, env: env, kind: kind, opts: opts, good: opts.Current}
	w.run(ctx, announced)
}

// watcher decides what the readings of one file amount to.
type watcher[T any] struct {
	path string
	env  Env
	kind FileKind[T]
	opts FileOptions[T]

	good    T           // in force
	settled *reading[T] // the last one that counted, good or bad
	failing bool        // it was bad

	pending *reading[T] // differs from settled and must still prove to be more than a moment of writing
	since   time.Time
}

func (w *watcher[T]) run(ctx context.Context, announced *folders) {
	poll := time.NewTicker(w.opts.Poll)
	defer poll.Stop()
	look := time.NewTimer(0)
	defer look.Stop()
	due := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-announced.events():
			// A file written in a thousand pieces is read a few times, not a thousand.
			soon := time.Now().Add(w.opts.Debounce / 5)
			if announced.concern(event) && (due.IsZero() || soon.Before(due)) {
				due = soon
				look.Reset(time.Until(due))
			}
			continue
		case err := <-announced.errors():
			w.opts.Logger.WarnContext(ctx, "file events were lost; the file is compared anyway", "error", err)
		case <-poll.C:
		case <-look.C:
		}
		look.Stop()
		due = time.Time{}
		if wait := w.check(); wait > 0 {
			due = time.Now().Add(wait)
			look.Reset(wait)
		}
		announced.follow(w.files())
	}
}

// check compares the world with the last reading and returns when to look again, or 0 when there is nothing to wait for.
func (w *watcher[T]) check() time.Duration {
	if w.pending != nil && w.pending.holds(w.env) {
		if left := w.patience() - time.Since(w.since); left > 0 {
			return left
		}
		w.settle()
		return 0
	}
	w.pending = nil
	if w.settled != nil && w.settled.holds(w.env) {
		return 0
	}
	w.pending = read(w.path, w.env, w.kind.Load)
	w.since = time.Now()
	return w.patience()
}

func (w *watcher[T]) patience() time.Duration {
	if w.pending.err == nil && w.kind.Drastic != nil && w.kind.Drastic(w.good, w.pending.value) {
		return drasticFactor * w.opts.Debounce
	}
	return w.opts.Debounce
}

// settle makes the pending reading count and says so if anything follows from it.
func (w *watcher[T]) settle() {
	r, failed := w.pending, w.failing
	w.settled, w.pending, w.failing = r, nil, r.err != nil
	switch {
	case r.err != nil:
		if w.opts.OnError != nil {
			w.opts.OnError(r.err)
		}
	case !w.kind.Equal(r.value, w.good):
		w.good = r.value
		if w.opts.OnChange != nil {
			w.opts.OnChange(r.value)
		}
	case failed:
		if w.opts.OnRecover != nil {
			w.opts.OnRecover()
		}
	}
}

// files are those that the newest reading depends on.
func (w *watcher[T]) files() []string {
	if w.pending != nil {
		return w.pending.files()
	}
	return w.settled.files()
}
