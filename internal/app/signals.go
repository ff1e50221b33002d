package app

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilSignal returns a context that ends with the first signal to stop, and a channel that is closed with the second.
func untilSignal(parent context.Context) (first context.Context, second <-chan struct{}, release func()) {
	ctx, stop := context.WithCancel(parent)
	hurry, released := make(chan struct{}), make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP) // the terminal was closed
	}
	go func() {
		for _, end := range []func(){stop, func() { close(hurry) }} {
			select {
			case <-signals:
				end()
			case <-released:
				return
			}
		}
	}()
	return ctx, hurry, func() {
		signal.Stop(signals)
		stop()
		close(released)
	}
}
