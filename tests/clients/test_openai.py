"""openai-python, sync and async. Runs on version 2 (httpx) and on version 3 (httpx2)."""

import asyncio
import base64
import struct

import openai
import pydantic
import pytest
from conftest import Way, describe, stable_headers
from sdk import drain, maybe, opened, program  # noqa: F401  (a fixture)

QUESTION = [
    {"role": "system", "content": "Answer in one sentence."},
    {"role": "user", "content": "What is a write-ahead log?"},
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The current weather of a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def usage_of(answer: dict) -> dict:
    usage = answer["usage"]
    return {"input": usage["prompt_tokens"], "output": usage["completion_tokens"]}


def chat_call(**fields) -> dict:
    return {
        "status": "ok", "http_status": 200, "operation": "chat", "dialect": "chat_completions", "streamed": False,
        "request_model": "sim-small", "response_model": "sim-small", "usage_source": "reported",
    } | fields  # fmt: skip


def test_a_plain_completion(ways, program):
    async def use(client):
        answer = await maybe(client.chat.completions.create(model="sim-small", messages=QUESTION))
        assert answer._request_id.startswith("req_")
        return answer.model_dump()

    answer = ways.same(program(use))
    assert answer["choices"][0]["message"]["content"]
    (call,) = ways.recorded(chat_call(usage=usage_of(answer), finish_reasons=["stop"], response_id=answer["id"]))
    assert call["price_id"] and "sim-small" in call["price_id"]


def test_raw_response_bytes_and_headers(ways, program):
    async def use(client):
        raw = await maybe(client.chat.completions.with_raw_response.create(model="sim-small", messages=QUESTION))
        assert {"date", "x-request-id", "openai-processing-ms"} <= {name.lower() for name in raw.headers}
        return raw.status_code, stable_headers(raw.headers.multi_items()), raw.http_response.content

    status, headers, body = ways.same(program(use))
    assert status == 200 and body.startswith(b"{")
    assert ("openai-version", "2020-10-01") in headers
    (call,) = ways.recorded(chat_call())
    assert call["received_bytes"] == len(body)


def test_streamed_bytes(ways, program):
    async def use(client):
        manager = client.chat.completions.with_streaming_response.create(
            model="sim-small", messages=QUESTION, stream=True
        )
        async with opened(manager) as response:
            pieces = await drain(response.iter_bytes())
            return stable_headers(response.headers.multi_items()), b"".join(pieces)

    headers, body = ways.same(program(use))
    assert ("content-type", "text/event-stream; charset=utf-8") in headers
    assert body.endswith(b"data: [DONE]\n\n")
    # Nothing was asked to be counted, and nothing is put into the stream: tapline counts itself.
    assert b'"usage"' not in body
    ways.recorded(chat_call(streamed=True, usage_source="estimated", received_bytes=len(body)))


def test_stream_chunks(ways, program):
    async def use(client):
        stream = await maybe(
            client.chat.completions.create(
                model="sim-small",
                messages=QUESTION,
                n=2,
                logprobs=True,
                top_logprobs=2,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        return [chunk.model_dump() for chunk in await drain(stream)]

    chunks = ways.same(program(use))
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] > 0
    (call,) = ways.recorded(chat_call(streamed=True, usage=usage_of(chunks[-1]), finish_reasons=["stop", "stop"]))
    assert call["first_token_ms"] <= call["last_token_ms"] <= call["duration_ms"]


def test_the_stream_helper(ways, program):
    async def use(client):
        manager = client.chat.completions.stream(
            model="sim-large", messages=QUESTION, stream_options={"include_usage": True}
        )
        async with opened(manager) as stream:
            events = [event.type for event in await drain(stream)]
            final = await maybe(stream.get_final_completion())
            return events, final.model_dump()

    events, final = ways.same(program(use))
    assert "content.delta" in events
    reasoning = final["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert reasoning > 0
    usage = usage_of(final) | {"reasoning": reasoning}
    ways.recorded(chat_call(streamed=True, request_model="sim-large", response_model="sim-large", usage=usage))


def test_parsed_answers(ways, program):
    class Verdict(pydantic.BaseModel):
        summary: str
        score: int

    async def use(client):
        answer = await maybe(
            client.chat.completions.parse(model="sim-small", messages=QUESTION, response_format=Verdict)
        )
        assert isinstance(answer.choices[0].message.parsed, Verdict)
        return answer.choices[0].message.parsed.model_dump(), answer.usage.model_dump()

    ways.same(program(use))
    ways.recorded(chat_call())


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_a_tool_round_trip(ways, program, streamed):
    async def use(client):
        messages = [{"role": "user", "content": "What is the weather in Oslo and Bergen?"}]
        options = {"model": "sim-small", "tools": [WEATHER]}
        if streamed:
            async with opened(client.chat.completions.stream(messages=messages, **options)) as stream:
                await drain(stream)
                asked = (await maybe(stream.get_final_completion())).choices[0].message
        else:
            asked = (await maybe(client.chat.completions.create(messages=messages, **options))).choices[0].message
        messages.append(
            {"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"}) for call in asked.tool_calls]}
        )
        for call in asked.tool_calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 4}'})
        told = await maybe(client.chat.completions.create(messages=messages, **options))
        return [call.function.arguments for call in asked.tool_calls], told.model_dump()

    arguments, told = ways.same(program(use))
    assert arguments == ['{"city":"Oslo"}', '{"city":"Bergen"}']
    assert "the celsius is 4" in told["choices"][0]["message"]["content"]
    ways.recorded(
        chat_call(
            streamed=streamed,
            tool_calls=2,
            finish_reasons=["tool_calls"],
            usage_source="estimated" if streamed else "reported",
        ),
        chat_call(tool_calls=0, finish_reasons=["stop"], usage=usage_of(told)),
    )


