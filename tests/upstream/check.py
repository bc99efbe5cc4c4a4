"""tapline in front of a server that nobody of this project wrote: check.py NAME --port PORT [-- COMMAND...].

Every case is asked directly, through tapline, and (streams of chats) through tapline asking for usage. The client
must see the same, apart from ids and times, and what tapline recorded must agree with what the client saw. COMMAND
starts the server; without one it runs already. Needs openai-python for the sessions over WebSocket.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))
from servers import serving  # noqa: E402

PATIENCE = 180.0
QUESTION = [{"role": "user", "content": "What is an index?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
BOUNDARY = "tapline-check"
FORM = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--{BOUNDARY}\r\nContent-Disposition: '
    f'form-data; name="file"; filename="talk.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF0000WAVE\r\n--{BOUNDARY}--\r\n'
).encode()
# New in every answer, proxy or not.
VOLATILE = re.compile(
    rb'("(?:id|item_id|response_id|event_id|created|created_at|completed_at|request_id|prompt_ms|predicted_ms|[a-z_]*per_[a-z_]+|'
    rb'encrypted_content|obfuscation|file_id|uploaded_at|output_file_id|input_file_id|call_id|tool_use_id|system_fingerprint)":\s*)'
    rb'(?:"[^"]*"|-?[0-9.e+-]+)'
)


def chat(model: str, **more) -> dict:
    return {"model": model, "messages": QUESTION, "temperature": 0, "max_tokens": 24} | more


def cases(name: str):
    """Name, path, body and the dialect that it is recorded as."""
    model = {"litellm": "chat", "aimock": "gpt-4o-mini", "llama": "smollm2-135m"}[name]
    claude = {"litellm": "claude", "aimock": "claude-sonnet-4-5", "llama": "smollm2-135m"}[name]
    embed = {"litellm": "embed", "aimock": "text-embedding-3-small", "llama": "smollm2-135m"}[name]
    # llama.cpp keeps prompts between calls, which shows in what it counts.
    cold = {"cache_prompt": False, "seed": 7} if name == "llama" else {}
    usage = {"stream": True, "stream_options": {"include_usage": True}} | cold
    message = {"model": claude, "max_tokens": 24, "messages": QUESTION, "temperature": 0} | cold
    response = {"model": model, "input": "What is an index?", "max_output_tokens": 24, "temperature": 0} | cold
    chats = "chat/completions"
    yield "chat", chats, chat(model, **cold), "chat_completions"
    yield "chat stream", chats, chat(model, stream=True, **cold), "chat_completions"
    yield "chat stream with usage", chats, chat(model, **usage), "chat_completions"
    yield "chat of two", chats, chat(model, n=2, **usage), "chat_completions"
    yield "tools", chats, chat(model, tools=[TOOL], tool_choice="required", **usage), "chat_completions"
    yield "responses", "responses", response, "responses"
    # LiteLLM's own mock answers cannot be streamed in this dialect.
    if name != "litellm":
        yield "responses stream", "responses", response | {"stream": True}, "responses"
    yield "message", "messages", message, "messages"
    yield "message stream", "messages", message | {"stream": True}, "messages"
    yield "embeddings", "embeddings", {"model": embed, "input": "to be placed"}, "embeddings"
    yield "refused", chats, chat("no-such-model") if name == "litellm" else {"model": model}, "chat_completions"
    if name in ("litellm", "llama"):
        completion = {"model": model, "prompt": "An index is", "max_tokens": 8, "temperature": 0}
        yield "completions", "completions", completion | cold, "completions"
    if name == "litellm":
        yield "limited", chats, chat("limited"), "chat_completions"
    if name == "llama":
        yield "count", "messages/count_tokens", {"model": model, "messages": QUESTION}, "token_count"
    if name == "aimock":
        limited = chat(model) | {"messages": [{"role": "user", "content": "limit"}]}
        yield "limited", chats, limited, "chat_completions"
        yield "images", "images/generations", {"model": "gpt-image-1", "prompt": "a red fox"}, "images"
        yield "speech", "audio/speech", {"model": "tts-1", "voice": "alloy", "input": "to be said"}, "speech"
        yield "transcription", "audio/transcriptions", FORM, "transcriptions"
        yield "moderations", "moderations", {"input": "What is an index?"}, "moderations"


class Answer:
    def __init__(self, response, jumbled: bool):
        self.status = response.status
        self.kind = response.getheader("content-type")
        self.body = response.read()
        events = VOLATILE.sub(rb"\1~", self.body).split(b"\n\n")
        # Choices that are made at the same time come in any order.
        self.seen = [str(self.status).encode(), (self.kind or "").encode(), *(sorted(events) if jumbled else events)]


def difference(one: Answer, other: Answer) -> str:
    """The first place where two answers differ."""
    for left, right in zip(one.seen, other.seen):
        if left != right:
            return f"direct {left.decode(errors='replace')} but through tapline {right.decode(errors='replace')}"
    return f"direct {len(one.seen)} events, through tapline {len(other.seen)}"


def post(base: str, key: str, path: str, body, session: str | None = None) -> Answer:
    host, _, prefix = base.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=PATIENCE)
    headers = {
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
    }
    if isinstance(body, bytes):
        headers["content-type"] = f"multipart/form-data; boundary={BOUNDARY}"
    if session:
        headers["x-tapline-session"] = session
    connection.request("POST", f"/{prefix}/{path}", body if isinstance(body, bytes) else json.dumps(body), headers)
    return Answer(connection.getresponse(), isinstance(body, dict) and body.get("n", 1) > 1)


def reported(answer: Answer) -> tuple | None:
    """Input and output tokens as the body tells them, in any dialect; Anthropic's classes added up."""
    found = {}
    text = answer.body.decode(errors="replace")
    for line in [text] if not (answer.kind or "").startswith("text/event-stream") else text.splitlines():
        with contextlib.suppress(ValueError):
            event = json.loads(line.removeprefix("data:").strip())
            if not isinstance(event, dict):
                continue
            for place in (event, event.get("response"), event.get("message")):
                usage = place.get("usage") if isinstance(place, dict) else None
                found |= {name: count for name, count in (usage or {}).items() if isinstance(count, int)}
    if not found:
        return None
    if "prompt_tokens" in found:
        return found["prompt_tokens"], found.get("completion_tokens")
    cached = found.get("cache_read_input_tokens", 0) + found.get("cache_creation_input_tokens", 0)
    return found.get("input_tokens", 0) + cached, found.get("output_tokens")


