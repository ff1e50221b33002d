# MCP Gateway. `make` or `make help` lists what can be made.

# The port that `make run` serves MCP on.
GATEWAY_LOCAL_PORT_HTTP_MCP ?= 8888
# A configuration file for `make run`; without one it starts two example servers.
CONFIG ?=
# How Envoy asks the router: module, extproc, or auto for the first of these that fits.
ROUTER ?= auto
# The port of Keycloak and the policy file in `make oauth-example-setup`.
KEYCLOAK_PORT ?= 8889
POLICIES ?= config/oauth/policies.yaml
# The Gateway whose MCPServers `make run-controller` looks after, and the namespace of its broker and router.
GATEWAY ?= gateway-system/mcp-gateway
NAMESPACE ?= mcp-system
# The MCP endpoint for `make inspect-gateway`; without one it is that of the local environment if that is up, else that of `make run`.
URL ?=
# More flags for `go test` in `make test` and `make test-unit`, such as -v or -run=Name.
TEST_FLAGS ?=
# The cluster of `make cluster-…`, what its kubectl and helm are given, and the names of the images that `make cluster-load` packs.
CLUSTER_NAME ?= mcp-gateway
ARGS ?=
IMAGE ?= localhost/mcp-gateway:dev
IMAGE_EXAMPLE ?= localhost/mcp-gateway-example-server:dev
IMAGE_ENVOY ?= localhost/mcp-gateway-envoy:dev
# What `make images` builds for, and whether it pushes to the registries in IMAGE and IMAGE_EXAMPLE.
PLATFORMS ?= linux/amd64 linux/arm64
PUSH ?=
# The local environment. CLUSTER is kind or node; empty means kind where Docker answers, else node. The first two ports lead to the gateway's listeners;
# GATEWAY_LOCAL_PORT_HTTP_KEYCLOAK is forwarded beside GATEWAY_LOCAL_PORT_HTTP_MCP. VALUES is a file with more values of the chart.
CLUSTER ?=
KIND_HOST_PORT_HTTP ?= 8080
KIND_HOST_PORT_HTTPS ?= 8443
GATEWAY_LOCAL_PORT_HTTP_KEYCLOAK ?= 8889
VALUES ?=
# Whether `make logs` goes on until Ctrl-C.
FOLLOW ?= true
# How long `make fuzz` spends on each target.
FUZZTIME ?= 30s
# How many targets it runs at once.
FUZZJOBS ?= 1
# The version of the vulnerability database that `make vuln` asks.
VULNDB ?= latest
# How long `make soak` keeps the load up, and how long `make chaos` kills replicas.
SOAK_TIME ?= 1h
CHAOS_TIME ?= 3m
# Flags for `make bench`.
BENCH_FLAGS ?=
# How often `make bench-go` repeats each benchmark, and an older result to compare with.
BENCH_COUNT ?= 6
BENCH_OLD ?=

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# Without -buildvcs, which fails where git distrusts the folder's owner; the version comes by -ldflags.
GO_BUILD = go build -trimpath -buildvcs=false
LOCAL_ENV = CLUSTER='$(CLUSTER)' CLUSTER_NAME='$(CLUSTER_NAME)' VALUES='$(VALUES)' VERSION='$(VERSION)' FOLLOW='$(FOLLOW)' \
  KIND_HOST_PORT_HTTP='$(KIND_HOST_PORT_HTTP)' KIND_HOST_PORT_HTTPS='$(KIND_HOST_PORT_HTTPS)' \
  GATEWAY_LOCAL_PORT_HTTP_MCP='$(GATEWAY_LOCAL_PORT_HTTP_MCP)' GATEWAY_LOCAL_PORT_HTTP_KEYCLOAK='$(GATEWAY_LOCAL_PORT_HTTP_KEYCLOAK)'

.DEFAULT_GOAL := help
.SUFFIXES:

.PHONY: help
help: ## List the targets
	@echo 'Usage: make TARGET [NAME=VALUE...]'
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'What is fetched once is kept in $$HOME/.cache/mcp-gateway; MCP_GATEWAY_CACHE names another folder.'

.PHONY: build
build: ## Build bin/mcp-broker-router and bin/example-server
	$(GO_BUILD) -ldflags '-X main.version=$(VERSION)' -o bin/mcp-broker-router ./cmd/mcp-broker-router
	$(GO_BUILD) -o bin/example-server ./examples/servers

.PHONY: module
module: ## Build bin/libmcp_gateway.so, the router inside of Envoy; needs a C compiler
	@VERSION='$(VERSION)' hack/envoy-module.sh

.PHONY: run
run: build ## Run the gateway with Envoy on 127.0.0.1: [CONFIG=file.yaml] [ROUTER=module|extproc] [GATEWAY_LOCAL_PORT_HTTP_MCP=8888]
	@$(GO_BUILD) -o bin/foreground ./hack/foreground
	@[ '$(ROUTER)' = extproc ] || VERSION='$(VERSION)' hack/envoy-module.sh >/dev/null || true
	@envoy="$$(hack/envoy.sh)" && exec bin/foreground bin/mcp-broker-router standalone --envoy "$$envoy" --router '$(ROUTER)' \
	  --port '$(GATEWAY_LOCAL_PORT_HTTP_MCP)' $(if $(CONFIG),--mcp-gateway-config '$(CONFIG)',--example-servers bin/example-server)

