// Numbers and dates as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const count = (value) => whole.format(value);
export const speed = (value) => (value >= 100 ? whole.format(value) : one.format(value));
export const tokens = (value) => `${count(value)} ${value === 1 ? "token" : "tokens"}`;

export function seconds(value) {
  if (value < 60) return `${one.format(value)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

/** The speed of an answer: ["12.3 tokens/s", "45 tokens in 3.7 s", "prompt: 900 tokens at 350/s, 800 known before"]. */
export function statistics({ timings, usage }) {
  const parts = [];
  if (timings?.predicted_n) {
    parts.push(`${speed(timings.predicted_per_second)} tokens/s`);
    parts.push(`${tokens(timings.predicted_n)} in ${seconds(timings.predicted_ms / 1000)}`);
  } else if (usage?.completion_tokens) parts.push(tokens(usage.completion_tokens));
  const prompt = timings?.prompt_n ?? 0;
  const known = timings?.cache_n ?? usage?.prompt_tokens_details?.cached_tokens ?? 0;
  const rate = prompt ? ` at ${speed(timings.prompt_per_second)}/s` : "";
  if (timings) parts.push(`prompt: ${tokens(prompt)} read${rate}${known ? `, ${count(known)} known before` : ""}`);
  else if (usage) parts.push(`prompt: ${tokens(usage.prompt_tokens)}${known ? `, ${count(known)} known before` : ""}`);
  return parts;
}

const DAY = 86_400_000;
const PERIODS = [[0, "Today"], [1, "Yesterday"], [7, "Last 7 days"], [30, "Last 30 days"]];

/** The heading under which a conversation of that time is listed. */
export function period(time, now = Date.now()) {
  const today = new Date(now).setHours(0, 0, 0, 0);
  const found = PERIODS.find(([days]) => time >= today - days * DAY);
  return found ? found[1] : "Older";
}

/** The title of a conversation that begins with this message. */
export function titleOf(text) {
  const line = text.trim().split("\n", 1)[0].replace(/[#*`>]/g, "").trim();
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line || "New chat";
}
