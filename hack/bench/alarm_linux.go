package main

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm wakes a client when its next call is due. Go's own timers wake an idle process up to a millisecond late, which is several times what
// a call takes, would count as the call's latency, and would make all rows alike. The kernel's are exact, and the network poller can wait for them.
type alarm struct {
	file *os.File // nil if there is none: then Go's have to do
	buf  [8]byte
}

func newAlarm() *alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return &alarm{}
	}
	return &alarm{file: os.NewFile(uintptr(fd), "timerfd")}
}

// sleepUntil returns at once if the time has come already.
func (a *alarm) sleepUntil(t time.Time) {
	d := time.Until(t)
	if d <= 0 {
		return
	}
	if !a.sleep(d) {
		time.Sleep(time.Until(t))
	}
}

func (a *alarm) sleep(d time.Duration) bool {
	if a.file == nil {
		return false
	}
	raw, err := a.file.SyscallConn()
	if err != nil {
		return false
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if raw.Control(func(fd uintptr) { err = unix.TimerfdSettime(int(fd), 0, &spec, nil) }) != nil || err != nil {
		return false
	}
	_, err = a.file.Read(a.buf[:])
	return err == nil && binary.NativeEndian.Uint64(a.buf[:]) > 0
}

// stop frees it. Of none at all it does nothing.
func (a *alarm) stop() {
	if a != nil && a.file != nil {
		_ = a.file.Close()
	}
}
