package cluster_test

import "syscall"

// dieWithUs has a command killed when the tests end without having stopped it, as they do after a timeout.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