def test_a_growing_conversation_is_cached_alike(ways, program):
    async def use(client):
        messages = [{"role": "system", "content": "You are a patient support agent of a small shop. " * 8}]
        cached = []
        for turn in range(4):
            messages.append({"role": "user", "content": f"Question {turn} about my order?"})
            answer = await maybe(client.chat.completions.create(model="sim-small", messages=messages))
            cached.append(answer.usage.prompt_tokens_details.cached_tokens)
            messages.append({"role": "assistant", "content": answer.choices[0].message.content})
        return cached

    cached = ways.same(program(use))
    assert cached[-1] > 0
    ways.recorded(*(chat_call(usage={"cache_read": count}) for count in cached))


def responses_call(**fields) -> dict:
    return chat_call(dialect="responses") | fields


def test_responses(ways, program):
    async def use(client):
        first = await maybe(client.responses.create(model="sim-large", input="What is an index?"))
        second = await maybe(
            client.responses.create(model="sim-large", input="And a view?", previous_response_id=first.id)
        )
        return first.model_dump(), second.model_dump()

    first, second = ways.same(program(use))
    assert first["output"][0]["type"] == "reasoning"
    large = {"request_model": "sim-large", "response_model": "sim-large"}
    ways.recorded(
        *(
            responses_call(
                usage={"input": answer["usage"]["input_tokens"], "output": answer["usage"]["output_tokens"]},
                response_id=answer["id"],
                **large,
            )
            for answer in (first, second)
        )
    )


def test_responses_events_and_their_helper(ways, program):
    async def use(client):
        events = await drain(
            await maybe(client.responses.create(model="sim-small", input="What is an index?", stream=True))
        )
        async with opened(client.responses.stream(model="sim-small", input="What is a view?")) as stream:
            helped = [event.type for event in await drain(stream)]
            final = await maybe(stream.get_final_response())
        return [event.model_dump() for event in events], helped, final.output_text, final.usage.model_dump()

    events, helped, text, usage = ways.same(program(use))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert helped[-1] == "response.completed" and text
    ways.recorded(
        responses_call(streamed=True),
        responses_call(streamed=True, usage={"input": usage["input_tokens"], "output": usage["output_tokens"]}),
    )


