// The settings of a conversation: a table from which the form, the request and the check of imported files are made.
// A setting that is not set is left to the server, which takes it from the model's file, or llama.cpp's default.

const number = (name, label, min, max, step, hint, more = {}) => ({ name, label, kind: "number", min, max, step, hint, ...more });

export const FIELDS = [
  { name: "system", label: "System prompt", kind: "text", rows: 4, group: "main", hint: "Tells the model how to answer." },
  number("temperature", "Temperature", 0, 5, 0.05, "0 always takes the likeliest token.", { group: "sampling" }),
  number("top_k", "Top-k", 0, 1_000_000, 1, "Keeps the k likeliest tokens; 0 keeps all.", { group: "sampling" }),
  number("top_p", "Top-p", 0, 1, 0.01, "Keeps the likeliest tokens up to this sum.", { group: "sampling" }),
  number("min_p", "Min-p", 0, 1, 0.01, "Relative to the likeliest token.", { group: "sampling" }),
  number("repeat_penalty", "Repeat penalty", 0.1, 5, 0.05, "1 does nothing.", { group: "sampling" }),
  number("presence_penalty", "Presence penalty", -2, 2, 0.1, "0 does nothing.", { group: "sampling" }),
  number("frequency_penalty", "Frequency penalty", -2, 2, 0.1, "0 does nothing.", { group: "sampling" }),
  number("seed", "Seed", 0, 4_294_967_295, 1, "Same seed, same answer.", { group: "sampling", placeholder: "random" }),
  number("max_tokens", "Longest answer", 1, 10_000_000, 1, "In tokens.", { group: "answer", placeholder: "no limit" }),
  number("logprobs", "Token probabilities", 0, 20, 1, "Alternatives to show for each token.", { group: "answer", placeholder: "off" }),
  { name: "stop", label: "Stop texts", kind: "lines", rows: 2, group: "answer", hint: "One a line: an answer ends before them." },
  {
    name: "thinking", label: "Thinking", kind: "choice", group: "thinking", hint: "Where the model can think before it answers.",
    choices: [["", "As the model does"], ["on", "On"], ["off", "Off"]],
  },
  number("thinking_budget", "Thinking budget", 0, 10_000_000, 1, "Tokens after which thinking ends.", { group: "thinking", placeholder: "no limit" }),
  { name: "schema", label: "JSON schema", kind: "json", rows: 4, group: "structure", hint: "Answers are JSON that keeps to it." },
  {
    name: "tools", label: "Tools", kind: "json", rows: 4, group: "structure",
    hint: "A JSON list of functions that the model may call; you give their results by hand.",
  },
];

export const GROUPS = [
  ["main", ""],
  ["sampling", "Sampling"],
  ["answer", "Answer"],
  ["thinking", "Thinking"],
  ["structure", "Structure and tools"],
];

/** The value of a field from the text that was typed: undefined where it is empty. Raises Error with one line. */
export function readField(field, text) {
  if (text.trim() === "") return undefined;
  return READERS[field.kind](field, text);
}

const READERS = {
  text: (_, text) => text,
  choice: (_, text) => text,
  lines: (_, text) => text.split("\n").filter((line) => line !== ""),
  number: (field, text) => {
    const value = Number(text);
    if (!Number.isFinite(value)) throw new Error(`${field.label} is no number`);
    if (value < field.min || value > field.max) throw new Error(`${field.label} must lie between ${field.min} and ${field.max}`);
    if (field.step === 1 && !Number.isInteger(value)) throw new Error(`${field.label} must be a whole number`);
    return value;
  },
  json: (field, text) => {
    let value;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new Error(`${field.label}: ${error.message}`, { cause: error });
    }
    if (field.name === "tools" ? !Array.isArray(value) : typeof value !== "object" || value === null || Array.isArray(value))
      throw new Error(`${field.label} must be a JSON ${field.name === "tools" ? "list" : "object"}`);
    return text;
  },
};

/** The text of a field's value. */
export function showField(value) {
  if (value === undefined) return "";
  return Array.isArray(value) ? value.join("\n") : String(value);
}

/** Settings that came from outside: what this page knows and accepts of them. */
export function checkSettings(settings) {
  const checked = {};
  for (const field of FIELDS) {
    const value = settings?.[field.name];
    if (!["string", "number"].includes(typeof value) && !Array.isArray(value)) continue;
    try {
      const read = readField(field, showField(value));
      if (read !== undefined) checked[field.name] = read;
    } catch {
      continue; // a value out of its range is left to the server's default, as one that is missing
    }
  }
  return checked;
}
