#!/bin/sh
# Shows tapline's spans in Arize Phoenix, over HTTP and over gRPC. Not part of the tests that always run: it
# needs Python 3.11 and PyPI (a few hundred megabytes, the first time).
#
#   tests/viewers/phoenix.sh           installs Phoenix once into target/viewers
set -eu
. "$(dirname "$0")/python.sh"

python_with phoenix arize-phoenix openai opentelemetry-sdk opentelemetry-exporter-otlp-proto-http
for protocol in http/protobuf grpc; do
    "$python" "$here/viewer.py" phoenix --viewer "$(dirname "$python")/phoenix" --tapline "$tapline" \
        --protocol "$protocol"
done
