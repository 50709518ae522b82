# What the scripts of this folder share; to be sourced.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
CLUSTER=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$CLUSTER/../.." && pwd)

# RUN holds everything a running node has: its /var/log and /var/lib, images,
# certificates, logs of its parts. "node down" deletes it.
RUN=${WEIR_CLUSTER_DIR:-/var/tmp/weir-cluster}

# Kubelet's rotation: containerLogMaxSize, containerLogMaxFiles and
# containerLogMonitorInterval (3s is the least it takes).
ROTATE_SIZE=${ROTATE_SIZE:-10Mi} ROTATE_FILES=${ROTATE_FILES:-5} ROTATE_INTERVAL=${ROTATE_INTERVAL:-10s}

# The node lives in a network namespace of its own without a way out. Pods have
# 10.88.0.0/16, services 10.96.0.0/16. Servers on the node's loopback are reached by
# pods under NODE_IP, if their ports are among BACKEND_PORTS.
NODE=node-1 NODE_IP=10.99.0.1 BACKEND_PORTS=9200:9209
CGROUP=/weir-e2e

say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }
die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# eventually SECONDS WHAT COMMAND…: until the command succeeds.
eventually() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" > /dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || die "no success in time: $what"
		sleep 0.2
	done
}
