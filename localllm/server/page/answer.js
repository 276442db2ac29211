// Chunks of a streamed chat completion to a message (https://platform.openai.com/docs/api-reference/chat-streaming;
// reasoning_content, timings and prompt_progress as llama.cpp's server has them).

/** An error that the server told of, or the lack of an answer. */
export class ServerError extends Error {
  /** status: of HTTP, 0 where there was no answer; kind: the word of the server; details: numbers that it gave. */
  constructor(message, { status = 0, kind = "", retryAfter = 0, details = {} } = {}) {
    super(message);
    Object.assign(this, { status, kind, retryAfter, details });
  }
}

/** The error of a body, whatever the shape. */
export function errorOf(body, status = 0, retryAfter = 0) {
  const error = body?.error ?? body ?? {};
  const message = typeof error === "string" ? error : (error.message ?? `the server answered with status ${status}`);
  return new ServerError(message, { status: status || Number(error.code) || 0, kind: error.type ?? "", retryAfter, details: error });
}

/** A message of the assistant into which chunks can be put. */
export function newAnswer(model) {
  return { role: "assistant", content: "", model };
}

/** Put one chunk into the message. Raises ServerError where the chunk tells of one. */
export function applyChunk(message, chunk) {
  if (chunk.error) throw errorOf(chunk);
  if (chunk.prompt_progress) message.progress = chunk.prompt_progress;
  if (chunk.usage) message.usage = chunk.usage;
  if (chunk.timings) message.timings = chunk.timings;
  const choice = chunk.choices?.[0];
  if (!choice) return;
  const { delta = {}, logprobs, finish_reason: finish } = choice;
  const reasoning = delta.reasoning_content ?? delta.reasoning;
  if (reasoning) message.reasoning = (message.reasoning ?? "") + reasoning;
  if (delta.content) message.content += delta.content;
  for (const call of delta.tool_calls ?? []) applyCall((message.toolCalls ??= []), call);
  if (logprobs?.content?.length) (message.logprobs ??= []).push(...logprobs.content.map(keptLogprob));
  if (finish) message.finish = finish;
}

function applyCall(calls, { index = calls.length, id, function: called = {} }) {
  calls[index] ??= { id: "", name: "", arguments: "" };
  if (id) calls[index].id = id;
  calls[index].name += called.name ?? "";
  calls[index].arguments += called.arguments ?? "";
}

/** What the page keeps of a token: [text, logprob, [[text, logprob] ...]]. */
function keptLogprob({ logprob, top_logprobs: top = [], ...token }) {
  return [tokenText(token), logprob, top.map((each) => [tokenText(each), each.logprob])];
}

/** The text of a token; bytes that are no whole character are shown by their numbers. */
function tokenText({ token, bytes }) {
  if (!token.includes("\uFFFD") || !bytes?.length) return token;
  return bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}

/** The tokens of a conversation after an answer: what the next request finds in the context. */
export function usedTokens(message) {
  const { usage, timings } = message;
  if (usage?.total_tokens) return usage.total_tokens;
  return timings ? (timings.cache_n ?? 0) + (timings.prompt_n ?? 0) + (timings.predicted_n ?? 0) : 0;
}
