// Errors of the server in words: what is wrong, and what to do.

import { count, tokens } from "./format.js";

/** {text, advice, kind} of an error; kind "context", "key", "busy", "unreachable" or "". */
export function explain(error) {
  const found = EXPLANATIONS.find(([fits]) => fits(error));
  const { n_prompt_tokens: asked, n_ctx: held } = error.details ?? {};
  const text = asked && held ? `the conversation has ${tokens(asked)}, the context holds ${count(held)}` : error.message;
  return { text: sentence(text), advice: found?.[1](error) ?? "", kind: found?.[2] ?? "" };
}

const isContext = (error) => /context/.test(error.kind ?? "") || error.details?.code === "context_length_exceeded";

const EXPLANATIONS = [
  [
    isContext,
    () =>
      "The model reads the whole conversation each time. Leave out the oldest messages, shorten this one, begin a new " +
      "chat, or start the server with a larger context (--ctx-size).",
    "context",
  ],
  [(error) => error.status === 401, () => "The server asks for its API key.", "key"],
  [
    (error) => error.status === 429 || error.status === 503,
    (error) => `It is busy or still loading.${error.retryAfter ? ` Try again in ${error.retryAfter} s.` : " Try again in a moment."}`,
    "busy",
  ],
  [(error) => error.kind === "unreachable", () => "Is `localllm serve` still running?", "unreachable"],
];

function sentence(text) {
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}

/** Why an answer ended where the reader may wonder, or "". */
export function explainFinish(message, nCtx) {
  if (message.finish === "stopped") return "Stopped.";
  if (message.finish === "broken") return "The page was closed while this answer arrived.";
  if (message.finish !== "length") return "";
  // Not known before the server has told it, which it does of models that are loaded.
  if (!nCtx) return "The answer was cut: it reached its longest length, or the context is full.";
  const used = message.usage?.total_tokens ?? 0;
  if (used >= nCtx) return "The context is full: the answer ends here. Leave out the oldest messages, or begin a new chat.";
  return "The answer reached its longest length.";
}