def test_embeddings_in_both_encodings(ways, program):
    async def use(client):
        # The client asks for base64 by itself and decodes it.
        packed = await maybe(client.embeddings.create(model="sim-embed", input=["one", "two"], dimensions=8))
        raw = await maybe(
            client.embeddings.with_raw_response.create(
                model="sim-embed", input=["one", "two"], dimensions=8, encoding_format="base64"
            )
        )
        return packed.model_dump(), raw.http_response.json()

    packed, raw = ways.same(program(use))
    unpacked = struct.unpack("<8f", base64.b64decode(raw["data"][1]["embedding"]))
    assert list(unpacked) == pytest.approx(packed["data"][1]["embedding"])
    embedded = {
        "status": "ok", "operation": "embeddings", "dialect": "embeddings", "request_model": "sim-embed",
        "usage": {"input": packed["usage"]["prompt_tokens"]},
    }  # fmt: skip
    ways.recorded(embedded, embedded)


def test_the_list_of_models(ways, program):
    async def use(client):
        page = await maybe(client.models.list())
        return [model.model_dump() for model in page.data]

    assert len(ways.same(program(use))) >= 3
    ways.recorded({"status": "ok", "http_status": 200, "operation": "http", "cost_nano_usd": None})


def failed(status: int, **fields) -> dict:
    # What the client asked for wrongly is the client's; overload and faults are the upstream's.
    source = "client" if 400 <= status < 500 and status not in (408, 429) else "upstream"
    return {"status": "error", "http_status": status, "outcome": "completed", "error_source": source} | fields


