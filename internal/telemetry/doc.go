// Package telemetry is how operators see the gateway: its log and its metrics. It only counts and formats. It must not
// know why anything happens, nor where its metrics are served.
package telemetry
