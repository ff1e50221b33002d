//go:build !linux

package main

import "time"

// alarm wakes a client when its next call is due, here by Go's own timers.
type alarm struct{}

func newAlarm() *alarm { return &alarm{} }

func (*alarm) sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }

func (*alarm) stop() {}
