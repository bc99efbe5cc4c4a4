"""The rest of OpenAI's surface with its own client: every dialect, direct and through tapline."""

import base64
import hashlib
import io
import json
import re
import time
import wave
from unittest.mock import ANY

import httpx2
import pytest
from conftest import stable_headers
from sdk import drain, maybe, opened, program  # noqa: F401  (a fixture)

PNG = bytes.fromhex("89504e470d0a1a0a") + b"not much of a picture" * 40


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(8000)
        out.writeframes(bytes(range(256)) * 125)
    return file.getvalue()


WAV = sound()


def call(dialect: str, **fields) -> dict:
    return {"status": "ok", "http_status": 200, "dialect": dialect, "streamed": False} | fields


def free(dialect: str, **fields) -> dict:
    """A call that is not charged by itself."""
    return call(dialect, cost_nano_usd=None, usage_source=None, **fields)


def request_of(ways, recorded: dict) -> dict:
    return ways.tapline.get(f"calls/{recorded['id']}")["request"]


def part(bytes_: bytes, filename: str, content_type: str) -> dict:
    digest = hashlib.sha256(bytes_).hexdigest()
    return {"filename": filename, "content_type": content_type, "bytes": len(bytes_), "sha256": digest}


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_legacy_completions(ways, program, streamed):
    async def use(client):
        options = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
        answer = await maybe(
            client.completions.create(model="sim-small", prompt="What is an index?", max_tokens=9, n=2, **options)
        )
        return [chunk.model_dump() for chunk in await drain(answer)] if streamed else [answer.model_dump()]

    answer = ways.same(program(use))[-1]
    assert answer["object"] == "text_completion"
    counted = {"input": answer["usage"]["prompt_tokens"], "output": answer["usage"]["completion_tokens"]}
    ways.recorded(call("completions", streamed=streamed, usage=counted, usage_source="reported"))


def test_moderations(ways, program):
    async def use(client):
        picture = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
        texts = await maybe(client.moderations.create(input=["I hate this", "a nice day"]))
        parts = await maybe(
            client.moderations.create(
                model="omni-moderation-latest", input=[{"type": "text", "text": "to attack"}, picture]
            )
        )
        return texts.model_dump(), parts.model_dump()

    texts, parts = ways.same(program(use))
    assert [result["flagged"] for result in texts["results"]] == [True, False]
    assert parts["results"][0]["categories"]["violence"]
    # OpenAI asks nothing for them: known to be zero, which is not unknown.
    known = {"usage_source": None, "cost_nano_usd": 0}
    ways.recorded(
        call("moderations", operation="moderation", **known), call("moderations", response_id=parts["id"], **known)
    )


def test_images(ways, program):
    async def use(client):
        two = await maybe(client.images.generate(model="gpt-image-1", prompt="a red fox", n=2))
        edited = await maybe(
            client.images.edit(
                model="gpt-image-1", prompt="bluer", image=[("a.png", PNG, "image/png"), ("b.png", PNG[:90], "image/png")]
            )
        )
        stream = await maybe(client.images.generate(model="gpt-image-1", prompt="a fox", partial_images=2, stream=True))
        events = [event.model_dump() for event in await drain(stream)]
        varied = await maybe(client.images.create_variation(model="dall-e-2", image=("a.png", PNG, "image/png")))
        return two.model_dump(), edited.model_dump(), events, varied.model_dump()

    two, edited, events, varied = ways.through("openai").same(program(use))
    assert len(two["data"]) == 2 and varied["data"][0]["url"]
    assert [event["type"].split(".")[1] for event in events] == ["partial_image", "partial_image", "completed"]

    def image(usage: dict, **fields) -> dict:
        classes = {
            "input": usage["input_tokens"],
            "input_image": usage["input_tokens_details"]["image_tokens"],
            "output": usage["output_tokens"],
            "output_image": usage["output_tokens"],
        }
        return call("images", operation="image_generation", usage=classes, usage_source="reported", **fields)

    calls = ways.recorded(
        image(two["usage"]),
        image(edited["usage"]),
        image(events[-1]["usage"], streamed=True, chunks=3),
        call("images", request_model="dall-e-2", cost_nano_usd=None),
    )
    # 10 dollars a million for what is shown, 40 for what is made, 5 for what is told.
    cost = edited["usage"]["input_tokens_details"]
    assert calls[1]["cost_nano_usd"] == cost["text_tokens"] * 5_000 + cost["image_tokens"] * 10_000 + 1056 * 40_000
    sent = request_of(ways, calls[1])
    assert sent["parameters"]["image"] == [part(PNG, "a.png", "image/png"), part(PNG[:90], "b.png", "image/png")]
    assert sent["messages"][0]["parts"][0] == {"type": "text", "content": "bluer"}


