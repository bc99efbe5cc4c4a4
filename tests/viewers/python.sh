# Sourced by the viewers' scripts: a Python environment with what the traced application needs, kept in
# $VIEWERS (default: target/viewers) and made once.
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
viewers=${VIEWERS:-$root/target/viewers}
tapline=${TAPLINE:-$root/target/debug/tapline}
mkdir -p "$viewers"
[ -x "$tapline" ] || { echo "expected the tapline binary at $tapline: run cargo build, or set TAPLINE" >&2; exit 2; }

# python_with NAME PACKAGE...: an environment at $viewers/NAME; sets $python.
python_with() {
    environment=$viewers/$1
    shift
    python=$environment/bin/python
    if [ ! -e "$environment/complete" ]; then
        python3 -m venv "$environment"
        "$python" -m pip install --quiet "$@"
        touch "$environment/complete"
    fi
}