class Check:
    def __init__(self, name: str, direct: str, key: str, tapline):
        self.name, self.direct, self.key, self.tapline = name, direct, key, tapline
        self.failed = 0

    def say(self, case: str, problems: list[str], told: str = "") -> None:
        self.failed += bool(problems)
        print(f"{'FAILED' if problems else 'ok':7} {case:34} {'; '.join(problems) or told}", flush=True)

    def one(self, case: str, path: str, body, dialect: str) -> None:
        direct = post(self.direct, self.key, path, body)
        fails = case in ("limited", "refused")
        if (direct.status >= 400) != fails:
            return self.say(case, [f"the server itself answered {direct.status}: {direct.body[:300]}"])
        ways = ["serve"] + (["asking"] if "stream" in case and "chat" in case else [])
        for way in ways:
            session = f"{case} {way}"
            proxied = post(f"{self.tapline.url}/to/{way}/v1", self.key, path, body, session)
            problems = []
            if proxied.seen != direct.seen:
                problems.append(difference(direct, proxied))
            (call,) = self.tapline.wait_for_calls(session, 1) or [None]
            problems += self.recorded(call, proxied, dialect, way)
            self.say(session, problems, summary(call))

    def recorded(self, call, answer: Answer, dialect: str, way: str) -> list[str]:
        if call is None:
            return ["no call was recorded"]
        problems = []
        wanted = {"dialect": dialect, "http_status": answer.status, "status": "ok" if answer.status < 400 else "error"}
        for field, value in wanted.items():
            if call[field] != value:
                problems.append(f"{field}: expected {value}, found {call[field]}")
        counted = reported(answer)
        if counted is not None and answer.status < 400:
            found = (call["usage"].get("input"), call["usage"].get("output"))
            # Embeddings have no output, which is not an output of nothing.
            if found[0] != counted[0] or (found[1] or 0) != (counted[1] or 0):
                problems.append(f"usage: the client saw {counted}, recorded is {found}")
        if way == "asking" and answer.status < 400:
            if call["usage_source"] != "reported":
                problems.append("usage was asked for and is not reported")
            if not any("stream_options.include_usage" in note for note in call["notes"]) and counted is None:
                problems.append("no note says that usage was asked for")
        if answer.status >= 400 and not call["error_message"]:
            problems.append("the error has no message")
        return problems

    def sessions(self, realtime: bool) -> None:
        """WebSocket, by openai-python."""
        import openai

        def program(base: str, session: str) -> list:
            client = openai.OpenAI(base_url=base, api_key=self.key, max_retries=0)
            options = {
                "extra_headers": {"x-tapline-session": session},
                "websocket_connection_options": {"proxy": None},
            }
            seen = []
            if realtime:
                with client.realtime.connect(model="gpt-realtime", **options) as connection:
                    content = [{"type": "input_text", "text": "What is an index?"}]
                    connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
                    connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
                    connection.response.create()
                    while not seen or seen[-1]["type"] not in ("response.done", "error"):
                        seen.append(connection.recv().model_dump(mode="json"))
            else:
                with client.responses.connect(**options) as connection:
                    connection.response.create(model="gpt-4o-mini", input="What is an index?")
                    while not seen or seen[-1]["type"] not in ("response.completed", "error"):
                        seen.append(connection.recv().model_dump(mode="json"))
            return seen

        case = "realtime session" if realtime else "responses session"
        direct, proxied = program(self.direct, case), program(f"{self.tapline.url}/to/serve/v1", case)
        kinds = [[event["type"] for event in events] for events in (direct, proxied)]
        problems = [] if kinds[0] == kinds[1] else [f"direct {kinds[0]}, through tapline {kinds[1]}"]
        (call,) = self.tapline.wait_for_calls(case, 1) or [None]
        usage = (proxied[-1].get("response") or {}).get("usage") or {}
        found = call and {name: call["usage"].get(name) for name in ("input", "output")}
        if usage and found != {"input": usage["input_tokens"], "output": usage["output_tokens"]}:
            problems.append(f"usage: the client saw {usage}, recorded is {found}")
        if call and (call["dialect"], call["status"]) != ("realtime", "ok"):
            problems.append(f"recorded as {call['dialect']}, {call['status']}: {call['error_message']}")
        self.say(case, problems, summary(call))


