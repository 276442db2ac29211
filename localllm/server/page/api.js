// The server that gave us this page. Nothing else is ever asked.

import { errorOf, ServerError } from "./answer.js";
import { readEvents } from "./sse.js";

const KEY = "localllm.key";

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const setKey = (key) => sessionStorage.setItem(KEY, key);

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  let answer;
  try {
    answer = await fetch(new URL(path, document.baseURI), { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("the server does not answer", { kind: "unreachable" });
  }
  if (answer.ok) return answer;
  const text = await answer.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    body = { message: text.slice(0, 300) || answer.statusText }; // a proxy's page, perhaps
  }
  throw errorOf(body, answer.status, Number(answer.headers.get("retry-after")) || 0);
}

/** What /v1/models lists: [{id, meta}]. */
export async function fetchModels() {
  const answer = await ask("v1/models");
  return (await answer.json()).data ?? [];
}

/** llama.cpp's /props of a model, or null where the server has none. */
export async function fetchProps(model) {
  try {
    const answer = await ask(`props${model ? `?model=${encodeURIComponent(model)}` : ""}`);
    return await answer.json();
  } catch (error) {
    if (error instanceof ServerError) return null; // only defaults and sizes are missing then
    throw error;
  }
}

/** The chunks of a streamed chat completion. Raises ServerError, or AbortError after signal.abort(). */
export async function* streamChat(body, signal) {
  const answer = await ask("v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  try {
    for await (const data of readEvents(answer.body)) {
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  } catch (error) {
    if (error instanceof TypeError) throw new ServerError("the connection broke off", { kind: "unreachable" });
    throw error;
  }
}
