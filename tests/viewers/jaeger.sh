#!/bin/sh
# Shows tapline's spans in Jaeger, over HTTP and over gRPC. Not part of the tests that always run: it needs Go
# (for minutes, the first time), Python 3 and their package registries.
#
#   tests/viewers/jaeger.sh            builds Jaeger once into target/viewers
#   JAEGER=/path/to/jaeger tests/viewers/jaeger.sh
#
# `go install …/cmd/jaeger@version` is refused: Jaeger's go.mod has a replace directive, which only counts in
# the main module. So the module is fetched and built where it lies. The web page's files are not in the
# module: the binary has the whole query API and a placeholder page. A release binary (JAEGER=…) has the page.
set -eu
. "$(dirname "$0")/python.sh"

version=v1.76.0 # the same commit as Jaeger 2.13, whose tags Go cannot name
jaeger=${JAEGER:-$viewers/jaeger-$version}
if [ ! -x "$jaeger" ]; then
    echo "building Jaeger $version, which takes a few minutes" >&2
    source=$(go mod download -json "github.com/jaegertracing/jaeger@$version" |
        sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
    (cd "$source" && nice -n 19 go build -p "${GO_PARALLEL:-1}" -trimpath -ldflags "-s -w" \
        -o "$jaeger" ./cmd/jaeger)
fi
python_with app openai opentelemetry-sdk opentelemetry-exporter-otlp-proto-http
for protocol in http/protobuf grpc; do
    "$python" "$here/viewer.py" jaeger --viewer "$jaeger" --tapline "$tapline" --protocol "$protocol"
done
