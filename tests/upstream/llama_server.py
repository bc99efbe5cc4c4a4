"""Runs llama.cpp's own HTTP server until SIGTERM: llama_server.py PORT MODEL [--key KEY] [--threads N]."""

import argparse
import os
import pathlib
import signal

# Idle threads must not spin: the machine is shared with what is being tested.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import xllamacpp  # noqa: E402  (reads the environment when it is imported)

ALIAS = "smollm2-135m"
# The model's own template has no place for tools; this one does, in the ChatML way.
TEMPLATE = pathlib.Path(__file__).with_name("chatml-tools.jinja")


def parameters(args: argparse.Namespace) -> "xllamacpp.CommonParams":
    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.model_alias = [ALIAS]
    params.hostnames = ["127.0.0.1"]
    params.port = args.port
    # Four conversations at a time share the context.
    params.n_ctx = 8192
    params.n_parallel = 4
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    params.warmup = False
    params.use_jinja = True
    params.chat_template = TEMPLATE.read_text()
    # Chat and embeddings from one process.
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if args.key:
        params.api_keys = [args.key]
    return params


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("model")
    parser.add_argument("--key", default="")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    stop = {signal.SIGTERM, signal.SIGINT}
    # Blocked before the server starts its threads, so that the signal comes here.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    server = xllamacpp.Server(parameters(args))
    print("listening on", server.listening_address, flush=True)
    signal.sigwait(stop)
    # The server's threads do not end by themselves.
    os._exit(0)


if __name__ == "__main__":
    main()
