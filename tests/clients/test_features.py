"""What chats and responses can besides words, and the other ways to the same API, with OpenAI's own client."""

import asyncio
import base64
import struct
import zlib
from unittest.mock import ANY

import openai
import pytest
from conftest import Ways
from sdk import drain, maybe, preparing, program  # noqa: F401  (a fixture)
from servers import PROXIED_KEY, serving

QUESTION = [{"role": "user", "content": "What is an index?"}]
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def picture(width: int, height: int) -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(height * (1 + 3 * width)))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def chat(**fields) -> dict:
    return {
        "status": "ok", "dialect": "chat_completions", "operation": "chat", "usage_source": "reported", "cost_nano_usd": ANY,
    } | fields  # fmt: skip


def counted(usage: dict) -> dict:
    return {
        "input": usage["prompt_tokens"],
        "output": usage["completion_tokens"],
        "output_audio": usage["completion_tokens_details"]["audio_tokens"],
    }


@pytest.fixture(params=[False, True], ids=["plain", "streamed"])
def streamed(request):
    return request.param


async def asked(client, streamed: bool, **options) -> list[dict]:
    answer = await maybe(client.chat.completions.create(**options, **(STREAMED if streamed else {})))
    return [chunk.model_dump() for chunk in await drain(answer)] if streamed else [answer.model_dump()]


