"""Agents that name no session: what openai-python, anthropic-python and LangChain resend is enough to find them by."""

import threading

import anthropic
import openai
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from servers import PROXIED_KEY, serving

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SYSTEM = "You plan journeys. Look up the weather before you advise. " * 5


def openai_agent(base_url: str, city: str) -> None:
    """Three questions; a tool's result is sent back before each goes on."""
    client = openai.OpenAI(base_url=base_url, api_key=PROXIED_KEY, max_retries=0)
    messages: list = [{"role": "system", "content": SYSTEM}]
    for question in (f"What is the weather in {city}?", "What shall I pack?", "Thank you. Anything else?"):
        messages.append({"role": "user", "content": question})
        answer = client.chat.completions.create(model="sim-small", messages=messages, tools=[TOOL])
        said = answer.choices[0].message
        messages.append(said)
        if said.tool_calls:
            for call in said.tool_calls:
                messages.append(
                    {"role": "tool", "tool_call_id": call.id, "content": f'{{"city": "{city}", "celsius": 4}}'}
                )
            answer = client.chat.completions.create(model="sim-small", messages=messages, tools=[TOOL])
            messages.append(answer.choices[0].message)


def langchain_agent(base_url: str, city: str) -> None:
    @tool
    def get_weather(city: str) -> str:
        """The current weather of a city."""
        return f'{{"city": "{city}", "celsius": 7}}'

    model = ChatOpenAI(model="sim-small", base_url=base_url, api_key=PROXIED_KEY, max_retries=0)
    model = model.bind_tools([get_weather])
    messages: list = [SystemMessage(SYSTEM)]
    for question in (f"What is the weather in {city}?", "What shall I pack?"):
        messages.append(HumanMessage(question))
        answer = model.invoke(messages)
        messages.append(answer)
        while answer.tool_calls:
            for call in answer.tool_calls:
                messages.append(ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]))
            answer = model.invoke(messages)
            messages.append(answer)


def test_agents_that_run_at_once_are_a_session_each(servers, tmp_path):
    direct, _ = servers
    with serving(str(tmp_path), upstream=direct) as (tapline, _):
        programs = [(openai_agent, "Oslo"), (openai_agent, "Rome"), (langchain_agent, "Lima"), (langchain_agent, "Oslo")]
        threads = [threading.Thread(target=agent, args=(f"{tapline.url}/v1", city)) for agent, city in programs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sessions = tapline.get("sessions")["sessions"]
        calls = {call["id"]: call for call in tapline.get("calls", limit=1000)["calls"]}
        assert len(sessions) == len(programs), sessions
        assert all(session["inferred"] for session in sessions)
        seen = 0
        for session in sessions:
            steps = tapline.get(f"sessions/{session['id']}")["steps"]
            # One line of turns: each goes on from the one before it.
            assert [step["link"] and step["link"]["parent"] for step in steps[1:]] == [step["id"] for step in steps[:-1]]
            assert steps[0]["link"] is None
            last = steps[-1]["id"]
            lines = tapline.get(f"calls/{last}/blame")["lines"]
            brought = [line["introduced_by"] for line in lines]
            assert set(brought) <= {step["id"] for step in steps} and brought[-1] == last
            log = tapline.get(f"sessions/{session['id']}/log")["entries"]
            cities = {city for city in ("Oslo", "Rome", "Lima") if f"in {city}?" in str(log[0]["added"])}
            assert len(cities) == 1 and all(calls[step["id"]]["session"] == session["id"] for step in steps)
            seen += len(steps)
        assert seen == len(calls)


def responses_agent(base_url: str, city: str) -> None:
    """Each turn names the response before it and sends nothing again."""
    client = openai.OpenAI(base_url=base_url, api_key=PROXIED_KEY, max_retries=0)
    before = None
    for question in (f"What grows in {city}?", "Go on.", "Go on."):
        answer = client.responses.create(
            model="sim-small", instructions=SYSTEM, input=question, previous_response_id=before
        )
        before = answer.id


def streaming_agent(base_url: str, city: str) -> None:
    """Resends the items that came back, streamed."""
    client = openai.OpenAI(base_url=base_url, api_key=PROXIED_KEY, max_retries=0)
    items: list = []
    for question in (f"What is built in {city}?", "Go on.", "Go on."):
        items.append({"role": "user", "content": question})
        with client.responses.stream(model="sim-small", instructions=SYSTEM, input=items) as stream:
            answer = stream.get_final_response()
        items += [item.model_dump(exclude_none=True) for item in answer.output]


def test_responses_are_found_by_their_id_and_by_their_items(servers, tmp_path):
    direct, _ = servers
    with serving(str(tmp_path), upstream=direct) as (tapline, _):
        url = f"{tapline.url}/v1"
        for agent, city in ((responses_agent, "Oslo"), (responses_agent, "Oslo"), (streaming_agent, "Oslo")):
            agent(url, city)
        client = openai.OpenAI(base_url=url, api_key=PROXIED_KEY, max_retries=0)
        client.responses.create(model="sim-small", input="Hello.", conversation="conv_of_a_caller")
        sessions = tapline.get("sessions")["sessions"]
        assert sorted(session["calls"] for session in sessions) == [1, 3, 3, 3], sessions
        (named,) = [session for session in sessions if not session["inferred"]]
        assert named["id"] == "conv_of_a_caller"
        rules = set()
        for session in sessions:
            steps = tapline.get(f"sessions/{session['id']}")["steps"]
            assert [step["link"] and step["link"]["parent"] for step in steps[1:]] == [step["id"] for step in steps[:-1]]
            rules |= {step["link"]["rule"] for step in steps[1:]}
            log = tapline.get(f"sessions/{session['id']}/log")["entries"]
            assert [len(entry["added"]) for entry in log[1:]] == [1] * (len(steps) - 1), log
        assert rules == {"previous_response_id", "shared prefix"}


def test_what_anthropic_is_asked_to_cache_is_in_the_ledger(servers, tmp_path):
    direct, _ = servers
    with serving(str(tmp_path), f"--upstreams=anthropic={direct}") as (tapline, _):
        client = anthropic.Anthropic(
            base_url=f"{tapline.url}/to/anthropic", api_key=PROXIED_KEY, max_retries=0
        )
        text = "You plan journeys, and you know each town by its wells. " * 160
        messages: list = []
        for question, simulate in (("Where to?", ""), ("And then?", ""), ("And last?", "cache_miss")):
            messages.append(
                {"role": "user", "content": [{"type": "text", "text": question, "cache_control": {"type": "ephemeral"}}]}
            )
            answer = client.messages.create(
                model="claude-sonnet-4-6",
                max_tokens=300,
                system=[{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}],
                messages=messages,
                extra_headers={"x-simulate": simulate},
            )
            # Only the newest turn is marked, as agents do it.
            del messages[-1]["content"][0]["cache_control"]
            messages.append({"role": "assistant", "content": [block.model_dump() for block in answer.content]})
        (session,) = tapline.get("sessions")["sessions"]
        steps = tapline.get(f"sessions/{session['id']}")["steps"]
        assert [step["link"] and step["link"]["kind"] for step in steps] == [None, "next_turn", "next_turn"]
        ledger = [tapline.get(f"calls/{step['id']}")["cache"] for step in steps]
        assert [entry["cause"] for entry in ledger] == [None, None, "provider"], ledger
        assert ledger[2]["missed_tokens"] > 1024 and ledger[2]["lost_nano_usd"] > 0
        assert session["missed_tokens"] == ledger[2]["missed_tokens"]
