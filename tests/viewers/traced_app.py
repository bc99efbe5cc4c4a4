"""An application with spans of its own: an agent that asks a model, runs a tool that asks a model, and lets a
model stream the answer. Every model call goes through tapline and carries `traceparent`; the application sends
its own spans to the viewer itself, as any instrumented application does.

Prints one JSON line: the trace's id and, for each model call, the id of the application's span around it.

    traced_app.py --tapline http://127.0.0.1:4000/v1 --otlp http://127.0.0.1:4318/v1/traces
"""

import argparse
import json

import openai
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city, now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tapline", required=True)
    arguments.add_argument("--otlp", required=True)
    arguments = arguments.parse_args()

    provider = TracerProvider(resource=Resource.create({"service.name": "weather-agent"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=arguments.otlp)))
    tracer = provider.get_tracer("weather-agent")
    client = openai.OpenAI(base_url=arguments.tapline, api_key="sk-not-a-key", max_retries=0)
    around = []

    def headers():
        """Makes the span that is open now the parent of tapline's."""
        carrier = {"x-tapline-session": "viewer-check"}
        propagate.inject(carrier)
        span = trace.get_current_span().get_span_context()
        around.append(trace.format_span_id(span.span_id))
        return carrier

    messages = [{"role": "user", "content": "What is the weather in Oslo?"}]
    with tracer.start_as_current_span("agent") as agent:
        agent.set_attribute("gen_ai.operation.name", "invoke_agent")
        agent.set_attribute("openinference.span.kind", "AGENT")
        asked = client.chat.completions.create(
            model="gpt-4o-mini", temperature=0.2, messages=messages, tools=[WEATHER], extra_headers=headers()
        )
        call = asked.choices[0].message.tool_calls[0]
        with tracer.start_as_current_span("weather") as tool:
            tool.set_attribute("gen_ai.operation.name", "execute_tool")
            tool.set_attribute("openinference.span.kind", "TOOL")
            inner = client.chat.completions.create(
                model="gpt-4o-mini",
                messages=[{"role": "user", "content": f"Make up the weather for {call.function.arguments}"}],
                extra_headers=headers(),
            )
        messages += [
            {"role": "assistant", "tool_calls": [call.model_dump()]},
            {"role": "tool", "tool_call_id": call.id, "content": inner.choices[0].message.content},
        ]
        with client.chat.completions.create(
            model="gpt-4o-mini",
            messages=messages,
            tools=[WEATHER],
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=headers(),
        ) as stream:
            for _ in stream:
                pass
        with tracer.start_as_current_span("fallback"):
            try:
                client.chat.completions.create(model="broken", messages=messages[:1], extra_headers=headers())
            except openai.RateLimitError:
                pass
        context = agent.get_span_context()
    provider.shutdown()
    print(json.dumps({"trace": trace.format_trace_id(context.trace_id), "around": around}))


if __name__ == "__main__":
    main()