def summary(call) -> str:
    if call is None:
        return ""
    usage = call["usage"]
    tokens = f"{usage.get('input')} in, {usage.get('output')} out ({call['usage_source']})"
    failed = f"; {call['error_type']}" if call["error_type"] else ""
    return f"{call['http_status']} {call['dialect']}, {tokens}{failed}"


def wait_until_up(port: int, process) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            sys.exit(f"the server ended with {process.returncode} before it answered")
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            connection.getresponse().read()
            return
        time.sleep(0.3)
    sys.exit(f"no server answered on port {port} within {PATIENCE} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["litellm", "aimock", "llama"])
    parser.add_argument("--port", type=int, required=True)
    own, command = sys.argv[1:], []
    if "--" in own:
        own, command = own[: own.index("--")], own[own.index("--") + 1 :]
    arguments = parser.parse_args(own)
    for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[variable]
    with contextlib.ExitStack() as cleanup:
        process = None
        if command:
            environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
            log = cleanup.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            cleanup.callback(process.wait)
            cleanup.callback(process.terminate)
        wait_until_up(arguments.port, process)
        direct = f"http://127.0.0.1:{arguments.port}/v1"
        data = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="tapline-upstream-"))
        provider = {"llama": "llama_cpp", "litellm": "custom", "aimock": "openai"}[arguments.name]
        settings = {f"TAPLINE_UPSTREAMS_{name}_PROVIDER": provider for name in ("SERVE", "ASKING")}
        settings["TAPLINE_UPSTREAMS_ASKING_USAGE"] = "ask"
        named = [f"--upstreams={name}={direct}" for name in ("serve", "asking")]
        tapline, _ = cleanup.enter_context(serving(data, *named, upstream=direct, **settings))
        check = Check(arguments.name, direct, "sk-master" if arguments.name == "litellm" else "sk-none", tapline)
        for case in cases(arguments.name):
            check.one(*case)
        if arguments.name == "aimock":
            check.sessions(realtime=True)
            check.sessions(realtime=False)
    if check.failed:
        sys.exit(f"{check.failed} cases failed")
    print("all agree")


if __name__ == "__main__":
    main()
