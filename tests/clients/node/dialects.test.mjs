// openai-node and Anthropic's client: the dialects beside chat, direct and through tapline.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { toFile } from "openai";
import { WebSocket } from "ws";
import { ANY, all, recorded, same } from "./ways.mjs";

const free = { status: "ok", cost_nano_usd: null, usage_source: null };

test("images, whole and as events", async () => {
  const { saw, session } = await same(
    async (client) => [
      await client.images.generate({ model: "gpt-image-1", prompt: "a red fox" }),
      await all(
        await client.images.generate({ model: "gpt-image-1", prompt: "a fox", stream: true, partial_images: 1 }),
      ),
    ],
    { upstream: "openai" },
  );
  const calls = await recorded(
    session,
    { status: "ok", dialect: "images", usage_source: "reported" },
    { status: "ok", dialect: "images", streamed: true, chunks: 2 },
  );
  assert.equal(calls[0].usage.output_image, saw[0].usage.output_tokens);
});

test("speech and its transcription", async () => {
  const { saw, session } = await same(
    async (client) => {
      const speech = await client.audio.speech.create({ model: "gpt-4o-mini-tts", voice: "alloy", input: "Hello." });
      const sound = Buffer.from(await speech.arrayBuffer());
      const file = await toFile(sound, "talk.wav", { type: "audio/wav" });
      const events = await client.audio.transcriptions.create({ model: "gpt-4o-transcribe", file, stream: true });
      return [sound.length, await all(events)];
    },
    { upstream: "openai" },
  );
  const calls = await recorded(
    session,
    { status: "ok", dialect: "speech", received_bytes: saw[0], cost_nano_usd: ANY },
    { status: "ok", dialect: "transcriptions", streamed: true, usage_source: "reported" },
  );
  assert.equal(calls[1].usage.output, saw[1].at(-1).usage.output_tokens);
});

test("a batch is priced once", async () => {
  const question = `What is ${randomUUID()}?`;
  const { saw, session } = await same(
    async (client) => {
      const body = { model: "gpt-4o-mini", messages: [{ role: "user", content: question }] };
      const line = JSON.stringify({ custom_id: "1", method: "POST", url: "/v1/chat/completions", body });
      const file = await client.files.create({ file: await toFile(Buffer.from(line), "in.jsonl"), purpose: "batch" });
      let batch = await client.batches.create({
        input_file_id: file.id,
        endpoint: "/v1/chat/completions",
        completion_window: "24h",
      });
      while (batch.status !== "completed") batch = await client.batches.retrieve(batch.id);
      const results = await client.files.content(batch.output_file_id);
      return [batch.usage, await results.text()];
    },
    { upstream: "openai" },
  );
  const calls = await recorded(session, free, free, free, { status: "ok", service_tier: "batch" }, free);
  assert.equal(calls[3].usage.input, saw[0].input_tokens);
});

test("a response in the background counts once", async () => {
  const input = `What is ${randomUUID()}?`;
  const { saw, session } = await same(async (client) => {
    let response = await client.responses.create({ model: "sim-small", input, background: true });
    const states = [response.status];
    while (response.status !== "completed") {
      response = await client.responses.retrieve(response.id);
      states.push(response.status);
    }
    return [states, (await client.responses.retrieve(response.id)).usage];
  });
  assert.deepEqual(saw[0], ["queued", "in_progress", "completed"]);
  const calls = await recorded(session, free, free, { status: "ok", usage_source: "reported" }, free);
  assert.equal(calls[2].usage.output, saw[1].output_tokens);
});

test("moderations", async () => {
  const { saw, session } = await same((client) => client.moderations.create({ input: "I hate this" }));
  assert.ok(saw.results[0].flagged);
  // OpenAI asks nothing for them: known to be zero, which is not unknown.
  await recorded(session, { ...free, dialect: "moderations", cost_nano_usd: 0 });
});

// openai-node opens Realtime sessions by `wss:` only; what it would send goes through `ws` here.
test("a realtime session", async () => {
  const { saw, session } = await same(
    (client) =>
      new Promise((resolve, reject) => {
        const url = `${client.baseURL.replace(/^http/, "ws")}/realtime?model=gpt-realtime`;
        const headers = { ...client._options.defaultHeaders, authorization: `Bearer ${client.apiKey}` };
        const socket = new WebSocket(url, { headers });
        const send = (event) => socket.send(JSON.stringify(event));
        const seen = [];
        const content = [{ type: "input_text", text: "What is an index?" }];
        socket.on("open", () => {
          send({ type: "session.update", session: { type: "realtime", output_modalities: ["text"] } });
          send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
          send({ type: "response.create" });
        });
        socket.on("message", (message) => {
          seen.push(JSON.parse(message));
          if (seen.at(-1).type === "response.done") socket.close();
        });
        socket.on("error", reject);
        socket.on("close", (code) => resolve([code, seen]));
      }),
    { upstream: "openai" },
  );
  const [, events] = saw;
  assert.equal(events[0].type, "session.created");
  const [call] = await recorded(session, { status: "ok", http_status: 101, dialect: "realtime" });
  const { usage } = events.at(-1).response;
  assert.equal(call.usage.input, usage.input_tokens);
  assert.equal(call.usage.output, usage.output_tokens);
});

test("Anthropic: a message, and a stream that thinks", async () => {
  const messages = [{ role: "user", content: "What is an index?" }];
  const { saw, session } = await same(
    async (client) => {
      const plain = await client.messages.create({ model: "claude-sonnet-4-6", max_tokens: 200, messages });
      const thinking = { type: "enabled", budget_tokens: 1024 };
      const stream = client.messages.stream({ model: "claude-sonnet-4-6", max_tokens: 2000, messages, thinking });
      return [plain, await stream.finalMessage()];
    },
    { upstream: "anthropic", Client: Anthropic, Failure: Anthropic.AnthropicError },
  );
  const calls = await recorded(
    session,
    { status: "ok", dialect: "messages", streamed: false },
    { status: "ok", dialect: "messages", streamed: true },
  );
  assert.equal(saw[1].content[0].type, "thinking");
  saw.forEach((message, index) => assert.equal(calls[index].usage.output, message.usage.output_tokens));
});

test("Anthropic: an error of the upstream", async () => {
  const { raised, session } = await same(
    (client) =>
      client.messages.create(
        { model: "claude-sonnet-4-6", max_tokens: 9, messages: [{ role: "user", content: "Hi" }] },
        { headers: { "x-simulate": "status=529" } },
      ),
    { upstream: "anthropic", Client: Anthropic, Failure: Anthropic.AnthropicError },
  );
  assert.equal(raised.status, 529);
  await recorded(session, { status: "error", http_status: 529, error_type: "overloaded_error" });
});
