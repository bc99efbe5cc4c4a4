#!/usr/bin/env bash
# tapline in front of LiteLLM's proxy, whose answers are mock answers: everything is asked directly and through
# tapline, and what was recorded is read back. Not part of the tests that always run: it installs LiteLLM from PyPI
# (some 300 MB, the first time) into target/upstream.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
home=$(cd "$here/../.." && pwd)/target/upstream
python=$home/litellm/bin/python
if [ ! -e "$home/litellm/complete" ]; then
  mkdir -p "$home"
  python3 -m venv "$home/litellm"
  "$python" -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.108.7' openai==3.54.0
  touch "$home/litellm/complete"
fi
port=${PORT:-4310}
exec "$python" "$here/check.py" litellm --port "$port" -- \
  "$home/litellm/bin/litellm" --config "$here/litellm.yaml" --host 127.0.0.1 --port "$port"
