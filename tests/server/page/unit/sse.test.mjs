import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser, readEvents } from "../../../../localllm/server/page/sse.js";

const STREAM = ': comment\ndata: {"a": 1}\n\nevent: x\r\nid: 3\r\ndata:two\r\ndata: lines\r\n\r\ndata\n\ndata: [DONE]\n\n';
const EVENTS = ['{"a": 1}', "two\nlines", "", "[DONE]"];

test("events, however the text is cut", () => {
  for (let size = 1; size <= STREAM.length; size += 1) {
    const parser = new EventParser();
    const found = [];
    for (let at = 0; at < STREAM.length; at += size) found.push(...parser.push(STREAM.slice(at, at + size)));
    assert.deepEqual([...found, ...parser.finish()], EVENTS, `pieces of ${size}`);
  }
});

test("a byte order mark is skipped, and an event at the end needs no empty line", () => {
  const parser = new EventParser();
  assert.deepEqual(parser.push("\uFEFFdata: x"), []);
  assert.deepEqual(parser.finish(), ["x"]);
});

test("characters that are cut between two pieces of a stream", async () => {
  const bytes = new TextEncoder().encode("data: grüße 🌍\n\n");
  const stream = new ReadableStream({
    start(controller) {
      for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
      controller.close();
    },
  });
  const found = [];
  for await (const data of readEvents(stream)) found.push(data);
  assert.deepEqual(found, ["grüße 🌍"]);
});

test("a reader that leaves cancels the stream", async () => {
  let cancelled = false;
  const stream = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode("data: 1\n\ndata: 2\n\n")),
    cancel: () => {
      cancelled = true;
    },
  });
  for await (const data of readEvents(stream)) {
    assert.equal(data, "1");
    break;
  }
  assert.ok(cancelled);
});
