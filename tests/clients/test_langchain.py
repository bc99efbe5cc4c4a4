"""LangChain's ChatOpenAI and OpenAIEmbeddings."""

from conftest import Way
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


def options(way: Way, **extra) -> dict:
    return {"base_url": way.base_url, "api_key": way.key, "default_headers": way.headers, "max_retries": 0} | extra


def chat(way: Way, **extra) -> ChatOpenAI:
    return ChatOpenAI(model="sim-small", **options(way, **extra))


def seen(message) -> dict:
    # LangChain mints an id for a run; everything else is the answer.
    return message.model_dump(exclude={"id"})


def test_invoke(ways):
    answer = ways.same(lambda way: seen(chat(way).invoke("What is an index?")))
    counts = answer["usage_metadata"]
    ways.recorded(
        {"status": "ok", "operation": "chat", "streamed": False,
         "usage": {"input": counts["input_tokens"], "output": counts["output_tokens"]}}
    )  # fmt: skip


def test_stream(ways):
    pieces = ways.same(
        lambda way: [seen(piece) for piece in chat(way, stream_usage=True).stream("What is an index?")]
    )
    assert len(pieces) > 5
    ways.recorded({"status": "ok", "operation": "chat", "streamed": True, "usage_source": "reported"})


def test_tools(ways):
    @tool
    def get_weather(city: str) -> str:
        """The current weather of a city."""
        return f'{{"city": "{city}", "celsius": 4}}'

    def program(way: Way):
        model = chat(way).bind_tools([get_weather])
        messages = [HumanMessage("What is the weather in Oslo?")]
        asked = model.invoke(messages)
        messages.append(asked)
        for call in asked.tool_calls:
            messages.append(ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]))
        return [call["args"] for call in asked.tool_calls], seen(model.invoke(messages))

    arguments, answer = ways.same(program)
    assert arguments == [{"city": "Oslo"}] and "celsius is 4" in answer["content"]
    ways.recorded({"status": "ok", "tool_calls": 1}, {"status": "ok", "tool_calls": 0})


def test_structured_output(ways):
    schema = {
        "title": "Verdict",
        "type": "object",
        "properties": {"summary": {"type": "string"}, "score": {"type": "integer"}},
        "required": ["summary", "score"],
    }
    verdict = ways.same(lambda way: chat(way).with_structured_output(schema).invoke("Judge the index."))
    assert set(verdict) == {"summary", "score"}
    ways.recorded({"status": "ok", "operation": "chat"})


def test_embeddings(ways):
    def program(way: Way):
        # Token arrays need the model's own encoding; the simulator's model has none.
        embeddings = OpenAIEmbeddings(model="sim-embed", check_embedding_ctx_length=False, **options(way))
        return embeddings.embed_documents(["one", "two"]), embeddings.embed_query("one")

    documents, query = ways.same(program)
    assert documents[0] == query
    ways.recorded({"status": "ok", "operation": "embeddings"}, {"status": "ok", "operation": "embeddings"})