.PHONY: run-controller
run-controller: build ## Run the controller here, against the cluster of your kubeconfig: [GATEWAY=gateway-system/mcp-gateway] [NAMESPACE=mcp-system]
	@exec bin/mcp-broker-router --controller --gateway '$(GATEWAY)' --namespace '$(NAMESPACE)' \
	  --metrics-address 127.0.0.1:8082 --health-address 127.0.0.1:8081

.PHONY: oauth-example-setup
oauth-example-setup: build ## Run the gateway with logins: Keycloak and policies; in the local environment if that is up, else here until Ctrl-C: [POLICIES=file.yaml] [KEYCLOAK_PORT=8889]
	@$(GO_BUILD) -o bin/foreground ./hack/foreground
	@if $(LOCAL_ENV) hack/local-env.sh up 2>/dev/null; then exec env $(LOCAL_ENV) hack/local-env.sh policies $(if $(filter-out file,$(origin POLICIES)),'$(POLICIES)'); fi; \
	  GATEWAY_LOCAL_PORT_HTTP_MCP='$(GATEWAY_LOCAL_PORT_HTTP_MCP)' KEYCLOAK_PORT='$(KEYCLOAK_PORT)' POLICIES='$(POLICIES)' \
	  exec bin/foreground hack/oauth-example.sh

.PHONY: inspect-gateway
inspect-gateway: ## Run MCP Inspector for the gateway: in the local environment if that is up, whose ports are forwarded, else of make run: [URL=http://127.0.0.1:8888/mcp]
	@$(GO_BUILD) -o bin/foreground ./hack/foreground
	@export $(LOCAL_ENV); exec bin/foreground hack/inspect.sh '$(URL)'

.PHONY: local-env-setup
local-env-setup: ## Make the local environment, all of it: cluster, Istio, this gateway, Keycloak, example servers: [CLUSTER=kind|node] [KIND_HOST_PORT_HTTP=8080] [KIND_HOST_PORT_HTTPS=8443] [VALUES=file.yaml]
	@$(LOCAL_ENV) hack/local-env.sh setup

.PHONY: local-env-teardown
local-env-teardown: ## Take the local environment down again
	@$(LOCAL_ENV) hack/local-env.sh teardown

.PHONY: dev-gateway-forward
dev-gateway-forward: ## Forward ports to the gateway in the local environment, until Ctrl-C: [GATEWAY_LOCAL_PORT_HTTP_MCP=8888] [GATEWAY_LOCAL_PORT_HTTP_KEYCLOAK=8889]
	@$(GO_BUILD) -o bin/foreground ./hack/foreground
	@export $(LOCAL_ENV); exec bin/foreground hack/local-env.sh forward

.PHONY: deploy
deploy: ## Build the images, and upgrade the local environment to them and to the chart as it is: [VALUES=file.yaml]
	@$(LOCAL_ENV) hack/local-env.sh deploy

.PHONY: reload
reload: ## Build the images, and restart the gateway's pods in the local environment with them; values stay as they are
	@$(LOCAL_ENV) hack/local-env.sh reload

.PHONY: logs
logs: ## Show what broker, router and controller in the local environment say, until Ctrl-C: [FOLLOW=] shows what there is
	@$(GO_BUILD) -o bin/foreground ./hack/foreground
	@export $(LOCAL_ENV); exec bin/foreground hack/local-env.sh logs

.PHONY: status
status: ## Show the local environment: pods, Gateway, MCPServers with their conditions, and URLs
	@$(LOCAL_ENV) hack/local-env.sh status

.PHONY: images
images: ## Build the images for all platforms, with lists of what is in them (SPDX), to bin/images: [IMAGE=...] [IMAGE_ENVOY=...] [IMAGE_EXAMPLE=...] [PLATFORMS=...] [PUSH=true]
	@IMAGE='$(IMAGE)' IMAGE_ENVOY='$(IMAGE_ENVOY)' IMAGE_EXAMPLE='$(IMAGE_EXAMPLE)' PLATFORMS='$(PLATFORMS)' VERSION='$(VERSION)' hack/images.sh $(if $(PUSH),--push)

.PHONY: test
test: build ## Run every test: vet, unit tests with the race detector, real Envoy and MCP servers, conformance
	@TEST_FLAGS='$(TEST_FLAGS)' hack/test.sh

.PHONY: test-auth
test-auth: ## Run the tests of authentication: real Keycloak, Envoy, MCP servers and browser
	@TEST_FLAGS='$(TEST_FLAGS)' hack/test-auth.sh

.PHONY: test-pages
test-pages: ## Run the tests of the status pages in a real browser
	@TEST_FLAGS='$(TEST_FLAGS)' hack/test-pages.sh

