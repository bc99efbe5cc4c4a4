// One program both ways, direct and through tapline; and what tapline recorded of it.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import OpenAI from "openai";

const { DIRECT_URL, TAPLINE_URL, DIRECT_KEY, PROXIED_KEY } = process.env;
// What differs from one answer to the next, proxy or not.
const VOLATILE = new Set(["date", "request-id", "x-request-id", "openai-processing-ms"]);

export const stable = (headers) => [...headers].filter(([name]) => !VOLATILE.has(name));

function describe(error) {
  return {
    class: error.constructor.name,
    message: error.message,
    status: error.status,
    code: error.code,
    type: error.type,
    param: error.param,
    headers: error.headers && stable(error.headers),
    hasRequestId: Boolean(error.requestID),
  };
}

/** Runs `program(client)` both ways (proxied through `upstream`, where one is named); it sees the same, or fails the same. */
export async function same(program, { Client = OpenAI, Failure = OpenAI.OpenAIError, upstream, ...options } = {}) {
  const session = `node ${randomUUID()}`;
  const run = async (baseURL, apiKey) => {
    const client = new Client({
      baseURL,
      apiKey,
      maxRetries: 0,
      defaultHeaders: { "x-tapline-session": session },
      ...options,
    });
    try {
      return { saw: await program(client) };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return { raised: describe(error) };
    }
  };
  // Anthropic's client puts the version of the API into its paths.
  const base = (url) => (Client === OpenAI ? `${url}/v1` : url);
  const direct = await run(base(DIRECT_URL.replace(/\/v1$/, "")), DIRECT_KEY);
  const proxied = await run(base(upstream ? `${TAPLINE_URL}/to/${upstream}` : TAPLINE_URL), PROXIED_KEY);
  assert.deepEqual(proxied, direct);
  return { ...direct, session };
}

/** A field's value that does not matter. */
export const ANY = Symbol("any");

/** Exactly these calls were recorded, oldest first; each has (at least) these fields. */
export async function recorded(session, ...expected) {
  const deadline = Date.now() + 20_000;
  let calls;
  do {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const answer = await fetch(`${TAPLINE_URL}/api/v1/calls?${new URLSearchParams({ session, limit: 1000 })}`);
    assert.equal(answer.status, 200);
    calls = (await answer.json()).calls;
  } while (calls.length < expected.length && Date.now() < deadline);
  calls.sort((one, other) => (one.started_at < other.started_at ? -1 : 1));
  assert.equal(calls.length, expected.length);
  expected.forEach((wanted, index) => {
    const call = calls[index];
    for (const [name, value] of Object.entries(wanted)) if (value !== ANY) assert.deepEqual(call[name], value, name);
    if (call.status === "ok" && !("cost_nano_usd" in wanted)) assert.notEqual(call.cost_nano_usd, null);
  });
  return calls;
}

export async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}
