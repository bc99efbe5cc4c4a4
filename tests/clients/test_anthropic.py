"""anthropic-python, sync and async: messages plain, streamed, thinking and with tools, token counts, batches, errors."""

import base64

import anthropic
import httpx2
import pytest
from conftest import stable_headers
from sdk import drain, maybe, opened, preparing

MODEL = "claude-sonnet-4-6"
WEATHER = {
    "name": "get_weather",
    "description": "The current weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTION = [{"role": "user", "content": "What is a write-ahead log?"}]


@pytest.fixture(params=[anthropic.Anthropic, anthropic.AsyncAnthropic], ids=["sync", "async"])
def program(request):
    # This client puts the version of the API into its paths.
    return preparing(request.param, lambda way: way.base_url.removesuffix("/v1"))


@pytest.fixture
def ways(ways):
    return ways.through("anthropic")


def classes(usage: dict) -> dict:
    """Anthropic counts apart what OpenAI (and tapline) count as part of the input."""
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    return {
        "input": usage["input_tokens"] + read + written,
        "cache_read": read,
        "cache_write": written,
        "output": usage["output_tokens"],
    }


def message(**fields) -> dict:
    return {
        "status": "ok", "http_status": 200, "operation": "chat", "dialect": "messages", "streamed": False,
        "request_model": MODEL, "response_model": MODEL, "usage_source": "reported", "provider": "anthropic",
    } | fields  # fmt: skip


def test_a_message(ways, program):
    async def use(client):
        raw = await maybe(client.messages.with_raw_response.create(model=MODEL, max_tokens=200, messages=QUESTION))
        answer = await maybe(raw.parse())
        assert answer._request_id.startswith("req_")
        return stable_headers(raw.headers.multi_items()), raw.http_response.content, answer.model_dump()

    _, body, answer = ways.same(program(use))
    usage = answer["usage"]
    (call,) = ways.recorded(
        message(usage=classes(usage), finish_reasons=["end_turn"], response_id=answer["id"], received_bytes=len(body))
    )
    # 3 and 15 dollars a million.
    assert call["cost_nano_usd"] == usage["input_tokens"] * 3_000 + usage["output_tokens"] * 15_000


def test_a_stream_and_its_bytes(ways, program):
    async def use(client):
        options = {"model": MODEL, "max_tokens": 200, "messages": QUESTION}
        async with opened(client.messages.stream(**options)) as stream:
            kinds = [event.type for event in await drain(stream)]
            final = await maybe(stream.get_final_message())
        async with opened(client.messages.with_streaming_response.create(stream=True, **options)) as raw:
            return kinds, final.model_dump(), b"".join(await drain(raw.iter_bytes()))

    kinds, final, body = ways.same(program(use))
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert body.startswith(b"event: message_start\n") and body.rstrip().endswith(b'{"type":"message_stop"}')
    wanted = message(streamed=True, usage=classes(final["usage"]), finish_reasons=["end_turn"])
    ways.recorded(wanted, wanted | {"received_bytes": len(body)})


def test_thinking_and_a_tool_round_trip(ways, program):
    async def use(client):
        options = {
            "model": MODEL, "max_tokens": 2000, "tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 1024},
        }  # fmt: skip
        messages = [{"role": "user", "content": "What is the weather in Oslo?"}]
        async with opened(client.messages.stream(messages=messages, **options)) as stream:
            await drain(stream)
            asked = await maybe(stream.get_final_message())
        (use,) = [block for block in asked.content if block.type == "tool_use"]
        messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in asked.content]})
        result = {"type": "tool_result", "tool_use_id": use.id, "content": '{"celsius": 4}'}
        messages.append({"role": "user", "content": [result]})
        told = await maybe(client.messages.create(messages=messages, **options))
        return asked.model_dump(), told.model_dump()

    asked, told = ways.same(program(use))
    assert asked["content"][0]["type"] == "thinking" and asked["content"][1]["input"] == {"city": "Oslo"}
    assert "celsius is 4" in told["content"][-1]["text"]
    thought = asked["usage"]["output_tokens_details"]["thinking_tokens"]
    calls = ways.recorded(
        message(streamed=True, tool_calls=1, finish_reasons=["tool_use"], usage=classes(asked["usage"]) | {"reasoning": thought}),
        message(tool_calls=0, usage=classes(told["usage"])),
    )
    whole = ways.tapline.get(f"calls/{calls[0]['id']}")
    kinds = [part["type"] for part in whole["response"]["choices"][0]["message"]["parts"]]
    assert kinds == ["reasoning", "tool_call"]


