#!/bin/sh
# build.sh DIR: builds the OpenTelemetry Collector of builder.yaml into DIR/otelcol.
set -eu
dir=${1:?directory for the program}
config=$(cd "$(dirname "$0")" && pwd)/builder.yaml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
GOBIN=$work go install go.opentelemetry.io/collector/cmd/builder@v0.149.0
(cd "$work" && CGO_ENABLED=0 ./builder --config "$config")
mkdir -p "$dir"
mv "$work/otelcol" "$dir/otelcol"
