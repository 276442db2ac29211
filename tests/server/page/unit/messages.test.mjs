import assert from "node:assert/strict";
import { test } from "node:test";

import { applyChunk, newAnswer, ServerError, usedTokens } from "../../../../localllm/server/page/answer.js";
import { canLeaveOut, cutFrom, fromFile, leaveOutOldest, newConversation, toFile, touch } from "../../../../localllm/server/page/conversation.js";
import { explain, explainFinish } from "../../../../localllm/server/page/explain.js";
import { FIELDS, checkSettings, readField, showField } from "../../../../localllm/server/page/fields.js";
import { period, statistics, titleOf } from "../../../../localllm/server/page/format.js";
import { highlight } from "../../../../localllm/server/page/highlight.js";
import { requestBody } from "../../../../localllm/server/page/request.js";

const delta = (fields, more = {}) => ({ choices: [{ index: 0, delta: fields, ...more }] });

test("chunks become a message", () => {
  const message = newAnswer("m");
  const chunks = [
    delta({ role: "assistant", content: "" }),
    { choices: [], prompt_progress: { total: 10, processed: 5, cache: 0, time_ms: 1 } },
    delta({ reasoning_content: "so " }),
    delta({ reasoning_content: "then" }),
    delta({ content: "a" }, { logprobs: { content: [{ token: "a", logprob: -0.5, top_logprobs: [{ token: "b", logprob: -1 }] }] } }),
    delta({ tool_calls: [{ index: 0, id: "c", function: { name: "f", arguments: "" } }] }),
    delta({ tool_calls: [{ index: 0, function: { arguments: '{"x":' } }] }),
    delta({ tool_calls: [{ index: 0, function: { arguments: "1}" } }] }),
    delta({}, { finish_reason: "tool_calls" }),
    { choices: [], usage: { total_tokens: 12 }, timings: { predicted_n: 3 } },
    {},
  ];
  for (const chunk of chunks) applyChunk(message, chunk);
  assert.deepEqual(message, {
    role: "assistant", content: "a", model: "m", reasoning: "so then", finish: "tool_calls",
    progress: { total: 10, processed: 5, cache: 0, time_ms: 1 },
    logprobs: [["a", -0.5, [["b", -1]]]],
    toolCalls: [{ id: "c", name: "f", arguments: '{"x":1}' }],
    usage: { total_tokens: 12 }, timings: { predicted_n: 3 },
  });
  assert.equal(usedTokens(message), 12);
  assert.equal(usedTokens({ timings: { cache_n: 1, prompt_n: 2, predicted_n: 3 } }), 6);
});

test("bytes of a character that tokens share are shown by their numbers", () => {
  const message = newAnswer("");
  applyChunk(message, delta({ content: "" }, { logprobs: { content: [{ token: "\uFFFD", bytes: [226, 130], logprob: 0 }] } }));
  assert.deepEqual(message.logprobs, [["\\xe2\\x82", 0, []]]);
});

test("an error in the middle of a stream", () => {
  const error = { message: "no room", type: "server_error", code: 500 };
  assert.throws(() => applyChunk(newAnswer(""), { error }), (thrown) => thrown instanceof ServerError && thrown.message === "no room" && thrown.status === 500);
});

test("a body holds what is set and nothing else", () => {
  const conversation = newConversation("m", {});
  conversation.messages.push({ role: "user", content: "hi" }, newAnswer("m"));
  assert.deepEqual(requestBody(conversation), {
    model: "m", messages: [{ role: "user", content: "hi" }], stream: true, stream_options: { include_usage: true }, return_progress: true,
  });
  conversation.settings = { system: "S", temperature: 0, thinking: "on", thinking_budget: 5, logprobs: 0, schema: "{}", tools: "[]" };
  const body = requestBody(conversation);
  assert.equal(body.messages[0].content, "S");
  assert.equal(body.temperature, 0);
  assert.deepEqual(body.chat_template_kwargs, { enable_thinking: true });
  assert.deepEqual([body.logprobs, body.top_logprobs, body.thinking_budget_tokens], [true, 0, 5]);
  assert.deepEqual([body.response_format.json_schema.schema, body.tools], [{}, []]);
});

test("messages that are left out or were not answered are not sent; one that is continued is", () => {
  const conversation = newConversation("m", {});
  conversation.messages = [
    { role: "user", content: "1" }, { role: "assistant", content: "old" },
    { role: "user", content: "failed" }, { role: "assistant", content: "", error: { text: "no" } }, { role: "user", content: "2" },
    { role: "assistant", content: "x", reasoning: "r", toolCalls: [{ id: "c", name: "f", arguments: "{}" }] },
    { role: "tool", content: "t", toolCallId: "c" }, { role: "assistant", content: "half" },
  ];
  conversation.from = 2;
  const { messages, continue_final_message: goesOn } = requestBody(conversation, { prefill: true });
  assert.deepEqual(messages, [
    { role: "user", content: "2" },
    { role: "assistant", content: "x", reasoning_content: "r", tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: "{}" } }] },
    { role: "tool", content: "t", tool_call_id: "c" },
    { role: "assistant", content: "half" },
  ]);
  assert.equal(goesOn, true);
});