def test_speech(ways, program):
    async def use(client):
        options = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "Hello to everybody out there."}
        whole = await maybe(client.audio.speech.create(**options))
        async with opened(client.audio.speech.with_streaming_response.create(stream_format="sse", **options)) as stream:
            events = b"".join(await drain(stream.iter_bytes()))
            return whole.content, stable_headers(stream.headers.multi_items()), events

    whole, headers, events = ways.through("openai").same(program(use))
    assert whole.startswith(b"RIFF") and ("content-type", "text/event-stream; charset=utf-8") in headers
    done = json.loads(events.decode().rstrip().rsplit("data: ", 1)[1])
    told = {"input": done["usage"]["input_tokens"], "output": done["usage"]["output_tokens"]}
    calls = ways.recorded(
        # Sound tells no usage: what was to be said is counted.
        call("speech", usage_source="estimated", operation="speech", received_bytes=len(whole), cost_nano_usd=ANY),
        call(
            "speech", streamed=True, usage=told, usage_source="reported", received_bytes=len(events), cost_nano_usd=ANY
        ),
    )
    answer = ways.tapline.get(f"calls/{calls[0]['id']}")["response"]["choices"][0]["message"]["parts"]
    assert answer == [{"type": "blob", "modality": "audio", "mime_type": "audio/wav", "bytes": len(whole)}]


def test_transcriptions(ways, program):
    async def use(client):
        file = ("a_short_talk.wav", WAV, "audio/wav")
        plain = await maybe(client.audio.transcriptions.create(model="gpt-4o-transcribe", file=file, prompt="Names: Ada"))
        timed = await maybe(
            client.audio.transcriptions.create(model="whisper-1", file=file, response_format="verbose_json")
        )
        text = await maybe(client.audio.transcriptions.create(model="whisper-1", file=file, response_format="text"))
        stream = await maybe(client.audio.transcriptions.create(model="gpt-4o-transcribe", file=file, stream=True))
        events = [event.model_dump() for event in await drain(stream)]
        other = await maybe(client.audio.translations.create(model="whisper-1", file=file))
        return plain.model_dump(), timed.model_dump(), text, events, other.model_dump()

    plain, timed, text, events, other = ways.through("openai").same(program(use))
    assert text.strip() == plain["text"] == events[-1]["text"] == other["text"]
    counted = {
        "input": plain["usage"]["input_tokens"],
        "input_audio": plain["usage"]["input_token_details"]["audio_tokens"],
        "output": plain["usage"]["output_tokens"],
    }
    seconds = {"seconds": timed["usage"]["seconds"]}
    heard = {"operation": "transcription", "usage_source": "reported"}
    timed_call = call("transcriptions", request_model="whisper-1", usage=seconds, cost_nano_usd=ANY, **heard)
    calls = ways.recorded(
        call("transcriptions", usage=counted, **heard),
        timed_call,
        # Bare text has no usage, but the sound says how long it is.
        call("transcriptions", request_model="whisper-1", usage={"seconds": 4}, usage_source="estimated", cost_nano_usd=ANY),
        call("transcriptions", streamed=True, usage=counted, **heard),
        timed_call,
    )
    sent = request_of(ways, calls[0])
    assert sent["parameters"]["file"] == part(WAV, "a_short_talk.wav", "audio/wav")
    assert sent["messages"][0]["parts"][1]["modality"] == "audio"