def test_cached_input_is_counted_and_priced_by_class(ways, program):
    async def use(client):
        system = [{"type": "text", "text": "You are a patient clerk of a small shop. " * 40 + ways.session, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
        messages, used = [], []
        for turn in range(2):
            messages.append({"role": "user", "content": f"Question {turn} about my order?"})
            answer = await maybe(client.messages.create(model=MODEL, max_tokens=100, system=system, messages=messages))
            used.append(answer.usage.model_dump())
            messages.append({"role": "assistant", "content": answer.content[0].text})
        return used

    used = ways.same(program(use))
    assert used[0]["cache_creation"]["ephemeral_1h_input_tokens"] > 0 and used[1]["cache_read_input_tokens"] > 0
    calls = ways.recorded(*(message(usage=classes(usage)) for usage in used))
    for call, usage in zip(calls, used):
        # 3 dollars a million; twice that to keep for an hour, a tenth to read; 15 for output.
        parts = (
            usage["input_tokens"] * 3_000,
            usage["cache_creation_input_tokens"] * 6_000,
            usage["cache_read_input_tokens"] * 300,
            usage["output_tokens"] * 15_000,
        )
        assert call["cost_nano_usd"] == sum(parts)


def test_tokens_are_counted_without_being_spent(ways, program):
    async def use(client):
        return (await maybe(client.messages.count_tokens(model=MODEL, messages=QUESTION, tools=[WEATHER]))).model_dump()

    assert ways.same(program(use))["input_tokens"] > 0
    ways.recorded({"status": "ok", "dialect": "token_count", "usage_source": None, "cost_nano_usd": None})


def test_a_batch_is_priced_once_and_at_batch_rates(ways, program):
    async def use(client):
        asked = {"model": MODEL, "max_tokens": 100}
        requests = [
            {"custom_id": what, "params": asked | {"messages": [{"role": "user", "content": f"What is {what}? {ways.session}"}]}}
            for what in ("an index", "a view")
        ]
        batch = await maybe(client.messages.batches.create(requests=requests))
        states = [batch.processing_status]
        while states[-1] != "ended":
            batch = await maybe(client.messages.batches.retrieve(batch.id))
            states.append(batch.processing_status)
        # Not by `batches.results`: that goes to the absolute address in `results_url`, past any proxy.
        results = []
        for _ in range(2):
            raw = await maybe(client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=httpx2.Response))
            results.append(raw.text)
        return states, batch.request_counts.model_dump(), results

    states, counts, results = ways.same(program(use))
    assert states == ["in_progress", "in_progress", "ended"] and counts["succeeded"] == 2
    assert results[0] == results[1] and results[0].count("\n") == 2
    free = {"status": "ok", "dialect": "batches", "usage_source": None, "cost_nano_usd": None}
    calls = ways.recorded(
        free, free, free,
        {"status": "ok", "dialect": "batches", "usage_source": "reported", "service_tier": "batch"},
        free,
    )  # fmt: skip
    usage = calls[3]["usage"]
    assert calls[3]["cost_nano_usd"] == (usage["input"] * 3_000 + usage["output"] * 15_000) // 2


def test_pictures_and_documents_are_told_not_shown(ways, program):
    packed = base64.b64encode(b"\x89PNG" + b"x" * 900).decode()

    async def use(client):
        content = [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": packed}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": packed}},
            {"type": "text", "text": "What is this?"},
        ]
        return (
            await maybe(client.messages.create(model=MODEL, max_tokens=50, messages=[{"role": "user", "content": content}]))
        ).model_dump()

    ways.same(program(use))
    (call,) = ways.recorded(message())
    image, document, _ = ways.tapline.get(f"calls/{call['id']}")["request"]["messages"][0]["parts"]
    assert image == {"type": "blob", "modality": "image", "mime_type": "image/png", "bytes": 904}
    assert document == {"type": "blob", "modality": "document", "mime_type": "application/pdf", "bytes": 904}


@pytest.mark.parametrize(
    "simulate, status, kind",
    [("status=400", 400, "BadRequestError"), ("status=429;retry_after=3", 429, "RateLimitError"),
     ("status=529", 529, "OverloadedError")],
)  # fmt: skip
def test_errors_are_the_upstreams(ways, program, simulate, status, kind):
    async def use(client):
        await maybe(
            client.messages.create(
                model=MODEL, max_tokens=50, messages=QUESTION, extra_headers={"x-simulate": simulate}
            )
        )

    seen = ways.same(program(use))
    assert seen["class"].endswith(kind) and seen["status_code"] == status and seen["has_request_id"]
    source = "client" if status == 400 else "upstream"
    (call,) = ways.recorded({"status": "error", "http_status": status, "error_source": source})
    assert call["error_type"] == seen["body"]["error"]["type"]


def test_an_overload_inside_the_stream(ways, program):
    async def use(client):
        stream = await maybe(
            client.messages.create(
                model=MODEL, max_tokens=200, messages=QUESTION, stream=True, extra_headers={"x-simulate": "error_after=4"}
            )
        )
        await drain(stream)

    seen = ways.same(program(use))
    assert seen["body"]["error"]["type"] == "overloaded_error"
    ways.recorded({"status": "error", "http_status": 200, "streamed": True, "error_type": "overloaded_error"})


def test_a_stream_that_was_cut_is_not_billed_by_its_first_token(ways, program):
    """`message_start` counts one token of output; what streamed is counted in its place, and marked."""

    async def use(client):
        said = []
        options = {"model": MODEL, "max_tokens": 200, "messages": QUESTION, "thinking": {"type": "disabled"}}
        cut = {"x-simulate": "cut_after=16"}
        try:
            stream = await maybe(client.messages.create(stream=True, extra_headers=cut, **options))
            async for event in aiterate(stream):
                said.append(event.model_dump())
        except httpx2.HTTPError:
            return said
        raise AssertionError("the stream was to be cut")

    said = program(use)(ways.proxied)
    text = "".join(event["delta"]["text"] for event in said if event["type"] == "content_block_delta")
    assert said[0]["message"]["usage"]["output_tokens"] == 1 and len(text.split()) > 3
    (call,) = ways.recorded({"status": "error", "dialect": "messages", "usage_source": "estimated"})
    assert call["usage"]["input"] == classes(said[0]["message"]["usage"])["input"]
    assert call["usage"]["output"] > len(text.split()) and call["cost_nano_usd"] > 0
    assert any("cut before its last count" in note for note in call["notes"]), call["notes"]


async def aiterate(stream):
    """One by one, so that what came before a break is kept."""
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item
