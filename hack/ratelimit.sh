#!/usr/bin/env bash
# Prints the path of the global rate limit service (github.com/envoyproxy/ratelimit): $RATELIMIT_BIN, else one that is built once from the
# version in hack/testservers/ratelimit/go.mod. It is configured by its environment, and needs a Redis: see hack/redis.sh.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

go_program RATELIMIT_BIN ratelimit github.com/envoyproxy/ratelimit/src/service_cmd "the global rate limit service"
