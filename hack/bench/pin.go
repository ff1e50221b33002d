package main

import (
	"fmt"
	"strconv"
	"strings"
)

// part is what a process does in the measurement.
type part string

const (
	partEnvoy    part = "envoy"
	partGateway  part = "gateway"
	partUpstream part = "upstream"
	partLoad     part = "load"
)

// pinning gives each part its CPUs, as taskset takes them. An empty one pins nothing.
type pinning map[part]string

// layOut gives Envoy a CPU of its own, since its one worker is what is compared. The rest share what is left. With more CPUs, the load
// generator and the upstream get one each, and the gateway all that remain.
func layOut(cpus []int) pinning {
	name := strconv.Itoa
	switch n := len(cpus); {
	case n < 2:
		return nil
	case n == 2:
		return pinning{partEnvoy: name(cpus[0]), partGateway: name(cpus[1]), partUpstream: name(cpus[1]), partLoad: name(cpus[1])}
	case n == 3:
		return pinning{partEnvoy: name(cpus[0]), partGateway: name(cpus[1]), partUpstream: name(cpus[2]), partLoad: name(cpus[2])}
	default:
		var rest []string
		for _, cpu := range cpus[3:] {
			rest = append(rest, name(cpu))
		}
		return pinning{partEnvoy: name(cpus[0]), partUpstream: name(cpus[1]), partLoad: name(cpus[2]), partGateway: strings.Join(rest, ",")}
	}
}

// choosePinning reads the flag -pin.
func choosePinning(flag string, cpus []int, lookPath func(string) (string, error)) (pinning, error) {
	layout := layOut(cpus)
	_, missing := lookPath("taskset")
	switch flag {
	case "off":
		return nil, nil
	case "on":
		if missing != nil {
			return nil, fmt.Errorf("-pin=on: %w; install util-linux, or leave -pin out", missing)
		}
		if layout == nil {
			return nil, fmt.Errorf("-pin=on: %d usable CPUs are too few to share out; leave -pin out", len(cpus))
		}
		return layout, nil
	case "auto":
		if missing == nil {
			return layout, nil
		}
		return nil, nil // without taskset nothing is pinned
	}
	return nil, fmt.Errorf(`-pin=%q: want "auto", "on" or "off"`, flag)
}

// command puts taskset before a command where its part is pinned. taskset becomes the command, so that the process id stays.
func (p pinning) command(of part, args []string) []string {
	if p[of] == "" {
		return args
	}
	return append([]string{"taskset", "--cpu-list", p[of]}, args...)
}