def test_an_answer_that_is_spoken(ways, program, streamed):
    options = {"model": "gpt-audio", "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}

    async def use(client):
        return await asked(client, streamed, messages=QUESTION, **options)

    seen = ways.through("openai").same(program(use))
    usage = seen[-1]["usage"]
    assert usage["completion_tokens_details"]["audio_tokens"] > 0
    (one,) = ways.recorded(chat(streamed=streamed, usage=counted(usage)))
    text, sound = ways.tapline.get(f"calls/{one['id']}")["response"]["choices"][0]["message"]["parts"]
    assert text["type"] == "text" and text["content"]
    deltas = [choice["delta"].get("audio") or {} for chunk in seen for choice in chunk["choices"]] if streamed else []
    data = "".join(delta.get("data") or "" for delta in deltas) or seen[0]["choices"][0]["message"]["audio"]["data"]
    assert sound["modality"] == "audio" and sound["bytes"] == len(base64.b64decode(data))


def test_a_predicted_output(ways, program, streamed):
    async def use(client):
        return await asked(
            client, streamed, model="gpt-4.1", messages=QUESTION,
            prediction={"type": "content", "content": "An index is a list of places that something is found at."},
        )  # fmt: skip

    usage = ways.through("openai").same(program(use))[-1]["usage"]
    details = usage["completion_tokens_details"]
    assert details["accepted_prediction_tokens"] > 0 and details["rejected_prediction_tokens"] > 0
    (one,) = ways.recorded(chat(streamed=streamed, usage=counted(usage)))
    # What was rejected is in the output, and is paid: 2 and 8 dollars a million.
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert one["cost_nano_usd"] == (usage["prompt_tokens"] - cached) * 2_000 + cached * 500 + usage["completion_tokens"] * 8_000


def test_functions_as_they_were(ways, program, streamed):
    weather = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    messages = [{"role": "user", "content": "What is the weather in Oslo and in Rome?"}]

    async def use(client):
        return await asked(
            client, streamed, model="gpt-4", messages=messages, functions=[weather], function_call={"name": "get_weather"}
        )

    ways.through("openai").same(program(use))
    (one,) = ways.recorded(chat(streamed=streamed, finish_reasons=["function_call"], tool_calls=1))
    (made,) = ways.tapline.get(f"calls/{one['id']}")["response"]["choices"][0]["message"]["parts"]
    assert (made["type"], made["name"], made["arguments"]) == ("tool_call", "get_weather", {"city": "Oslo"})


def test_an_answer_from_the_web(ways, program, streamed):
    async def use(client):
        return await asked(client, streamed, model="gpt-4o-search-preview", messages=QUESTION, web_search_options={})

    seen = ways.through("openai").same(program(use))
    found = [
        note
        for chunk in seen
        for choice in chunk["choices"]
        for note in (choice["delta"] if streamed else choice["message"]).get("annotations") or []
    ]
    assert found[0]["url_citation"]["url"].startswith("https://")
    (one,) = ways.recorded(chat(streamed=streamed))
    usage = seen[-1]["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    tokens = (usage["prompt_tokens"] - cached) * 2_500 + cached * 1_250 + usage["completion_tokens"] * 10_000
    assert one["cost_nano_usd"] == tokens + 25_000_000


def test_searches_of_responses_are_paid(ways, program, streamed):
    async def use(client):
        options = {"stream": True} if streamed else {}
        answer = await maybe(
            client.responses.create(model="gpt-5.4", input="What is an index?", tools=[{"type": "web_search"}], **options)
        )
        return [event.model_dump() for event in await drain(answer)][-1]["response"] if streamed else answer.model_dump()

    answer = ways.through("openai").same(program(use))
    assert [item["type"] for item in answer["output"]][-2:] == ["web_search_call", "message"]
    assert answer["output"][-1]["content"][0]["annotations"][0]["type"] == "url_citation"
    usage = answer["usage"]
    counts = {"input": usage["input_tokens"], "output": usage["output_tokens"], "web_searches": 1}
    (one,) = ways.recorded(chat(dialect="responses", streamed=streamed, usage=counts))
    cached = usage["input_tokens_details"]["cached_tokens"]
    tokens = (usage["input_tokens"] - cached) * 2_500 + cached * 250 + usage["output_tokens"] * 15_000
    assert one["cost_nano_usd"] == tokens + 10_000_000


def test_a_conversation_that_is_compacted(ways, program):
    async def use(client):
        said = [{"role": "user", "content": "What is an index?"}, {"role": "user", "content": "And a view?"}]
        short = await maybe(client.responses.compact(model="gpt-5.4", input=said))
        return short.model_dump(warnings=False)

    short = ways.through("openai").same(program(use))
    assert short["output"][-1]["type"] == "compaction"
    usage = {"input": short["usage"]["input_tokens"], "output": short["usage"]["output_tokens"]}
    ways.recorded(chat(dialect="responses", operation="compact", usage=usage))


def test_a_film_counts_once(ways, program):
    async def use(client):
        film = await maybe(client.videos.create(model="sora-2", prompt=f"A cat on a wall {ways.session}", seconds="8"))
        states = [film.status]
        while states[-1] != "completed":
            film = await maybe(client.videos.retrieve(film.id))
            states.append(film.status)
        again = await maybe(client.videos.retrieve(film.id))
        return states, again.seconds

    assert ways.through("openai").same(program(use)) == (["queued", "in_progress", "completed"], "8")
    film = {"status": "ok", "dialect": "videos", "operation": "video_generation"}
    nothing = film | {"usage_source": None, "cost_nano_usd": None}
    ways.recorded(
        nothing, nothing, film | {"usage": {"seconds": 8}, "usage_source": "reported", "cost_nano_usd": 800_000_000}, nothing
    )


@pytest.mark.parametrize("kind", [openai.AzureOpenAI, openai.AsyncAzureOpenAI], ids=["sync", "async"])
def test_azure(ways, kind, streamed):
    ways.direct_root, ways.proxied_root = ways.direct.base_url.removesuffix("/v1"), f"{ways.tapline.url}/to/azure"

    def use(way):
        async def main():
            root = ways.direct_root if way is ways.direct else ways.proxied_root
            client = kind(
                azure_endpoint=root, api_key=way.key, api_version="2025-04-01-preview", default_headers=way.headers, max_retries=0
            )
            return await asked(client, streamed, model="gpt-4o", messages=QUESTION)

        return asyncio.run(main())

    seen = ways.same(use)
    if streamed:
        assert seen[0]["choices"] == [] and seen[0]["model"] == ""
    (one,) = ways.recorded(chat(streamed=streamed, provider="azure.ai.openai", response_model="gpt-4o"))
    assert "/openai/deployments/gpt-4o/chat/completions?api-version=2025-04-01-preview" in one["target"]


def test_azure_as_openai(ways, program):
    ways.proxied = ways.through("azure").proxied.__class__(
        "proxied", f"{ways.tapline.url}/to/azure/openai/v1", PROXIED_KEY, ways.session
    )

    async def use(client):
        answer = await maybe(client.responses.create(model="gpt-5.4", input="What is an index?"))
        return answer.model_dump()

    ways.same(program(use))
    ways.recorded(chat(dialect="responses", provider="azure.ai.openai"))


def test_pictures_that_nobody_counted(ways, program):
    """A stream that asks for no usage: tapline counts the picture by its size."""
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": picture(1024, 1024)}}]

    async def use(client):
        stream = await maybe(
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": content}], stream=True)
        )
        return [chunk.model_dump() for chunk in await drain(stream)]

    ways.through("openai").same(program(use))
    (one,) = ways.recorded(chat(streamed=True, usage_source="estimated", usage={"input_image": 765}))
    (shown,) = [
        part
        for part in ways.tapline.get(f"calls/{one['id']}")["request"]["messages"][0]["parts"]
        if part["type"] == "blob"
    ]
    assert shown["extent"] == {"pixels": {"width": 1024, "height": 1024}}


def test_a_target_of_another_gateway(servers, tmp_path):
    """Helicone's header goes where the list allows it, and nowhere else."""
    direct, _ = servers
    root = direct.removesuffix("/v1")
    with serving(str(tmp_path), "--proxy-allowed-upstreams", root) as (tapline, _):
        def client(target: str) -> openai.OpenAI:
            headers = {"Helicone-Target-URL": target, "x-tapline-session": "helicone"}
            return openai.OpenAI(base_url=f"{tapline.url}/v1", api_key=PROXIED_KEY, default_headers=headers, max_retries=0)

        assert client(root).chat.completions.create(model="sim-small", messages=QUESTION).choices
        with pytest.raises(openai.PermissionDeniedError, match="helicone-target-url"):
            client("https://evil.example").chat.completions.create(model="sim-small", messages=QUESTION)


UPSTREAM = """
[upstreams.own]
url = "{url}"
provider = "openai"
key_env = "KEY_OF_OWN"
prices = "{prices}"
on_client_gone = "{gone}"
"""
PRICES = """
version = "own"
[[price]]
model = "gpt-4o"
input = 1
output = 2
"""


@pytest.mark.parametrize("gone", ["drain", "cancel"])
def test_an_upstream_with_ways_of_its_own(servers, tmp_path, gone):
    """Its key is sent in place of the client's, its prices hold there, and it says what becomes of a call that is left."""
    direct, _ = servers
    (tmp_path / "own.toml").write_text(PRICES)
    config = tmp_path / "tapline.toml"
    config.write_text(UPSTREAM.format(url=direct, prices=tmp_path / "own.toml", gone=gone))
    with serving(str(tmp_path / "data"), "--config", str(config), KEY_OF_OWN=PROXIED_KEY) as (tapline, _):
        headers = {"x-tapline-session": "own"}
        client = openai.OpenAI(base_url=f"{tapline.url}/to/own/v1", api_key="not-a-key", default_headers=headers, max_retries=0)
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)
        with client.chat.completions.create(model="gpt-4o", messages=QUESTION, **STREAMED) as stream:
            next(iter(stream))
        whole, left = tapline.wait_for_calls("own", 2)
        usage = whole["usage"]
        assert whole["cost_nano_usd"] == usage["input"] * 1_000 + usage["output"] * 2_000
        assert whole["price_id"] == "own/openai/gpt-4o@undated"
        # Left after its first chunk, it is nobody's free lunch.
        assert (left["status"], left["outcome"]) == ("cancelled", "client_gone")
        assert left["usage_source"] == ("reported" if gone == "drain" else "estimated")
        assert left["cost_nano_usd"] > 0 and left["usage"]["input"] > 0
        if gone == "drain":
            assert left["usage"]["output"] == usage["output"]


BUDGETS = """
[[budgets]]
name = "small"
limit = "0.001usd"
window = "total"
action = "stop"

[[budgets]]
name = "by-model"
model = "sim-small"
limit = "0.00003usd"
window = "total"
action = "stop"
"""


@pytest.mark.parametrize("model", ["sim-large", "sim-small"])
def test_many_calls_at_once_do_not_pass_a_budget(servers, tmp_path, model):
    direct, _ = servers
    config = tmp_path / "tapline.toml"
    config.write_text(BUDGETS)
    with serving(str(tmp_path / "data"), "--config", str(config), upstream=direct) as (tapline, _):

        async def main():
            async with openai.AsyncOpenAI(base_url=f"{tapline.url}/v1", api_key=PROXIED_KEY) as client:
                calls = [client.chat.completions.create(model=model, messages=QUESTION) for _ in range(64)]
                return await asyncio.gather(*calls, return_exceptions=True)

        answers = asyncio.run(main())
        refused = [answer for answer in answers if isinstance(answer, openai.RateLimitError)]
        passed = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert len(passed) + len(refused) == 64, [answer for answer in answers if isinstance(answer, BaseException)]
        assert 1 <= len(passed) <= 3
        assert all(error.code == "budget_exceeded" for error in refused)
        states = {state["name"]: state for state in tapline.get("budgets")["budgets"]}
        assert sum(state["refused_calls"] for state in states.values()) == len(refused)


def test_a_run_that_is_given_no_more(servers, tmp_path):
    """A loop in a run with a budget of its own is cut within one call; other runs go on."""
    direct, _ = servers
    with serving(str(tmp_path), upstream=direct) as (tapline, _):
        def loop(run: str, **headers) -> int:
            client = openai.OpenAI(base_url=f"{tapline.url}/run/{run}/v1", api_key=PROXIED_KEY, default_headers=headers)
            for made in range(40):
                try:
                    client.chat.completions.create(model="sim-large", messages=QUESTION)
                except openai.RateLimitError as error:
                    assert error.code == "budget_exceeded"
                    return made
            return 40

        made = loop("nightly", **{"x-tapline-budget": "0.002usd"})
        spent = tapline.get("costs", by="run")["totals"]["cost_nano_usd"]
        # The last one may have crossed the line, the one before it had not.
        assert 0 < made < 40 and spent >= 2_000_000 and spent - spent // made < 2_000_000
        assert loop("nightly") == 0
        assert loop("other") == 40
