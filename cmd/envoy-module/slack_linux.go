//go:build cgo

package main

// void mcp_gateway_restore_slack(void);
import "C"

// restoreSlack gives the thread that loaded the library its punctual timers back. See slack_linux.c.
func restoreSlack() { C.mcp_gateway_restore_slack() }