.PHONY: test-k8s
test-k8s: ## Run the tests against a real Kubernetes API server (built from source once, if it cannot be downloaded)
	@TEST_FLAGS='$(TEST_FLAGS)' hack/test-k8s.sh

.PHONY: test-charts
test-charts: ## Run the tests of the Helm charts: rendered by helm, and every object validated by a real Kubernetes API server
	@TEST_FLAGS='$(TEST_FLAGS)' hack/test-charts.sh

.PHONY: test-kuadrant
test-kuadrant: ## Run the decision tests of the policies on your own cluster (KUBECONFIG), where Kuadrant is installed from its public chart
	@TEST_FLAGS='$(TEST_FLAGS)' hack/test-kuadrant.sh

.PHONY: test-cluster
test-cluster: ## Run the tests in a real cluster that is made for them, without Docker; needs Linux and root
	@TEST_FLAGS='$(TEST_FLAGS)' hack/test-cluster.sh

.PHONY: test-unit
test-unit: ## Run the tests that need nothing but Go
	go test -short $(TEST_FLAGS) $$(go list ./... | grep -v /e2e)

.PHONY: generate
generate: ## Generate what is made from the Go code: deep copies and CustomResourceDefinitions
	go generate ./...

.PHONY: check
check: ## Generate, format, lint and vet, then fail if that changed a file
	@hack/check.sh

.PHONY: fmt
fmt: ## Format the Go code
	@linter="$$(hack/tool.sh golangci-lint)" && "$$linter" fmt

.PHONY: lint
lint: ## Run golangci-lint, and shellcheck where it is installed
	@hack/lint.sh

.PHONY: vuln
vuln: ## Look for known vulnerabilities in what the programs call: [VULNDB=latest, a version of golang.org/x/vulndb, or pinned]
	@hack/vuln.sh '$(VULNDB)'

.PHONY: cluster-up
cluster-up: ## Bring up a cluster to try things in: Gateway API and Istio; needs root and Linux: [CLUSTER_NAME=mcp-gateway]
	@hack/cluster.sh --name '$(CLUSTER_NAME)' up

.PHONY: cluster-down
cluster-down: ## Take that cluster down again: [CLUSTER_NAME=mcp-gateway]
	@hack/cluster.sh --name '$(CLUSTER_NAME)' down

.PHONY: cluster-load
cluster-load: ## Pack this gateway and the example servers as images, and give them to that cluster: [IMAGE=...] [IMAGE_EXAMPLE=...]
	@mkdir -p bin
	@hack/cluster-images.sh gateway bin/gateway-image.tar '$(IMAGE)'
	@hack/cluster-images.sh example bin/example-image.tar '$(IMAGE_EXAMPLE)'
	@hack/cluster.sh --name '$(CLUSTER_NAME)' load-image bin/gateway-image.tar bin/example-image.tar

.PHONY: cluster-kubectl
cluster-kubectl: ## Run kubectl for that cluster: ARGS='get pods -A' [CLUSTER_NAME=mcp-gateway]
	@hack/cluster.sh --name '$(CLUSTER_NAME)' kubectl $(ARGS)

.PHONY: cluster-helm
cluster-helm: ## Run helm for that cluster: ARGS='list -A' [CLUSTER_NAME=mcp-gateway]
	@hack/cluster.sh --name '$(CLUSTER_NAME)' helm $(ARGS)

.PHONY: bench
bench: build module ## Measure the gateway against a direct call and a plain Envoy: [BENCH_FLAGS=...]
	@envoy="$$(hack/envoy.sh)" && ENVOY_BIN="$$envoy" go run ./hack/bench $(BENCH_FLAGS)

.PHONY: bench-go
bench-go: ## Run the Go benchmarks: [BENCH_COUNT=6] [BENCH_OLD=older/bench.txt to compare with]
	@hack/bench-go.sh '$(BENCH_COUNT)' '$(BENCH_OLD)'

.PHONY: soak
soak: build ## Run many sessions, reloads and servers in full, then a load for SOAK_TIME that must leave memory and goroutines flat: [SOAK_TIME=1h]
	@SOAK_TIME='$(SOAK_TIME)' TEST_FLAGS='$(TEST_FLAGS)' hack/soak.sh

.PHONY: chaos
chaos: build ## Break servers, Redis, Envoy and the gateway in all the ways that are tested, then kill replicas under load for CHAOS_TIME: [CHAOS_TIME=3m]
	@CHAOS_TIME='$(CHAOS_TIME)' TEST_FLAGS='$(TEST_FLAGS)' hack/chaos.sh

.PHONY: fuzz
fuzz: ## Run every fuzz target: [FUZZTIME=30s] for each, [FUZZJOBS=1] at once
	@hack/fuzz.sh '$(FUZZTIME)' '$(FUZZJOBS)'

.PHONY: clean
clean: ## Remove what was built here (not the cache)
	rm -rf bin coverage.out
