//go:build cgo

#include <sys/prctl.h>

// Go's monitor thread naps for 20 µs at a time while a worker holds on to one of Go's processors, as one does between its calls into Go. Every nap ends
// with a timer of its own, which takes the CPU away from a worker: in a virtual machine that is a sixth of its time. A thread inherits how
// far its timers may be put off, so Go's threads, which are begun while this library is being loaded, get milliseconds for it. None of them
// has to be on time.
enum { GO_SLACK_NS = 5 * 1000 * 1000 };

static unsigned long slack_before;

// It runs before the constructors without a priority, of which Go's is one.
__attribute__((constructor(101))) static void mcp_gateway_widen_slack(void) {
  int slack = prctl(PR_GET_TIMERSLACK);
  if (slack > 0) {
    slack_before = (unsigned long)slack;
    prctl(PR_SET_TIMERSLACK, (unsigned long)GO_SLACK_NS);
  }
}

// mcp_gateway_restore_slack gives the calling thread back what it had, if it is the one that loaded the library.
void mcp_gateway_restore_slack(void) {
  if (slack_before != 0 && prctl(PR_GET_TIMERSLACK) == GO_SLACK_NS) {
    prctl(PR_SET_TIMERSLACK, slack_before);
  }
}
