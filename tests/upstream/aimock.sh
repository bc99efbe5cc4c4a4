#!/usr/bin/env bash
# tapline in front of aimock, a server of mock answers for most of OpenAI's API and more: everything is asked directly
# and through tapline, and what was recorded is read back. Not part of the tests that always run: it installs
# aimock from npm into target/upstream. PYTHON: one with openai and websockets [target/clients/openai3].
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
home=$root/target/upstream/aimock
version=1.43.0
if [ ! -e "$home/complete-$version" ]; then
  mkdir -p "$home"
  npm install --prefix "$home" --no-audit --no-fund --loglevel=error "@copilotkit/aimock@$version"
  touch "$home/complete-$version"
fi
port=${PORT:-4311}
exec "${PYTHON:-$root/target/clients/openai3/bin/python}" "$here/check.py" aimock --port "$port" -- \
  node "$home/node_modules/@copilotkit/aimock/dist/cli.js" --port "$port" --fixtures "$here/aimock.json" --log-level warn
