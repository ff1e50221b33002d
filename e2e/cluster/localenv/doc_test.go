// Package localenv_test goes the way of the installation guide, from nothing to a logged-in Inspector and back to nothing, by the targets of the Makefile
// and with real parts: a node, Istio, Keycloak, Helm, and a browser. The cluster is one that hack/cluster.sh makes; with CLUSTER=kind in the environment it is
// kind's, and nothing else differs. `make test-cluster` has what the browser needs.
package localenv_test
