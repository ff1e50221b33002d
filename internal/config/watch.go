package config

import (
	"context"
	"log/slog"
	"time"
)

const (
	defaultDebounce = 100 * time.Millisecond
	defaultPoll     = 500 * time.Millisecond

	// emptyFactor is how much longer than anything else a file must hold still that would remove every server. Such a file is far
	// more often one that is being written than one that is meant.
	emptyFactor = 5
)

// WatchOptions tells [Watch] whom to tell. The callbacks come from one goroutine, never two at a time; a nil one is not called.
type WatchOptions struct {
	// Logger hears of trouble with watching itself; what becomes of the file goes to the callbacks.
	Logger *slog.Logger
	// Current is the configuration already in force, as [Load] gave it. Without it OnChange is called for the first good one.
	Current *Config

	// OnChange gets every good configuration that differs from the one before.
	OnChange func(*Config)
	// OnError gets a bad one's problems, once for each content; the good configuration stays in force.
	OnError func(error)
	// OnRecover says that after OnError the file means again what is in force. If it means anything else, OnChange says so instead.
	OnRecover func()

	// Debounce is how long a new content must hold still before it counts; by default 100ms, and always five times as long for a
	// content that removes all servers.
	Debounce time.Duration
	// Poll is how often the content is compared without any event; by default 500ms. It finds what a file system does not announce.
	Poll time.Duration
}

func (o WatchOptions) withDefaults() WatchOptions {
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

// Watch reads the file at path again whenever it or something that it refers to changes, until ctx is done. It compares contents: an event
// without a difference in meaning calls nobody.
func Watch(ctx context.Context, path string, env Env, opts WatchOptions) {
	opts = opts.withDefaults()
	announced := announceFolders(opts.Logger)
	defer announced.close()
	w := &watcher{path: path, env: env, opts: opts, good: opts.Current}
	w.run(ctx, announced)
}

// watcher decides what the readings of one file amount to.
type watcher struct {
	path string
	env  Env
	opts WatchOptions

	good    *Config  // in force
	settled *reading // the last one that counted, good or bad
	failing bool     // it was bad

	pending *reading // differs from settled and must still prove to be more than a moment of writing
	since   time.Time
}

func (w *watcher) run(ctx context.Context, announced *folders) {
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
func (w *watcher) check() time.Duration {
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
	w.pending = read(w.path, w.env)
	w.since = time.Now()
	return w.patience()
}

func (w *watcher) patience() time.Duration {
	removesAll := w.pending.err == nil && len(w.pending.config.Servers) == 0
	if removesAll && w.good != nil && len(w.good.Servers) > 0 {
		return emptyFactor * w.opts.Debounce
	}
	return w.opts.Debounce
}

// settle makes the pending reading count and says so if anything follows from it.
func (w *watcher) settle() {
	r, failed := w.pending, w.failing
	w.settled, w.pending, w.failing = r, nil, r.err != nil
	switch {
	case r.err != nil:
		if w.opts.OnError != nil {
			w.opts.OnError(r.err)
		}
	case !r.config.Equal(w.good):
		w.good = r.config
		if w.opts.OnChange != nil {
			w.opts.OnChange(r.config)
		}
	case failed:
		if w.opts.OnRecover != nil {
			w.opts.OnRecover()
		}
	}
}

// files are those that the newest reading depends on.
func (w *watcher) files() []string {
	if w.pending != nil {
		return w.pending.files()
	}
	return w.settled.files()
}