test("the oldest messages are left out by halves, and the last question stays", () => {
  const conversation = newConversation("m", {});
  for (let turn = 0; turn < 4; turn += 1) conversation.messages.push({ role: "user", content: `${turn}` }, { role: "assistant", content: "" });
  const starts = [];
  while (canLeaveOut(conversation)) {
    leaveOutOldest(conversation);
    starts.push(conversation.from);
  }
  assert.deepEqual(starts, [4, 6]);
  cutFrom(conversation, 2);
  assert.deepEqual([conversation.messages.length, conversation.from], [2, 2]);
});

test("conversations go into a file and come back", () => {
  const conversation = newConversation("m", { seed: 3, stop: ["a"] });
  conversation.messages = [
    { role: "user", content: "hi" },
    { role: "assistant", content: "x", reasoning: "r", finish: "stop", logprobs: [["x", -1, [["y", -2]]]], usage: { a: 1, b: { c: 2 } }, timings: { d: 3 } },
  ];
  touch(conversation);
  const [back] = fromFile(toFile([conversation]));
  assert.notEqual(back.id, conversation.id);
  assert.deepEqual({ ...back, id: 0 }, { ...conversation, id: 0 });
});

test("what a file should not hold is left out", () => {
  const message = { role: "user", content: "x", logprobs: [["<img>"]], usage: { a: "text" }, error: 3, onclick: "x", __proto__: null };
  const [back] = fromFile(JSON.stringify({ format: "localllm conversations", conversations: [{ messages: [message], settings: { seed: -1, evil: 1, top_p: 0.5 }, from: 9 }] }));
  assert.deepEqual(back.messages, [{ role: "user", content: "x" }]);
  assert.deepEqual([back.settings, back.from, back.title], [{ top_p: 0.5 }, 0, "New chat"]);
});

test("settings are read and shown", () => {
  const field = (name) => FIELDS.find((each) => each.name === name);
  assert.equal(readField(field("seed"), " "), undefined);
  assert.equal(readField(field("temperature"), "0.25"), 0.25);
  assert.deepEqual(readField(field("stop"), "a\n\nb"), ["a", "b"]);
  assert.equal(showField(["a", "b"]), "a\nb");
  for (const [name, text, told] of [["seed", "1.5", /whole number/], ["top_p", "2", /between 0 and 1/], ["seed", "x", /no number/], ["schema", "{", /JSON schema: /], ["schema", "[]", /JSON object/], ["tools", "{}", /JSON list/]])
    assert.throws(() => readField(field(name), text), told);
  assert.deepEqual(checkSettings(null), {});
});

test("an answer that was cut says so, whether the size of the context is known or not", () => {
  const cut = { finish: "length", usage: { total_tokens: 64 } };
  assert.match(explainFinish(cut, 0), /^The answer was cut: it reached its longest length, or the context is full\.$/);
  assert.match(explainFinish(cut, 64), /^The context is full/);
  assert.match(explainFinish(cut, 65), /^The answer reached its longest length\.$/);
  assert.match(explainFinish({ finish: "length" }, 0), /^The answer was cut/);
  assert.equal(explainFinish({ finish: "stop" }, 0), "");
});

test("errors are explained", () => {
  const full = new ServerError("too long", { status: 400, kind: "exceed_context_size_error", details: { n_prompt_tokens: 5000, n_ctx: 4096 } });
  assert.equal(explain(full).text, "The conversation has 5,000 tokens, the context holds 4,096.");
  assert.equal(explain(full).kind, "context");
  assert.equal(explain(new ServerError("no key", { status: 401 })).kind, "key");
  assert.deepEqual(explain(new Error("odd!")), { text: "Odd!", advice: "", kind: "" });
});

test("statistics and titles", () => {
  const timings = { cache_n: 800, prompt_n: 1, prompt_per_second: 350.4, predicted_n: 1, predicted_ms: 61_000, predicted_per_second: 12.34 };
  assert.deepEqual(statistics({ timings }), ["12.3 tokens/s", "1 token in 1 min 1 s", "prompt: 1 token read at 350/s, 800 known before"]);
  assert.deepEqual(statistics({ usage: { completion_tokens: 5, prompt_tokens: 7 } }), ["5 tokens", "prompt: 7 tokens"]);
  assert.deepEqual(statistics({}), []);
  assert.equal(titleOf("  **What** is it?\nmore"), "What is it?");
  assert.equal(titleOf("x".repeat(100)).length, 60);
  assert.equal(titleOf("\n"), "New chat");
  const now = new Date(2026, 5, 15, 12).getTime();
  assert.deepEqual([0, 1, 3, 20, 90].map((days) => period(now - days * 86_400_000, now)), ["Today", "Yesterday", "Last 7 days", "Last 30 days", "Older"]);
});

test("code is coloured without a letter lost", () => {
  const pieces = highlight('def f(x):  # note\n    return "a\\"b" + 1.5', "python");
  assert.deepEqual(pieces.filter(([kind]) => kind), [["keyword", "def"], ["comment", "# note"], ["keyword", "return"], ["text", '"a\\"b"'], ["number", "1.5"]]);
  for (const text of ['"open', "/* open", "`a", "'", "x = '''\n", "<script>&amp;"])
    for (const language of ["js", "py", "sql", "unknown", ""]) assert.equal(highlight(text, language).map(([, piece]) => piece).join(""), text);
});