def test_files_and_batches_are_priced_once(ways, program):
    async def use(client):
        lines = [
            {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions",
             "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"What is {what}? {ways.session}"}]}}
            for number, what in enumerate(["an index", "a view"])
        ]  # fmt: skip
        content = "\n".join(map(json.dumps, lines)).encode()
        file = await maybe(client.files.create(file=("in.jsonl", content, "application/jsonl"), purpose="batch"))
        batch = await maybe(
            client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        )
        states = [batch.status]
        while states[-1] != "completed":
            batch = await maybe(client.batches.retrieve(batch.id))
            states.append(batch.status)
        again = await maybe(client.batches.retrieve(batch.id))
        results = await maybe(client.files.content(batch.output_file_id))
        return content, states, again.model_dump(), results.content

    content, states, batch, results = ways.through("openai").same(program(use))
    assert states == ["validating", "in_progress", "completed"]
    answers = [json.loads(line)["response"]["body"] for line in results.decode().splitlines()]
    spent = {
        "input": sum(answer["usage"]["prompt_tokens"] for answer in answers),
        "output": sum(answer["usage"]["completion_tokens"] for answer in answers),
    }
    assert (batch["usage"]["input_tokens"], batch["usage"]["output_tokens"]) == tuple(spent.values())
    calls = ways.recorded(
        free("files", operation="file"),
        free("batches", operation="batch"),
        free("batches"),
        call("batches", usage=spent, usage_source="reported", service_tier="batch"),
        # Seen again in the object and in the results: the same tokens, counted above.
        free("batches"),
        free("files"),
    )
    assert sum(one["usage"].get("output") or 0 for one in calls) == spent["output"]
    # Half of 0.15 and of 0.60 dollars a million.
    assert calls[3]["cost_nano_usd"] == spent["input"] * 75 + spent["output"] * 300
    sent = request_of(ways, calls[0])["parameters"]
    assert sent["file"] == part(content, "in.jsonl", "application/jsonl") and sent["requests"] == 2


def test_responses_in_the_background_count_once(ways, program):
    async def use(client):
        answer = await maybe(client.responses.create(model="sim-small", input=f"What is an index? {ways.session}", background=True))
        states = [answer.status]
        while states[-1] != "completed":
            answer = await maybe(client.responses.retrieve(answer.id))
            states.append(answer.status)
        again = await maybe(client.responses.retrieve(answer.id))
        resumed = await drain(await maybe(client.responses.retrieve(answer.id, stream=True, starting_after=4)))
        other = await maybe(client.responses.create(model="sim-small", input=f"What is a view? {ways.session}", background=True))
        gone = await maybe(client.responses.cancel(other.id))
        return states, again.model_dump(), [event.model_dump() for event in resumed], gone.status

    states, answer, resumed, gone = ways.same(program(use))
    assert states == ["queued", "in_progress", "completed"] and gone == "cancelled"
    assert resumed[0]["sequence_number"] == 5 and resumed[-1]["type"] == "response.completed"
    spent = {"input": answer["usage"]["input_tokens"], "output": answer["usage"]["output_tokens"]}
    fetched = {"operation": "fetch_response"}
    calls = ways.recorded(
        free("responses", operation="chat"),
        free("responses", **fetched),
        call("responses", usage=spent, usage_source="reported", **fetched),
        free("responses", **fetched),
        free("responses", streamed=True, **fetched),
        free("responses", operation="chat"),
        free("responses", **fetched),
    )
    assert sum(one["usage"].get("output") or 0 for one in calls) == spent["output"]


def test_tokens_are_counted_without_being_spent(ways, program):
    async def use(client):
        return (await maybe(client.responses.input_tokens.count(model="sim-small", input="What is an index?"))).model_dump()

    assert ways.same(program(use))["input_tokens"] > 0
    ways.recorded(free("token_count", operation="count_tokens"))


def test_rerank(ways):
    def use(way):
        body = {"model": "rerank-v3.5", "query": "disk latency", "documents": ["cats sleep", "latency of a disk"], "top_n": 1}
        with httpx2.Client(trust_env=False) as client:
            headers = way.headers | {"authorization": f"Bearer {way.key}"}
            return client.post(f"{way.base_url}/rerank", json=body, headers=headers).json()

    answer = ways.through("cohere").same(use)
    assert answer["results"][0]["index"] == 1
    ways.recorded(call("rerank", operation="rerank", request_model="rerank-v3.5", usage_source="reported", cost_nano_usd=ANY))


async def until(connection, kind: str, seen: list) -> dict:
    """Receives up to an event of this kind."""
    while True:
        event = (await maybe(connection.recv())).model_dump()
        seen.append(event)
        if event["type"] == kind:
            return event


def socket_options(way) -> dict:
    return {"extra_headers": way.headers, "websocket_connection_options": {"proxy": None}}


def test_a_realtime_session(ways, program):
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is an index?"}]}
    heard = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "AAAA" * 400}]}

    def use(way):
        async def session(client):
            seen = []
            async with opened(client.realtime.connect(model="gpt-realtime", **socket_options(way))) as connection:
                await until(connection, "session.created", seen)
                await maybe(connection.session.update(session={"type": "realtime", "output_modalities": ["text"]}))
                for item, modality in ((said, "text"), (heard, "audio")):
                    await maybe(connection.conversation.item.create(item=item))
                    await maybe(connection.response.create(response={"output_modalities": [modality]}))
                    await until(connection, "response.done", seen)
            return seen

        return program(session)(way)

    seen = ways.through("openai").same(use)
    done = [event["response"]["usage"] for event in seen if event["type"] == "response.done"]
    assert len(done) == 2 and done[1]["output_token_details"]["audio_tokens"] > 0
    total = lambda *path: sum(_at(usage, path) for usage in done)  # noqa: E731
    classes = {
        "input": total("input_tokens"),
        "input_audio": total("input_token_details", "audio_tokens"),
        "cache_read": total("input_token_details", "cached_tokens"),
        "output": total("output_tokens"),
        "output_audio": total("output_token_details", "audio_tokens"),
    }
    (one,) = ways.recorded(
        call("realtime", http_status=101, operation="realtime", streamed=True, usage=classes, usage_source="reported")
    )
    assert one["request_model"] == "gpt-realtime"
    whole = ways.tapline.get(f"calls/{one['id']}")
    assert [message["parts"][0]["type"] for message in whole["request"]["messages"]] == ["text", "blob"]
    assert len(whole["response"]["choices"]) == 2


