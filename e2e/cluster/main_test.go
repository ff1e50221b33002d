// Package cluster_test drives the gateway in Kubernetes, from outside: a real node with a real control plane, a real istiod whose gateway
// is a real Envoy, and our images, installed as the guides say. It uses kubectl and what clients use, as an administrator would: it must
// not know how the gateway or its controller keep what they promise, nor how the cluster is made, which is hack/cluster.sh's matter.
//
// The tests bring up a cluster of their own, which takes less than a minute, and take it down again. E2E_CLUSTER names one to use, which is
// brought up if it isn't and stays.
package cluster_test

import (
	"fmt"
	"os"
	"testing"
)

// shared is the one cluster of all tests. What they put into it is in namespaces of their own.
var shared *cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	c, stop, err := startCluster()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	shared = c
	return m.Run()
}
