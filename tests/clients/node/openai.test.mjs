// openai-node: the same program, direct and through tapline, sees the same; and tapline has recorded it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { all, recorded, same, stable } from "./ways.mjs";

const QUESTION = [
  { role: "system", content: "Answer in one sentence." },
  { role: "user", content: "What is a write-ahead log?" },
];

test("a plain completion", async () => {
  const { saw, session } = await same((client) =>
    client.chat.completions.create({ model: "sim-small", messages: QUESTION }),
  );
  const [call] = await recorded(session, { status: "ok", http_status: 200, streamed: false, response_id: saw.id });
  assert.equal(call.usage.input, saw.usage.prompt_tokens);
  assert.equal(call.usage.output, saw.usage.completion_tokens);
});

test("bytes and headers", async () => {
  const { saw, session } = await same(async (client) => {
    const response = await client.chat.completions.create({ model: "sim-small", messages: QUESTION }).asResponse();
    return { headers: stable(response.headers), body: await response.text() };
  });
  await recorded(session, { status: "ok", received_bytes: Buffer.byteLength(saw.body) });
});

test("a stream", async () => {
  const { saw, session } = await same(async (client) =>
    all(
      await client.chat.completions.create({
        model: "sim-large",
        messages: QUESTION,
        stream: true,
        stream_options: { include_usage: true },
      }),
    ),
  );
  const [call] = await recorded(session, { status: "ok", streamed: true, usage_source: "reported" });
  assert.equal(call.usage.output, saw.at(-1).usage.completion_tokens);
});

test("the stream helper with a tool call", async () => {
  const { saw, session } = await same(async (client) => {
    const stream = client.chat.completions.stream({
      model: "sim-small",
      messages: [{ role: "user", content: "What is the weather in Oslo?" }],
      tools: [
        {
          type: "function",
          function: {
            name: "get_weather",
            parameters: { type: "object", properties: { city: { type: "string" } } },
          },
        },
      ],
    });
    return stream.finalChatCompletion();
  });
  assert.equal(saw.choices[0].message.tool_calls[0].function.arguments, '{"city":"Oslo"}');
  await recorded(session, { status: "ok", streamed: true, tool_calls: 1, finish_reasons: ["tool_calls"] });
});

test("responses, plain and as events", async () => {
  const { saw, session } = await same(async (client) => [
    await client.responses.create({ model: "sim-small", input: "What is an index?" }),
    await all(await client.responses.create({ model: "sim-small", input: "What is a view?", stream: true })),
  ]);
  assert.equal(saw[1].at(-1).type, "response.completed");
  await recorded(
    session,
    { status: "ok", dialect: "responses", streamed: false },
    { status: "ok", dialect: "responses", streamed: true },
  );
});

test("embeddings", async () => {
  const { saw, session } = await same((client) => client.embeddings.create({ model: "sim-embed", input: ["a", "b"] }));
  assert.equal(saw.data.length, 2);
  await recorded(session, { status: "ok", operation: "embeddings" });
});

for (const [model, script, status, kind] of [
  ["no-such-model", "", 404, "NotFoundError"],
  ["sim-small", "status=400", 400, "BadRequestError"],
  ["sim-small", "status=429;retry_after=3", 429, "RateLimitError"],
  ["sim-small", "status=500", 500, "InternalServerError"],
]) {
  test(`an error of the upstream: ${kind}`, async () => {
    const { raised, session } = await same((client) =>
      client.chat.completions.create({ model, messages: QUESTION }, { headers: { "x-simulate": script } }),
    );
    assert.equal(raised.class, kind);
    assert.equal(raised.status, status);
    const source = status < 500 && status !== 408 && status !== 429 ? "client" : "upstream";
    await recorded(session, { status: "error", http_status: status, error_source: source });
  });
}

test("a wrong key", async () => {
  const { raised, session } = await same(
    (client) => client.chat.completions.create({ model: "sim-small", messages: QUESTION }),
    { apiKey: "sk-wrong-0123456789" },
  );
  assert.equal(raised.class, "AuthenticationError");
  await recorded(session, { status: "error", http_status: 401 });
});

test("retries are the client's own and each is a call", async () => {
  const { saw, session } = await same(
    (client) =>
      client.chat.completions.create(
        { model: "sim-small", messages: QUESTION },
        { headers: { "x-simulate": "status=429;retry_after=0.01;times=1" } },
      ),
    { maxRetries: 2 },
  );
  assert.ok(saw.choices[0].message.content);
  await recorded(session, { status: "error", retry_count: 0 }, { status: "ok", retry_count: 1 });
});

test("an error inside the stream", async () => {
  const { raised, session } = await same(async (client) =>
    all(
      await client.chat.completions.create(
        { model: "sim-small", messages: QUESTION, stream: true },
        { headers: { "x-simulate": "error_after=4" } },
      ),
    ),
  );
  assert.equal(raised.class, "APIError");
  await recorded(session, { status: "error", http_status: 200, streamed: true, error_source: "upstream" });
});

test("a stream that is cut is not taken for an end", async () => {
  const { saw, session } = await same(async (client) => {
    const stream = await client.chat.completions.create(
      { model: "sim-small", messages: QUESTION, stream: true },
      { headers: { "x-simulate": "cut_after=4;chunk_ms=10" } },
    );
    let seen = 0;
    try {
      for await (const _ of stream) seen += 1;
    } catch (error) {
      return { seen, class: error.constructor.name, message: error.message };
    }
    return { seen };
  });
  assert.equal(saw.seen, 4);
  assert.ok(saw.class, "the program must meet an error");
  await recorded(session, { status: "error", outcome: "upstream_failed", streamed: true });
});

test("a client that aborts", async () => {
  const { saw, session } = await same(async (client) => {
    const stream = await client.chat.completions.create(
      { model: "sim-small", messages: QUESTION, stream: true },
      { headers: { "x-simulate": "tokens=2000;chunk_ms=10" } },
    );
    const pieces = [];
    for await (const chunk of stream) {
      pieces.push(chunk.choices[0].delta.content);
      if (pieces.length === 5) stream.controller.abort();
    }
    return pieces.slice(0, 5);
  });
  assert.equal(saw.length, 5);
  await recorded(session, { status: "cancelled", outcome: "client_gone", streamed: true });
});
