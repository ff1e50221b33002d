package testbed

import "syscall"

// dieWithUs has a child killed when the test's own process ends without having stopped it, as it does after a timeout.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