@pytest.mark.parametrize(
    "model, simulate, status, kind",
    [
        ("no-such-model", None, 404, "NotFoundError"),
        ("sim-small", "status=400", 400, "BadRequestError"),
        ("sim-small", "status=403", 403, "PermissionDeniedError"),
        ("sim-small", "status=422", 422, "UnprocessableEntityError"),
        ("sim-small", "status=429;retry_after=7", 429, "RateLimitError"),
        ("sim-small", "status=500", 500, "InternalServerError"),
        ("sim-small@status=503", None, 503, "InternalServerError"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_errors_are_the_upstreams(ways, program, model, simulate, status, kind, streamed):
    async def use(client):
        headers = {"x-simulate": simulate} if simulate else {}
        await maybe(
            client.chat.completions.create(model=model, messages=QUESTION, stream=streamed, extra_headers=headers)
        )

    seen = ways.same(program(use))
    assert seen["class"] == f"openai.{kind}" and seen["status_code"] == status and seen["has_request_id"]
    assert (("retry-after", "7") in seen["headers"]) == (status == 429)
    (call,) = ways.recorded(failed(status, cost_nano_usd=None))
    assert call["error_type"] and call["error_message"] in seen["message"]


def test_a_wrong_key_is_told_by_the_upstream_and_kept_by_nobody(ways, program):
    async def use(client):
        await maybe(client.chat.completions.create(model="sim-small", messages=QUESTION))

    seen = ways.same(program(use, api_key="sk-wrong-0123456789"))
    assert seen["class"] == "openai.AuthenticationError" and seen["code"] == "invalid_api_key"
    (call,) = ways.recorded(failed(401))
    whole = ways.tapline.get(f"calls/{call['id']}")
    assert "sk-wrong-0123456789" not in str(whole)


def test_retries_are_the_clients_own_and_each_is_a_call(ways, program):
    async def use(client):
        answer = await maybe(
            client.chat.completions.create(
                model="sim-small",
                messages=QUESTION,
                extra_headers={"x-simulate": "status=429;retry_after=0.01;times=2"},
            )
        )
        return answer.model_dump()

    answer = ways.same(program(use, max_retries=3))
    ways.recorded(
        failed(429, retry_count=0),
        failed(429, retry_count=1),
        chat_call(retry_count=2, usage=usage_of(answer)),
    )


def test_retries_that_run_out(ways, program):
    async def use(client):
        headers = {"x-simulate": "status=500;retry_after=0.01"}
        await maybe(client.chat.completions.create(model="sim-small", messages=QUESTION, extra_headers=headers))

    assert ways.same(program(use, max_retries=1))["class"] == "openai.InternalServerError"
    ways.recorded(failed(500, retry_count=0), failed(500, retry_count=1))


def streamed_until_it_breaks(script: str):
    """A program that tells how far it came, and what it met then."""

    async def use(client):
        texts = []
        try:
            stream = await maybe(
                client.chat.completions.create(
                    model="sim-small", messages=QUESTION, stream=True, extra_headers={"x-simulate": script}
                )
            )
            if hasattr(stream, "__aiter__"):
                async for chunk in stream:
                    texts.append(chunk.choices[0].delta.content)
            else:
                for chunk in stream:
                    texts.append(chunk.choices[0].delta.content)
        except Exception as error:
            return texts, describe(error), error
        return texts, None, None

    return use


def test_an_error_inside_the_stream(ways, program):
    use = streamed_until_it_breaks("error_after=5")

    async def told(client):
        return (await use(client))[:2]

    texts, seen = ways.same(program(told))
    assert len(texts) == 5 and seen["class"] == "openai.APIError"
    (call,) = ways.recorded({"status": "error", "http_status": 200, "streamed": True, "error_source": "upstream"})
    assert call["error_message"] in seen["message"]


def test_a_stream_that_is_cut(ways, program):
    use = streamed_until_it_breaks("cut_after=5")

    async def told(client):
        return (await use(client))[:2]

    texts, seen = ways.same(program(told))
    assert len(texts) == 5 and "RemoteProtocolError" in seen.get("cause", seen)["class"]
    ways.recorded({"status": "error", "outcome": "upstream_failed", "streamed": True, "error_source": "upstream"})


def test_a_stream_whose_connection_is_reset(ways, program):
    use = streamed_until_it_breaks("reset_after=5;chunk_ms=20")

    async def told(client):
        texts, _, error = await use(client)
        # A reset is told as a transport error of one class or another, depending on what was being read; the
        # program must never take it for an end.
        assert error is not None
        bases = {base.__name__ for base in type(error).__mro__}
        return texts, bool(bases & {"TransportError", "APIConnectionError"})

    texts, broken = ways.same(program(told))
    assert len(texts) == 5 and broken
    ways.recorded({"status": "error", "outcome": "upstream_failed", "streamed": True, "error_source": "upstream"})


def test_a_client_that_hangs_up(ways, program):
    async def use(client):
        stream = await maybe(
            client.chat.completions.create(
                model="sim-small",
                messages=QUESTION,
                stream=True,
                extra_headers={"x-simulate": "tokens=2000;chunk_ms=10"},
            )
        )
        texts = []
        if hasattr(stream, "__aiter__"):
            async for chunk in stream:
                texts.append(chunk.choices[0].delta.content)
                if len(texts) == 5:
                    break
        else:
            for chunk in stream:
                texts.append(chunk.choices[0].delta.content)
                if len(texts) == 5:
                    break
        await maybe(stream.close())
        return texts

    assert len(ways.same(program(use))) == 5
    (call,) = ways.recorded({"status": "cancelled", "outcome": "client_gone", "streamed": True, "http_status": 200})
    assert call["usage_source"] == "estimated", "what had been streamed is counted"
    assert 4 <= call["usage"]["output"] < 2000


def test_sixty_four_at_once(ways):
    def run(way: Way):
        async def main():
            async with openai.AsyncOpenAI(
                base_url=way.base_url, api_key=way.key, default_headers=way.headers, max_retries=0
            ) as client:

                async def one(number: int):
                    stream = await client.chat.completions.create(
                        model="sim-small",
                        messages=[{"role": "user", "content": f"Tell me about topic number {number}."}],
                        stream=True,
                        stream_options={"include_usage": True},
                    )
                    return [chunk.model_dump() async for chunk in stream]

                return await asyncio.gather(*(one(number) for number in range(64)))

        return asyncio.run(main())

    answers = ways.same(run)
    calls = ways.recorded(*(chat_call(streamed=True) for _ in range(64)))
    outputs = sorted(call["usage"]["output"] for call in calls)
    assert outputs == sorted(chunks[-1]["usage"]["completion_tokens"] for chunks in answers)
    assert len({call["trace_id"] for call in calls}) == 64 and len({call["id"] for call in calls}) == 64