def _at(value, path):
    for name in path:
        value = value[name]
    return value


def test_responses_over_a_websocket(ways, program):
    def use(way):
        async def session(client):
            seen, previous = [], {}
            async with opened(client.responses.connect(**socket_options(way))) as connection:
                for question in ("What is an index?", "And a view?"):
                    await maybe(connection.response.create(model="sim-small", input=question, **previous))
                    done = await until(connection, "response.completed", seen)
                    previous = {"previous_response_id": done["response"]["id"]}
            return seen

        return program(session)(way)

    seen = ways.same(use)
    done = [event["response"]["usage"] for event in seen if event["type"] == "response.completed"]
    assert len(done) == 2
    spent = {name: sum(usage[f"{name}_tokens"] for usage in done) for name in ("input", "output")}
    ways.recorded(call("realtime", http_status=101, operation="chat", streamed=True, usage=spent, request_model="sim-small"))


@pytest.mark.parametrize("wanted", [{}, {"n": 2, "logprobs": True}], ids=["one", "two"])
def test_usage_that_is_asked_for_is_never_seen(ways, program, wanted):
    async def use(client):
        options = {"model": "sim-small", "messages": [{"role": "user", "content": "What is an index?"}], "stream": True}
        manager = client.chat.completions.with_streaming_response.create(**options, **wanted)
        async with opened(manager) as response:
            body = b"".join(await drain(response.iter_bytes()))
            # With a seed the simulator makes its ids of the request, and the question is part of it.
            return stable_headers(response.headers.multi_items()), re.sub(rb"chatcmpl-\w+", b"chatcmpl-id", body)

    _, body = ways.through("asking").same(program(use))
    assert b'"usage"' not in body
    (one,) = ways.recorded(call("chat_completions", streamed=True, usage_source="reported"))
    assert one["usage"]["output"] > 0
    assert any(re.search(r"the answer, [1-9]\d* bytes, was taken out", note) for note in one["notes"]), one["notes"]


def test_usage_that_cannot_be_asked_for_is_told_so(ways, program):
    async def use(client):
        options = {"model": "no-such-model", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        await maybe(client.chat.completions.create(**options))

    assert ways.through("asking").same(program(use))["status_code"] == 404
    (one,) = ways.recorded({"status": "error", "http_status": 404})
    assert any("nothing had to be taken out" in note for note in one["notes"]), one["notes"]


@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_pictures_and_documents_are_told_not_shown(ways, program, dialect):
    picture = "data:image/png;base64," + base64.b64encode(PNG).decode()
    paper = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7 " + PNG).decode()

    async def use(client):
        if dialect == "chat":
            content = [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": paper}},
            ]
            answer = await maybe(
                client.chat.completions.create(model="sim-small", messages=[{"role": "user", "content": content}])
            )
        else:
            content = [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": picture, "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": paper},
            ]
            answer = await maybe(client.responses.create(model="sim-small", input=[{"role": "user", "content": content}]))
        return answer.model_dump()

    ways.same(program(use))
    (one,) = ways.recorded(call("chat_completions" if dialect == "chat" else "responses"))
    _, image, document = request_of(ways, one)["messages"][0]["parts"]
    assert image == {"type": "blob", "modality": "image", "mime_type": "image/png", "bytes": len(PNG), "detail": "low"}
    assert document == {"type": "blob", "modality": "document", "mime_type": "application/pdf", "bytes": len(PNG) + 9}


def test_nothing_waits_for_a_session(ways, program):
    """A session that the client breaks off is over at once, with what it had."""

    def use(way):
        async def session(client):
            connection = client.realtime.connect(model="gpt-realtime", **socket_options(way))
            async with opened(connection) as connected:
                return (await maybe(connected.recv())).type

        return program(session)(way)

    began = time.monotonic()
    assert ways.through("openai").same(use) == "session.created"
    ways.recorded(call("realtime", http_status=101, streamed=True, cost_nano_usd=None, usage_source=None))
    assert time.monotonic() - began < 20
